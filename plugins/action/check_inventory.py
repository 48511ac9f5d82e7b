# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Refuse a wrong inventory before anything is touched."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible import context
from ansible.plugins.action import ActionBase
from ansible.utils.vars import load_extra_vars
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_files import find_files
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import report
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_reader import find_mistakes

COLLECTION = Path(__file__).resolve().parents[2]


class ActionModule(ActionBase):  # type: ignore[misc]
    """Check all hosts' variables on the control machine; connects to no host."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS: frozenset[str] = frozenset()

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        hostvars, groups = variables["hostvars"], variables["groups"]
        mistakes = find_mistakes(
            groups,
            lambda host: {**hostvars.raw_get(host), "hostvars": hostvars, "groups": groups},
            collection=COLLECTION,
            loader=self._loader,
            extra=load_extra_vars(self._loader),
            files=find_files(
                variables.get("ansible_inventory_sources") or (),
                variables.get("playbook_dir") or "",
                context.CLIARGS.get("extra_vars") or (),
                self._loader,
            ),
        )
        if mistakes:
            return {**result, "failed": True, "changed": False, "msg": report(mistakes)}
        return {
            **result,
            "changed": False,
            "msg": f"The variables of {len(groups['all'])} hosts are as they have to be.",
        }
