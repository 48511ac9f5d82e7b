"""Servers install updates by themselves: what the roles install waits for these, and does not fail after a minute."""

from __future__ import annotations

from typing import Any

import yaml
from ansible_collections.campus.hubs.plugins.modules import pinned_packages

from tests.unit.roles.role_variables import ROOT, flat

# What installs packages, with its option for the time that it waits, and how long that is by default.
OPTIONS = yaml.safe_load(pinned_packages.DOCUMENTATION)["options"]
MODULES = {
    "ansible.builtin.apt": ("lock_timeout", 60),
    "campus.hubs.pinned_packages": ("lock_timeout_seconds", OPTIONS["lock_timeout_seconds"]["default"]),
}


def test_waits_for_unattended_upgrades() -> None:
    found: list[tuple[str, str, dict[str, Any]]] = [
        (str(path), module, task[module])
        for path in (ROOT / "roles").glob("*/tasks/*.yml")
        for task in flat(yaml.safe_load(path.read_text()))
        for module in set(MODULES) & set(task)
    ]
    assert len(found) >= 6
    assert {module for _, module, _ in found} == set(MODULES)
    seconds = {(path, module): options.get(MODULES[module][0], MODULES[module][1]) for path, module, options in found}
    assert [task for task, waited in seconds.items() if waited < 300] == []
