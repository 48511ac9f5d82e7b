"""A folder for a node that the cluster does not have is refused, with the names that it has."""

from __future__ import annotations

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from tests.unit.plugins.kubeconfigs import write_kubeconfig
from tests.unit.roles.role_variables import ROOT

PLAY = """
- hosts: localhost
  gather_facts: false
  environment: {K8S_AUTH_KUBECONFIG: "{{ playbook_dir }}/kubeconfig"}
  tasks:
    - ansible.builtin.include_role: {name: campus.hubs.storage, tasks_from: local_path}
"""


class ApiServer(BaseHTTPRequestHandler):
    """Knows two nodes, and nothing else."""

    def do_GET(self) -> None:
        """Answer."""
        nodes = {"kind": "NodeList", "items": [{"metadata": {"name": name}} for name in ("cp1", "w1.example.edu")]}
        found = self.path == "/api/v1/nodes"
        body = json.dumps(nodes if found else {"kind": "Status"}).encode()
        self.send_response(200 if found else 404)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.mark.parametrize(("node", "known"), [("w1.example.edu", True), ("w1", False)])
def test_a_folder_for_a_node(node: str, known: bool, tmp_path: Path) -> None:
    (tmp_path / "play.yml").write_text(PLAY)
    with ThreadingHTTPServer(("127.0.0.1", 0), ApiServer) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        write_kubeconfig(tmp_path / "kubeconfig", {"server": address}, {"token": "a-token"})
        variables = {"storage_local_path_by_node": {node: "/data"}}
        command = ["ansible-playbook", "-i", "localhost,", "-e", json.dumps(variables), str(tmp_path / "play.yml")]
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
        server.shutdown()
    assert ("Deploy the local-path provisioner" in done.stdout) == known, done.stdout + done.stderr
    said = "storage_local_path_by_node: found w1, expected nodes of the cluster: cp1, w1.example.edu."
    assert (said in " ".join(done.stdout.split())) != known, done.stdout
