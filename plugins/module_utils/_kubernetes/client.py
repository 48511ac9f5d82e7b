# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A client of the Kubernetes API: which kinds there are, lists of them, one object, and changes (dry or real).

It sends plain requests: the models of the Kubernetes client cost more than all comparisons of courses.
"""

from __future__ import annotations

import json
import os
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import (
    ApiError,
    KubernetesError,
    NoAnswerError,
    NoKubeconfigError,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import POD, Kind, Query
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kubeconfig import read_kubeconfig
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

try:
    from urllib3 import PoolManager
    from urllib3.exceptions import HTTPError
except ImportError:  # the Kubernetes client brings it, which is asked for then
    PoolManager = None  # type: ignore[assignment,misc]
    HTTPError = OSError  # type: ignore[assignment,misc]

Manifest = dict[str, Any]
_PAGE = 500
# Lists are answered one after the other by each; more would only wait for this process, which parses them.
PARALLEL = 6
# Seconds that pods may take to end.
_GONE = 60
_DISCOVERY = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
_APPLY, _JSON_PATCH, _MERGE = (
    "application/apply-patch+yaml",
    "application/json-patch+json",
    "application/merge-patch+json",
)
_JSON = "application/json"
# What asks for more than a plain kubeconfig has. No connection goes by a proxy that is not asked for.
_MORE = (
    "context",
    "api_key",
    "username",
    "password",
    "validate_certs",
    "ca_cert",
    "client_cert",
    "client_key",
    "proxy",
    "proxy_headers",
    "impersonate_user",
    "impersonate_groups",
    # As kubernetes.core takes them from the environment, too.
    "verify_ssl",
    "ssl_ca_cert",
    "cert_file",
    "key_file",
)
_OURS = {"fieldManager": "campus.hubs"}
# Of lists; an API server that cannot do that sends the whole objects.
_METADATA = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{_JSON}"


@dataclass(frozen=True)
class Connection:
    """How an API server is reached.

    Attributes:
        server: its URL.
        pool: a `urllib3.PoolManager` that trusts it.
        headers: returns those that every request has.
        certificate: the client's own, PEM; empty if it has none.
    """

    server: str
    pool: Any
    headers: Callable[[], Mapping[str, str]]
    certificate: str


def connect(options: Mapping[str, Any]) -> Api:
    """Return the API server that options lead to.

    The kubeconfig is that of the options, else of K8S_AUTH_KUBECONFIG, else of KUBECONFIG, else what the Kubernetes
    client finds.

    Args:
        options: as of kubernetes.core; those that are not there or None do not count.

    Raises:
        NoConnectionError: they lead nowhere, or there is no kubeconfig.
        KubernetesError: the Kubernetes client is needed and is not there.
    """
    path = options.get("kubeconfig") or os.environ.get("K8S_AUTH_KUBECONFIG") or os.environ.get("KUBECONFIG")
    # With a server of its own, no kubeconfig is read.
    if isinstance(path, str) and not (options.get("host") or os.environ.get("K8S_AUTH_HOST")):
        if not any(Path(part).expanduser().exists() for part in path.split(os.pathsep)):
            raise NoKubeconfigError(path)
        given = (options.get(name) not in (None, "") or os.environ.get(f"K8S_AUTH_{name.upper()}") for name in _MORE)
        if not any(given):
            plain = plain_connection(path)
            if plain:
                return Api(plain)
    # The Kubernetes client takes half a second to be imported.
    from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.library import (  # noqa: PLC0415
        api_client,
        connection_of,
    )

    return Api(connection_of(api_client({**options, "kubeconfig": path})))


def plain_connection(path: str) -> Connection | None:
    """Return the connection of a kubeconfig as kubeadm writes it; None for all that takes the Kubernetes client."""
    if PoolManager is None:
        return None
    try:
        access = read_kubeconfig(Path(path).expanduser())
    except (OSError, ValueError):
        return None
    pool = PoolManager(maxsize=PARALLEL, ssl_context=access.trust)
    return Connection(access.server, pool, lambda: access.headers, access.certificate)


class Api:
    """A Kubernetes API server. Every method raises `ApiError` if it refuses, `NoAnswerError` if it does not answer."""

    def __init__(self, connection: Connection) -> None:
        """Take how it is reached."""
        self.connection = connection
        self.calls = 0

    def request(
        self,
        method: str,
        url: str,
        body: object = None,
        query: Mapping[str, str] | None = None,
        media: tuple[str, str] = (_JSON, _JSON),
    ) -> Any:  # noqa: ANN401
        """Make one request and return the parsed answer.

        Args:
            method: of HTTP.
            url: path on the API server.
            body: what is sent, JSON.
            query: parameters.
            media: media types of the answer and of the body.
        """
        answer = self._send(method, url, body, query, media)
        try:
            return json.loads(answer)
        except ValueError as error:
            message = "what answers there is no Kubernetes API, perhaps a proxy"
            raise NoAnswerError(self.connection.server, message) from error

    def _send(
        self, method: str, url: str, body: object, query: Mapping[str, str] | None, media: tuple[str, str]
    ) -> bytes:
        self.calls += 1
        headers = {**self.connection.headers(), "Accept": media[0], "Content-Type": media[1]}
        target = self.connection.server + url
        if query:
            target += "?" + urllib.parse.urlencode(query)
        data = None if body is None else json.dumps(body).encode()
        try:
            answer = self.connection.pool.request(method, target, headers=headers, body=data, timeout=60.0)
        except HTTPError as error:
            raise NoAnswerError(self.connection.server, error) from error
        if answer.status >= 300:
            raise ApiError.of(answer.status, answer.data, answer.reason)
        found: bytes = answer.data
        return found

    def kinds(self) -> list[Kind]:
        """Return all kinds that can be listed, in their groups' preferred versions (aggregated discovery).

        Raises:
            KubernetesError: the API server has no aggregated discovery.
        """
        found: dict[tuple[str, str], Kind] = {}
        for root in ("/api", "/apis"):
            for group in self.request("GET", root, media=(_DISCOVERY, _JSON)).get("items") or []:
                name = group["metadata"].get("name") or ""
                for version in group["versions"]:
                    for resource in version.get("resources") or []:
                        kind = Kind(
                            name,
                            version["version"],
                            (resource.get("responseKind") or {}).get("kind") or "",
                            resource["resource"],
                            resource["scope"] == "Namespaced",
                        )
                        if "list" in resource["verbs"]:
                            found.setdefault((name, kind.plural), kind)
        if not found:
            message = refusal("API server", "no aggregated discovery", "one of Kubernetes 1.30 or newer")
            raise KubernetesError(message)
        return list(found.values())

    def objects(
        self, kind: Kind, *, namespace: str = "", labels: str = "", fields: str = "", metadata_only: bool = False
    ) -> list[Manifest]:
        """Return all objects of a kind in all namespaces, or in one, in pages.

        Args:
            kind: what.
            namespace: the one.
            labels: label selector.
            fields: field selector.
            metadata_only: leave out all but metadata.
        """
        query = {"limit": str(_PAGE)}
        query |= {"labelSelector": labels} if labels else {}
        query |= {"fieldSelector": fields} if fields else {}
        items: list[Manifest] = []
        while True:
            media = (_METADATA if metadata_only else _JSON, _JSON)
            page = self.request("GET", kind.url(namespace), query=query, media=media)
            items += page.get("items") or []
            token = (page.get("metadata") or {}).get("continue")
            if not token:
                return items
            query["continue"] = token

    def get(self, kind: Kind, namespace: str, name: str) -> Manifest | None:
        """Return one object, None if it is not there."""
        return next(iter(self._read(kind.url(namespace, name))), None)

    def read(self, query: Query) -> list[Manifest]:
        """Return the objects of a list, one object, or nothing if it is not there; of Secrets only the metadata."""
        return self._read(query.path, metadata_only=query.resource == "secrets")

    def _read(self, path: str, *, metadata_only: bool = False) -> list[Manifest]:
        """Return what a path leads to.

        Args:
            path: on the API server, with selectors if any.
            metadata_only: leave out all but metadata; only for lists.
        """
        try:
            found = self.request("GET", path, media=(_METADATA if metadata_only else _JSON, _JSON))
        except ApiError as error:
            if error.status == 404:
                return []
            raise
        return list(found.get("items") or []) if found["kind"].endswith("List") else [found]

    def log(self, namespace: str, pod: str, *, lines: int, previous: bool) -> str:
        """Return the end of a pod's log.

        Args:
            namespace: of the pod.
            pod: its name.
            lines: how many.
            previous: of the container before the one that runs or waits.
        """
        query = {"tailLines": str(lines), "previous": str(previous).lower()}
        # Any media type: the log is text, and an error is JSON.
        return self._send("GET", f"{POD.url(namespace, pod)}/log", None, query, ("*/*", _JSON)).decode(errors="replace")

    def create(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """Create one object, which must not exist."""
        result: Manifest = self.request("POST", kind.url(namespace), manifest, _OURS)
        return result

    def replace(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """Replace one object; if the manifest has a resourceVersion, only if that is still the object's."""
        url = kind.url(namespace, manifest["metadata"]["name"])
        result: Manifest = self.request("PUT", url, manifest, _OURS)
        return result

    def patch(self, kind: Kind, namespace: str, name: str, operations: list[dict[str, Any]], *, dry: bool) -> Manifest:
        """Change one object by a JSON patch (RFC 6902)."""
        query = {**_OURS, **({"dryRun": "All"} if dry else {})}
        url = kind.url(namespace, name)
        result: Manifest = self.request("PATCH", url, operations, query, (_JSON, _JSON_PATCH))
        return result

    def merge(self, kind: Kind, namespace: str, name: str, change: Manifest) -> None:
        """Change one object by a merge patch (RFC 7386)."""
        self.request("PATCH", kind.url(namespace, name), change, _OURS, (_JSON, _MERGE))

    def apply(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """Apply one object as helm does (server-side, forced)."""
        query = {"fieldManager": "helm", "force": "true"}
        url = kind.url(namespace, manifest["metadata"]["name"])
        result: Manifest = self.request("PATCH", url, manifest, query, (_JSON, _APPLY))
        return result

    def delete(self, kind: Kind, namespace: str, name: str, **preconditions: str) -> None:
        """Delete one object.

        Args:
            kind: of the object.
            namespace: of the object.
            name: of the object.
            preconditions: `uid` and `resourceVersion` that it must still have.
        """
        self.request("DELETE", kind.url(namespace, name), {"preconditions": preconditions})

    def delete_wholly(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete one object, if it still has this uid, with all that depends on it; wait until it is gone.

        Raises:
            ApiError: it is still there after a minute.
        """
        body = {"preconditions": {"uid": uid}, "propagationPolicy": "Foreground"}
        self.request("DELETE", kind.url(namespace, name), body)
        end = time.monotonic() + _GONE
        while (left := self.get(kind, namespace, name)) and left["metadata"]["uid"] == uid:
            if time.monotonic() > end:
                message = f"is not gone {_GONE} s after its deletion"
                raise ApiError(504, message)
            time.sleep(0.5)


class Lists(AbstractContextManager["Lists"]):
    """Lists of many kinds, several at a time, beside what the block does."""

    def __init__(self, api: Api) -> None:
        """Begin with none."""
        self._api, self._pool = api, ThreadPoolExecutor(PARALLEL)
        self._asked: deque[tuple[Kind, bool, Future[list[Manifest]]]] = deque()

    def ask(self, kind: Kind, labels: str = "", *, metadata_only: bool) -> None:
        """Begin one list, or have it wait for its turn.

        Args:
            kind: what.
            labels: label selector.
            metadata_only: leave out all but metadata.
        """
        answer = self._pool.submit(self._api.objects, kind, labels=labels, metadata_only=metadata_only)
        self._asked.append((kind, metadata_only, answer))

    def answers(self) -> Iterator[tuple[Kind, bool, list[Manifest] | ApiError]]:
        """Wait for the lists in the order in which they were asked for; each is forgotten with the next.

        Yields:
            Kind, metadata only, and the objects, or why they could not be listed.
        """
        while self._asked:
            kind, metadata_only, answer = self._asked.popleft()
            try:
                found: list[Manifest] | ApiError = answer.result()
            except ApiError as error:
                found = error
            del answer
            yield kind, metadata_only, found

    def __exit__(self, *_: object) -> None:
        """Begin no more."""
        self._pool.shutdown(cancel_futures=True)
