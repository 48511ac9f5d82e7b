"""Roles of which all that happens on a node is done by modules: nothing of shell texts and their output."""

from __future__ import annotations

import pytest
import yaml

from tests.unit.roles.role_variables import ROOT, flat


@pytest.mark.parametrize("role", ["node", "containerd"])
def test_no_command_is_run(role: str) -> None:
    tasks = [
        task
        for path in (ROOT / "roles" / role / "tasks").glob("*.yml")
        for task in flat(yaml.safe_load(path.read_text()))
    ]
    assert len(tasks) >= 8
    commands = [f"ansible.builtin.{name}" for name in ("shell", "command", "raw", "script")]
    assert [task["name"] for task in tasks if set(commands) & set(task)] == []
    files = [path for path in (ROOT / "roles" / role / "vars").rglob("*.yml") if path.name != "checks.yml"]
    assert [path for path in files if len(path.read_text().splitlines()) > 60] == []
