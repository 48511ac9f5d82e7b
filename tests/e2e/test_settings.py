"""A course with packages, profiles, material and an environment of its own, as its people find it."""

from __future__ import annotations

import json
import os
import subprocess
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.lti import Lms, Person, follow, signed_in
from tests.e2e.waiting import wait_for

COURSE = "settings-demo"
# The machine's address on the lab's network.
GIT_ADDRESS = ("10.89.7.1", 8418)
SETTINGS = {
    "course_hub_packages": {"pip": ["cowsay==6.1"], "apt": ["tree"]},
    "course_hub_profiles": [
        {"title": "Notes"},
        {
            "title": "Training",
            "memory": {"guarantee": "128M", "limit": "900M"},
            "packages": {"pip": ["humanize==4.9.0"]},
        },
    ],
    "course_hub_environment": {"LECTURE_TERM": "winter 26"},
    "course_hub_material": {"git": f"http://{GIT_ADDRESS[0]}:{GIT_ADDRESS[1]}/material", "directory": "material"},
    "course_hub_memory": {"guarantee": "128M", "limit": "700M"},
    "course_hub_home_size": "100Mi",
}
LOOK = """
import importlib.util, json, os, pathlib, shutil
found = {name: importlib.util.find_spec(name) is not None for name in ("cowsay", "humanize", "numpy", "nbgrader")}
found["tree"] = shutil.which("tree") is not None
found["term"] = os.environ.get("LECTURE_TERM")
found["memory"] = int(os.environ["MEM_LIMIT"])
print(json.dumps(found))
"""


class Git(BaseHTTPRequestHandler):
    """Git's own smart HTTP server, reached by CGI as from any web server."""

    root = ""

    def do_GET(self) -> None:
        """Hand a request on."""
        url = urlsplit(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        variables = {
            "GIT_PROJECT_ROOT": self.root,
            "GIT_HTTP_EXPORT_ALL": "1",
            "GIT_PROTOCOL": self.headers.get("Git-Protocol", ""),
            "HTTP_CONTENT_ENCODING": self.headers.get("Content-Encoding", ""),
            "PATH_INFO": url.path,
            "QUERY_STRING": url.query,
            "REQUEST_METHOD": self.command,
            "CONTENT_TYPE": self.headers.get("Content-Type", ""),
            "CONTENT_LENGTH": str(len(body)),
        }
        done = subprocess.run(["git", "http-backend"], input=body, env=os.environ | variables, stdout=-1, check=True)  # noqa: S607
        head, _, content = done.stdout.partition(b"\r\n\r\n")
        fields = [line.split(": ", 1) for line in head.decode().splitlines()]
        self.send_response(int(dict(fields).get("Status", "200").split()[0]))
        for name, value in fields:
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_GET  # noqa: N815


class Material:
    """The repository of the course's material."""

    def __init__(self, folder: Path) -> None:
        """Make it, with one file."""
        self.folder = folder / "material"
        self._git("init", "-q", "-b", "main", str(self.folder))
        self.write("week1.md", "first")

    def write(self, name: str, text: str) -> None:
        """Publish a file."""
        (self.folder / name).write_text(text)
        self._git("-C", str(self.folder), "add", name)
        author = ("-c", "user.name=Lecturer", "-c", "user.email=lecturer@campus.example")
        self._git("-C", str(self.folder), *author, "commit", "-qm", f"Write {name}")

    @staticmethod
    def _git(*arguments: str) -> None:
        subprocess.run(["git", *arguments], check=True)  # noqa: S603, S607


@contextmanager
def served(folder: Path) -> Iterator[None]:
    """Serve the repositories of a folder to the lab."""
    server = ThreadingHTTPServer(GIT_ADDRESS, type("Served", (Git,), {"root": str(folder)}))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def inventory(cluster: Cluster, lms: Lms, tmp_path: Path) -> Iterator[Path]:
    """Give an inventory with the course; afterwards nothing of it is left."""
    del cluster, lms  # they must be there
    copy = playbook.inventory_with(tmp_path, COURSE, SETTINGS)
    yield copy
    playbook.remove_course(COURSE, copy)
    playbook.run("lab/lms.yml").assert_good()


def enter(lms: Lms, key: str, profile: str) -> Person:
    """Come from the LMS, choose a server, and wait for Lab."""
    session = requests.Session()
    form = follow(session, session.post(f"{lms.url}/enter/{COURSE}/{key}", timeout=30))
    assert f'value="{profile}"' in form.text, f"{form.url}: {form.text[-2000:]}"
    fields = {"profile": profile, "_xsrf": session.cookies.get("_xsrf", path="/hub/")}
    chosen = session.post(form.url, data=fields, headers={"Referer": form.url}, timeout=60)
    person = signed_in(session, chosen)
    person.wait_for_server()
    person.open_lab()
    return person


def stopped(cluster: Cluster, person: Person) -> None:
    """Stop the server as the hub's page does."""
    person._request("DELETE", f"/hub/api/users/{person.name}/server")
    wait_for("end of the server", lambda: not cluster.pods(f"course-{COURSE}", "user-"), 60)


@pytest.mark.full
def test_a_course_has_its_own_settings(cluster: Cluster, lms: Lms, inventory: Path, tmp_path: Path) -> None:
    material = Material(tmp_path)
    playbook.run("site.yml", inventory=inventory).assert_good()
    again = playbook.run("site.yml", inventory=inventory).assert_good()
    assert not again.changed, again.changed_tasks()
    playbook.run("lab/lms.yml", inventory=inventory).assert_good()

    with served(tmp_path):
        person = enter(lms, "student-91", "notes")
        common = {"cowsay": True, "nbgrader": True, "tree": True, "term": "winter 26"}
        found = json.loads(person.run_cell(LOOK))
        assert found == common | {"humanize": False, "numpy": found["numpy"], "memory": 700 * 2**20}
        assert person.get_file("material/week1.md") == "first"
        person.put_file("material/week1.md", "my own notes")
        stopped(cluster, person)

        # What is new comes, what the person has changed stays theirs; the other server has packages of its own.
        material.write("week2.md", "second")
        person = enter(lms, "student-91", "training")
        found = json.loads(person.run_cell(LOOK))
        assert (found["humanize"], found["cowsay"], found["memory"]) == (True, False, 900 * 2**20)
        assert person.get_file("material/week2.md") == "second"
        assert person.get_file("material/week1.md") == "my own notes"
        stopped(cluster, person)

    # The Git server is down: the server starts, and says what is missing.
    person = enter(lms, "student-91", "notes")
    assert person.get_file("material/week2.md") == "second"
    assert "material" in person.run_cell(
        "import pathlib; print(pathlib.Path('.campus-hubs/material-problem').read_text())"
    )
