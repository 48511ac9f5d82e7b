# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Callback `run_events`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: run_events
type: notification
short_description: Write what a run changes to a file that programs read
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Appends a JSON document a line. Each has V(event), and V(host), V(role) and V(task), which are names.
  - V(changed) is a task that changed something; V(delegate_to) is where it was done, if not on the host.
  - V(busy) is a run that was kept out by another one; V(holder) is that one's user, machine and process, V(since) when
    it began.
  - Nothing of what tasks return is written, since that may hold secrets.
options:
  path:
    description: The file. Without it nothing is written.
    type: path
    env:
      - name: CAMPUS_HUBS_RUN_EVENTS
requirements:
  - to be enabled in the configuration (C(ANSIBLE_CALLBACKS_ENABLED=campus.hubs.run_events))
"""

import json
from pathlib import Path

from ansible.executor.task_result import CallbackTaskResult
from ansible.plugins.callback import CallbackBase


class CallbackModule(CallbackBase):  # type: ignore[misc] # ansible-core has no types
    """See Ansible's callback plugins."""

    CALLBACK_VERSION = 2.0
    CALLBACK_TYPE = "notification"
    CALLBACK_NAME = "campus.hubs.run_events"
    CALLBACK_NEEDS_ENABLED = True

    def v2_runner_on_ok(self, result: CallbackTaskResult) -> None:
        """Note what has changed something."""
        if result.is_changed():
            self._write("changed", result, delegate_to=str(result.task.delegate_to or ""))

    def v2_runner_on_failed(self, result: CallbackTaskResult, ignore_errors: bool = False) -> None:
        """Note that another run is under way."""
        if result.task.resolved_action == "campus.hubs.run_lock" and result.result.get("holder"):
            self._write("busy", result, **{name: str(result.result[name]) for name in ("holder", "since")})

    def _write(self, event: str, result: CallbackTaskResult, **more: str) -> None:
        path = self.get_option("path")
        if not path:
            return
        # Of a task in a role, the name begins with the role's.
        role, _separator, task = result.task.get_name().rpartition(" : ")
        document = {"event": event, "host": result.host.get_name(), "role": role, "task": task, **more}
        with Path(path).open("a", encoding="utf-8") as file:
            file.write(json.dumps(document) + "\n")
