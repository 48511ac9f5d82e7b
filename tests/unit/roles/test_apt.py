"""Servers install updates by themselves: what the roles install waits for these, and does not fail after a minute."""

from __future__ import annotations

import yaml

from tests.unit.roles.role_variables import ROOT, flat


def test_waits_for_unattended_upgrades() -> None:
    files = [(path, yaml.safe_load(path.read_text())) for path in (ROOT / "roles").glob("*/tasks/*.yml")]
    found = {
        path: task["ansible.builtin.apt"]
        for path, tasks in files
        for task in flat(tasks)
        if "ansible.builtin.apt" in task
    }
    assert len(found) >= 6
    assert [str(path) for path, options in found.items() if options.get("lock_timeout", 60) < 300] == []
