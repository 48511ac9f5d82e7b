"""A hub and services for the tests of the exchange."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.unit.images.exchange.exchange_lab import COURSE, Exchange, Hub
from tests.unit.images.exchange.lms_lab import COURSE11, DemoLms, Key, platform_of


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


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    return Key(tmp_path_factory.mktemp("lti13"))


@pytest.fixture(scope="session")
def session_lms(key: Key) -> Iterator[DemoLms]:
    lms = DemoLms(key)
    yield lms
    lms.stop()


@pytest.fixture
def lms(session_lms: DemoLms) -> DemoLms:
    """Give the demo LMS, whose courses nobody has used."""
    for course in (COURSE, COURSE11):
        session_lms.control("reset", {"course": course})
        session_lms.faults(course=course)
    return session_lms


@pytest.fixture
def connected(make_exchange: Callable[..., Exchange], lms: DemoLms, key: Key) -> Exchange:
    """Give a service of an LTI 1.3 course of the demo LMS."""
    return make_exchange(**platform_of(lms.url, key))
