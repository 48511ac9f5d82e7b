"""Attacks of a student: each is refused by the service, and succeeds at a copy whose guards were taken away."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.unit.images.exchange.attacks import ATTACKS, Target, fill
from tests.unit.images.exchange.exchange_lab import ADA, BEN, TEACHER, Exchange, Hub
from tests.unit.images.exchange.lms_lab import Key, platform_of

NOWHERE = "http://127.0.0.1:1"
GONE = "ugone"
NAMES = [attack.__name__ for attack in ATTACKS]


def prepare(exchange: Exchange) -> dict[str, str]:
    """Fill a course which somebody has left; return when who has handed in."""
    exchange.enrol_all().enrol(GONE)
    exchange.change("UPDATE members SET active = 0 WHERE user = ?", GONE)
    return fill(exchange.as_user(TEACHER), {name: exchange.as_user(name) for name in (ADA, BEN)}, "ps1")


def target(exchange: Exchange, stamps: dict[str, str]) -> Target:
    """Return the course as its attacker sees it."""
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
    exchange = Exchange(tmp_path_factory.mktemp("closed"), session_hub, None, **platform_of(NOWHERE, key)).start()
    yield exchange, target(exchange, prepare(exchange))
    exchange.stop()


@pytest.fixture(scope="module")
def filled(session_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """Give the folder of a service that has ended, and when who has handed in."""
    exchange = Exchange(tmp_path_factory.mktemp("filled"), session_hub).start()
    stamps = prepare(exchange)
    exchange.stop()
    return exchange.folder, stamps


@pytest.fixture
def opened(
    filled: tuple[Path, dict[str, str]], hub: Hub, key: Key, tmp_path: Path
) -> Iterator[tuple[Exchange, Target]]:
    """Give an opened copy of what was filled while it was closed: a fresh one for each attack."""
    folder, stamps = filled
    shutil.copytree(folder, tmp_path, dirs_exist_ok=True)
    program = "tests.unit.images.exchange.opened_exchange"
    exchange = Exchange(tmp_path, hub, program, **platform_of(NOWHERE, key)).start()
    yield exchange, target(exchange, stamps)
    exchange.stop()


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_an_attack_is_refused_by_the_exchange(
    closed: tuple[Exchange, Target], attack: Callable[[Target], bool]
) -> None:
    exchange, course = closed
    before = state(exchange)
    assert not attack(course)
    assert state(exchange) == before


@pytest.mark.parametrize("attack", ATTACKS, ids=NAMES)
def test_the_same_succeeds_where_it_is_open(opened: tuple[Exchange, Target], attack: Callable[[Target], bool]) -> None:
    exchange, course = opened
    assert attack(course), exchange.log[-1500:]
