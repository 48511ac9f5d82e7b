# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The Kubernetes client, where plain requests are not enough: other kubeconfigs, commands in pods, ports of pods."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Connection
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import (
    ApiError,
    KubernetesError,
    NoAnswerError,
    WrongKubeconfigError,
)
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.exceptions import CoreException

try:
    import yaml
    from kubernetes.client import ApiClient, CoreV1Api
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException
    from kubernetes.stream import portforward, stream
    from urllib3.exceptions import HTTPError
    from websocket import WebSocketException
except ImportError:  # api_client says so
    ApiClient = CoreV1Api = portforward = stream = None  # type: ignore[assignment,misc]
    ApiException = ConfigException = LookupError  # type: ignore[assignment,misc]
    HTTPError = WebSocketException = OSError  # type: ignore[assignment,misc]

_ANY = "the kubeconfig's server"
_PROXIES = ("http_proxy", "https_proxy", "all_proxy")


@contextmanager
def translated(server: str = "") -> Iterator[None]:
    """Turn the errors of the Kubernetes client into ours. Of an answer only the API's message is used.

    Args:
        server: URL of the API server, if it is known.

    Raises:
        NoAnswerError: the API server does not answer.
        ApiError: it refuses.
    """
    try:
        yield
    except ApiException as error:
        # Without a status when a connection for a command or to a port does not come to be.
        if not error.status:
            raise NoAnswerError(server or _ANY, error) from error
        raise ApiError.of(error.status, error.body, error.reason) from error
    except (HTTPError, WebSocketException) as error:
        raise NoAnswerError(server or _ANY, error) from error


def api_client(options: Mapping[str, Any]) -> Any:  # noqa: ANN401 (the client is untyped)
    """Return a `kubernetes.client.ApiClient`; a proxy of the environment is for the internet.

    Args:
        options: as of kubernetes.core; those that are not there or None are taken from K8S_AUTH_ variables.

    Raises:
        NoConnectionError: they lead nowhere.
        KubernetesError: the client is not there.
    """
    if ApiClient is None:
        expected = "one in the environment that runs the task"
        raise KubernetesError(refusal("Python package kubernetes", "none", expected, "install it there"))
    given = {name: options[name] for name in AUTH_ARG_SPEC if options.get(name) is not None}
    proxies = {name: os.environ.pop(name) for name in list(os.environ) if name.lower() in _PROXIES}
    try:
        with translated():
            return get_api_client(**given).client.client
    except (ConfigException, CoreException, OSError, yaml.YAMLError) as error:
        raise WrongKubeconfigError(error) from error
    finally:
        os.environ.update(proxies)


def connection_of(client: Any) -> Connection:  # noqa: ANN401 (the client is untyped)
    """Return the connection of a `kubernetes.client.ApiClient`, with its credentials."""

    def headers() -> dict[str, str]:
        found = dict(client.default_headers)
        client.update_params_for_auth(found, [], ["BearerToken"], "", "", None)
        return found

    configuration = client.configuration
    certificate = Path(configuration.cert_file).read_text(encoding="utf-8") if configuration.cert_file else ""
    return Connection(configuration.host, client.rest_client.pool_manager, headers, certificate)


@dataclass(frozen=True)
class Ended:
    """A command in a container that has ended.

    Attributes:
        code: its exit code; None if it did not end in time.
        output: what it printed.
        errors: what it printed to the standard error.
    """

    code: int | None
    output: str = ""
    errors: str = ""


class PodAccess:
    """Commands in a pod, and connections to its ports, by way of the API server."""

    def __init__(self, client: Any, namespace: str, name: str) -> None:  # noqa: ANN401 (the client is untyped)
        """Take an `ApiClient`, and the pod."""
        self._configuration, self._place = client.configuration, (name, namespace)

    @contextmanager
    def _api(self) -> Iterator[CoreV1Api]:
        """Return a client for one use: `stream` changes the one that it is given."""
        try:
            with translated(self._configuration.host):
                yield CoreV1Api(ApiClient(self._configuration))
        except OSError as error:
            raise NoAnswerError(self._configuration.host, error) from error

    def execute(self, container: str, command: Sequence[str], seconds: int) -> Ended:
        """Run a command in a container, and wait for its end.

        Args:
            container: in the pod.
            command: the command line.
            seconds: how long it may take.

        Raises:
            KubernetesError: it cannot be run.
        """
        with self._api() as api:
            run = stream(
                api.connect_get_namespaced_pod_exec,
                *self._place,
                container=container,
                command=[*command],
                stdout=True,
                stderr=True,
                _preload_content=False,
            )
            run.run_forever(timeout=seconds)
            if run.is_open():
                run.close()
                return Ended(None)
            try:
                code = run.returncode
            except (LookupError, TypeError, ValueError) as error:
                # The connection has ended before the command, and with it what says how that ended.
                raise NoAnswerError(self._configuration.host, "the command's exit code did not come") from error
            return Ended(code, run.read_stdout(), run.read_stderr())

    def dial(self, port: int) -> socket.socket:
        """Return a connection to a port.

        Raises:
            KubernetesError: there is no way.
        """
        with self._api() as api:
            forward = portforward(api.connect_get_namespaced_pod_portforward, *self._place, ports=str(port))
            return socket.socket(fileno=forward.socket(port).detach())
