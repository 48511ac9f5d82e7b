# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The few questions to the API server: which kinds there are, lists of them, one object, and changes (dry or real)."""

from __future__ import annotations

import json
import time
import urllib.parse
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import StateError
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

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
# Of lists; an API server that cannot do that sends the whole objects.
_METADATA = f"{_JSON};as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,{_JSON}"


class ApiError(Exception):
    """The API server refuses: code, and its sentence."""

    def __init__(self, status: int, message: str) -> None:
        """Take what it said."""
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Kind:
    """One kind of object, with the version that the API server prefers."""

    group: str
    version: str
    kind: str
    plural: str
    namespaced: bool
    verbs: frozenset[str]

    @property
    def api_version(self) -> str:
        """Return it as in a manifest."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def url(self, namespace: str = "", name: str = "") -> str:
        """Return the path of all objects, of a namespace's, or of one."""
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace and self.namespaced:
            parts += ["namespaces", namespace]
        parts += [self.plural, *([urllib.parse.quote(name, safe="")] if name else [])]
        return "/" + "/".join(parts)


@dataclass(frozen=True)
class Query:
    """A question for one object, or for a list of them.

    Attributes:
        resource: name of the resource in the API, such as `configmaps`.
        api_version: group and version, or the version alone of the core group.
        namespace: where to look; empty for all namespaces, and for what is in none.
        name: of one object; empty for a list.
        label_selectors: requirements on the labels of a list, as `kubectl get --selector` takes them.
    """

    resource: str
    api_version: str = "v1"
    namespace: str = ""
    name: str = ""
    label_selectors: Sequence[str] = ()

    @property
    def path(self) -> str:
        """Return the path on the API server, with selectors."""
        group, _separator, version = self.api_version.rpartition("/")
        path = Kind(group, version, "", self.resource, bool(self.namespace), frozenset()).url(self.namespace, self.name)
        labels = ",".join(self.label_selectors)
        return f"{path}?{urllib.parse.urlencode({'labelSelector': labels})}" if labels else path


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


def connection_of(client: Any) -> Connection:  # noqa: ANN401 (the client is untyped)
    """Return the connection of a `kubernetes.client.ApiClient`, with its credentials."""

    def headers() -> dict[str, str]:
        found = dict(client.default_headers)
        client.update_params_for_auth(found, [], ["BearerToken"], "", "", None)
        return found

    configuration = client.configuration
    certificate = Path(configuration.cert_file).read_text(encoding="utf-8") if configuration.cert_file else ""
    return Connection(configuration.host, client.rest_client.pool_manager, headers, certificate)


class Api:
    """A Kubernetes API server, by plain requests: the client's models cost more than all comparisons."""

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

        Raises:
            ApiError: the API server refuses.
        """
        self.calls += 1
        headers = {**self.connection.headers(), "Accept": media[0], "Content-Type": media[1]}
        target = self.connection.server + url
        if query:
            target += "?" + urllib.parse.urlencode(query)
        answer = self.connection.pool.request(
            method, target, headers=headers, body=None if body is None else json.dumps(body).encode(), timeout=60.0
        )
        if answer.status >= 300:
            try:
                message = json.loads(answer.data)["message"]
            except (ValueError, KeyError, TypeError):
                message = answer.reason
            raise ApiError(answer.status, str(message))
        return json.loads(answer.data)

    def kinds(self) -> list[Kind]:
        """Return all kinds that can be listed, in their groups' preferred versions (aggregated discovery)."""
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
                            frozenset(resource["verbs"]),
                        )
                        if "list" in kind.verbs:
                            found.setdefault((name, kind.plural), kind)
        if not found:
            message = refusal("API server", "no aggregated discovery", "one of Kubernetes 1.30 or newer")
            raise StateError(message)
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
        """Return the objects of a list, one object, or nothing if it is not there; of Secrets only the metadata.

        Raises:
            ApiError: the API server refuses.
        """
        return self._read(query.path, metadata_only=query.resource == "secrets")

    def _read(self, path: str, *, metadata_only: bool = False) -> list[Manifest]:
        """Return what a path leads to.

        Args:
            path: on the API server, with selectors if any.
            metadata_only: leave out all but metadata; only for lists.

        Raises:
            ApiError: the API server refuses.
        """
        try:
            found = self.request("GET", path, media=(_METADATA if metadata_only else _JSON, _JSON))
        except ApiError as error:
            if error.status == 404:
                return []
            raise
        return list(found.get("items") or []) if found["kind"].endswith("List") else [found]

    def patch(self, kind: Kind, namespace: str, name: str, operations: list[dict[str, Any]], *, dry: bool) -> Manifest:
        """Change one object by a JSON patch (RFC 6902)."""
        query = {"fieldManager": "campus.hubs", **({"dryRun": "All"} if dry else {})}
        url = kind.url(namespace, name)
        result: Manifest = self.request("PATCH", url, operations, query, (_JSON, _JSON_PATCH))
        return result

    def merge(self, kind: Kind, namespace: str, name: str, change: Manifest) -> None:
        """Change one object by a merge patch (RFC 7386)."""
        self.request("PATCH", kind.url(namespace, name), change, {"fieldManager": "campus.hubs"}, (_JSON, _MERGE))

    def apply(self, kind: Kind, namespace: str, manifest: Manifest) -> Manifest:
        """Apply one object as helm does (server-side, forced)."""
        query = {"fieldManager": "helm", "force": "true"}
        url = kind.url(namespace, manifest["metadata"]["name"])
        result: Manifest = self.request("PATCH", url, manifest, query, (_JSON, _APPLY))
        return result

    def delete(self, kind: Kind, namespace: str, name: str, uid: str) -> None:
        """Delete one object, if it still has this uid, with all that depends on it; wait until it is gone."""
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
