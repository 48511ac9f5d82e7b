"""The cache of the platform's keys."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import pytest
from campus_hubs_login import keyset
from campus_hubs_login.errors import LaunchRefused
from campus_hubs_login.keyset import KeySet, parse_key_set
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from tests.unit.images.hub.login_lab import Keys, Lms, new_key, public_jwk


class Platform:
    """A platform whose clock and answers the test decides."""

    def __init__(self, *entries: dict[str, Any]) -> None:
        """Publish keys."""
        self.entries = list(entries)
        self.now = 1000.0
        self.fetches = 0
        self.fails = False
        self.keys = KeySet("http://lms/jwks", fetch=self.fetch, clock=lambda: self.now)

    async def fetch(self, uri: str) -> bytes:
        """Answer, or fail."""
        assert uri == "http://lms/jwks"
        self.fetches += 1
        await asyncio.sleep(0)
        if self.fails:
            raise OSError("unreachable")
        return json.dumps({"keys": self.entries}).encode()

    def find(self, kid: str, other_than: RSAPublicKey | None = None) -> RSAPublicKey | None:
        """Ask the cache."""
        return asyncio.run(self.keys.find(kid, other_than=other_than))


def refused(call: Callable[[], Any]) -> int:
    with pytest.raises(LaunchRefused) as refusal:
        call()
    return refusal.value.status


def number(key: RSAPublicKey | None) -> object:
    assert key is not None
    return key.public_numbers()


def test_keys_are_fetched_once_for_many_launches(keys: Keys) -> None:
    platform = Platform(public_jwk(keys[0], "a"))
    for _ in range(5):
        assert number(platform.find("a")) == keys[0].public_key().public_numbers()
    assert platform.fetches == 1


def test_a_class_that_comes_at_once_asks_once(keys: Keys) -> None:
    platform = Platform(public_jwk(keys[0], "a"))

    async def launches() -> list[Any]:
        return list(await asyncio.gather(*(platform.keys.find("a") for _ in range(50))))

    assert len(set(map(id, asyncio.run(launches())))) == 1
    assert platform.fetches == 1


def test_an_unknown_key_is_asked_for_at_once_after_the_cooldown(keys: Keys) -> None:
    platform = Platform(public_jwk(keys[0], "a"))
    platform.find("a")
    platform.entries = [public_jwk(keys[0], "a"), public_jwk(keys[1], "b")]
    assert platform.find("b") is None, "within the cooldown"
    platform.now += keyset.COOLDOWN_SECONDS + 1
    assert platform.find("b") is not None
    assert platform.fetches == 2


def test_invented_key_ids_do_not_make_us_flood_the_platform(keys: Keys) -> None:
    platform = Platform(public_jwk(keys[0], "a"))
    for number in range(1000):
        assert platform.find(f"invented-{number}") is None
        platform.now += 0.02
    assert platform.fetches <= 1 + 20 // keyset.COOLDOWN_SECONDS
    assert platform.find("a") is not None


def test_a_key_replaced_under_its_old_name_is_found(keys: Keys) -> None:
    platform = Platform(public_jwk(keys[0], "a"))
    old = platform.find("a")
    platform.now += keyset.COOLDOWN_SECONDS + 1
    assert platform.find("a", other_than=old) is None, "still the same"
    platform.entries = [public_jwk(keys[1], "a")]
    platform.now += keyset.COOLDOWN_SECONDS + 1
    new = platform.find("a", other_than=old)
    assert number(new) == keys[1].public_key().public_numbers()


def test_a_withdrawn_key_is_dropped_after_an_hour(keys: Keys) -> None:
    platform = Platform(public_jwk(keys[0], "a"))
    platform.find("a")
    platform.entries = [public_jwk(keys[1], "b")]
    platform.now += keyset.LIFESPAN_SECONDS + 1
    assert platform.find("a") is None


def test_an_outage_of_the_platform_is_survived_for_a_day(keys: Keys) -> None:
    platform = Platform(public_jwk(keys[0], "a"))
    platform.find("a")
    platform.fails = True
    platform.now += keyset.STALE_SECONDS - 1
    assert platform.find("a") is not None
    platform.now += 2
    assert refused(lambda: platform.find("a")) == 503


def test_no_keys_at_all_is_not_the_persons_fault() -> None:
    platform = Platform()
    platform.fails = True
    assert refused(lambda: platform.find("a")) == 503
    # The next ones are answered at once, without a new time-out each.
    assert refused(lambda: platform.find("a")) == 503
    assert platform.fetches == 1
    platform.now += keyset.RETRY_SECONDS + 1
    assert refused(lambda: platform.find("a")) == 503
    assert platform.fetches == 2


def test_broken_answers_do_not_wipe_good_keys(keys: Keys) -> None:
    platform = Platform(public_jwk(keys[0], "a"))
    platform.find("a")
    platform.entries = []
    platform.now += keyset.LIFESPAN_SECONDS + 1
    assert platform.find("a") is not None


@pytest.mark.parametrize(
    "document",
    [
        b"",
        b"<html>",
        b"[]",
        b"{}",
        b'{"keys": 5}',
        b'{"keys": []}',
        b'{"keys": [5, null, {}]}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_documents_that_are_no_key_set(document: bytes) -> None:
    with pytest.raises((ValueError, RecursionError)):
        parse_key_set(document)


def test_only_rsa_signing_keys_of_2048_bits_count(keys: Keys) -> None:
    good = public_jwk(keys[0], "good")
    odd = [
        public_jwk(new_key(1024), "small"),
        public_jwk(keys[0], "encryption", use="enc"),
        public_jwk(keys[0], "other algorithm", alg="RS512"),
        {**public_jwk(keys[0], "x"), "kid": 5},
        {name: value for name, value in public_jwk(keys[0], "x").items() if name != "kid"},
        {"kty": "oct", "kid": "symmetric", "k": "c2VjcmV0"},
        {"kty": "RSA", "kid": "broken", "n": "!", "e": "AQAB"},
        {"kty": "RSA", "kid": "incomplete"},
        {"kty": "RSA", "kid": "types", "n": 5, "e": None},
    ]
    assert set(parse_key_set(json.dumps({"keys": [*odd, good]}).encode())) == {"good"}
    # What is optional may be null.
    nulls = {**good, "use": None, "alg": None}
    assert set(parse_key_set(json.dumps({"keys": [*odd, nulls]}).encode())) == {"good"}


def over_http(lms: Lms, behaviour: str) -> tuple[int, float]:
    lms.behaviour = behaviour
    keys = KeySet(lms.registration["jwks_uri"])
    begin = time.monotonic()

    async def ask() -> object:
        return await keys.find("key-1")

    return refused(lambda: asyncio.run(ask())), time.monotonic() - begin


def test_redirects_are_not_followed(lms: Lms) -> None:
    fetches = lms.fetches
    assert over_http(lms, "redirect")[0] == 503
    assert lms.fetches == fetches + 1


def test_a_slow_platform_costs_five_seconds_and_blocks_nobody(lms: Lms) -> None:
    lms.behaviour = "slow"
    keys = KeySet(lms.registration["jwks_uri"])
    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.1)
            ticks += 1

    async def ask() -> None:
        ticking = asyncio.create_task(tick())
        with pytest.raises(LaunchRefused):
            await keys.find("key-1")
        ticking.cancel()

    begin = time.monotonic()
    asyncio.run(ask())
    assert 4 < time.monotonic() - begin < 15
    assert ticks > 5


def test_a_huge_key_set_is_not_read(lms: Lms) -> None:
    lms.document = b"[" + b" " * (keyset.MAX_BYTES + 1)
    assert over_http(lms, "")[0] == 503


def test_an_error_of_the_platform_is_no_key_set(lms: Lms) -> None:
    assert over_http(lms, "broken")[0] == 503
