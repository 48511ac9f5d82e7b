"""Servers install updates by themselves: what the roles install waits for these, and does not fail after a minute."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import yaml

from tests.unit.roles.role_variables import ROOT


def flat(tasks: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for task in tasks:
        yield task
        for part in ("block", "rescue", "always"):
            yield from flat(task.get(part, []))


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
