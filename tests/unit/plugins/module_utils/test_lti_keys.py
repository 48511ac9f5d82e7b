"""The LTI 1.3 key: made, adopted, rotated with overlap by a clock that the test turns, and refused when it is none."""

from __future__ import annotations

import json
import re
from datetime import datetime, timedelta
from typing import Any

import jwt
import pytest
from ansible_collections.campus.hubs.plugins.module_utils._lti_keys import (
    KeyBackend,
    generate_private,
    public_jwk,
    thumbprint,
)
from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import Outcome, SecretError, ensure_present
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from tests.unit.plugins.memory_store import NOW, MemoryStore

DAY = timedelta(days=1)
# RFC 7638, section 3.1.
RFC_KEY = {
    "kty": "RSA",
    "n": "0vx7agoebGcQSuuPiLJXZptN9nndrQmbXEps2aiAFbWhM78LhWx4cbbfAAtVT86zwu1RK7aPFFxuhDR1L6tSoc_BJECPebWKRXjB"
    "ZCiFV4n3oknjhMstn64tZ_2W-5JsGY4Hc5n9yBXArwl93lqt7_RN5w6Cf0h4QyQ5v-65YGjQR0_FDW2QvzqY368QQMicAtaSqzs8"
    "KJZgnYb9c7d0zgdAZHzu6qMQvRL5hajrn1n91CbOpbISD08qNLyrdkt-bFTWhAI4vMQFh6WeZu0fM4lFd2NcRwr3XPksINHaQ-G_"
    "xBniIqbw0Ls1jF44-csFCur-kEgU8awapJzKnqDKgw",
    "e": "AQAB",
    "alg": "RS256",
    "kid": "2011-04-29",
}


def present(store: MemoryStore, now: datetime = NOW, *, check_mode: bool = False, **options: Any) -> Outcome:  # noqa: ANN401
    return ensure_present(KeyBackend(**options), store, now, check_mode=check_mode)


def pem(key: Any, password: bytes | None = None) -> bytes:  # noqa: ANN401
    encryption = serialization.BestAvailableEncryption(password) if password else serialization.NoEncryption()
    return bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, encryption)
    )


@pytest.fixture(scope="module")
def private() -> bytes:
    return generate_private(2048)


def kids(store: MemoryStore) -> list[str]:
    return [key["kid"] for key in json.loads(store.data["jwks.json"])["keys"]]


def test_kid_is_the_thumbprint_of_rfc_7638() -> None:
    assert thumbprint(RFC_KEY) == "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"


def test_made_key_signs_what_the_key_set_verifies(store: MemoryStore) -> None:
    outcome = present(store)
    assert outcome.reasons == ["there is no key yet"]
    token = jwt.encode({"aud": "lms"}, store.data["private.pem"], "RS256", headers={"kid": outcome.values["kid"]})
    key_set = jwt.PyJWKSet.from_dict(json.loads(store.data["jwks.json"]))
    key = key_set[jwt.get_unverified_header(token)["kid"]]
    assert jwt.decode(token, key, ["RS256"], audience="lms") == {"aud": "lms"}
    published = outcome.values["jwks"]["keys"][0]
    assert set(published) == {"kty", "n", "e", "alg", "use", "kid"}
    assert (published["alg"], published["use"]) == ("RS256", "sig")
    assert jwt.decode(token, outcome.values["public_key_pem"], ["RS256"], audience="lms")


def test_second_run_changes_nothing(store: MemoryStore) -> None:
    present(store)
    before = dict(store.data)
    later = present(store, NOW + 400 * DAY)
    assert not later.changed
    assert store.data == before


def test_nothing_told_holds_the_private_key(store: MemoryStore) -> None:
    told = repr(present(store)) + repr(present(store, rotate=True))
    assert "PRIVATE" not in told
    for line in store.data["private.pem"].decode().splitlines()[1:-1]:
        assert line not in told


def test_check_mode_makes_no_key(store: MemoryStore) -> None:
    outcome = present(store, check_mode=True)
    assert store.content is None
    assert outcome.changed
    assert outcome.values == {"kid": "", "jwks": {"keys": []}, "public_key_pem": "", "created": "", "retired": {}}
    assert outcome.after["kid"] == "(generated when applied)"


def test_a_new_key_has_the_size_asked_for_and_an_old_one_stays(store: MemoryStore) -> None:
    present(store, size=3072)
    key = serialization.load_pem_private_key(store.data["private.pem"], None)
    assert isinstance(key, rsa.RSAPrivateKey)
    assert key.key_size == 3072
    assert not present(store, size=2048).changed


def test_rotation_with_overlap(store: MemoryStore) -> None:
    options: dict[str, Any] = {"rotate_after_days": 365, "overlap_days": 30}
    first = present(store, **options).values["kid"]
    assert not present(store, NOW + 365 * DAY - timedelta(seconds=1), **options).changed

    checked = present(store, NOW + 365 * DAY, check_mode=True, **options)
    assert checked.reasons == ["the key is of 2026-10-01T06:00:00Z, older than 365 days"]
    assert kids(store) == [first]

    rotated = present(store, NOW + 365 * DAY, **options)
    second = rotated.values["kid"]
    assert second != first
    assert kids(store) == [second, first]
    assert rotated.values["retired"] == {first: "2027-10-31T06:00:00Z"} == checked.after["retired"]
    assert public_jwk(store.data["private.pem"])["kid"] == second

    assert not present(store, NOW + 395 * DAY - timedelta(seconds=1), **options).changed
    over = present(store, NOW + 395 * DAY, check_mode=True, **options)
    assert over.reasons == [f"the overlap of the old key {first} is over"]
    assert kids(store) == [second, first]
    present(store, NOW + 395 * DAY, **options)
    assert kids(store) == [second]
    assert public_jwk(store.data["private.pem"])["kid"] == second
    assert not present(store, NOW + 396 * DAY, **options).changed


def test_overlap_longer_than_the_key_lives_keeps_several(store: MemoryStore) -> None:
    options: dict[str, Any] = {"rotate_after_days": 10, "overlap_days": 25}
    made = [present(store, NOW + days * DAY, **options).values["kid"] for days in (0, 10, 20, 30)]
    assert kids(store) == made[::-1]
    present(store, NOW + 35 * DAY, **options)
    assert kids(store) == made[:0:-1]


def test_rotation_now_without_overlap(store: MemoryStore) -> None:
    first = present(store).values["kid"]
    outcome = present(store, rotate=True, overlap_days=0)
    assert outcome.reasons == ["a new key is asked for"]
    assert kids(store) == [outcome.values["kid"]] != [first]


def test_what_another_run_rotated_meanwhile_is_not_rotated_again(store: MemoryStore) -> None:
    present(store)

    def rotate(other: MemoryStore) -> None:
        ensure_present(KeyBackend(rotate=True), other, NOW, check_mode=False)

    store.interfere = rotate
    outcome = present(store, rotate=True)
    assert not outcome.changed
    assert store.writes == ["create", "replace"]
    assert len(kids(store)) == 2


def test_lone_private_key_is_adopted(store: MemoryStore, private: bytes) -> None:
    store.put({"private.pem": private}, created=NOW - 100 * DAY)
    outcome = present(store)
    assert outcome.reasons == ["jwks.json or rotation.json does not fit private.pem"]
    assert store.data["private.pem"] == private
    assert outcome.values["created"] == "2026-06-23T06:00:00Z"
    assert not present(store, NOW + DAY).changed
    assert present(store, NOW + DAY, rotate_after_days=100).changed


def test_key_replaced_by_hand_is_published_and_the_old_one_retires(store: MemoryStore, private: bytes) -> None:
    old = present(store).values["kid"]
    store.put({**store.data, "private.pem": private})
    outcome = present(store, NOW + DAY)
    assert outcome.changed
    assert kids(store) == [public_jwk(private)["kid"], old]
    assert outcome.values["retired"] == {old: "2026-11-01T06:00:00Z"}
    assert not present(store, NOW + 2 * DAY).changed


def broken(private: bytes, **fields: bytes) -> dict[str, bytes]:
    return {"private.pem": private, **{name.replace("_", "."): value for name, value in fields.items()}}


def test_something_else_is_refused_and_kept(store: MemoryStore, private: bytes) -> None:
    weak = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 (to be refused)
    good = public_jwk(private)
    cases: list[tuple[dict[str, bytes], str]] = [
        ({"tls.key": b"x", "tls.crt": b"y"}, "private.pem: found nothing (there: tls.crt, tls.key)"),
        (broken(b"not a key"), "no readable private key"),
        (broken(private[:-200]), "no readable private key"),
        (broken(pem(serialization.load_pem_private_key(private, None), b"pw")), "encrypted key"),
        (broken(pem(ec.generate_private_key(ec.SECP256R1()))), "not RSA"),
        (broken(pem(weak)), "1024 bits"),
        (broken(private, jwks_json=b"{"), "jwks.json: found no set of public RSA keys"),
        (
            broken(private, jwks_json=b'{"keys": [{"kid": "a", "kty": "RSA"}]}'),
            "jwks.json: found no set of public RSA keys",
        ),
        (broken(private, jwks_json=b'{"keys": 1}'), "jwks.json: found no set of public RSA keys"),
        (broken(private, jwks_json=json.dumps({"keys": [{**good, "d": "AQAB"}]}).encode()), "private numbers"),
        (broken(private, rotation_json=b"[]"), "rotation.json: found nothing that can be read"),
        (
            broken(private, rotation_json=b'{"created": "yesterday", "retired": {}}'),
            "rotation.json: found nothing that can be read",
        ),
    ]
    for data, words in cases:
        store.put(data)
        for check_mode in (True, False):
            with pytest.raises(SecretError, match=re.escape(words)) as error:
                present(store, rotate=True, check_mode=check_mode)
            assert store.data == data
            assert private.decode().splitlines()[1] not in str(error.value)
    assert store.writes == []
