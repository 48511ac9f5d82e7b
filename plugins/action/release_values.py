# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compute the values of one course's release, as `course_state` does for all."""

from __future__ import annotations

import os
import tempfile
from typing import Any

from ansible import constants
from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import KubernetesError
from ansible_collections.campus.hubs.plugins.plugin_utils.api_connection import task_api
from ansible_collections.campus.hubs.plugins.plugin_utils.course_inputs import (
    CHART,
    course_options,
    read_cluster,
    read_live,
)
from ansible_collections.campus.hubs.plugins.plugin_utils.release_values import (
    ValuesError,
    chart_checksum,
    public_url,
    release_values,
    values_text,
)


class ActionModule(ActionBase):  # type: ignore[misc]
    """Ask and compute in this process, where the variables are."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"kubeconfig", "context"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        course = variables["inventory_hostname"]
        result["changed"] = False
        try:
            options = course_options(variables, self._templar)
            api = task_api(self._task, self._templar)
            cluster = read_cluster(api, check=self._task.check_mode)
            live = read_live(api, f"course-{course}")[f"course-{course}"]
            values = release_values(course, options, cluster, live, chart_checksum(CHART))
        except (KubernetesError, ValuesError) as error:
            return {**result, "failed": True, "msg": str(error)}
        # Ansible removes the folder at the end of the run.
        descriptor, path = tempfile.mkstemp(prefix=f"values-{course}-", suffix=".yml", dir=constants.DEFAULT_LOCAL_TMP)
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(values_text(values))
        return {**result, "release_values": values, "values_file": path, "public_url": public_url(options, live)}
