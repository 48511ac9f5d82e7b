"""A hub and services for the tests of the exchange."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

# The package is installed in the exchange's image only.
ROOT = Path(__file__).parents[4]
sys.path[:0] = [str(ROOT), str(ROOT / "images/exchange/campus_hubs_exchange/src")]

from tests.unit.images.exchange.exchange_lab import Exchange, Hub  # noqa: E402


@pytest.fixture(scope="session")
def session_hub() -> Hub:
    return Hub()


@pytest.fixture
def hub(session_hub: Hub) -> Iterator[Hub]:
    yield session_hub
    session_hub.calls.clear()
    session_hub.homes.clear()
    session_hub.revoked.clear()
    session_hub.status.clear()


@pytest.fixture
def make_exchange(hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Exchange]]:
    """Start services with an empty volume each; they end with the test."""
    made: list[Exchange] = []

    def make(**options: object) -> Exchange:
        exchange = Exchange(tmp_path_factory.mktemp("exchange"), hub, **options)  # type: ignore[arg-type]
        made.append(exchange)
        return exchange.start()

    yield make
    for exchange in made:
        exchange.stop()


@pytest.fixture
def exchange(make_exchange: Callable[..., Exchange]) -> Exchange:
    """Give a service that knows PEOPLE."""
    return make_exchange().enrol_all()


@pytest.fixture(scope="session")
def shared(session_hub: Hub, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exchange]:
    """Give a service that all tests share which leave nothing in it."""
    exchange = Exchange(tmp_path_factory.mktemp("shared"), session_hub).start()
    yield exchange.enrol_all()
    exchange.stop()
