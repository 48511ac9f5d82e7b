"""What a grader's server meets: a hub that gives sandboxes (real agents, as processes) and a recording exchange."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from email.message import Message
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import requests
from campus_hubs_lab import gradebook

from tests.unit.zygote import zygote

ROOT = Path(__file__).parents[4]
ETC = ROOT / "images/singleuser/etc"
SOURCE = ROOT / "images/singleuser/campus_hubs_lab/src"
TOKEN = "token-of-a-grader"
COURSE = "python-ws26"
# A uid of its own, whose processes nothing else counts, that may read the interpreter wherever it lies.
NOBODY = 64321
# nbgrader looks for alembic there.
os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
_USERS = itertools.count(NOBODY)


def free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port: int = found.getsockname()[1]
        return port


def as_in_a_pod(processes: int) -> list[str]:
    """Return a prefix for a command: own process ids (the agent is 1, all ends with it), no rights, few processes."""
    return [
        *["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"],
        *without_rights(next(_USERS)),
        *["prlimit", f"--nproc={processes}", "--core=0"],
    ]


def without_rights(user: int) -> list[str]:
    """Return a prefix for a command: as somebody who may read everything and change nothing of others."""
    caps = "+dac_read_search"
    return [
        *["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups"],
        *[f"--inh-caps=-all,{caps}", f"--ambient-caps={caps}", f"--bounding-set=-all,{caps}"],
    ]


class Agent:
    """A sandbox: the real agent in a process.

    Args:
        folder: its home.
        memory: bytes that the kernel may ask for; 0 = any.
        processes: how many it may have, as somebody without rights; 0 = any, and no such step.

    """

    def __init__(self, folder: Path, memory: int = 0, processes: int = 0) -> None:
        """Start it and wait until it answers."""
        self.token, self.port = secrets.token_hex(8), free_port()
        folder.mkdir(parents=True)
        folder.chmod(0o777)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(SOURCE),
            "HOME": str(folder),
            "TMPDIR": str(folder),
            # As the image says it: its kernel.
            "JUPYTER_PATH": str(ETC),
            "SANDBOX_TOKEN": self.token,
            "SANDBOX_MEMORY_BYTES": str(memory),
            "SANDBOX_ADDRESS": "127.0.0.1",
            "SANDBOX_PORT": str(self.port),
        }
        if processes:
            command = [*as_in_a_pod(processes), sys.executable, "-m", "campus_hubs_lab.sandbox"]
            self._process = subprocess.Popen(command, env=environment, cwd=folder)  # noqa: S603
            self.pid = self._process.pid
        else:
            place = folder.with_name(f"{folder.name}-said")
            place.mkdir()
            self.pid = zygote.start("campus_hubs_lab.sandbox", env=environment, cwd=folder, place=place).pid
        self.url = f"http://127.0.0.1:{self.port}"
        end = time.monotonic() + 300
        while True:
            try:
                if requests.get(f"{self.url}/healthz", timeout=10).ok:
                    break
            except requests.RequestException:
                assert time.monotonic() < end
                assert Path(f"/proc/{self.pid}").exists()
                time.sleep(0.05)

    def close(self) -> None:
        """End it."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)
        if hasattr(self, "_process"):
            self._process.wait()


class Raw:
    """A body that is no JSON.

    Args:
        content: the bytes.

    """

    def __init__(self, content: bytes) -> None:
        """Keep it."""
        self.content = content


class Server(ThreadingHTTPServer):
    """An HTTP server in a thread; `answer` is what it does."""

    daemon_threads = True

    def __init__(self) -> None:
        """Start it."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def _any(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                status, document = owner.answer(self.command, urlsplit(self.path).path, self.headers, body)
                content = document.content if isinstance(document, Raw) else json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_DELETE = do_PUT = _any  # noqa: N815

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.server_port}"

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> tuple[int, Any]:
        """Return status and JSON."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop it."""
        self.shutdown()
        self.server_close()


class Hub(Server):
    """The hub's `/hub/api/sandboxes` and `/hub/api/lease`."""

    def __init__(self) -> None:
        """Start it."""
        self.folder = Path(os.environ.get("TMPDIR", "/tmp")) / f"sandboxes-{secrets.token_hex(4)}"  # noqa: S108
        self.agents: dict[str, Agent] = {}
        self.asked: list[str] = []
        # What is answered instead, in this order.
        self.refusals: list[tuple[int, str]] = []
        # Why a sandbox has ended, as the cluster would say.
        self.reason = ""
        # Instead of a real agent: somebody who took it over.
        self.impostor = ""
        self.limits: dict[str, int] = {}
        # When the person's access is over, and since when they are told.
        self.lease: dict[str, float] = {}
        super().__init__()

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> tuple[int, Any]:
        """Make or remove a sandbox."""
        self.asked.append(f"{method} {path}")
        if headers.get("Authorization") != f"token {TOKEN}":
            # The hub's version is no secret.
            return 200 if path == "/hub/api" else 403, {"message": "no"}
        if path.endswith("/lease"):
            return (200, self.lease) if self.lease else (404, {"status": 404, "message": "no"})
        if method == "POST":
            if self.refusals:
                status, message = self.refusals.pop(0)
                return status, {"status": status, "message": message}
            name = f"sandbox-{len(self.asked)}"
            if self.impostor:
                return 201, {"name": name, "url": self.impostor, "token": "x"}
            agent = self.agents[name] = Agent(self.folder / name, **self.limits)
            return 201, {"name": name, "url": agent.url, "token": agent.token}
        agent_or_none = self.agents.pop(path.rsplit("/", 1)[-1], None)
        if agent_or_none:
            agent_or_none.close()
        return 200, {"reason": self.reason}

    def close(self) -> None:
        """Stop it and what it has started."""
        for agent in self.agents.values():
            agent.close()
        super().close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Exchange(Server):
    """The exchange: ngshare's REST calls as far as they are needed, and what our own API was told."""

    def __init__(self) -> None:
        """Start it, empty."""
        self.members: list[dict[str, Any]] = []
        self.released: dict[str, Any] = {}
        self.submissions: dict[str, dict[str, Any]] = {}
        self.grades: list[tuple[str, dict[str, Any]]] = []
        self.refuse_grades = ""
        self.refuse_release = ""
        self.refuse_submissions = ""
        self.grades_document: dict[str, Any] = {"kind": "ags", "reason": "", "assignments": []}
        self.synced = 0
        super().__init__()

    def answer(self, method: str, path: str, headers: Message, body: bytes) -> tuple[int, Any]:
        """Answer as the exchange."""
        assert headers.get("Authorization") == f"token {TOKEN}"
        kind, *rest = path.strip("/").split("/")
        if kind == "api":
            return self._api(method, rest, json.loads(body or b"{}"))
        return self._ngshare(method, rest, {key: values[0] for key, values in parse_qs(body.decode()).items()})

    def _api(self, method: str, path: list[str], document: dict[str, Any]) -> tuple[int, Any]:
        if path == ["members"]:
            return 200, {"members": self.members, "roster": {"available": True, "last_sync": None, "error": ""}}
        if path == ["roster"]:
            self.synced += 1
            return 200, {"changed": True, "joined": ["u1"], "left": [], "role_changed": [], "members": 1}
        if path[0] == "grades" and method == "POST":
            if self.refuse_grades:
                return 503, {"error": self.refuse_grades}
            self.grades.append((path[1], document))
            return 202, self.grades_document
        if path == ["grades"]:
            return 200, self.grades_document
        return 404, {"error": "no such thing"}

    def _ngshare(  # noqa: PLR0911 - one per call
        self, method: str, path: list[str], form: dict[str, str]
    ) -> tuple[int, Any]:
        good = {"success": True}
        match path:
            case ["assignments", _]:
                return 200, {**good, "assignments": list(self.released)}
            case ["assignment", _, name] if method == "POST":
                if self.refuse_release:
                    return 413, {"success": False, "message": self.refuse_release}
                self.released[name] = json.loads(form["files"])
                return 200, good
            case ["assignment", _, name] if method == "DELETE":
                del self.released[name]
                return 200, good
            case ["assignment", _, name]:
                return 200, {**good, "files": self.released[name]}
            case ["submissions", _, name]:
                known = self.submissions.get(name, {})
                listed = [{"student_id": s, "timestamp": v["timestamp"]} for s, v in known.items()]
                return 200, {**good, "submissions": listed}
            case ["feedback", *_]:
                return 200, good
            case ["submission", _, name] if method == "POST":
                if self.refuse_submissions:
                    return 413, {"success": False, "message": self.refuse_submissions}
                return 200, {**good, "timestamp": "2026-11-24 10:00:00.000000 UTC"}
            case ["submission", _, name, student]:
                return 200, {**good, **self.submissions[name][student]}
        return 404, {"success": False, "message": f"no {path}"}


class Course:
    """A course's folder with an assignment, and an environment as in a grader's pod.

    Args:
        place: where all of it lies.
        hub: gives sandboxes.
        exchange: has submissions.

    """

    def __init__(self, place: Path, hub: Hub, exchange: Exchange) -> None:
        """Make the folders, as the volumes are mounted."""
        self.place, self.root, self.home = place, place / "course", place / "home"
        self.root.mkdir()
        self.home.mkdir()
        self.hub, self.exchange = hub, exchange

    def environment(self, role: str = "instructor", user: str = "ugrader") -> dict[str, str]:
        """Return the environment of a pod."""
        return {
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": str(SOURCE),
            "HOME": str(self.home),
            "JUPYTER_CONFIG_PATH": str(ETC),
            "JUPYTER_PREFER_ENV_PATH": "0",
            "COURSE_ID": COURSE,
            "COURSE_ROLE": role,
            "COURSE_DIR": str(self.root),
            "NGSHARE_URL": f"{self.exchange.url}/ngshare",
            "EXCHANGE_URL": f"{self.exchange.url}/api",
            "JUPYTERHUB_API_URL": f"{self.hub.url}/hub/api",
            "JUPYTERHUB_API_TOKEN": TOKEN,
            "JUPYTERHUB_USER": user,
        }

    def run(
        self, module: str, *arguments: str, user: str = "ugrader", **extra: str
    ) -> subprocess.CompletedProcess[str]:
        """Run `python -m module` as in the grader's pod."""
        return zygote.run(module, *arguments, env={**self.environment(user=user), **extra}, cwd=self.home)

    def action(self, *arguments: str, user: str = "ugrader", **extra: str) -> dict[str, Any]:
        """Press a button of formgrader."""
        done = self.run("campus_hubs_lab.action", *arguments, user=user, **extra)
        assert done.stdout, done.stderr
        result: dict[str, Any] = json.loads(done.stdout)
        return result

    def prepare(self) -> None:
        """Make folders and gradebook, as a grader's server does when it starts."""
        gradebook.prepare(self.root, COURSE)

    def assignment(self, name: str = "ps1") -> None:
        """Write the lecturer's version: two tasks with hidden tests of 2 and 3 points, and one to grade by hand (4)."""
        notebook = {
            "nbformat": 4,
            "nbformat_minor": 5,
            "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
            "cells": [
                {"id": "title", "cell_type": "markdown", "source": "# Sums", "metadata": {}},
                solution("square", GOOD["square"]),
                hidden_test("test_square", 2, "assert square(2) == 4", "assert square(3) == 9"),
                solution("read", GOOD["read"]),
                hidden_test("test_read", 3, "", "assert read() == 'of the lecturer'"),
                essay("why", 4),
            ],
        }
        folder = self.root / "source" / name
        folder.mkdir(parents=True)
        (folder / "data.txt").write_text("of the lecturer")
        (folder / "sums.ipynb").write_text(json.dumps(notebook))

    def hand_in(self, student: str, answers: dict[str, str], name: str = "ps1", **files: str) -> None:
        """Put a submission where `collect` would, made from the released notebook.

        Args:
            student: who.
            answers: source by grade id; the rest stays as released.
            name: of the assignment.
            files: further files, dots in their names written as `__`.

        """
        notebook = json.loads((self.root / "release" / name / "sums.ipynb").read_text())
        for cell in notebook["cells"]:
            grade_id = cell["metadata"].get("nbgrader", {}).get("grade_id")
            if grade_id in answers:
                cell["source"] = answers[grade_id]
        folder = self.root / "submitted" / student / name
        folder.mkdir(parents=True)
        (folder / "sums.ipynb").write_text(json.dumps(notebook))
        (folder / "timestamp.txt").write_text("2026-11-24 10:00:00.000000 UTC")
        for file, content in files.items():
            (folder / file.replace("__", ".")).write_text(content)

    def graded(self, student: str, name: str = "ps1") -> dict[str, Any]:
        """Return the autograded notebook's graded cells by id."""
        notebook = json.loads((self.root / "autograded" / student / name / "sums.ipynb").read_text())
        return {c["metadata"]["nbgrader"]["grade_id"]: c for c in notebook["cells"] if "nbgrader" in c["metadata"]}

    def scores(self, student: str, name: str = "ps1") -> dict[str, float | None]:
        """Return the automatic score by grade id."""
        from nbgrader.api import Gradebook  # noqa: PLC0415

        with Gradebook(gradebook.db_url(self.root), COURSE) as book:
            (notebook,) = book.find_submission(name, student).notebooks
            return {grade.cell.name: grade.auto_score for grade in notebook.grades}


def nbgrader_cell(grade_id: str, *, grade: bool, solution: bool, points: int | None = None) -> dict[str, Any]:
    fields: dict[str, Any] = {"grade": grade, "solution": solution, "locked": grade and not solution, "task": False}
    fields |= {"grade_id": grade_id, "schema_version": 3}
    return {"nbgrader": fields | ({"points": points} if points is not None else {})}


def code(source: str, metadata: dict[str, Any]) -> dict[str, Any]:
    fields: dict[str, Any] = {"cell_type": "code", "outputs": [], "execution_count": None}
    return {**fields, "id": metadata["nbgrader"]["grade_id"], "source": source, "metadata": metadata}


def solution(grade_id: str, source: str) -> dict[str, Any]:
    begin, end = "    ### BEGIN SOLUTION\n", "\n    ### END SOLUTION\n"
    head, body = source.split("\n", 1)
    return code(f"{head}\n{begin}{body}{end}", nbgrader_cell(grade_id, grade=False, solution=True))


def hidden_test(grade_id: str, points: int, source: str, hidden: str) -> dict[str, Any]:
    metadata = nbgrader_cell(grade_id, grade=True, solution=False, points=points)
    return code(f"{source}\n### BEGIN HIDDEN TESTS\n{hidden}\n### END HIDDEN TESTS", metadata)


def essay(grade_id: str, points: int) -> dict[str, Any]:
    source = "Say why.\n### BEGIN SOLUTION\nBecause.\n### END SOLUTION"
    metadata = nbgrader_cell(grade_id, grade=True, solution=True, points=points)
    return {"id": grade_id, "cell_type": "markdown", "source": source, "metadata": metadata}


GOOD = {
    "square": "def square(x):\n    return x * x",
    "read": "def read():\n    return open('data.txt').read()",
    "why": "Since it is so.",
}
