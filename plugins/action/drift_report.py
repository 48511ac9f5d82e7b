# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Write the drift report of what `course_state` has found, on the control machine."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import KubernetesError, NoConnectionError
from ansible_collections.campus.hubs.plugins.plugin_utils.api_connection import task_api
from ansible_collections.campus.hubs.plugins.plugin_utils.drift_report import write_report


class ActionModule(ActionBase):  # type: ignore[misc]
    """Write it in this process, where what was found is."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {
            "courses": {"type": "list", "elements": "dict", "required": True},
            "folder": {"type": "path", "required": True},
            "mode": {"type": "str", "choices": ["report", "check", "apply"]},
            "kubeconfig": {"type": "path"},
            "context": {"type": "str"},
        }
        options = self.validate_argument_spec(spec)[1]
        mode = options["mode"] or ("check" if self._task.check_mode else "apply")
        result["changed"] = False
        try:
            api = task_api(self._task, self._templar)
            said = write_report(Path(options["folder"]), mode, api, options["courses"])
        except NoConnectionError as error:
            return {**result, "unreachable": True, "msg": f"Drift report: {error}"}
        except (KubernetesError, OSError) as error:
            return {**result, "failed": True, "msg": f"Drift report: {error}"}
        return {**result, "lines": said}
