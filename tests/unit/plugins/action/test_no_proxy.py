"""A proxy of the control machine's environment is for the internet: nothing that asks the cluster goes through it."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import plain_connection
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.library import api_client, connection_of

from tests.unit.plugins.kubeconfigs import write_kubeconfig

ROOT = Path(__file__).resolve().parents[4]
PROXIES = ("http_proxy", "https_proxy", "all_proxy", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY")
TOKEN = {"token": "a-token"}
# What asks the cluster: kubernetes.core in the environment of our plays; our modules and actions in any.
TASKS = """
- hosts: localhost
  gather_facts: false
  environment: ENVIRONMENT
  tasks:
    - kubernetes.core.k8s_info: {kubeconfig: "{{ kubeconfig }}", kind: ConfigMap, namespace: by-core}
      ignore_errors: true
- hosts: localhost
  gather_facts: false
  tasks:
    - campus.hubs.objects_info: {kubeconfig: "{{ kubeconfig }}", queries: {a: {resource: namespaces, name: by-action}}}
      ignore_errors: true
    - campus.hubs.secret_token: {kubeconfig: "{{ kubeconfig }}", namespace: by-module, name: a, keys: [b]}
      ignore_errors: true
    - campus.hubs.course_ready: {kubeconfig: "{{ kubeconfig }}", namespace: by-ready, wait_seconds: 1}
      ignore_errors: true
"""
RESOURCES = ", ".join(
    f'{{"name": "{name}s", "kind": "{kind}", "namespaced": true, "verbs": ["get", "list", "create"]}}'
    for name, kind in (("configmap", "ConfigMap"), ("secret", "Secret"))
)
ANSWERS = {
    "/version": '{"major": "1", "minor": "36", "gitVersion": "v1.36.3"}',
    "/api": '{"kind": "APIVersions", "versions": ["v1"]}',
    "/apis": '{"kind": "APIGroupList", "groups": []}',
    "/api/v1": f'{{"kind": "APIResourceList", "groupVersion": "v1", "resources": [{RESOURCES}]}}',
}


class Server(ThreadingHTTPServer):
    """A server that remembers what it was asked."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.asked: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def url(self) -> str:
        """Return its address."""
        return f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    """Answers what Kubernetes says of itself; all else is not there."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        self.server.asked.append(self.path)
        text = ANSWERS.get(self.path.partition("?")[0], "")
        body = (text or '{"kind": "Status", "message": "not there", "code": 404}').encode()
        self.send_response(200 if text else 404)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_CONNECT = do_GET  # noqa: N815 (http.server's names)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def servers() -> Iterator[tuple[Server, Server]]:
    """Return an API server and a proxy."""
    with Server() as api, Server() as proxy:
        for server in (api, proxy):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield api, proxy
        for server in (api, proxy):
            server.shutdown()


@pytest.mark.parametrize(
    "connect", [plain_connection, lambda path: connection_of(api_client({"kubeconfig": path}))], ids=["plain", "client"]
)
def test_a_connection_takes_no_proxy(
    servers: tuple[Server, Server], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, connect: object
) -> None:
    api, proxy = servers
    for name in PROXIES:
        monkeypatch.setenv(name, proxy.url())
    monkeypatch.delenv("no_proxy", raising=False)
    write_kubeconfig(tmp_path / "kubeconfig", {"server": api.url()}, TOKEN)
    connection = connect(str(tmp_path / "kubeconfig"))  # type: ignore[operator]
    assert connection
    connection.pool.request("GET", f"{connection.server}/api")
    # kubernetes.core asks what there is first.
    assert ("/api" in api.asked, proxy.asked) == (True, [])


def test_tasks_take_no_proxy(servers: tuple[Server, Server], tmp_path: Path) -> None:
    api, proxy = servers
    write_kubeconfig(tmp_path / "kubeconfig", {"server": api.url()}, TOKEN)
    (play,) = (play for play in yaml.safe_load((ROOT / "playbooks/platform.yml").read_text()) if "environment" in play)
    environment = {name: text for name, text in play["environment"].items() if "{" not in text}
    (tmp_path / "play.yml").write_text(TASKS.replace("ENVIRONMENT", str(environment)))
    settings = {name: text for name, text in os.environ.items() if name.lower() != "no_proxy"}
    done = subprocess.run(  # noqa: S603
        [
            Path(sys.executable).with_name("ansible-playbook"),
            "-e",
            f"kubeconfig={tmp_path}/kubeconfig",
            tmp_path / "play.yml",
        ],
        env={**settings, **dict.fromkeys(PROXIES, proxy.url()), "ANSIBLE_COLLECTIONS_PATH": str(ROOT / ".collections")},
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert proxy.asked == [], done.stdout
    for name in ("core", "action", "module", "ready"):
        assert any(f"by-{name}" in path for path in api.asked), done.stdout


def test_every_play_that_asks_the_cluster_says_so() -> None:
    """Where kubernetes.core and helm run, their own environment keeps them from the proxy."""
    asking = {path.name: yaml.safe_load(path.read_text()) for path in (ROOT / "playbooks").glob("*.yml")}
    found = 0
    for name, plays in asking.items():
        for play in plays:
            environment = play.get("environment") or {}
            if "K8S_AUTH_KUBECONFIG" in environment and name != "drift.yml":  # which has an action only
                assert environment.get("K8S_AUTH_NO_PROXY") == "*", name
                found += 1
            if play.get("hosts", "").startswith("{{ 'courses") or (name == "remove_course.yml" and environment):
                assert environment.get("no_proxy") == environment.get("NO_PROXY") == "*", name
    assert found >= 7
