"""Real inventories through Ansible's own loader, in this process."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ansible.inventory.manager import InventoryManager
from ansible.parsing.dataloader import DataLoader
from ansible.vars.hostvars import HostVars
from ansible.vars.manager import VariableManager
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_files import find_files
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import Mistake
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_reader import find_mistakes

ROOT = Path(__file__).resolve().parents[3]
WRONG = ROOT / "tests" / "integration" / "wrong_inventories"

# One for all: it remembers the roles' files.
loader = DataLoader()


def mistakes_of(path: Path, extra: Mapping[str, Any] | None = None) -> list[Mistake]:
    """Return what the check finds in an inventory file or folder, as the action plugin would.

    Args:
        path: the inventory.
        extra: variables from the command line.
    """
    return read(path, extra)[0]


def read(path: Path, extra: Mapping[str, Any] | None = None) -> tuple[list[Mistake], HostVars]:
    """Return what the check finds, and all hosts' variables; see `mistakes_of`."""
    inventory = InventoryManager(loader=loader, sources=[str(path)])
    manager = VariableManager(loader=loader, inventory=inventory)
    manager._extra_vars = dict(extra or {})
    hostvars, groups = HostVars(inventory, manager, loader), inventory.get_groups_dict()
    mistakes = find_mistakes(
        groups,
        lambda host: {**hostvars.raw_get(host), "hostvars": hostvars, "groups": groups},
        collection=ROOT,
        loader=loader,
        extra=extra or (),
        files=find_files([str(path)], "", (), loader),
    )
    return mistakes, hostvars
