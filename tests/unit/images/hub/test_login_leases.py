"""Membership as a lease, at a real hub: what a launch or the roster does not confirm again ends, and nothing else."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest
import requests
from campus_hubs_exchange.hub import Hub as ExchangesHub

from tests.unit.images.hub.login_lab import Browser, Hub
from tests.unit.images.hub.test_login_hub import name, spawn

SECONDS, NOTICE = 10, 4


class Exchange:
    """The part of the exchange that the leases ask, with the members that a test wants."""

    def __init__(self) -> None:
        """Serve."""
        self.members: dict[str, bool] = {}
        self.last_sync = 0.0
        self.status = 200
        self.reads = 0
        self.launches: list[tuple[str, dict[str, Any]]] = []
        exchange = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.answer(exchange.document())

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                exchange.reads += exchange.status == 200
                exchange.last_sync = time.time() if exchange.status == 200 else exchange.last_sync
                self.answer({})

            def do_PUT(self) -> None:
                launch = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if exchange.status == 200:
                    exchange.launches.append((self.path.rpartition("/")[2], launch))
                self.answer({"changed": True})

            def answer(self, document: object) -> None:
                self.send_response(exchange.status if self.path.startswith("/api/") else 404)
                self.end_headers()
                self.wfile.write(json.dumps(document).encode())

            def log_message(self, *args: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def document(self) -> dict[str, Any]:
        """Answer as GET /api/members does."""
        at = f"{datetime.fromtimestamp(self.last_sync, UTC).replace(tzinfo=None).isoformat(timespec='seconds')}Z"
        listed = [{"user": user, "active": active, "confirmed_at": at} for user, active in self.members.items()]
        return {"members": listed, "roster": {"available": True, "last_sync": at, "error": ""}}


@pytest.fixture(scope="module")
def exchange() -> Iterator[Exchange]:
    made = Exchange()
    yield made
    made.server.shutdown()


@pytest.fixture(scope="module")
def leasing(make_hub: Callable[..., Hub], exchange: Exchange) -> Hub:
    url = f"http://127.0.0.1:{exchange.server.server_port}/api"
    return make_hub(leases={"exchange": url, "seconds": SECONDS, "notice": NOTICE, "roster": True})


def users(hub: Hub) -> dict[str, Any]:
    return {user["name"]: user for user in hub.api("/users")}


def until(what: str, true: Callable[[], bool], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, what
        time.sleep(0.3)


def enter(hub: Hub, subject: str, *, server: bool = True) -> tuple[Browser, str]:
    browser = Browser(hub)
    assert browser.launch11(user_id=subject).status_code == 303
    if server:
        spawn(browser)
    return browser, name(hub, subject)


def test_who_is_not_confirmed_again_loses_session_tokens_and_server(leasing: Hub, exchange: Exchange) -> None:
    """Launched again or listed: stays. Neither of them: ends, also while the server starts."""
    begin = time.monotonic()
    (gone, left), (back, again), (stays, listed) = (enter(leasing, who) for who in ("left", "again", "listed"))
    exchange.members = {listed: True, left: False}
    starts, starting = enter(leasing, "starting", server=False)
    (leasing.directory / f"{starting}.held").touch()
    starts.get(leasing.page("hub/spawn"))
    # A token of the time when people could mint them.
    minted = requests.post(
        leasing.page(f"hub/api/users/{left}/tokens"),
        headers={"Authorization": f"token {leasing.token}"},
        json={"note": "for ever"},
        timeout=20,
    )
    assert minted.status_code == 201, minted.text
    mine = {"Authorization": f"token {minted.json()['token']}"}
    assert requests.get(leasing.page("hub/api/user"), headers=mine, timeout=20).status_code == 200
    time.sleep(SECONDS * 0.7)
    assert back.launch11(user_id="again").headers["Location"].startswith("/user/")
    there = set(users(leasing))
    assert {again, listed} <= there
    # Where all of that was slow, their time is over.
    assert {left, starting} <= there or time.monotonic() - begin > SECONDS
    until("the end of two", lambda: not {left, starting} & set(users(leasing)))
    assert {user["name"] for user in users(leasing).values() if user["servers"]} >= {again, listed}
    assert (gone.whoami(), back.whoami(), stays.whoami()) == ("", again, listed)
    assert requests.get(leasing.page("hub/api/user"), headers=mine, timeout=20).status_code == 403
    way_in = gone.get(leasing.page("hub/spawn"), allow_redirects=True)
    assert way_in.status_code == 403
    assert "LMS" in way_in.text
    assert exchange.reads > 1
    # The next launch makes them anew.
    (leasing.directory / f"{starting}.held").unlink()
    assert enter(leasing, "left")[0].whoami() == left


def test_the_server_learns_when_it_ends(leasing: Hub) -> None:
    browser, me = enter(leasing, "reader")
    token = json.loads((leasing.directory / f"{me}.env.json").read_text())["JUPYTERHUB_API_TOKEN"]
    for session in (requests.Session(), browser):
        if session is not browser:
            session.headers["Authorization"] = f"token {token}"
        lease = session.get(leasing.page("hub/api/lease"), timeout=20).json()
        assert 0 < lease["ends"] - time.time() <= SECONDS
        assert lease["ends"] - lease["notice"] == NOTICE
    for headers in ({}, {"Authorization": f"token {leasing.token}"}):
        assert requests.get(leasing.page("hub/api/lease"), headers=headers, timeout=20).status_code == 403


def test_an_exchange_that_is_away_puts_nobody_out(leasing: Hub, exchange: Exchange) -> None:
    """What the roster confirmed last is not forgotten, and after a restart nobody is judged without it."""
    browser, me = enter(leasing, "confirmed")
    exchange.members = {me: True}
    until("a roster that has them", lambda: exchange.last_sync > time.time() - 2)
    exchange.status = 503
    time.sleep(3)
    assert browser.whoami() == me
    leasing.stop()
    leasing.start()
    time.sleep(SECONDS + NOTICE + 3)
    assert me in users(leasing)
    exchange.status, exchange.members = 200, {}
    until("the end", lambda: me not in users(leasing))


def test_who_left_the_roster_goes_at_once_also_while_the_server_starts(leasing: Hub) -> None:
    """As the exchange asks for it."""
    browser, me = enter(leasing, "removed", server=False)
    held = leasing.directory / f"{me}.held"
    held.touch()
    browser.get(leasing.page("hub/spawn"))
    assert users(leasing)[me]["servers"][""]["pending"] == "spawn"
    begin = time.monotonic()
    asyncio.run(ExchangesHub(leasing.page("hub/api"), leasing.token).end_sessions(me))
    assert time.monotonic() - begin < 8
    assert me not in users(leasing)
    assert browser.whoami() == ""
    held.unlink()
