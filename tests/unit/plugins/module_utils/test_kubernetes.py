"""The way to the Kubernetes API: which kubeconfig, what is left to the Kubernetes client, and what errors say."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes import library
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import connect, plain_connection
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import (
    ApiError,
    NoAnswerError,
    NoConnectionError,
    NoKubeconfigError,
    WrongKubeconfigError,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import DEPLOYMENT, NAMESPACE
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.library import (
    Ended,
    PodAccess,
    connection_of,
    translated,
)
from kubernetes import config
from kubernetes.client.exceptions import ApiException
from urllib3.exceptions import HTTPError, MaxRetryError

from tests.unit.plugins.api_server import SERVER, Answers, api_of
from tests.unit.plugins.kubeconfigs import write_kubeconfig


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no variable that leads to a cluster."""
    for name in ("K8S_AUTH_KUBECONFIG", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)


def kubeconfig(folder: Path, cluster: dict[str, Any], user: dict[str, Any] | None) -> str:
    """Write a kubeconfig; return its path."""
    write_kubeconfig(folder / "kubeconfig", {"server": "https://192.0.2.11:6443", **cluster}, user)
    return str(folder / "kubeconfig")


def test_a_plain_kubeconfig_leads_where_the_kubernetes_client_goes(tmp_path: Path) -> None:
    path = kubeconfig(tmp_path, {"insecure-skip-tls-verify": True}, {"token": "a-token"})
    plain, client = plain_connection(path), connection_of(config.new_client_from_config(path))  # type: ignore[no-untyped-call]
    assert plain
    assert plain.server == client.server == "https://192.0.2.11:6443"
    authorization = {name.lower(): text for name, text in client.headers().items()}["authorization"]
    assert plain.headers()["Authorization"] == authorization == "Bearer a-token"
    assert plain.certificate == client.certificate == ""


TOKEN = {"token": "a-token"}


@pytest.mark.parametrize(
    ("cluster", "user"),
    [
        ({}, {"exec": {"command": "get-token"}}),
        ({}, {**TOKEN, "as": "somebody"}),
        ({}, {}),
        ({"proxy-url": "http://192.0.2.1:3128"}, TOKEN),
        ({"tls-server-name": "kubernetes"}, TOKEN),
        ({"certificate-authority": "not-there.crt"}, TOKEN),
        ({"certificate-authority-data": "bm8gY2VydGlmaWNhdGU="}, TOKEN),
        ({"server": None}, TOKEN),
        ({}, None),
    ],
)
def test_what_is_more_than_plain_is_left_to_the_kubernetes_client(
    tmp_path: Path, cluster: dict[str, Any], user: dict[str, Any] | None
) -> None:
    assert plain_connection(kubeconfig(tmp_path, cluster, user)) is None


def test_a_kubeconfig_that_is_not_there_is_told_from_one_that_leads_nowhere(tmp_path: Path) -> None:
    path = str(tmp_path / "not-there")
    with pytest.raises(NoKubeconfigError, match=f"kubeconfig: found nothing at {path}, expected the cluster's. Fix: "):
        connect({"kubeconfig": path})
    assert plain_connection(path) is None
    for text in ("{ no YAML", "", "clusters: []"):
        (tmp_path / "broken").write_text(text)
        assert plain_connection(str(tmp_path / "broken")) is None
        with pytest.raises(
            WrongKubeconfigError, match=r"kubeconfig: found .*, expected one that leads to an API server"
        ):
            connect({"kubeconfig": str(tmp_path / "broken")})


def test_the_option_comes_before_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("option", "first", "second"):
        write_kubeconfig(tmp_path / name, {"server": f"https://{name}.example.edu"}, TOKEN)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "second"))
    assert connect({}).connection.server == "https://second.example.edu"
    monkeypatch.setenv("K8S_AUTH_KUBECONFIG", str(tmp_path / "first"))
    assert connect({"kubeconfig": None}).connection.server == "https://first.example.edu"
    assert connect({"kubeconfig": str(tmp_path / "option")}).connection.server == "https://option.example.edu"


def test_more_options_are_left_to_the_kubernetes_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[Any] = []

    def client(options: Any) -> Any:  # noqa: ANN401
        asked.append(options)
        configuration = SimpleNamespace(host=SERVER, cert_file=None)
        return SimpleNamespace(configuration=configuration, rest_client=SimpleNamespace(pool_manager=None))

    monkeypatch.setattr(library, "api_client", client)
    path = kubeconfig(tmp_path, {}, TOKEN)
    connect({"kubeconfig": path, "context": "it"})
    assert asked == [{"kubeconfig": path, "context": "it"}]
    connect({"kubeconfig": path, "context": "", "host": None})
    assert len(asked) == 1
    connect({"kubeconfig": path, "validate_certs": False})
    assert len(asked) == 2
    monkeypatch.setenv("K8S_AUTH_SSL_CA_CERT", "/ca.pem")
    connect({"kubeconfig": path})
    assert len(asked) == 3
    # A kubeconfig that is gone does not matter then.
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "gone"))
    connect({"host": SERVER, "api_key": "a-token"})
    monkeypatch.setenv("K8S_AUTH_HOST", SERVER)
    connect({})
    assert len(asked) == 5


def test_errors_are_sentences_without_what_was_sent() -> None:
    with pytest.raises(ApiError, match=r"^The Kubernetes API answers 403: said by the server$") as refused:
        api_of(Answers({DEPLOYMENT.url(): 403})).objects(DEPLOYMENT)
    assert (refused.value.status, refused.value.message) == (403, "said by the server")
    away = Answers({NAMESPACE.url(name="a"): MaxRetryError(None, "/", OSError("refused"))})  # type: ignore[arg-type]
    with pytest.raises(NoConnectionError, match=rf"^Kubernetes API at {SERVER}: found no answer \(refused\)"):
        api_of(away).get(NAMESPACE, "", "a")


def test_errors_of_the_kubernetes_client_are_the_same_ones() -> None:
    error = ApiException(status=403, reason="Reason")
    error.body = '{"message": "said by the server"}'
    error.headers = {"authorization": "hunter2"}
    with pytest.raises(ApiError, match=r"^The Kubernetes API answers 403: said by the server$"), translated():
        raise error
    error.body = None
    with pytest.raises(ApiError, match=r"^The Kubernetes API answers 403: Reason$"), translated():
        raise error
    with pytest.raises(NoAnswerError, match=r"found no answer \(refused\)"), translated(SERVER):
        raise HTTPError("refused")
    with pytest.raises(NoAnswerError, match="Handshake status 500"), translated(SERVER):
        raise ApiException(status=0, reason="Handshake status 500")


class Run:
    """A command in a pod that has ended, or not."""

    def __init__(self, code: int, *, is_open: bool) -> None:
        """Take what it leaves."""
        self.returncode, self.open = code, is_open

    def run_forever(self, timeout: int) -> None:
        """Wait."""
        assert timeout == 7

    def is_open(self) -> bool:
        """Tell whether it still runs."""
        return self.open

    def close(self) -> None:
        """End it."""
        self.open = False

    def read_stdout(self) -> str:
        """Return its output."""
        return "out"

    def read_stderr(self) -> str:
        """Return its errors."""
        return "err"


@pytest.mark.parametrize(
    ("run", "ended"), [(Run(3, is_open=False), Ended(3, "out", "err")), (Run(0, is_open=True), Ended(None))]
)
def test_a_command_in_a_pod_ends_or_is_ended(monkeypatch: pytest.MonkeyPatch, run: Run, ended: Ended) -> None:
    def stream(_call: object, *place: str, container: str, command: list[str], **_: object) -> Run:
        assert (place, container, command) == (("exchange-1", "course-x"), "exchange", ["a", "b"])
        return run

    monkeypatch.setattr(library, "stream", stream)
    monkeypatch.setattr(library, "ApiClient", lambda _: None)
    client = SimpleNamespace(configuration=SimpleNamespace(host=SERVER))
    assert PodAccess(client, "course-x", "exchange-1").execute("exchange", ["a", "b"], 7) == ended
    assert not run.open


def test_a_command_whose_connection_breaks_has_no_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """The client reads the exit code from the last message, which has not come then."""
    monkeypatch.setattr(library, "ApiClient", lambda _: None)
    pod = PodAccess(SimpleNamespace(configuration=SimpleNamespace(host=SERVER)), "course-x", "exchange-1")
    broken = type("Broken", (Run,), {"returncode": property(lambda _: dict[str, str]()["status"])})
    for done in (Mock(return_value=object.__new__(broken)), Mock(side_effect=ConnectionResetError("reset"))):
        monkeypatch.setattr(library, "stream", done)
        monkeypatch.setattr(broken, "open", False, raising=False)
        with pytest.raises(NoAnswerError, match=f"Kubernetes API at {SERVER}: found no answer"):
            pod.execute("exchange", ["a"], 7)


def test_a_page_instead_of_the_apis_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy or a log-in page answers everything with 200."""
    api = api_of(Answers({}))
    monkeypatch.setattr(api, "_send", lambda *_: b"<!DOCTYPE html>")
    with pytest.raises(NoAnswerError, match=r"found no answer \(what answers there is no Kubernetes API"):
        api.get(NAMESPACE, "", "x")
