"""Verification of LTI 1.3 messages."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import time
from collections.abc import Callable
from typing import Any

import jwt
import pytest
from campus_hubs_login import launch, lti13
from campus_hubs_login.errors import LaunchRefused
from campus_hubs_login.keyset import KeySet
from campus_hubs_login.lti13 import Platform, check_login_initiation, verify_id_token
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from tests.unit.images.hub.login_lab import LTI, Keys, Lms, b64, public_jwk, raw_token

NONCE = "the-nonce"


def verify(lms: Lms, token: str) -> dict[str, Any]:
    async def document(_uri: str) -> bytes:
        return lms.jwks

    return asyncio.run(verify_id_token(token, platform=lms.platform, keys=KeySet("x", fetch=document), nonce=NONCE))


def refused(lms: Lms, token: str) -> tuple[int, str]:
    with pytest.raises(LaunchRefused) as refusal:
        verify(lms, token)
    return refusal.value.status, refusal.value.reason


def test_a_good_launch_passes(lms: Lms) -> None:
    assert verify(lms, lms.token(lms.claims(NONCE)))["sub"] == "4711"
    # Some LMSs send their numbers as they are.
    assert verify(lms, lms.token(lms.claims(NONCE, sub=4711, deployment_id=7)))["sub"] == 4711


NOW = time.time
IN_TIME: list[Callable[[], dict[str, Any]]] = [
    lambda: {"exp": int(NOW()) - 50},
    lambda: {"iat": int(NOW()) + 50, "exp": int(NOW()) + 300},
    lambda: {"iat": int(NOW()) - 650},
    lambda: {"nbf": int(NOW()) + 50},
    lambda: {"aud": ["python-ws26"]},
    lambda: {"aud": ["other", "python-ws26"], "azp": "python-ws26"},
    lambda: {"azp": "python-ws26"},
    lambda: {"context": None},
    # Some LMSs write numbers for texts, texts for numbers, and nothing or null where they have nothing to say.
    lambda: {"iat": str(int(NOW())), "exp": str(int(NOW()) + 300), "nbf": str(int(NOW()))},
    lambda: {"jti": 5},
    lambda: {"jti": [None]},
    lambda: {"azp": ""},
    lambda: {"roles": "Instructor"},
    lambda: {"roles": {"1": "Instructor"}},
]


@pytest.mark.parametrize("changes", IN_TIME)
def test_what_is_allowed_to_differ(lms: Lms, changes: Callable[[], dict[str, Any]]) -> None:
    verify(lms, lms.token(lms.claims(NONCE, **changes())))


WRONG: list[tuple[Callable[[], dict[str, Any]], int, str]] = [
    (lambda: {"exp": int(NOW()) - 70}, 401, "expired"),
    (lambda: {"iat": int(NOW()) + 70}, 401, "future"),
    (lambda: {"nbf": int(NOW()) + 70}, 401, "future"),
    (lambda: {"iat": int(NOW()) - 670, "exp": int(NOW()) + 999}, 401, "expired"),
    (lambda: {"exp": None}, 401, "verified"),
    (lambda: {"iat": None}, 401, "verified"),
    (lambda: {"iat": "yesterday"}, 401, "verified"),
    (lambda: {"exp": float("nan")}, 401, "verified"),
    (lambda: {"exp": float("inf")}, 401, "verified"),
    (lambda: {"iat": str(int(NOW()) - 670)}, 401, "expired"),
    (lambda: {"iat": str(int(NOW()) + 70)}, 401, "future"),
    (lambda: {"iat": "9" * 5000}, 401, "verified"),
    (lambda: {"iat": True}, 401, "expired"),
    (lambda: {"iat": float("nan")}, 401, "verified"),
    (lambda: {"iss": "https://evil.example"}, 401, "iss"),
    (lambda: {"iss": None}, 401, "verified"),
    (lambda: {"iss": ["x"]}, 401, ""),
    (lambda: {"aud": "other"}, 401, "aud"),
    (lambda: {"aud": []}, 401, ""),
    (lambda: {"aud": None}, 401, "verified"),
    (lambda: {"aud": {"python-ws26": 1}}, 401, ""),
    (lambda: {"aud": ["other", "python-ws26"]}, 400, "azp"),
    (lambda: {"azp": "other"}, 401, "azp"),
    (lambda: {"aud": ["other", "python-ws26"], "azp": "other"}, 401, "azp"),
    (lambda: {"nonce": "another"}, 401, "nonce"),
    (lambda: {"nonce": None}, 401, "verified"),
    (lambda: {"nonce": [NONCE]}, 401, "nonce"),
    (lambda: {"deployment_id": "8"}, 403, "deployment"),
    (lambda: {"deployment_id": 8}, 403, "deployment"),
    (lambda: {"deployment_id": True}, 403, "deployment"),
    (lambda: {"deployment_id": ["7"]}, 403, "deployment"),
    (lambda: {"deployment_id": None}, 400, "deployment_id"),
    (lambda: {"version": "1.1"}, 400, "version"),
    (lambda: {"version": None}, 400, "version"),
    (lambda: {"message_type": "LtiDeepLinkingRequest"}, 400, "message_type"),
    (lambda: {"message_type": "LtiStartProctoring"}, 400, "message_type"),
    (lambda: {"message_type": None}, 400, "message_type"),
    (lambda: {"resource_link": None}, 400, "resource_link"),
    (lambda: {"resource_link": "31"}, 400, "resource_link"),
    (lambda: {"resource_link": {}}, 400, "resource_link"),
    (lambda: {"roles": None}, 400, "roles"),
    (lambda: {"aud": [{"python-ws26": 1}, None, 5]}, 401, "aud"),
    (lambda: {"aud": ["other", "python-ws26"], "azp": ""}, 400, "azp"),
    (lambda: {"azp": ["python-ws26"]}, 401, "azp"),
    (lambda: {"azp": 5}, 401, "azp"),
    (lambda: {"target_link_uri": None}, 400, "target_link_uri"),
]


@pytest.mark.parametrize(("changes", "status", "word"), WRONG)
def test_wrong_claims_are_refused(lms: Lms, changes: Callable[[], dict[str, Any]], status: int, word: str) -> None:
    got, reason = refused(lms, lms.token(lms.claims(NONCE, **changes())))
    assert got == status, reason
    assert word in reason


def test_a_client_id_may_be_a_number(lms: Lms, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lms, "client_id", "10000000000009")
    good: tuple[object, ...] = (10000000000009, [10000000000009], ["other", 10000000000009])
    for aud in good:
        verify(lms, lms.token(lms.claims(NONCE, aud=aud, azp=10000000000009)))
    wrong: tuple[object, ...] = (10000000000008, 10000000000009.0, True, ["10000000000008"])
    for aud in wrong:
        assert refused(lms, lms.token(lms.claims(NONCE, aud=aud)))[0] == 401


def test_wrong_signatures_are_refused(lms: Lms, keys: Keys) -> None:
    claims = lms.claims(NONCE)
    assert refused(lms, lms.token(claims, key=keys[1]))[0] == 401
    good = lms.token(claims)
    head, body, signature = good.split(".")
    changed = b64(json.dumps({**claims, "sub": "1"}).encode())
    assert refused(lms, f"{head}.{changed}.{signature}")[0] == 401
    assert refused(lms, f"{head}.{body}.")[0] == 401
    assert refused(lms, f"{head}.{body}.{signature[:-8]}")[0] in {400, 401}


def test_the_token_does_not_choose_its_algorithm(lms: Lms) -> None:
    claims = lms.claims(NONCE)
    for algorithm in ("none", "None", "NONE", "", None, "HS256", "RS512", "PS256", ["RS256"], 5):
        status, reason = refused(lms, raw_token({"alg": algorithm, "kid": lms.kid, "typ": "JWT"}, claims))
        assert (status, "RS256" in reason or "readable" in reason) in {(401, True), (400, True)}


def test_the_public_key_is_no_hmac_secret(lms: Lms) -> None:
    """HS256 with what everybody can download as the secret, in all the forms that libraries have fallen for."""
    public = lms.key.public_key()
    secrets = [
        public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        public.public_bytes(Encoding.PEM, PublicFormat.PKCS1),
        public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo),
        lms.jwks,
        b"",
    ]
    for algorithm in ("HS256", "RS256"):
        for secret in secrets:
            unsigned = raw_token({"alg": algorithm, "kid": lms.kid}, lms.claims(NONCE)).rpartition(".")[0]
            signature = hmac.new(secret, unsigned.encode(), hashlib.sha256).digest()
            assert refused(lms, f"{unsigned}.{b64(signature)}")[0] == 401


@pytest.mark.parametrize(
    "kid",
    [
        None,
        "",
        5,
        ["key-1"],
        {"a": 1},
        "../../../../dev/null",
        "' OR 1=1 --",
        "key-2",
        "key-1\x00",
        "KEY-1",
        "http://evil.example/jwks",
    ],
)
def test_key_ids_are_only_looked_up(lms: Lms, kid: object) -> None:
    token = raw_token({"alg": "RS256", "kid": kid}, lms.claims(NONCE), b"x" * 256)
    assert refused(lms, token)[0] in {400, 401}


def test_keys_in_the_token_are_ignored(lms: Lms, keys: Keys) -> None:
    for extra in (
        {"jwk": public_jwk(keys[1], "key-1")},
        {"jku": "http://127.0.0.1:1/jwks"},
        {"x5u": "http://127.0.0.1:1/cert"},
        {"jwk": public_jwk(keys[1], "mine"), "kid": "mine"},
    ):
        token = jwt.encode(lms.claims(NONCE), keys[1], algorithm="RS256", headers={"kid": lms.kid, **extra})
        assert refused(lms, token)[0] == 401


@pytest.mark.parametrize(
    "token",
    [
        "",
        ".",
        "..",
        "a.b.c",
        "a.b.c.d",
        "ä.ö.ü",
        "\x00",
        "e30.e30.e30",
        f"{b64(b'[]')}.e30.",
        f"{b64(b'null')}.e30.",
        f"{b64(b'[' * 50_000)}.e30.",
        f"{b64(b'{"alg":' + b'9' * 5000 + b'}')}.e30.",
        f"{b64(b'{"alg":"RS256","kid":"key-1","crit":["x"]}')}.e30.",
        f"{b64(b'\xff\xfe')}.e30.",
    ],
)
def test_what_is_no_token_is_refused_without_a_traceback(lms: Lms, token: str) -> None:
    assert refused(lms, token)[0] in {400, 401}


def test_a_huge_token_is_not_looked_at(lms: Lms) -> None:
    assert refused(lms, "a" * (lti13.MAX_TOKEN + 1))[0] == 413


def test_a_replaced_key_is_noticed_by_its_signature(lms: Lms, keys: Keys) -> None:
    documents = [lms.jwks]
    lms.key = keys[1]
    documents.append(lms.jwks)
    now = 0.0

    async def fetch(_uri: str) -> bytes:
        return documents.pop(0)

    async def launches() -> None:
        nonlocal now
        store = KeySet("x", fetch=fetch, clock=lambda: now)
        await store.find("key-1")
        now = 60.0
        await verify_id_token(lms.token(lms.claims(NONCE)), platform=lms.platform, keys=store, nonce=NONCE)
        now = 120.0
        documents.append(lms.jwks)
        with pytest.raises(LaunchRefused):
            await verify_id_token(
                lms.token(lms.claims(NONCE), key=keys[0]), platform=lms.platform, keys=store, nonce=NONCE
            )

    asyncio.run(launches())
    assert not documents


GOOD = {"iss": "http://127.0.0.1:1", "login_hint": "4711", "target_link_uri": "http://hub/"}


@pytest.fixture
def platform() -> Platform:
    endpoints = dict.fromkeys(("authorization_endpoint", "token_endpoint", "jwks_uri"), "http://127.0.0.1:1/x")
    return Platform.from_dict({"issuer": "http://127.0.0.1:1", "client_id": "c", "deployment_id": 7, **endpoints})


def test_login_initiation(platform: Platform) -> None:
    check_login_initiation(GOOD, platform)
    check_login_initiation({**GOOD, "client_id": "c", "lti_deployment_id": "7", "lti_message_hint": "x"}, platform)
    # Optional, and there without a value: the launch itself says it.
    check_login_initiation({**GOOD, "client_id": "", "lti_deployment_id": "", "lti_message_hint": ""}, platform)


@pytest.mark.parametrize(
    ("changes", "status"),
    [
        ({"iss": "http://127.0.0.1:1/"}, 401),
        ({"iss": "https://evil.example"}, 401),
        ({"iss": ""}, 400),
        ({"login_hint": ""}, 400),
        ({"target_link_uri": ""}, 400),
        ({"client_id": "d"}, 401),
        ({"client_id": " "}, 401),
        ({"lti_deployment_id": "8"}, 403),
        ({"login_hint": "x" * 5000}, 400),
        ({"lti_message_hint": "x" * 5000}, 400),
    ],
)
def test_wrong_login_initiation(platform: Platform, changes: dict[str, str], status: int) -> None:
    with pytest.raises(LaunchRefused) as refusal:
        check_login_initiation({**GOOD, **changes}, platform)
    assert refusal.value.status == status


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"client_id": None}, "client_id: found nothing"),
        ({"deployment_id": ""}, "deployment_id: found nothing"),
        ({"jwks_uri": "file:///etc/passwd"}, "jwks_uri: found 'file:///etc/passwd', expected an http or https URL"),
        ({"client_secret": "x"}, "unknown key 'client_secret'"),
    ],
)
def test_wrong_registrations_are_named(lms: Lms, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Platform.from_dict({**lms.registration, **changes})


def test_what_only_the_exchange_needs_is_no_mistake(lms: Lms) -> None:
    Platform.from_dict({**lms.registration, "token_audience": "https://lms.example.edu/audience"})


def test_deployment_id_may_be_a_number_in_yaml(lms: Lms) -> None:
    assert Platform.from_dict({**lms.registration, "deployment_id": 7}).deployment_id == "7"
    assert Platform.from_dict({**lms.registration, "deployment_id": 0}).deployment_id == "0"


def test_claim_names() -> None:
    assert launch.LTI == LTI
