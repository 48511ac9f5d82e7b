"""The edge to the Kubernetes API: what is sent, which answers are conflicts, and what an error says."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._kept_secret import MANAGED_BY, Conflict, SecretError
from ansible_collections.campus.hubs.plugins.module_utils._secret_module import ClusterSecret, describe_api_error
from kubernetes.client.exceptions import ApiException
from kubernetes.config.config_exception import ConfigException
from urllib3.exceptions import HTTPError

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


class Api:
    """The calls of kubernetes.core's client that are used, recorded; answers what it was given."""

    def __init__(self, answer: Any = None) -> None:  # noqa: ANN401
        """Take an object to return or an error to raise."""
        self.answer, self.calls = answer, list[tuple[str, dict[str, Any]]]()

    def resource(self, kind: str, version: str) -> Api:
        """Return the resource, of which there is one."""
        assert (kind, version) == ("Secret", "v1")
        return self

    def to_dict(self) -> Any:  # noqa: ANN401
        """Return the object that `get` returned."""
        return self.answer

    def _call(self, verb: str, arguments: dict[str, Any]) -> Api:
        self.calls.append((verb, arguments))
        if isinstance(self.answer, Exception):
            raise self.answer
        return self

    def get(self, **arguments: Any) -> Api:  # noqa: ANN401
        """Record a GET."""
        return self._call("get", arguments)

    def create(self, **arguments: Any) -> Api:  # noqa: ANN401
        """Record a POST."""
        return self._call("create", arguments)

    def replace(self, **arguments: Any) -> Api:  # noqa: ANN401
        """Record a PUT."""
        return self._call("replace", arguments)

    def delete(self, **arguments: Any) -> Api:  # noqa: ANN401
        """Record a DELETE."""
        return self._call("delete", arguments)


def status(code: int) -> ApiException:
    error = ApiException(status=code, reason="Reason")
    error.body = '{"message": "said by the server"}'
    return error


def test_read() -> None:
    found = ClusterSecret(Api(MANIFEST), "n", "s").read()
    assert found is not None
    assert found.data == {"one": b"\x00x"}
    assert (found.type, found.labels, found.immutable) == ("Opaque", {}, False)
    assert found.created is not None
    assert found.created.isoformat() == "2026-10-01T06:00:00+00:00"


def test_nothing_there() -> None:
    assert ClusterSecret(Api(status(404)), "n", "s").read() is None


def test_not_allowed_is_not_nothing_there() -> None:
    with pytest.raises(ApiException):
        ClusterSecret(Api(status(403)), "n", "s").read()


def test_replace_sends_the_version_that_was_read_and_keeps_what_is_not_ours() -> None:
    api = Api(MANIFEST)
    store = ClusterSecret(api, "n", "s")
    found = store.read()
    assert found is not None
    store.replace(found, {"two": b"2"}, {MANAGED_BY: "campus.hubs"})
    verb, arguments = api.calls[-1]
    body = arguments["body"]
    assert verb == "replace"
    assert body["metadata"]["resourceVersion"] == "7"
    assert body["metadata"]["annotations"] == {"theirs": "kept"}
    assert body["metadata"]["labels"] == {MANAGED_BY: "campus.hubs"}
    assert body["data"] == {"two": "Mg=="}


def test_delete_sends_what_was_read() -> None:
    api = Api(MANIFEST)
    store = ClusterSecret(api, "n", "s")
    found = store.read()
    assert found is not None
    store.delete(found)
    assert api.calls[-1][1]["body"] == {"preconditions": {"uid": "u", "resourceVersion": "7"}}


def test_conflicts() -> None:
    found = ClusterSecret(Api(MANIFEST), "n", "s").read()
    assert found is not None
    with pytest.raises(Conflict):
        ClusterSecret(Api(status(409)), "n", "s").create({}, {})
    for code in (404, 409):
        with pytest.raises(Conflict):
            ClusterSecret(Api(status(code)), "n", "s").replace(found, {}, {})
        with pytest.raises(Conflict):
            ClusterSecret(Api(status(code)), "n", "s").delete(found)
    for code in (403, 422, 500):
        with pytest.raises(ApiException):
            ClusterSecret(Api(status(code)), "n", "s").replace(found, {}, {})


def test_missing_namespace_is_said() -> None:
    with pytest.raises(SecretError, match="The namespace n does not exist"):
        ClusterSecret(Api(status(404)), "n", "s").create({}, {})


def test_errors_are_sentences_without_what_was_sent() -> None:
    error = status(403)
    error.headers = {"authorization": "hunter2"}
    assert describe_api_error(error) == "The Kubernetes API answers 403: said by the server"
    error.body = None
    assert describe_api_error(error) == "The Kubernetes API answers 403: Reason"
    assert "does not answer: refused" in describe_api_error(HTTPError("refused"))
    assert "K8S_AUTH_KUBECONFIG" in describe_api_error(ConfigException("no file"))
