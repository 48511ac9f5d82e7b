"""containerd restarts on one node after another, and not on the next where one has failed: Ansible's own strategy."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles.role_variables import ROOT, compute

# Notes when a node begins and when it ends.
UPDATE = """
- name: Begin
  ansible.builtin.shell: echo "begin {{ inventory_hostname }}" >> {{ log }}; sleep 0.3
- name: Restart containerd
  ansible.builtin.shell: "{{ 'false' if inventory_hostname == broken else 'true' }}"
- name: End
  ansible.builtin.shell: echo "end {{ inventory_hostname }}" >> {{ log }}
"""
RUNS = {"is_active": True, "is_current": False, "exists": True}
NODES: dict[str, dict[str, Any]] = {
    "cp1": RUNS,
    "w1": RUNS,
    "w2": RUNS | {"is_current": True},
    # These are being installed.
    "w3": {"is_active": False, "is_current": False, "exists": False},
    "w4": {"is_active": False, "is_current": False, "exists": False},
}


def update(tmp_path: Path, broken: str = "") -> list[str]:
    """Run the role's task that updates nodes with another update.yml; return what happened."""
    (task,) = [
        task
        for task in yaml.safe_load((ROOT / "roles/containerd/tasks/main.yml").read_text())
        if task.get("ansible.builtin.include_tasks") == "update.yml"
    ]
    (tmp_path / "update.yml").write_text(UPDATE)
    variables = yaml.safe_load((ROOT / "roles/containerd/vars/main.yml").read_text())
    common = {name: variables[name] for name in ("_containerd_is_current",)}
    common |= {"_containerd_package": {"is_current": True}, "log": str(tmp_path / "log"), "broken": broken}
    play = {"hosts": "all", "gather_facts": False, "any_errors_fatal": True, "vars": common, "tasks": [task]}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    hosts = {
        name: {
            "ansible_connection": "local",
            "ansible_python_interpreter": sys.executable,
            "_containerd_service": service,
        }
        for name, service in NODES.items()
    }
    (tmp_path / "hosts.json").write_text(json.dumps({"all": {"hosts": hosts}}))
    command = ["ansible.cli.playbook", "-i", str(tmp_path / "hosts.json"), str(tmp_path / "play.yml")]
    done = subprocess.run([sys.executable, "-m", *command], capture_output=True, text=True, check=False)  # noqa: S603
    assert (done.returncode == 0) == (not broken), done.stdout + done.stderr
    return (tmp_path / "log").read_text().splitlines()


def test_nodes_take_turns(tmp_path: Path) -> None:
    happened = update(tmp_path)
    # Nothing runs on those that are new, so that they need not wait for each other.
    first = {"begin w3", "begin w4"}
    assert {line for line in happened if line[-2:] in ("w3", "w4")} == first | {"end w3", "end w4"}
    turns = [line for line in happened if line[-2:] not in ("w3", "w4")]
    assert turns in (
        ["begin cp1", "end cp1", "begin w1", "end w1"],
        ["begin w1", "end w1", "begin cp1", "end cp1"],
    )
    at = happened.index("begin w3")
    assert set(happened[min(at, happened.index("begin w4")) :][:2]) == first


def test_a_node_that_fails_is_the_last(tmp_path: Path) -> None:
    happened = update(tmp_path, broken="cp1")
    assert "begin cp1" in happened
    assert "end cp1" not in happened
    assert happened[happened.index("begin cp1") + 1 :] == []


@pytest.mark.parametrize("service", [RUNS, NODES["w3"]], ids=["runs", "new"])
def test_newer_files_alone_restart_it(tmp_path: Path, service: dict[str, bool]) -> None:
    """As after an edit by hand: the package is current, and nothing is looked at a second time."""
    tasks = yaml.safe_load((ROOT / "roles/containerd/tasks/update.yml").read_text())
    restart = tasks[-1]
    assert restart.pop("ansible.builtin.systemd_service")["state"] == "restarted"
    restart["ansible.builtin.debug"] = {"msg": "it restarts"}
    for name in ("main.yml", "service.yml"):
        (tmp_path / name).write_text((ROOT / "roles/containerd/tasks" / name).read_text())
    known = {
        "_containerd_package": {"is_current": True},
        "_containerd_service": service,
        "_containerd_packages": {},
        "containerd_version": "2.4.2",
    }
    play = {"hosts": "localhost", "gather_facts": False, "vars": known, "tasks": tasks}
    (tmp_path / "play.yml").write_text(json.dumps([play]))
    command = [sys.executable, "-m", "ansible.cli.playbook", "-i", "localhost,", str(tmp_path / "play.yml")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    assert "it restarts" in done.stdout


@pytest.mark.parametrize(
    ("package", "service", "current"), [(True, True, True), (False, True, False), (True, False, False)]
)
def test_what_needs_an_update(package: bool, service: bool, current: bool) -> None:
    known = {"_containerd_package": {"is_current": package}, "_containerd_service": {"is_current": service}}
    assert compute("containerd", "_containerd_is_current", known) == current
