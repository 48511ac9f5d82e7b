# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The edge that all Secret modules share: arguments, the Kubernetes API, results and errors."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, NoReturn

from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api, connect
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError, KubernetesError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import SECRET
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.module import fail, new_module
from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import (
    Conflict,
    Outcome,
    SecretBackend,
    SecretContent,
    SecretError,
    ensure_absent,
    ensure_present,
)
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

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

    def __init__(self, api: Api, namespace: str, name: str) -> None:
        """Take the API server and the place."""
        self._api, self._namespace, self._name = api, namespace, name

    def read(self) -> SecretContent | None:
        """See `SecretStore`."""
        manifest = self._api.get(SECRET, self._namespace, self._name)
        if manifest is None:
            return None
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
            self._write(lambda: self._api.create(SECRET, self._namespace, body))
        except ApiError as error:
            if error.status == 404:
                message = f"The namespace {self._namespace} does not exist. Create it first (kubernetes.core.k8s)."
                raise SecretError(message) from error
            raise

    def replace(self, found: SecretContent, data: Mapping[str, bytes], labels: Mapping[str, str]) -> None:
        """See `SecretStore`; the resourceVersion in the manifest makes the API server refuse a lost update."""
        metadata = {**found.manifest["metadata"], "labels": dict(labels)}
        body = {**found.manifest, "metadata": metadata, "data": _encode(data)}
        self._write(lambda: self._api.replace(SECRET, self._namespace, body), gone_is_conflict=True)

    def delete(self, found: SecretContent) -> None:
        """See `SecretStore`."""
        read = {name: found.manifest["metadata"][name] for name in ("uid", "resourceVersion")}
        self._write(lambda: self._api.delete(SECRET, self._namespace, self._name, **read), gone_is_conflict=True)

    @staticmethod
    def _write(call: Callable[[], object], *, gone_is_conflict: bool = False) -> None:
        try:
            call()
        except ApiError as error:
            if error.status == 409 or (gone_is_conflict and error.status == 404):
                raise Conflict from error
            raise


def _encode(data: Mapping[str, bytes]) -> dict[str, str]:
    return {name: base64.b64encode(value).decode("ascii") for name, value in sorted(data.items())}


def run(make_backend: Callable[[Mapping[str, Any]], SecretBackend], arguments: dict[str, Any]) -> NoReturn:
    """Be the `main` of a Secret module; ends the process.

    Args:
        make_backend: the module's parameters to its backend; may raise `SecretError`.
        arguments: argument spec of what the module adds to namespace, name and state.
    """
    module = new_module({**ARGUMENTS, **arguments})
    place = f"{module.params['namespace']}/{module.params['name']}"
    try:
        outcome = _ensure(module, make_backend)
    except (SecretError, KubernetesError) as error:
        fail(module, f"Secret {place}: {error}")
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
    store = ClusterSecret(connect(params), params["namespace"], params["name"])
    ensure = ensure_present if params["state"] == "present" else ensure_absent
    return ensure(backend, store, datetime.now(UTC), check_mode=module.check_mode)
