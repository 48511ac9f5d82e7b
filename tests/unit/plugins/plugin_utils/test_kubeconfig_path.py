"""One place for the kubeconfig, outside of what people commit."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.plugin_utils.kubeconfig_path import kubeconfig_path

ROOT = Path(__file__).resolve().parents[4]


@pytest.mark.parametrize(
    ("host", "path"),
    [
        ({"inventory_dir": "/home/anna/my-campus"}, "~/.kube/campus-hubs/home/anna/my-campus/kubeconfig"),
        ({"inventory_dir": "/test/campus", "kubeadm_kubeconfig": ""}, "~/.kube/campus-hubs/test/campus/kubeconfig"),
        ({"inventory_dir": "/prod/campus", "kubeadm_kubeconfig": ""}, "~/.kube/campus-hubs/prod/campus/kubeconfig"),
        ({"inventory_dir": "/"}, "~/.kube/campus-hubs/kubeconfig"),
        ({"inventory_dir": None}, "~/.kube/campus-hubs/kubeconfig"),
        ({"inventory_dir": "/i", "kubeadm_kubeconfig": "~/elsewhere"}, "~/elsewhere"),
        ({"inventory_dir": "/i", "kubeadm_kubeconfig": "/run/elsewhere"}, "/run/elsewhere"),
    ],
)
def test_the_variable_counts_and_else_the_inventory_s_path(host: dict[str, object], path: str) -> None:
    variables = {"groups": {"control_plane": ["cp2", "cp1"]}, "hostvars": {"cp2": host, "cp1": {}}}
    assert kubeconfig_path(variables) == str(Path(path).expanduser())


def test_every_play_takes_it_from_there() -> None:
    found = 0
    for path in [*(ROOT / "playbooks").glob("*.yml"), ROOT / "lab/lms.yml", ROOT / "tests/bench/manifests.yml"]:
        for play in yaml.safe_load(path.read_text()):
            for name in ("K8S_AUTH_KUBECONFIG", "KUBECONFIG"):
                if name in (play.get("environment") or {}):
                    assert play["environment"][name] == "{{ lookup('campus.hubs.kubeconfig') }}", path.name
                    found += 1
    assert found >= 11
