"""Several objects in one step, by the ansible program, from an API server on loopback."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from tests.unit.plugins.kubeconfigs import write_kubeconfig

ROOT = Path(__file__).resolve().parents[4]
OBJECTS: dict[str, dict[str, Any]] = {
    "/api/v1/nodes": {"kind": "NodeList", "items": [{"metadata": {"name": "n1"}}]},
    "/api/v1/namespaces/a": {"kind": "Namespace", "metadata": {"name": "a"}},
    "/api/v1/namespaces/a/secrets?labelSelector=x%3Dy%2Cstatus+in+%28a%2Cb%29": {
        "kind": "PartialObjectMetadataList",
        "items": [],
    },
    "/apis/apps/v1/namespaces/a/deployments/d": {"kind": "Deployment", "metadata": {"name": "d"}},
}
QUERIES: dict[str, dict[str, Any]] = {
    "nodes": {"resource": "nodes"},
    "namespace": {"resource": "namespaces", "name": "a"},
    "secrets": {"resource": "secrets", "namespace": "a", "label_selectors": ["x=y", "status in (a,b)"]},
    "deployment": {"resource": "deployments", "api_version": "apps/v1", "namespace": "a", "name": "d"},
}


class Server(ThreadingHTTPServer):
    """An API server that remembers what it was asked."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.asked: list[tuple[str, str]] = []
        super().__init__(("127.0.0.1", 0), Handler)


class Handler(BaseHTTPRequestHandler):
    """Answers what is there, else as Kubernetes."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append((self.path, self.headers["Accept"]))
        status = 200 if self.path in OBJECTS else 403 if self.path.endswith("forbidden") else 404
        body = json.dumps(OBJECTS.get(self.path, {"kind": "Status", "message": "that is not for you"})).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        yield listening
        listening.shutdown()


def read(folder: Path, address: str, queries: dict[str, Any]) -> dict[str, Any]:
    """Run the action with a kubeconfig for this API server; return its result, and whether it failed."""
    write_kubeconfig(folder / "kubeconfig", {"server": address}, {"token": "a-token"})
    arguments = json.dumps({"queries": queries, "kubeconfig": str(folder / "kubeconfig")})
    done = subprocess.run(  # noqa: S603
        [
            Path(sys.executable).with_name("ansible"),
            "localhost",
            "-o",
            "-m",
            "campus.hubs.objects_info",
            "-a",
            arguments,
        ],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    return {**json.loads(done.stdout.partition("=>")[2]), "failed": done.returncode != 0}


def test_what_is_there_comes_and_what_is_not_is_empty(server: Server, tmp_path: Path) -> None:
    queries = {**QUERIES, "nothing": {"resource": "namespaces", "name": "b"}}
    result = read(tmp_path, f"http://127.0.0.1:{server.server_port}", queries)
    assert result["changed"] is False
    assert result["objects"] == {
        "nodes": [{"metadata": {"name": "n1"}}],
        "namespace": [OBJECTS["/api/v1/namespaces/a"]],
        "secrets": [],
        "deployment": [OBJECTS["/apis/apps/v1/namespaces/a/deployments/d"]],
        "nothing": [],
    }
    assert [path for path, _ in server.asked] == [*OBJECTS, "/api/v1/namespaces/b"]
    (secrets,) = [path for path, accept in server.asked if "PartialObjectMetadataList" in accept]
    assert "/secrets?" in secrets


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ({"resource": "secrets", "namespace": "a", "name": "s"}, "queries.x: found the Secret s, expected a list of"),
        ({"name": "s"}, "queries.x: missing required arguments: resource"),
        ({"resource": "nodes", "names": "a"}, "queries.x: names. Supported parameters include: api_version, label_"),
        ("/api/v1/nodes", "queries.x: missing required arguments: resource"),
    ],
)
def test_what_is_no_query_is_refused(server: Server, tmp_path: Path, query: object, message: str) -> None:
    result = read(tmp_path, f"http://127.0.0.1:{server.server_port}", {"x": query})
    assert result["failed"] is True
    assert message in result["msg"]
    assert server.asked == []


def test_a_refusal_is_said(server: Server, tmp_path: Path) -> None:
    result = read(tmp_path, f"http://127.0.0.1:{server.server_port}", {"x": {"resource": "forbidden"}})
    assert result["failed"] is True
    assert result["msg"] == "Objects: The Kubernetes API answers 403: that is not for you"


def test_a_server_that_does_not_answer_is_said(tmp_path: Path) -> None:
    result = read(tmp_path, "http://127.0.0.1:9", {"nodes": QUERIES["nodes"]})
    assert result["failed"] is True
    assert result["msg"].startswith("Objects: Kubernetes API at http://127.0.0.1:9: found no answer (")
