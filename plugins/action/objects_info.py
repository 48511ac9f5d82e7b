# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read several objects of the cluster in one step, from the control machine."""

from __future__ import annotations

import re
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.module_utils.course_state.api import Api
from ansible_collections.campus.hubs.plugins.module_utils.course_state.release import StateError
from ansible_collections.campus.hubs.plugins.plugin_utils.api_connection import (
    NoConnectionError,
    plain_errors,
    task_connection,
)

_SECRETS = re.compile(r"/secrets(\?|$)")
_ONE_SECRET = re.compile(r"/secrets/")


class ActionModule(ActionBase):  # type: ignore[misc]
    """Ask in this process: a module that imports the Kubernetes client takes longer than all the answers."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"paths", "kubeconfig", "context"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {"paths": {"type": "dict", "required": True}, "kubeconfig": {"type": "path"}, "context": {"type": "str"}}
        paths = self.validate_argument_spec(spec)[1]["paths"]
        result["changed"] = False
        wrong = [path for path in paths.values() if _ONE_SECRET.search(path)]
        if wrong:
            message = f"paths: got {wrong[0]}; wanted: a list of Secrets, of which only the metadata is read"
            return {**result, "failed": True, "msg": message}
        try:
            with plain_errors():
                api = Api(task_connection(self._task, self._templar))
                objects = {
                    name: api.read(path, metadata_only=bool(_SECRETS.search(path))) for name, path in paths.items()
                }
        except (StateError, NoConnectionError) as error:
            return {**result, "failed": True, "msg": f"Objects: {error}"}
        return {**result, "objects": objects}
