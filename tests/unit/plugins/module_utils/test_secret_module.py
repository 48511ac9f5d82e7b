"""A Secret behind the Kubernetes API: what is sent, and which answers are conflicts."""

from __future__ import annotations

import base64

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError
from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import MANAGED_BY, Conflict, SecretError
from ansible_collections.campus.hubs.plugins.module_utils._secret_module import ClusterSecret

from tests.unit.plugins.api_server import Answers, api_of

MANIFEST = {
    "apiVersion": "v1",
    "kind": "Secret",
    "type": "Opaque",
    "metadata": {
        "name": "s",
        "namespace": "n",
        "uid": "u",
        "resourceVersion": "7",
        "creationTimestamp": "2026-10-01T06:00:00Z",
        "annotations": {"theirs": "kept"},
    },
    "data": {"one": base64.b64encode(b"\x00x").decode()},
}


SECRETS, SECRET = "/api/v1/namespaces/n/secrets", "/api/v1/namespaces/n/secrets/s"


def store(answer: object) -> tuple[ClusterSecret, Answers]:
    """Return a Secret whose requests all get this answer, and what notes them."""
    pool = Answers({SECRETS: answer, SECRET: answer})
    return ClusterSecret(api_of(pool), "n", "s"), pool


def test_a_secret_is_read_with_type_labels_and_time() -> None:
    found = store(MANIFEST)[0].read()
    assert found is not None
    assert found.data == {"one": b"\x00x"}
    assert (found.type, found.labels, found.immutable) == ("Opaque", {}, False)
    assert found.created is not None
    assert found.created.isoformat() == "2026-10-01T06:00:00+00:00"


def test_no_secret_is_read_as_none() -> None:
    assert store(404)[0].read() is None


def test_not_allowed_is_not_nothing_there() -> None:
    with pytest.raises(ApiError):
        store(403)[0].read()


def test_create_sends_a_secret_of_ours() -> None:
    place, pool = store(MANIFEST)
    place.create({"two": b"2"}, {MANAGED_BY: "campus.hubs"})
    ((method, path, body),) = pool.asked
    assert (method, path) == ("POST", f"{SECRETS}?fieldManager=campus.hubs")
    assert (body["kind"], body["type"], body["data"]) == ("Secret", "Opaque", {"two": "Mg=="})
    assert body["metadata"] == {"name": "s", "namespace": "n", "labels": {MANAGED_BY: "campus.hubs"}}


def test_replace_sends_the_version_that_was_read_and_keeps_what_is_not_ours() -> None:
    place, pool = store(MANIFEST)
    found = place.read()
    assert found is not None
    place.replace(found, {"two": b"2"}, {MANAGED_BY: "campus.hubs"})
    method, path, body = pool.asked[-1]
    assert (method, path) == ("PUT", f"{SECRET}?fieldManager=campus.hubs")
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["metadata"]["annotations"] == {"theirs": "kept"}
    assert body["metadata"]["labels"] == {MANAGED_BY: "campus.hubs"}
    assert body["data"] == {"two": "Mg=="}


def test_delete_sends_what_was_read() -> None:
    place, pool = store(MANIFEST)
    found = place.read()
    assert found is not None
    place.delete(found)
    assert pool.asked[-1] == ("DELETE", SECRET, {"preconditions": {"uid": "u", "resourceVersion": "7"}})


def test_conflicts() -> None:
    found = store(MANIFEST)[0].read()
    assert found is not None
    with pytest.raises(Conflict):
        store(409)[0].create({}, {})
    for code in (404, 409):
        with pytest.raises(Conflict):
            store(code)[0].replace(found, {}, {})
        with pytest.raises(Conflict):
            store(code)[0].delete(found)
    for code in (403, 422, 500):
        with pytest.raises(ApiError):
            store(code)[0].replace(found, {}, {})


def test_missing_namespace_is_said() -> None:
    with pytest.raises(SecretError, match="The namespace n does not exist"):
        store(404)[0].create({}, {})
