"""An API server for tests of what asks one: answers from memory, and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api, Connection

SERVER = "https://192.0.2.11:6443"


class Answers:
    """Stands for urllib3's pool of connections.

    Attributes:
        objects: what there is, by path; an int is the status of a refusal, an exception is raised.
        asked: method, path with query, and body of each request.
    """

    def __init__(self, objects: Mapping[str, Any]) -> None:
        """Take what there is."""
        self.objects, self.asked = objects, list[tuple[str, str, Any]]()

    def request(self, method: str, url: str, *, body: bytes | None, **_: object) -> SimpleNamespace:
        """Answer; what is not there is a 404."""
        path = url.removeprefix(SERVER)
        self.asked.append((method, path, json.loads(body) if body else None))
        found = self.objects.get(path.partition("?")[0], 404)
        if isinstance(found, Exception):
            raise found
        if isinstance(found, int):
            said = json.dumps({"message": "said by the server"}).encode()
            return SimpleNamespace(status=found, data=said, reason="Reason")
        return SimpleNamespace(status=200, data=found if isinstance(found, bytes) else json.dumps(found).encode())


def api_of(pool: Answers) -> Api:
    """Return the client of an API server that answers so."""
    return Api(Connection(SERVER, pool, lambda: {"authorization": "hunter2"}, ""))
