"""What a lease does while hub or exchange answer badly; at a real hub it is in test_login_leases.py."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from campus_hubs_hub import exchange, leases
from tornado.httpclient import HTTPClientError


class Hub:
    """A hub of some users, all of whose leases are over."""

    def __init__(self, *names: str) -> None:
        """Remember them."""
        self.users = {number: SimpleNamespace(id=number, name=name) for number, name in enumerate(names)}
        self.db = SimpleNamespace(query=lambda _: list(self.users.values()))

    def instance(self) -> Hub:
        """Be the one of this process."""
        return self


@pytest.mark.parametrize("error", [HTTPClientError(599), ConnectionRefusedError(111, "refused")])
def test_a_session_that_does_not_end_keeps_no_other(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Tornado raises for a time-out, whatever `raise_error` is."""
    asked: list[str] = []

    class Client:
        async def fetch(self, url: str, **_: Any) -> SimpleNamespace:  # noqa: ANN401 - of tornado
            asked.append(url.split("/users/")[1])
            if "/stuck" in url:
                raise error
            return SimpleNamespace(code=204)

    async def over(_self: leases.Leases, _user: object) -> float:
        return 0.0

    monkeypatch.setattr(leases, "AsyncHTTPClient", Client)
    monkeypatch.setattr(leases, "JupyterHub", Hub("stuck", "gone"))
    monkeypatch.setattr(leases.Leases, "end", over)
    asyncio.run(leases.Leases(answering(monkeypatch, b'{"members": []}'), "http://hub", "t", 1, roster=False).look())
    assert asked == ["stuck/server", "gone/server", "gone"]


def answering(monkeypatch: pytest.MonkeyPatch, body: bytes) -> exchange.Exchange:
    """Return an exchange that answers this."""

    class Client:
        async def fetch(self, _url: str, **_: Any) -> SimpleNamespace:  # noqa: ANN401 - of tornado
            return SimpleNamespace(body=body)

    monkeypatch.setattr(exchange, "AsyncHTTPClient", Client)
    return exchange.Exchange("http://exchange", "t")


@pytest.mark.parametrize("body", [b"<html>", b"", b"\xff"])
def test_an_answer_that_is_no_roster_ends_nobody(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, body: bytes
) -> None:
    monkeypatch.setattr(leases, "JupyterHub", Hub())
    asyncio.run(leases.Leases(answering(monkeypatch, body), "http://hub", "t", 1, roster=True).look())
    assert "The exchange does not tell who is in the course" in caplog.text
