"""What the hub tells the exchange of a launch, against a server that answers as the exchange does."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from tornado.httpclient import HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

from tests.unit.charts.conftest import chart_module

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import ModuleType

TOKEN = "secret"
STATE = {
    "sub": "17",
    "course_role": "instructor",
    "launched_at": 1790000000.5,
    "issued_at": 1789999999,
    "context": {"id": "9", "title": "Python", "label": "PY1"},
    "given_name": "Ada",
    "family_name": "Lovelace",
    "email": "ada@example.edu",
    "nrps": {"context_memberships_url": "https://lms.example/members", "service_versions": ["2.0"]},
    "ags": {"scope": ["score"], "lineitems": "https://lms.example/items?type_id=1", "lineitem": ""},
}


class Memory:
    """What the exchange remembers."""

    def __init__(self) -> None:
        """Start empty."""
        self.members: dict[str, dict[str, Any]] = {}
        self.down = 0


class Handler(RequestHandler):
    """The exchange's answers to the hub."""

    def initialize(self, memory: Memory) -> None:
        """Take what tornado hands on."""
        self.memory = memory

    def prepare(self) -> None:
        """Be down, or ask for the token."""
        if self.memory.down:
            self.memory.down -= 1
            self.send_error(503)
        elif self.request.headers.get("Authorization") != f"token {TOKEN}":
            self.send_error(403)

    def put(self, name: str) -> None:
        """Enrol somebody."""
        self.memory.members[name] = json.loads(self.request.body)
        self.write({"changed": True})

    def get(self, _name: str) -> None:
        """List everybody."""
        self.write({"members": [{"user": name, **fields} for name, fields in self.memory.members.items()]})


@pytest.fixture(scope="module")
def exchange() -> ModuleType:
    return chart_module("exchange")


def using(exchange: ModuleType, memory: Memory, do: Callable[[Any], Awaitable[None]], token: str = TOKEN) -> None:
    """Run something with an Exchange that talks to a server with this memory."""

    async def run() -> None:
        sock, port = bind_unused_port()
        server = HTTPServer(Application([(r"/api/members/?(.*)", Handler, {"memory": memory})]))
        server.add_socket(sock)
        try:
            await do(exchange.Exchange(f"http://127.0.0.1:{port}/api", token))
        finally:
            server.stop()

    asyncio.run(run())


def test_a_launch_of_lti_13_makes_a_member(exchange: ModuleType) -> None:
    memory = Memory()
    using(exchange, memory, lambda course: course.enrol("u1", STATE))
    assert memory.members["u1"] == {
        "subject": "17",
        "role": "instructor",
        "launched_at": 1790000000.5,
        "issued_at": 1789999999,
        "context": {"id": "9", "title": "Python", "label": "PY1"},
        "given_name": "Ada",
        "family_name": "Lovelace",
        "email": "ada@example.edu",
        "nrps_url": "https://lms.example/members",
        "ags": {"lineitems": "https://lms.example/items?type_id=1", "scopes": ["score"]},
        "outcome": None,
    }


def test_a_launch_of_lti_11_carries_its_outcome(exchange: ModuleType) -> None:
    outcomes = {"service_url": "https://lms.example/outcomes", "result_sourcedid": "17:4"}
    found = exchange.member({"sub": "17", "course_role": "student", "full_name": "Ada Lovelace", "outcomes": outcomes})
    assert found["outcome"] == {"url": "https://lms.example/outcomes", "sourcedid": "17:4"}
    assert found["ags"] is None
    # A session of before an update has none.
    assert (found["context"], found["issued_at"]) == ({"id": "", "title": "", "label": ""}, 0)
    assert found["nrps_url"] == ""
    assert found["family_name"] == "Ada Lovelace"


def test_a_teacher_has_no_outcome(exchange: ModuleType) -> None:
    outcomes = {"service_url": "https://lms.example/outcomes", "result_sourcedid": ""}
    assert exchange.member({"sub": "2", "course_role": "instructor", "outcomes": outcomes})["outcome"] is None


def test_members_are_read(exchange: ModuleType) -> None:
    memory = Memory()

    async def both(course: Any) -> None:  # noqa: ANN401
        await course.enrol("u1", STATE)
        (found,) = await course.members()
        assert (found["user"], found["role"]) == ("u1", "instructor")

    using(exchange, memory, both)


def test_a_refusal_is_an_error(exchange: ModuleType) -> None:
    with pytest.raises(HTTPClientError, match="403"):
        using(exchange, Memory(), lambda course: course.enrol("u1", STATE), token="wrong")


def test_the_exchange_may_be_away_for_a_while(exchange: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSES", (0.01, 0.01, 0.01))
    memory = Memory()
    memory.down = 2

    async def soon(course: Any) -> None:  # noqa: ANN401
        course.enrol_soon("u1", STATE)
        (task,) = course._tasks
        await task
        await asyncio.sleep(0)
        assert not course._tasks

    using(exchange, memory, soon)
    assert set(memory.members) == {"u1"}


def test_nobody_waits_for_an_exchange_that_is_gone(exchange: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSES", (0.01,))

    async def run() -> None:
        course = exchange.Exchange("http://127.0.0.1:9/api", TOKEN)
        course.enrol_soon("u1", STATE)
        (task,) = course._tasks
        await task

    asyncio.run(run())
