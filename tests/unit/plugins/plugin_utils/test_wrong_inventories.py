"""Wrong inventories are refused with the messages that their heads want, and right ones are not."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import report

from tests.unit.plugins.inventories import ROOT, WRONG, mistakes_of

INVENTORIES = sorted(WRONG.glob("*.yml"))
SMALLEST = """
all:
  children:
    control_plane: {hosts: {one: {ansible_host: 192.0.2.1}}}
    cluster: {children: {control_plane: {}}, vars: {load_balancer_addresses: [192.0.2.8/30]}}
    courses: {hosts: {python-ws26: }}
"""
OWN_GROUPS = """
    gpu_workers: {hosts: {two: {ansible_host: 192.0.2.2}}}
    workers: {children: {gpu_workers: {}}}
    cluster: {children: {control_plane: {}, workers: {}}, vars: {load_balancer_addresses: [192.0.2.8/30]}}
    courses_ws26: {hosts: {python-ws26: }}
"""


def test_there_are_enough() -> None:
    assert len(INVENTORIES) >= 45


@pytest.mark.parametrize("path", INVENTORIES, ids=lambda path: path.stem)
def test_wrong_inventory_is_refused(path: Path) -> None:
    wanted = [
        line.removeprefix("# Refused: ") for line in path.read_text().splitlines() if line.startswith("# Refused: ")
    ]
    text = report(mistakes_of(path))
    first, *lines, last = text.splitlines()
    assert last == "Nothing was changed."
    assert first.startswith(f"The inventory has {len(wanted)} mistake"), text
    assert wanted
    for words in wanted:
        assert any(words in line for line in lines), f"{words}\nis not in\n{text}"


@pytest.mark.parametrize("name", ["example", "lab"])
def test_right_inventory_passes(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The lab's inventory trusts the key that the lab has made, which is not there before the lab is.
    monkeypatch.setenv("CAMPUS_HUBS_CACHE", str(tmp_path))
    (tmp_path / "gnupg").mkdir(mode=0o700)
    key = ["gpg", "--homedir", str(tmp_path / "gnupg"), "--batch", "--quiet", "--passphrase", "", "--quick-gen-key"]
    subprocess.run([*key, "lab <lab@localhost>", "ed25519", "sign", "never"], check=True)  # noqa: S603 (our own arguments)
    found = mistakes_of(ROOT / "inventories" / name)
    assert not found, report(found)


def test_smallest_inventory_passes(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(SMALLEST)
    found = mistakes_of(tmp_path / "hosts.yml")
    assert not found, report(found)


def test_groups_of_ones_own_pass(tmp_path: Path) -> None:
    (tmp_path / "hosts.yml").write_text(SMALLEST.replace("    cluster:", "    others:") + OWN_GROUPS)
    found = mistakes_of(tmp_path / "hosts.yml")
    assert not found, report(found)


RIGHT = """
    courses:
      hosts:
        a:
          course_hub_image: localhost:5000/python/lab:2026-10
          course_hub_material: {git: "https://git.example.edu:8443/x.git/", branch: feature/week-1, directory: a/b c}
          course_hub_environment: {TZ: Europe/Berlin, OMP_NUM_THREADS: 2, _x: ""}
          course_hub_profiles:
            - {title: "机器学习", image: "10.0.0.1:5000/lab@sha256:DIGEST"}
            - {title: B, memory: {limit: 8G}}
          course_hub_exchange_size: 2Ti
          course_hub_max_upload: 1Gi
        b:
          course_hub_image: registry.example.edu/lab:1@sha256:DIGEST
          course_hub_material: {git: "ssh://git@10.1.2.3:2222/python.git", deploy_key_secret: key}
        c:
          course_hub_packages:
            pip: [pandas, "pandas>=2.2,<3", "torch[opt]==2.9.*", 'tomli; python_version < "3.11"', "a~=1.0"]
            apt: [graphviz, libstdc++6, fonts-noto]
          course_hub_material: {git: "git@git.example.edu:python/material.git", deploy_key_secret: key.a}
          course_hub_gpu: 2
          course_hub_gpu_resource: amd.com/gpu
          course_hub_lti13_platform: brightspace
          course_hub_lti_platforms:
            brightspace:
              issuer: https://lms.example.edu
              authorization_endpoint: https://lms.example.edu/d2l/lti/authenticate
              token_endpoint: https://auth.brightspace.com/core/connect/token
              token_audience: https://api.brightspace.com/auth/token
              jwks_uri: https://lms.example.edu/d2l/.well-known/jwks
"""


def test_settings_that_are_right_pass(tmp_path: Path) -> None:
    settings = RIGHT.replace("DIGEST", "0" * 64)
    (tmp_path / "hosts.yml").write_text(SMALLEST.replace("    courses: {hosts: {python-ws26: }}\n", settings))
    found = mistakes_of(tmp_path / "hosts.yml")
    assert not found, report(found)
