# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How action plugins reach the Kubernetes API from the control machine."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ansible.playbook.task import Task
from ansible.template import Templar
from ansible_collections.campus.hubs.plugins.module_utils._course_state.api import (
    PARALLEL,
    ApiError,
    Connection,
    connection_of,
)
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import StateError
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.campus.hubs.plugins.plugin_utils.run_lock_holder import read_kubeconfig

try:
    from urllib3 import PoolManager
    from urllib3.exceptions import HTTPError
except ImportError:  # client_connection says so
    PoolManager = None  # type: ignore[assignment,misc]
    HTTPError = OSError  # type: ignore[assignment,misc]


class NoConnectionError(Exception):
    """No kubeconfig leads to an API server; the text says why."""


@contextmanager
def plain_errors() -> Iterator[None]:
    """Say in a sentence what went wrong.

    Raises:
        NoConnectionError: no API server answers.
        StateError: all else.
    """
    try:
        yield
    except ApiError as error:
        message = f"The Kubernetes API answers {error.status}: {error}"
        raise StateError(message) from error
    except (HTTPError, NoConnectionError) as error:
        message = f"no connection to a Kubernetes API: {error}. Set kubeconfig or K8S_AUTH_KUBECONFIG."
        raise NoConnectionError(message) from error


def task_connection(task: Task, templar: Templar) -> Connection:
    """Return the connection of the kubeconfig of a task, of its environment, or of this process.

    Args:
        task: with the options `kubeconfig` and `context`, if any.
        templar: knows the task's variables.

    Raises:
        NoConnectionError: there is none.
        StateError: the Kubernetes client is not there.
    """
    environment: dict[str, Any] = {}
    for part in task.environment or []:
        environment |= templar.template(part) or {}
    path = task.args.get("kubeconfig") or environment.get("K8S_AUTH_KUBECONFIG")
    path = path or os.environ.get("K8S_AUTH_KUBECONFIG") or os.environ.get("KUBECONFIG")
    context = task.args.get("context")
    return (None if context else plain_connection(path)) or client_connection(path, context)


def plain_connection(path: str | None) -> Connection | None:
    """Return the connection of a kubeconfig as kubeadm writes it; None for all that takes a Kubernetes client.

    The client takes half a second to be imported.
    """
    if PoolManager is None or not path:
        return None
    try:
        access = read_kubeconfig(Path(path).expanduser())
    except (OSError, ValueError):
        return None
    pool = PoolManager(maxsize=PARALLEL, ssl_context=access.trust)
    return Connection(access.server, pool, lambda: access.headers, access.certificate)


def client_connection(path: str | None, context: str | None) -> Connection:
    """Return the connection of any kubeconfig.

    Raises:
        NoConnectionError: there is none.
        StateError: the Kubernetes client is not there.
    """
    try:
        from kubernetes import client, config  # noqa: PLC0415 (see plain_connection)
        from kubernetes.config.config_exception import ConfigException  # noqa: PLC0415
    except ImportError as error:
        expected = "one in the environment that runs Ansible"
        message = refusal("Python package kubernetes", "none", expected, "install it there")
        raise StateError(message) from error
    try:
        access = client.Configuration()
        # That of this machine's environment is for the internet.
        access.proxy = None
        config.load_kube_config(path, context, client_configuration=access)  # type: ignore[no-untyped-call]
    except ConfigException as error:
        raise NoConnectionError(str(error)) from error
    return connection_of(client.ApiClient(access))
