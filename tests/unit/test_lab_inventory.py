"""The lab's inventory has the roles' defaults again where packages are upstream's."""

from __future__ import annotations

from typing import Any

import pytest
from ansible.parsing.dataloader import DataLoader
from ansible.template import Templar

from tests.unit.roles.role_variables import ROOT, compute

KEY = "A" * 40


def read(path: str) -> dict[str, Any]:
    content: dict[str, Any] = DataLoader().load_from_file(
        str(ROOT / "inventories/lab/group_vars" / path), trusted_as_template=True
    )
    return content


@pytest.mark.parametrize(
    ("role", "name", "path"),
    [
        ("containerd", "containerd_apt_key_fingerprints", "cluster.yml"),
        ("kubeadm", "kubeadm_apt_key_fingerprints", "cluster.yml"),
        ("course_hub", "course_hub_helm_url", "courses.yml"),
    ],
)
def test_upstream_is_what_the_roles_expect(role: str, name: str, path: str) -> None:
    raw, default = read(path)[name], compute(role, name, {})
    by_source = {
        source: Templar(loader=DataLoader(), variables={"lab_source": source, "_lab_key": KEY}).template(raw)
        for source in ("upstream", "build")
    }
    assert default
    assert by_source["upstream"] == default
    assert by_source["build"] in ([KEY], "http://10.89.7.5:8080/get.helm.sh")
