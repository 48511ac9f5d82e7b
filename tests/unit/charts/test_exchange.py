"""Enrolment in ngshare, against a server that answers as ngshare 0.6 does."""

from __future__ import annotations

import asyncio
import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from tornado.httpclient import HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

FILE = Path(__file__).parents[3] / "charts" / "course-hub" / "files" / "exchange.py"
TOKEN = "secret"
STATE = {"given_name": "Ada", "family_name": "Lovelace", "email": "ada@example.edu"}


class Ngshare:
    """What ngshare remembers."""

    def __init__(self) -> None:
        """Start empty."""
        self.courses: dict[str, dict[str, set[str]]] = {}
        self.names: dict[str, str] = {}
        self.down = 0


class Handler(RequestHandler):
    """ngshare's answers to its administrator."""

    def initialize(self, state: Ngshare) -> None:
        """Take what tornado hands on."""
        self.state = state

    def prepare(self) -> None:
        """Be down, or ask for the token."""
        if self.state.down:
            self.state.down -= 1
            self.send_error(503)
        elif self.request.headers.get("Authorization") != f"token {TOKEN}":
            self.send_error(403)

    def post(self, kind: str, course: str, person: str | None) -> None:
        """Make a course, an instructor or a student."""
        if kind == "course":
            if course in self.state.courses:
                self.set_status(409)
            self.state.courses.setdefault(course, {"instructor": set(), "student": set()})
            return
        members = self.state.courses[course]
        assert person
        if kind == "student" and person in members["instructor"]:
            self.set_status(409)
            return
        if kind == "instructor":
            members["student"].discard(person)
        self.state.names[person] = f"{self.get_argument('first_name')} {self.get_argument('last_name')}"
        members[kind].add(person)

    def delete(self, kind: str, course: str, person: str) -> None:
        """Remove an instructor or a student."""
        self.state.courses[course][kind].remove(person)


@pytest.fixture(scope="module")
def exchange() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exchange", FILE)
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def using(exchange: ModuleType, state: Ngshare, do: Callable[[Any], Awaitable[None]], token: str = TOKEN) -> None:
    """Run something with an Exchange that talks to a server with this state."""

    async def run() -> None:
        routes = [(r"/ngshare/(course|instructor|student)/([^/]+)(?:/([^/]+))?", Handler, {"state": state})]
        sock, port = bind_unused_port()
        server = HTTPServer(Application(routes))
        server.add_socket(sock)
        try:
            await do(exchange.Exchange(f"http://127.0.0.1:{port}/ngshare", token, "python-ws26"))
        finally:
            server.stop()

    asyncio.run(run())


def enrol(exchange: ModuleType, state: Ngshare, name: str, role: str) -> None:
    using(exchange, state, lambda course: course.enrol(name, {**STATE, "course_role": role}))


def test_course_and_people_are_made(exchange: ModuleType) -> None:
    state = Ngshare()
    enrol(exchange, state, "u1", "instructor")
    enrol(exchange, state, "u2", "teaching_assistant")
    enrol(exchange, state, "u3", "student")
    assert state.courses == {"python-ws26": {"instructor": {"u1", "u2"}, "student": {"u3"}}}
    assert state.names["u3"] == "Ada Lovelace"


def test_saying_it_twice_changes_nothing(exchange: ModuleType) -> None:
    state = Ngshare()
    for _ in range(2):
        enrol(exchange, state, "u1", "instructor")
        enrol(exchange, state, "u3", "student")
    assert state.courses == {"python-ws26": {"instructor": {"u1"}, "student": {"u3"}}}


def test_roles_change(exchange: ModuleType) -> None:
    state = Ngshare()
    enrol(exchange, state, "u1", "student")
    enrol(exchange, state, "u1", "instructor")
    assert state.courses["python-ws26"] == {"instructor": {"u1"}, "student": set()}
    enrol(exchange, state, "u1", "student")
    assert state.courses["python-ws26"] == {"instructor": set(), "student": {"u1"}}


def test_a_refusal_is_an_error(exchange: ModuleType) -> None:
    with pytest.raises(HTTPClientError, match="403"):
        using(exchange, Ngshare(), lambda course: course.enrol("u1", {"course_role": "student"}), token="wrong")


def test_ngshare_may_be_away_for_a_while(exchange: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSES", (0.01, 0.01, 0.01))
    state = Ngshare()
    state.down = 2

    async def soon(course: Any) -> None:  # noqa: ANN401
        course.enrol_soon("u1", {"course_role": "student"})
        (task,) = course._tasks
        await task
        await asyncio.sleep(0)
        assert not course._tasks

    using(exchange, state, soon)
    assert state.courses["python-ws26"]["student"] == {"u1"}


def test_nobody_waits_for_an_ngshare_that_is_gone(exchange: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSES", (0.01,))

    async def run() -> None:
        course = exchange.Exchange("http://127.0.0.1:9/ngshare", TOKEN, "python-ws26")
        course.enrol_soon("u1", {"course_role": "student"})
        (task,) = course._tasks
        await task

    asyncio.run(run())
