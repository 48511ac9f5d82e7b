# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read several objects of the cluster in one step, from the control machine."""

from __future__ import annotations

from typing import Any

from ansible.errors import AnsibleActionFail
from ansible.module_utils.common.arg_spec import ArgumentSpecValidator
from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import KubernetesError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import Query
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.campus.hubs.plugins.plugin_utils.api_connection import task_api

_QUERY = {
    "resource": {"type": "str", "required": True},
    "api_version": {"type": "str", "default": "v1"},
    "namespace": {"type": "str", "default": ""},
    "name": {"type": "str", "default": ""},
    "label_selectors": {"type": "list", "elements": "str", "default": []},
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Ask in this process: a module that imports the Kubernetes client takes longer than all the answers."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"queries", "kubeconfig", "context"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        spec = {
            "queries": {"type": "dict", "required": True},
            "kubeconfig": {"type": "path"},
            "context": {"type": "str"},
        }
        queries = {
            name: Query(**self._query(name, query))
            for name, query in self.validate_argument_spec(spec)[1]["queries"].items()
        }
        result["changed"] = False
        try:
            api = task_api(self._task, self._templar)
            objects = {name: api.read(query) for name, query in queries.items()}
        except KubernetesError as error:
            return {**result, "failed": True, "msg": f"Objects: {error}"}
        return {**result, "objects": objects}

    @staticmethod
    def _query(name: str, given: Any) -> dict[str, Any]:  # noqa: ANN401 (an option can be anything)
        """Return the options of a query.

        Raises:
            AnsibleActionFail: they are not what the documentation says.
        """
        checked = ArgumentSpecValidator(_QUERY).validate(given if isinstance(given, dict) else {})
        if checked.error_messages:
            message = f"queries.{name}: {'; '.join(checked.error_messages)}"
            raise AnsibleActionFail(message)
        found: dict[str, Any] = checked.validated_parameters
        if found["resource"] == "secrets" and found["name"]:
            expected = "a list of Secrets, of which only the metadata is read"
            raise AnsibleActionFail(
                refusal(f"queries.{name}", f"the Secret {found['name']}", expected, "select it by its labels")
            )
        return found
