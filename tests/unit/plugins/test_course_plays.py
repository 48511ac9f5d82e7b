"""The plays on courses by ansible-playbook, with an API server on loopback that has one course, edited by hand."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest

from tests.unit.plugins.courses import KINDS, FewObjects, container, live, secret
from tests.unit.plugins.kubeconfigs import write_kubeconfig

ROOT = Path(__file__).resolve().parents[3]
IMAGE = "$.spec.template.spec.containers[?@.name=='hub'].image"
REPAIR = f"""
- hosts: localhost
  gather_facts: false
  module_defaults:
    group/campus.hubs.k8s: {{kubeconfig: "{{{{ path }}}}"}}
  tasks:
    - campus.hubs.course_repair: {{course: a, chart: {ROOT}/charts/course-hub}}
      register: repair
    - ansible.builtin.copy: {{content: "{{{{ repair | to_json }}}}", dest: "{{{{ path }}}}.json", mode: "0600"}}
      check_mode: false
"""


class Server(ThreadingHTTPServer):
    """An API server that remembers what was written."""

    def __init__(self) -> None:
        """Listen on a free port."""
        self.objects = FewObjects(secret("a"))
        container(self.objects.deployments[0])["image"] = "evil:1"
        self.written: list[str] = []
        super().__init__(("127.0.0.1", 0), Handler)

    def answer(self, method: str, url: str, accept: str) -> tuple[int, dict[str, Any]]:
        """Return status and document."""
        parts = urlsplit(url)
        query = {name: values[0] for name, values in parse_qs(parts.query).items()}
        if parts.path in ("/api", "/apis"):
            return 200, {"items": [discovery("" if parts.path == "/api" else "apps")]}
        if method == "PATCH":
            if "dryRun" not in query:
                self.written.append(parts.path)
            return 200, live()
        for kind in KINDS:
            if parts.path == kind.url():
                metadata_only = "PartialObjectMetadataList" in accept
                labels = query.get("labelSelector", "")
                items = self.objects.objects(kind, labels=labels, metadata_only=metadata_only)
                return 200, {"kind": f"{kind.kind}List", "items": items}
            if parts.path == kind.url("course-a", "hub"):
                return 200, self.objects.deployments[0]
        if "limit" in query:
            return 200, {"kind": "List", "items": []}
        return 404, {"kind": "Status", "message": "not there"}


def discovery(group: str) -> dict[str, Any]:
    """Return what the API server says of a group (aggregated discovery)."""
    resources = [
        {
            "resource": kind.plural,
            "responseKind": {"kind": kind.kind},
            "scope": "Namespaced" if kind.namespaced else "Cluster",
            "verbs": ["list"],
        }
        for kind in KINDS
        if kind.group == group
    ]
    return {"metadata": {"name": group}, "versions": [{"version": "v1", "resources": resources}]}


class Handler(BaseHTTPRequestHandler):
    """Answers as the server says."""

    server: Server

    def do_GET(self) -> None:
        """Answer."""
        self.rfile.read(int(self.headers.get("Content-Length", 0)))
        status, document = self.server.answer(self.command, self.path, self.headers["Accept"])
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_PATCH = do_GET  # noqa: N815 (http.server's name)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    with Server() as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        write_kubeconfig(tmp_path / "k", {"server": f"http://127.0.0.1:{listening.server_port}"}, {"token": "a-token"})
        yield listening
        listening.shutdown()


def play(folder: Path, playbook: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run a playbook on an inventory of one course, whose kubeconfig is in the folder."""
    groups = f"[control_plane]\ncp1 kubeadm_kubeconfig={folder}/k\n[courses]\na\n"
    (folder / "hosts").write_text(groups)
    program = str(Path(sys.executable).with_name("ansible-playbook"))
    command = [program, "-i", str(folder / "hosts"), f"-epath={folder}/k", str(playbook), *options]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603


def test_drift_is_reported_and_nothing_is_changed(server: Server, tmp_path: Path) -> None:
    folder = tmp_path / "report"
    done = play(tmp_path, ROOT / "playbooks/drift.yml", f"-edrift_report={folder}")
    assert (done.returncode, server.written) == (2, []), done.stdout
    assert 'found "evil:1", expected "hub:1" (helm, ' in " ".join(done.stdout.split()), done.stdout
    document = json.loads((folder / "drift.json").read_text())
    (course,) = document["courses"]
    assert (document["mode"], course["course"], course["action"]) == ("report", "a", "none")
    assert [(entry["class"], entry["found"]) for entry in course["entries"] if entry["path"] == IMAGE] == [
        ("hand edit", "evil:1")
    ]
    assert "evil:1" in (folder / "drift.html").read_text()
    assert 'campus_hubs_courses{state="outdated"} 1' in (folder / "drift.prom").read_text()


def test_without_a_cluster_nobody_knows_whether_there_is_drift(tmp_path: Path) -> None:
    done = play(tmp_path, ROOT / "playbooks/drift.yml", "--check", f"-edrift_report={tmp_path}/report")
    assert done.returncode == 4, done.stdout
    assert f"kubeconfig: found nothing at {tmp_path}/k" in " ".join(done.stdout.split())
    assert not (tmp_path / "report").exists()


def test_a_check_of_courses_comes_before_the_cluster(tmp_path: Path) -> None:
    done = play(tmp_path, ROOT / "playbooks/courses.yml", "--check", f"-edrift_report={tmp_path}/report")
    assert done.returncode == 0, done.stdout
    assert "The courses would come as soon as there is a cluster." in done.stdout
    assert not (tmp_path / "report").exists()


@pytest.mark.parametrize("check", [True, False])
def test_a_course_is_repaired(server: Server, tmp_path: Path, check: bool) -> None:
    (tmp_path / "repair.yml").write_text(REPAIR)
    done = play(tmp_path, tmp_path / "repair.yml", "--diff", *(["--check"] if check else []))
    assert done.returncode == 0, done.stdout
    result = json.loads((tmp_path / "k.json").read_text())
    assert (result["changed"], result["revision"], result["failed_repairs"]) == (True, 1, [])
    assert result["diff"]["before"] == f"a: Deployment hub {IMAGE}: evil:1\n"
    assert result["repaired"] == ([] if check else ["repaired Deployment hub"])
    # The repair, and that the fields are helm's again.
    assert len(server.written) == (0 if check else 2)
