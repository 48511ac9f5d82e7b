# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Read the YAML that the module has found, on the control machine: nodes have no library for it."""

from __future__ import annotations

from typing import Any

import yaml
from ansible.plugins.action import ActionBase

# kubeadm and the kubelet fill these in per node.
NODE_FIELDS = ("containerRuntimeEndpoint", "resolvConf")


def document(text: str) -> dict[str, Any]:
    """Return a configuration; nothing of a text that is none, which is different from what should be there."""
    try:
        found = yaml.safe_load(text)
    except yaml.YAMLError:
        return {}
    return found if isinstance(found, dict) else {}


def without_node_fields(text: str) -> dict[str, Any]:
    """Return a KubeletConfiguration without what differs from node to node."""
    return {name: value for name, value in document(text).items() if name not in NODE_FIELDS}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Run the module, and parse what it returns as text."""

    TRANSFERS_FILES = False
    _supports_check_mode = True

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result |= self._execute_module(module_name="campus.hubs.kubeadm_info", task_vars=task_vars)
        if result.get("failed") or "kubelet" not in result:
            return result
        kubelet, cluster = result["kubelet"], dict(result["cluster"])
        for name in cluster.keys() & {"configuration", "initialised"}:
            cluster[name] = document(cluster[name])
        if "configuration" in cluster:
            cluster["kubelet_configuration"] = without_node_fields(cluster["kubelet_configuration"])
        configuration = without_node_fields(kubelet["configuration"])
        return {**result, "cluster": cluster, "kubelet": {**kubelet, "configuration": configuration}}
