# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Kubernetes API as action plugins reach it: by the options and the environment of their task."""

from __future__ import annotations

from typing import Any

from ansible.playbook.task import Task
from ansible.template import Templar
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api, connect


def task_api(task: Task, templar: Templar) -> Api:
    """Return the API server of a task, whose environment Ansible gives to modules only.

    Args:
        task: with the options `kubeconfig` and `context`, if any.
        templar: knows the task's variables.

    Raises:
        NoConnectionError: nothing leads to one.
        KubernetesError: the Kubernetes client is needed and is not there.
    """
    environment: dict[str, Any] = {}
    for part in task.environment or []:
        environment |= templar.template(part) or {}
    kubeconfig = task.args.get("kubeconfig") or environment.get("K8S_AUTH_KUBECONFIG")
    return connect({"kubeconfig": kubeconfig, "context": task.args.get("context")})
