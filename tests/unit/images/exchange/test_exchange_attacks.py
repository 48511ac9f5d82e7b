"""Attacks of a student: each is refused by the service, and succeeds at a copy whose guards were taken away."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator

import pytest

from tests.unit.images.exchange.attacks import ATTACKS, Target, fill
from tests.unit.images.exchange.exchange_lab import ADA, BEN, TEACHER, Exchange, Hub
from tests.unit.images.exchange.lms_lab import Key, platform_of

NOWHERE = "http://127.0.0.1:1"
GONE = "ugone"
NAMES = [attack.__name__ for attack in ATTACKS]


def prepared(exchange: Exchange) -> Target:
    """Fill a course which somebody has left."""
    exchange.enrol(GONE)
    exchange.change("UPDATE members SET active = 0 WHERE user = ?", GONE)
    stamps = fill(exchange.as_user(TEACHER), {name: exchange.as_user(name) for name in (ADA, BEN)}, "ps1")
    ada, teacher, gone = (exchange.as_user(name) for name in (ADA, TEACHER, GONE))
    # The hub knows both; one was never enrolled, the other is a service.
    strangers = exchange.as_user("ustranger"), exchange.as_user("culler")
    return Target("ps1", ada, teacher, gone, strangers, ADA, BEN, stamps)


def state(exchange: Exchange) -> list[object]:
    """Read all that a refused attack must not change; handing in for oneself is allowed."""
    tables = ("members", "assignments", "assignment_files", "feedback_files", "columns", "scores")
    rows: list[object] = [exchange.query(f"SELECT * FROM {table}") for table in tables]  # noqa: S608
    return [*rows, exchange.query("SELECT * FROM submissions WHERE user <> ?", ADA)]


@pytest.fixture(scope="module")
def closed(session_hub: Hub, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Exchange, Target]]:
    exchange = Exchange(tmp_path_factory.mktemp("closed"), session_hub, None, **platform_of(NOWHERE, key))
    yield exchange, prepared(exchange.start().enrol_all())
    exchange.stop()


@pytest.fixture
def opened(hub: Hub, key: Key, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Exchange, Target]]:
    """Give a copy that is filled while it is closed, and opened then: a fresh one for each attack."""
    exchange = Exchange(tmp_path_factory.mktemp("opened"), hub, None, **platform_of(NOWHERE, key))
    target = prepared(exchange.start().enrol_all())
    exchange.stop()
    exchange.command = [sys.executable, "-m", "tests.unit.images.exchange.opened_exchange"]
    yield exchange.start(), target
    exchange.stop()


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_refused(closed: tuple[Exchange, Target], attack: Callable[[Target], bool]) -> None:
    exchange, target = closed
    before = state(exchange)
    assert not attack(target)
    assert state(exchange) == before


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_the_same_succeeds_where_it_is_open(opened: tuple[Exchange, Target], attack: Callable[[Target], bool]) -> None:
    exchange, target = opened
    assert attack(target), exchange.log[-1500:]
