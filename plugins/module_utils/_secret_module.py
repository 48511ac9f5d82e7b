# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge that all Secret modules share: arguments, the Kubernetes API, results and errors."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from ansible_collections.campus.hubs.plugins.module_utils._kept_secret import (
    Conflict,
    Outcome,
    SecretBackend,
    SecretContent,
    SecretError,
    ensure_absent,
    ensure_present,
)
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.kubernetes.core.plugins.module_utils.args_common import AUTH_ARG_SPEC
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.client import get_api_client
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.core import AnsibleK8SModule
from ansible_collections.kubernetes.core.plugins.module_utils.k8s.exceptions import CoreException

try:
    from kubernetes.client.exceptions import ApiException
    from kubernetes.config.config_exception import ConfigException
    from urllib3.exceptions import HTTPError
except ImportError:  # AnsibleK8SModule says so
    ApiException = ConfigException = HTTPError = OSError  # type: ignore[misc,assignment]

# RFC 1123 label and subdomain, https://kubernetes.io/docs/concepts/overview/working-with-objects/names/
_NAMESPACE = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")
_NAME = re.compile(r"(?=.{1,253}$)[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")

ARGUMENTS: dict[str, Any] = {
    "namespace": {"type": "str", "required": True},
    "name": {"type": "str", "required": True},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


class ClusterSecret:
    """One Secret behind the Kubernetes API: a `SecretStore`."""

    def __init__(self, client: Any, namespace: str, name: str) -> None:  # noqa: ANN401 (kubernetes.core is untyped)
        """Take a `K8SClient` of kubernetes.core and the place."""
        self._api = client.resource("Secret", "v1")
        self._namespace, self._name = namespace, name

    def read(self) -> SecretContent | None:
        """See `SecretStore`."""
        try:
            manifest = self._api.get(name=self._name, namespace=self._namespace).to_dict()
        except ApiException as error:
            if error.status == 404:
                return None
            raise
        metadata = manifest["metadata"]
        return SecretContent(
            data={name: base64.b64decode(value) for name, value in (manifest.get("data") or {}).items()},
            type=manifest.get("type", "Opaque"),
            labels=metadata.get("labels") or {},
            created=datetime.fromisoformat(metadata["creationTimestamp"]),
            immutable=bool(manifest.get("immutable")),
            manifest=manifest,
        )

    def create(self, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """See `SecretStore`."""
        body = {
            "apiVersion": "v1",
            "kind": "Secret",
            "type": "Opaque",
            "metadata": {"name": self._name, "namespace": self._namespace, "labels": dict(labels)},
            "data": _encode(data),
        }
        try:
            self._write(lambda: self._api.create(body=body, namespace=self._namespace, field_manager="campus.hubs"))
        except ApiException as error:
            if error.status == 404:
                message = f"The namespace {self._namespace} does not exist. Create it first (kubernetes.core.k8s)."
                raise SecretError(message) from error
            raise

    def replace(self, found: SecretContent, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """See `SecretStore`; the resourceVersion in the manifest makes the API server refuse a lost update."""
        metadata = {**found.manifest["metadata"], "labels": dict(labels)}
        body = {**found.manifest, "metadata": metadata, "data": _encode(data)}
        place = {"name": self._name, "namespace": self._namespace}
        self._write(lambda: self._api.replace(body=body, **place, field_manager="campus.hubs"), gone_is_conflict=True)

    def delete(self, found: SecretContent) -> None:
        """See `SecretStore`."""
        metadata = found.manifest["metadata"]
        body = {"preconditions": {"uid": metadata["uid"], "resourceVersion": metadata["resourceVersion"]}}
        place = {"name": self._name, "namespace": self._namespace}
        self._write(lambda: self._api.delete(body=body, **place), gone_is_conflict=True)

    @staticmethod
    def _write(call: Callable[[], object], *, gone_is_conflict: bool = False) -> None:
        try:
            call()
        except ApiException as error:
            if error.status == 409 or (gone_is_conflict and error.status == 404):
                raise Conflict from error
            raise


def _encode(data: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode("ascii") for name, value in sorted(data.items())}


def api_client(module: Any) -> Any:  # noqa: ANN401 (kubernetes.core is untyped)
    """Return the client of kubernetes.core for a module's parameters; the environment's proxy is for the internet."""
    for name in [name for name in os.environ if name.lower() in ("http_proxy", "https_proxy", "all_proxy")]:
        del os.environ[name]
    return get_api_client(module)


def describe_api_error(error: Exception) -> str:
    """Turn an error of the Kubernetes API or of the way to it into one sentence.

    Args:
        error: anything that kubernetes.core or the client raised. Only the API's message is used: headers and
            the request's body, which can hold secrets, are not.
    """
    if isinstance(error, ApiException):
        try:
            text = json.loads(error.body or "")["message"]
        except (TypeError, ValueError, KeyError):
            text = error.reason
        return f"The Kubernetes API answers {error.status}: {text}"
    if isinstance(error, HTTPError):
        why = getattr(error, "reason", None) or error
        return f"The Kubernetes API does not answer: {why}. Check host or kubeconfig, and that the cluster is up."
    return f"No connection to a Kubernetes API: {error}. Set kubeconfig or K8S_AUTH_KUBECONFIG."


def run(make_backend: Callable[[Mapping[str, Any]], SecretBackend], arguments: dict[str, Any]) -> NoReturn:
    """Be the `main` of a Secret module; ends the process.

    Args:
        make_backend: the module's parameters to its backend; may raise `SecretError`.
        arguments: argument spec of what the module adds to namespace, name and state.
    """
    module = AnsibleK8SModule(argument_spec={**AUTH_ARG_SPEC, **ARGUMENTS, **arguments}, supports_check_mode=True)
    place = f"{module.params['namespace']}/{module.params['name']}"
    try:
        outcome = _ensure(module, make_backend)
    except SecretError as error:
        fail(module, f"Secret {place}: {error}")
    except (ApiException, HTTPError, ConfigException, CoreException) as error:
        fail(module, f"Secret {place}: {describe_api_error(error)}")
    diff = {
        "before_header": f"Secret {place}",
        "after_header": f"Secret {place}",
        "before": outcome.before,
        "after": outcome.after,
    }
    module.exit_json(changed=outcome.changed, reasons=outcome.reasons, diff=diff, **outcome.values)
    raise AssertionError("exit_json returned")


def _ensure(module: Any, make_backend: Callable[[Mapping[str, Any]], SecretBackend]) -> Outcome:  # noqa: ANN401
    params = module.params
    if not _NAMESPACE.fullmatch(params["namespace"]):
        expected = "a DNS label (a-z, 0-9, '-', at most 63 characters)"
        raise SecretError(refusal("namespace", repr(params["namespace"]), expected))
    if not _NAME.fullmatch(params["name"]):
        expected = "a DNS subdomain (a-z, 0-9, '-', '.', at most 253 characters)"
        raise SecretError(refusal("name", repr(params["name"]), expected))
    backend = make_backend(params)
    store = ClusterSecret(api_client(module), params["namespace"], params["name"])
    ensure = ensure_present if params["state"] == "present" else ensure_absent
    return ensure(backend, store, datetime.now(UTC), check_mode=module.check_mode)


def fail(module: Any, message: str) -> NoReturn:  # noqa: ANN401 (kubernetes.core is untyped)
    """End the module with one readable message."""
    module.fail_json(msg=message)
    raise AssertionError("fail_json returned")
