"""Strangers who never finish what they ask for: the hub's memory and connections have an end, and others are served."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
import requests
from campus_hubs_login.settings import MAX_BODY_BYTES, MAX_CONNECTIONS, LimitedServer
from tornado.testing import AsyncHTTPTestCase
from tornado.web import Application, RequestHandler

from tests.unit.images.hub.login_lab import Browser, Hub

HEAD = "POST /hub/lti11/launch HTTP/1.1\r\nHost: hub.example.edu\r\n"
FORM = "Content-Type: application/x-www-form-urlencoded\r\n"
MIB = 1024 * 1024


def memory(hub: Hub) -> int:
    """Return the hub's resident memory in bytes."""
    assert hub.process
    status = Path(f"/proc/{hub.process.pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmRSS"))


@contextmanager
def unfinished(hub: Hub, count: int, text: bytes) -> Iterator[list[socket.socket]]:
    """Open connections that say something and then nothing more."""
    with ExitStack() as stack:
        opened = [
            stack.enter_context(socket.create_connection(("127.0.0.1", hub.hub_port), timeout=10)) for _ in range(count)
        ]
        for connection in opened:
            try:
                connection.sendall(text)
            except OSError:
                continue  # it was refused while it was being sent
        yield opened


def answers(hub: Hub) -> float:
    """Return how long an honest person waits, in seconds."""
    begin = time.monotonic()
    assert Browser(hub).launch11(user_id="honest").status_code == 303
    return time.monotonic() - begin


@pytest.mark.parametrize(
    ("count", "text", "limit"),
    [
        (150, f"{HEAD}{FORM}Content-Length: 2097152\r\n\r\n".encode() + b"a" * 2_000_000, 40 * MIB),
        (150, f"{HEAD}{FORM}Transfer-Encoding: chunked\r\n\r\n1e8480\r\n".encode() + b"a" * 2_000_000, 90 * MIB),
        (150, f"{HEAD}{FORM}Content-Length: {MAX_BODY_BYTES}\r\n\r\n".encode() + b"a" * (MAX_BODY_BYTES - 1), 90 * MIB),
        (150, f"{HEAD}Cookie: {'a' * 200_000}".encode(), 40 * MIB),
        (MAX_CONNECTIONS + 300, HEAD.encode(), 60 * MIB),
        (MAX_CONNECTIONS + 300, b"", 60 * MIB),
    ],
    ids=["large", "chunked", "at the limit", "header", "many headers", "many silent"],
)
def test_unfinished_requests_cost_little_and_hold_up_nobody(hub: Hub, count: int, text: bytes, limit: int) -> None:
    answers(hub)
    before = memory(hub)
    with unfinished(hub, count, text):
        assert answers(hub) < 5
        assert memory(hub) - before < limit


def test_a_body_in_pieces_is_still_a_launch(hub: Hub) -> None:
    body = b"user_id=1&oauth_signature=wrong"
    with socket.create_connection(("127.0.0.1", hub.hub_port), timeout=10) as connection:
        connection.sendall(f"{HEAD}{FORM}Content-Length: {len(body)}\r\nConnection: close\r\n\r\n".encode())
        for byte in body:
            connection.sendall(bytes([byte]))
            time.sleep(0.02)
        answer = b"".join(iter(lambda: connection.recv(65536), b""))
    assert answer.startswith(b"HTTP/1.1 40")
    assert b"launch" in answer.lower()


def test_many_cookies_are_no_reason_to_turn_somebody_away(hub: Hub) -> None:
    cookies = "; ".join(f"c{number}={'x' * 100}" for number in range(100))
    assert requests.get(hub.page("hub/login"), headers={"Cookie": cookies}, timeout=10).status_code == 403


class Slow(RequestHandler):
    """Answers after its body has come, or begins an answer that never ends."""

    async def get(self) -> None:
        """Begin."""
        self.write("begun")
        await self.flush()
        await self.application.settings["never"]

    def post(self) -> None:
        """Answer."""
        self.write(str(len(self.request.body)))


class TestLimitedServer(AsyncHTTPTestCase):
    """The server by itself, with small numbers."""

    class Server(LimitedServer):
        """One that is full soon."""

        max_connections = 4

    def get_app(self) -> Application:
        """Serve."""
        return Application([("/", Slow)], never=asyncio.get_event_loop().create_future())

    def get_http_server(self) -> LimitedServer:
        """Make it; its times are short."""
        server = self.Server(self.get_app())
        server.conn_params.header_timeout, server.conn_params.body_timeout = 2, 0.5
        return server

    def run_pending(self, seconds: float = 0.1) -> None:
        """Let the server work."""
        self.io_loop.call_later(seconds, self.stop)
        self.wait()

    def connect(self, text: bytes = b"") -> socket.socket:
        """Open a connection and say something."""
        connection = socket.create_connection(("127.0.0.1", self.get_http_port()), timeout=5)
        self.addCleanup(connection.close)
        connection.sendall(text)
        self.run_pending()
        connection.setblocking(False)
        return connection

    def is_open(self, connection: socket.socket) -> bool:
        """Tell whether the server still holds it."""
        try:
            return connection.recv(65536) != b""
        except BlockingIOError:
            return True

    def test_unfinished_headers_and_bodies_end(self) -> None:
        """A body has less time than a connection that is idle."""
        header, body = (
            self.connect(b"GET / HT"),
            self.connect(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n1"),
        )
        self.run_pending(0.8)
        assert (self.is_open(header), self.is_open(body)) == (True, False)
        self.run_pending(1.5)
        assert not self.is_open(header)

    def test_who_waits_longest_gives_way(self) -> None:
        """Those who are being answered stay."""
        busy = [self.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(2)]
        for connection in busy:
            assert b"begun" in connection.recv(65536)
        first, second, third = (self.connect() for _ in range(3))
        assert [self.is_open(one) for one in (first, second, third, *busy)] == [False, True, True, True, True]

    def test_a_full_server_still_takes_the_next(self) -> None:
        """The oldest answer ends, its browser asks again."""
        busy = [self.connect(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n") for _ in range(5)]
        for connection in busy:
            connection.recv(65536)
        assert [self.is_open(one) for one in busy] == [False, True, True, True, True]
