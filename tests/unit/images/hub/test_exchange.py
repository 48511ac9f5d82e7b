"""What the hub tells the exchange of a launch, against a server that answers as the exchange does."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from campus_hubs_hub import exchange
from tornado.httpclient import HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port
from tornado.web import Application, RequestHandler

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

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
        if name == "refused":
            self.send_error(400)
            return
        if name == "broken":
            self.send_error(500)
            return
        self.memory.members[name] = json.loads(self.request.body)
        self.write({"changed": True})

    def get(self, _name: str) -> None:
        """List everybody."""
        self.write({"members": [{"user": name, **fields} for name, fields in self.memory.members.items()]})


def using(memory: Memory, do: Callable[[Any], Awaitable[None]], token: str = TOKEN) -> None:
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


def test_a_launch_of_lti_13_makes_a_member() -> None:
    memory = Memory()
    using(memory, lambda course: course.enrol("u1", STATE))
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


@pytest.mark.parametrize(
    ("launch", "given", "family"),
    [
        ({"given_name": "Suharto", "full_name": "Suharto"}, "Suharto", ""),
        ({"family_name": "Suharto", "full_name": "Suharto"}, "", "Suharto"),
        ({"given_name": "Ada", "family_name": "Lovelace", "full_name": "Countess"}, "Ada", "Lovelace"),
        ({"full_name": "Suharto"}, "", "Suharto"),
        ({}, "", ""),
    ],
)
def test_a_full_name_is_for_who_has_no_other(launch: dict[str, str], given: str, family: str) -> None:
    found = exchange.member({"sub": "17", "course_role": "student", **launch})
    assert (found["given_name"], found["family_name"]) == (given, family)


def test_a_launch_of_lti_11_carries_its_outcome() -> None:
    outcomes = {"service_url": "https://lms.example/outcomes", "result_sourcedid": "17:4"}
    state = {"sub": "17", "course_role": "student", "full_name": "Ada Lovelace", "resource_link_id": "4"}
    found = exchange.member({**state, "outcomes": outcomes})
    assert found["outcome"] == {"url": "https://lms.example/outcomes", "sourcedid": "17:4", "link": "4"}
    assert found["ags"] is None
    # A session of before an update has none.
    assert (found["context"], found["issued_at"]) == ({"id": "", "title": "", "label": ""}, 0)
    assert found["nrps_url"] == ""
    assert found["family_name"] == "Ada Lovelace"


def test_a_teacher_has_no_outcome() -> None:
    outcomes = {"service_url": "https://lms.example/outcomes", "result_sourcedid": ""}
    assert exchange.member({"sub": "2", "course_role": "instructor", "outcomes": outcomes})["outcome"] is None


def test_members_are_read() -> None:
    memory = Memory()

    async def both(course: Any) -> None:  # noqa: ANN401
        await course.enrol("u1", STATE)
        (found,) = await course.members()
        assert (found["user"], found["role"]) == ("u1", "instructor")

    using(memory, both)


def test_a_refusal_is_an_error() -> None:
    with pytest.raises(HTTPClientError, match="403"):
        using(Memory(), lambda course: course.enrol("u1", STATE), token="wrong")


def launch(at: float, role: str = "student") -> dict[str, Any]:
    """Return the state of a launch."""
    return STATE | {"launched_at": at, "course_role": role}


async def told(course: Any) -> None:  # noqa: ANN401
    """Wait until nobody waits."""
    async with asyncio.timeout(20):
        while course._waiting:
            await asyncio.sleep(0.01)


def test_the_exchange_may_be_away_and_hears_of_all_in_their_order(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSES", (0.01, 0.05))
    memory = Memory()
    memory.down = 9

    async def soon(course: Any) -> None:  # noqa: ANN401
        hook = course.after_login("probe")
        for name, state in (
            ("u1", launch(1)),
            ("u2", launch(2)),
            ("probe", launch(3)),
            ("u1", launch(4, "instructor")),
        ):
            login = {"name": name, "auth_state": state}
            assert hook(None, None, login) is login
        # A server that starts with an older session.
        course.enrol_soon("u1", launch(1))
        await told(course)

    using(memory, soon)
    assert memory.down == 0
    assert list(memory.members) == ["u2", "u1"]
    assert (memory.members["u1"]["role"], memory.members["u1"]["launched_at"]) == ("instructor", 4)


def test_one_that_is_refused_stops_no_other() -> None:
    memory = Memory()

    async def soon(course: Any) -> None:  # noqa: ANN401
        course.enrol_soon("refused", launch(1))
        course.enrol_soon("u1", launch(2))
        await told(course)

    using(memory, soon)
    assert list(memory.members) == ["u1"]


def test_one_with_whom_the_exchange_fails_holds_up_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSES", (0.01,))
    memory = Memory()

    async def soon(course: Any) -> None:  # noqa: ANN401
        for name in ("broken", "u1", "u2"):
            course.enrol_soon(name, launch(1))
        async with asyncio.timeout(20):
            while list(course._waiting) != ["broken"]:
                await asyncio.sleep(0.01)
        course._telling.cancel()

    using(memory, soon)
    assert set(memory.members) == {"u1", "u2"}


def test_nobody_waits_for_an_exchange_that_is_gone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "PAUSES", (0.01,))

    async def run() -> None:
        course = exchange.Exchange("http://127.0.0.1:9/api", TOKEN)
        course.after_login("")(None, None, {"name": "u1", "auth_state": STATE})
        await asyncio.sleep(0.2)
        assert list(course._waiting) == ["u1"]
        assert course._telling
        assert not course._telling.done()
        course._telling.cancel()

    asyncio.run(run())
