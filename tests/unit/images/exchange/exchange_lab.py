"""The real service as a process, the hub that it asks, and clients that speak ngshare's protocol."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sqlite3
import subprocess
import threading
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import requests
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.image_packages import sources
from tests.unit.images.exchange.client import Client
from tests.unit.zygote import Program, zygote

ROOT = Path(__file__).parents[4]
SOURCES = [*sources("membership", "exchange"), str(ROOT)]
COURSE = "python-demo"
TOKEN = "service-token-" * 3
TEACHER, TUTOR, ADA, BEN = "uteacher", "ututor", "uada", "uben"
PEOPLE = {TEACHER: "instructor", TUTOR: "teaching_assistant", ADA: "student", BEN: "student"}


def free_port() -> int:
    """Find a TCP port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Hub:
    """The part of JupyterHub's REST API that the service calls, on a real socket.

    A person's token is `token-<name>`; the service's own is TOKEN. What is asked of it stands in `calls`.
    """

    def __init__(self) -> None:
        """Start it on a free port."""
        self.calls: list[tuple[str, str]] = []
        self.homes: list[list[str]] = []
        self.revoked: set[str] = set()
        self.status: dict[str, int] = {}
        self._loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self._run, args=[ready], daemon=True).start()
        ready.wait()

    @property
    def api(self) -> str:
        """URL of the API."""
        return f"http://127.0.0.1:{self.port}/hub/api"

    def _run(self, ready: threading.Event) -> None:
        hub = self

        class Api(web.RequestHandler):
            def prepare(self) -> None:
                """Answer any path."""
                path = self.request.path.removeprefix("/hub/api")
                hub.calls.append((self.request.method or "", path))
                token = self.request.headers.get("Authorization", "").removeprefix("token ")
                if status := hub.status.get(path):
                    self.set_status(status)
                    self.finish("<html>no JSON</html>")
                elif token == TOKEN:
                    self.serve_the_service(path)
                elif token.startswith("token-") and token not in hub.revoked and path == "/user":
                    kind = "service" if token == "token-culler" else "user"
                    self.finish({"kind": kind, "name": token.removeprefix("token-"), "groups": []})
                else:
                    self.set_status(403)
                    self.finish({"status": 403, "message": "Forbidden"})

            def serve_the_service(self, path: str) -> None:
                """Answer the service's own token."""
                if self.request.method == "DELETE":
                    self.set_status(204)
                elif path == "/homes":
                    hub.homes.append(json.loads(self.request.body)["users"])
                    self.set_status(202)
                elif path == "/user":
                    self.write({"kind": "service", "name": "exchange"})
                self.finish()

        async def serve() -> None:
            server = HTTPServer(web.Application([(r".*", Api)], log_function=lambda _: None))
            sockets = bind_sockets(0, "127.0.0.1")
            self.port = sockets[0].getsockname()[1]
            server.add_sockets(sockets)
            ready.set()
            await asyncio.Event().wait()

        asyncio.set_event_loop(self._loop)
        self._loop.run_until_complete(serve())


class Exchange:
    """The service as a process of its own.

    Attributes:
        program: what to run instead of the product: a module, as opened copies are, or a command.
    """

    def __init__(self, folder: Path, hub: Hub, program: str | list[str] | None = None, **environment: str) -> None:
        """Prepare a volume; nothing runs yet."""
        self.folder, self.hub, self.port = folder, hub, free_port()
        self.data = folder / "data"
        self.data.mkdir(exist_ok=True)
        (folder / "token").write_text(TOKEN + "\n")
        self.program = program or "campus_hubs_exchange.cli:main"
        self.environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(SOURCES),
            "COURSE_ID": COURSE,
            "JUPYTERHUB_API_URL": hub.api,
            "EXCHANGE_DATA": str(self.data),
            "EXCHANGE_TOKEN_FILE": str(folder / "token"),
            "EXCHANGE_ADDRESS": "127.0.0.1",
            "EXCHANGE_PORT": str(self.port),
            **environment,
        }
        self.process: subprocess.Popen[bytes] | Program | None = None

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> str:
        """What it has written."""
        return (self.folder / "err").read_text()

    def start(self) -> Exchange:
        """Start it and wait until it is healthy."""
        if isinstance(self.program, str):
            self.process = zygote.start(self.program, "serve", env=self.environment, cwd=self.folder, place=self.folder)
        else:
            with (self.folder / "err").open("ab") as log:
                self.process = subprocess.Popen([*self.program, "serve"], env=self.environment, stderr=log)  # noqa: S603
        deadline = time.monotonic() + 120
        while True:
            try:
                requests.get(f"{self.url}/healthz", timeout=5).raise_for_status()
            except requests.RequestException:
                assert self.process.poll() is None, self.log[-3000:]
                assert time.monotonic() < deadline, self.log[-3000:]
                time.sleep(0.02)
            else:
                return self

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run another command of the program."""
        assert isinstance(self.program, str)
        return zygote.run(self.program, *arguments, env=self.environment, cwd=self.folder, timeout=60)

    def end(self, number: signal.Signals) -> int:
        """Send a signal and return the exit code."""
        assert self.process
        self.process.send_signal(number)
        code = self.process.wait(20)
        self.process = None
        return code

    def stop(self) -> None:
        """End it as Kubernetes does."""
        if self.process:
            self.end(signal.SIGTERM)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.end(signal.SIGKILL)

    def query(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        """Read the database beside the running service."""
        with closing(sqlite3.connect(self.data / "exchange.db")) as database:
            return database.execute(sql, values).fetchall()

    def change(self, sql: str, *values: object) -> None:
        """Write into the database behind the service's back."""
        with closing(sqlite3.connect(self.data / "exchange.db")) as database, database:
            database.execute(sql, values)

    def contents(self) -> set[str]:
        """Return the names of the stored contents."""
        return {path.name for path in (self.data / "files").glob("*/*")}

    def api(self, method: str, path: str, token: str = TOKEN, document: object = None) -> requests.Response:
        """Call our own part of it."""
        return Client(self.url, COURSE, token).api(method, path, document)

    def enrol(self, user: str, role: str = "student", **more: object) -> dict[str, Any]:
        """Say what a launch says."""
        launch = {"subject": f"sub-{user}", "role": role, "launched_at": time.time(), **more}
        answer = self.api("PUT", f"/members/{user}", document=launch)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        return document

    def enrol_all(self) -> Exchange:
        """Enrol PEOPLE."""
        for user, role in PEOPLE.items():
            self.enrol(user, role)
        return self

    def as_user(self, user: str) -> Client:
        """Return a person's programs."""
        return Client(self.url, COURSE, f"token-{user}")
