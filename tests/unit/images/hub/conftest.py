"""An LMS and hubs for the tests of the login."""

from __future__ import annotations

import html
import re
from collections.abc import Callable, Iterator

import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa

from tests.unit.images.hub.login_lab import Browser, Hub, Lms, free_port, new_key


@pytest.fixture(scope="session")
def keys() -> tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]:
    """Make the platform's key and another one, once: it takes a while."""
    return new_key(), new_key()


@pytest.fixture(scope="session")
def session_lms(keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]) -> Iterator[Lms]:
    lms = Lms(key=keys[0])
    lms.start()
    yield lms
    assert lms.server
    lms.server.shutdown()


@pytest.fixture
def lms(session_lms: Lms, keys: tuple[rsa.RSAPrivateKey, rsa.RSAPrivateKey]) -> Iterator[Lms]:
    yield session_lms
    session_lms.key, session_lms.kid, session_lms.document, session_lms.behaviour = keys[0], "key-1", None, ""


@pytest.fixture(scope="session")
def make_hub(session_lms: Lms, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., Hub]]:
    """Start hubs; they end with the tests."""
    hubs: list[Hub] = []

    def make(
        base_url: str = "/", scheme: str = "http", leases: dict[str, object] | None = None, **authenticator: object
    ) -> Hub:
        hub = Hub(
            tmp_path_factory.mktemp("hub"),
            session_lms,
            f"{scheme}://hub.example.edu{base_url}",
            free_port(),
            authenticator=authenticator,
            leases=leases or {},
        )
        hub.start()
        hubs.append(hub)
        return hub

    yield make
    # All at once, then wait for each.
    for hub in hubs:
        if hub.process:
            hub.process.terminate()
    for hub in hubs:
        hub.stop()


@pytest.fixture(scope="session")
def session_hub(make_hub: Callable[..., Hub]) -> Hub:
    return make_hub()


@pytest.fixture
def hub(session_hub: Hub, lms: Lms) -> Hub:
    """Give the shared hub, with the LMS as it should be."""
    assert session_hub.lms is lms
    return session_hub


@pytest.fixture
def browser(hub: Hub) -> Browser:
    return Browser(hub)


@pytest.fixture
def reason() -> Callable[[requests.Response], str]:
    """Read why a launch was refused."""

    def read(answer: requests.Response) -> str:
        found = re.search(r'<p id="reason">(.*?)</p>', answer.text, re.DOTALL)
        assert found, answer.text
        return html.unescape(found[1])

    return read
