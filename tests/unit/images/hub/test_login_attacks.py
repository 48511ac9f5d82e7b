"""What a security reviewer tries against a running hub. No try may end in a session, a server error or a traceback."""

from __future__ import annotations

import hashlib
import hmac
import json
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import requests
from campus_hubs_login.handlers import STATE_SECONDS
from campus_hubs_login.lti11 import WINDOW_SECONDS
from campus_hubs_membership.identity import user_name
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from tornado.web import create_signed_value

from tests.unit.images.hub.login_lab import MEMBERSHIP, Browser, Hub, Keys, Lms, b64, public_jwk, raw_token, signed_form


@pytest.fixture(autouse=True)
def no_traceback(hub: Hub) -> Iterator[None]:
    before = len(hub.log)
    yield
    new = hub.log[before:]
    assert "Traceback" not in new, new[-4000:]
    assert "Uncaught" not in new


@pytest.fixture
def refused(reason: Callable[[requests.Response], str]) -> Callable[..., str]:
    """Check a refusal: status, a page for people, and nobody signed in."""

    def check(answer: requests.Response, status: int, browser: Browser | None = None) -> str:
        why = reason(answer)
        assert answer.status_code == status, why
        assert "jupyterhub-hub-login" not in answer.headers.get("Set-Cookie", "")
        assert answer.headers["Cache-Control"] == "no-store"
        if browser:
            assert browser.whoami() == ""
        return why

    return check


# ---- LTI 1.1 ----
def test_lti11_forgeries(browser: Browser, refused: Callable[..., str]) -> None:
    assert "signature" in refused(browser.launch11(secret="guessed"), 401, browser)
    assert "consumer key" in refused(browser.launch11(key="another"), 401)
    old, early = int(time.time()) - WINDOW_SECONDS - 5, int(time.time()) + WINDOW_SECONDS + 5
    assert "expired" in refused(browser.launch11(timestamp=old), 401)
    assert "expired" in refused(browser.launch11(timestamp=early), 401)
    assert "member" in refused(browser.launch11(roles="urn:lti:instrole:ims/lis/Instructor"), 403)
    assert "member" in refused(browser.launch11(roles=None), 403)
    assert "user_id" in refused(browser.launch11(user_id=None), 400, browser)


def test_lti11_replay(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    form = signed_form(browser.launch11_url, hub.shared_secret, user_id="replayed")
    assert browser.post11(form).status_code == 303
    assert "used before" in refused(browser.post11(form), 401)
    thief = Browser(hub)
    assert "used before" in refused(thief.post11(form), 401, thief)
    # The victim's own session is as it was.
    assert browser.whoami() == user_name(hub.lms.issuer, "replayed")


def test_lti11_nonces_are_not_burnt_by_forgers(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    form = signed_form(browser.launch11_url, hub.shared_secret)
    refused(Browser(hub).post11(form.replace("user_id=4711", "user_id=4712")), 401)
    assert browser.post11(form).status_code == 303


def test_lti11_only_one_of_many_at_once(hub: Hub) -> None:
    form = signed_form(f"{hub.url}hub/lti11/launch", hub.shared_secret, user_id="at-once")
    with ThreadPoolExecutor(8) as pool:
        statuses = [answer.status_code for answer in pool.map(lambda _: Browser(hub).post11(form), range(8))]
    assert sorted(statuses) == [303] + [401] * 7


def test_lti11_launch_for_another_host(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    """A tool at evil.example with the same key gets launches too; its owner must not use them here."""
    form = signed_form("http://evil.example/hub/lti11/launch", hub.shared_secret)
    for headers in (
        {"Host": "evil.example"},
        {"X-Forwarded-Host": "evil.example"},
        {"Forwarded": "host=evil.example;proto=http"},
    ):
        refused(browser.post11(form, headers=headers), 401, browser)
    secure = signed_form("https://hub.example.edu/hub/lti11/launch", hub.shared_secret)
    refused(browser.post11(secure, headers={"X-Forwarded-Proto": "https"}), 401)


def test_lti11_login_csrf(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    """The attacker's own launch, sent by the attacker's page in the victim's browser."""
    for origin in (
        "https://evil.example",
        "null",
        "http://127.0.0.1",
        f"{hub.lms.issuer}.evil.example",
        "http://hub.example.edu",
    ):
        assert "not this course's LMS" in refused(browser.launch11(headers={"Origin": origin}), 403, browser)
    assert browser.launch11(headers={"Origin": hub.lms.issuer}).status_code == 303


def test_lti11_ambiguity(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    form = signed_form(browser.launch11_url, hub.shared_secret)
    refused(browser.post11(form + "&user_id=1"), 400)
    refused(browser.post11(form, query="?user_id=1"), 400)
    refused(browser.post11(form, query="?custom_x=1"), 401)
    refused(browser.post11(form + "&custom_x=1"), 401, browser)
    # An Authorization header is another place for OAuth parameters; it counts for nothing.
    oauth = 'OAuth oauth_consumer_key="consumer",oauth_signature="x",oauth_nonce="y"'
    assert browser.post11(form, headers={"Authorization": oauth}).status_code == 303


def test_lti11_other_bodies(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    form = signed_form(browser.launch11_url, hub.shared_secret)
    refused(browser.post11(form, headers={"Content-Type": "application/json"}), 400)
    refused(browser.post11(form, headers={"Content-Type": "text/plain"}), 400)
    refused(
        browser.post(hub.page("hub/lti11/launch"), files={name: (None, value) for name, value in parse_qsl(form)}), 400
    )
    refused(browser.post(hub.page("hub/lti11/launch"), params=dict(parse_qsl(form))), 400)
    for body in ("", "\x00", "%", "a" * 1000, "=&=&=", "user_id=%ff", "user_id=\xff", "a[]=1&a[]=2"):
        refused(browser.post11(body), 400)
    assert browser.whoami() == ""


# ---- LTI 1.3 ----
def changes(**values: object) -> Callable[[], dict[str, Any]]:
    return lambda: values


@pytest.mark.parametrize(
    ("wrong", "status", "word"),
    [
        (lambda: {"exp": int(time.time()) - 90}, 401, "expired"),
        (lambda: {"iat": int(time.time()) - 700}, 401, "expired"),
        (changes(iss="https://evil.example"), 401, "iss"),
        (changes(aud="another-tool"), 401, "aud"),
        (changes(aud=["python-ws26", "another-tool"]), 400, "azp"),
        (changes(azp="another-tool"), 401, "azp"),
        (changes(deployment_id="8"), 403, "deployment"),
        (changes(message_type="LtiDeepLinkingRequest"), 400, "message_type"),
        (changes(version="1.0"), 400, "version"),
        (changes(roles=[]), 403, "member"),
        (changes(roles=["http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator"]), 403, "member"),
        (changes(sub=None), 400, "sub"),
        (changes(sub=""), 400, "sub"),
        (changes(sub=True), 400, "sub"),
        (changes(iat=float("inf")), 401, "verified"),
        (changes(deployment_id=8), 403, "deployment"),
        (changes(sub="a\nb"), 400, "sub"),
        (changes(sub="\ud800"), 400, "sub"),
        (changes(sub="x" * 300), 400, "sub"),
    ],
)
def test_lti13_wrong_claims(
    browser: Browser, refused: Callable[..., str], wrong: Callable[[], dict[str, Any]], status: int, word: str
) -> None:
    assert word in refused(browser.launch13(**wrong()), status, browser)


def test_lti13_forgeries(browser: Browser, hub: Hub, keys: Keys, refused: Callable[..., str]) -> None:
    lms = hub.lms

    def send(make: Callable[[dict[str, Any]], str]) -> requests.Response:
        asked = browser.begin()
        return browser.callback(asked["state"], make(lms.claims(asked["nonce"], roles=[f"{MEMBERSHIP}#Instructor"])))

    pem = lms.key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)

    def hmac_signed(claims: dict[str, Any]) -> str:
        unsigned = raw_token({"alg": "HS256", "kid": lms.kid}, claims).rpartition(".")[0]
        return f"{unsigned}.{b64(hmac.new(pem, unsigned.encode(), hashlib.sha256).digest())}"

    mine = public_jwk(keys[1], "mine")
    forgeries: list[Callable[[dict[str, Any]], str]] = [
        lambda claims: lms.token(claims, key=keys[1]),
        lambda claims: lms.token(claims, key=keys[1], kid="mine"),
        lambda claims: lms.token(claims, key=keys[1], kid=None),
        lambda claims: raw_token({"alg": "none"}, claims),
        lambda claims: raw_token({"alg": "none", "kid": lms.kid}, claims),
        hmac_signed,
        lambda claims: raw_token({"alg": "RS256", "kid": lms.kid, "jwk": mine}, claims, b"x" * 256),
        lambda claims: raw_token({"alg": "RS256", "kid": "../../jwks.json"}, claims, b"x" * 256),
        lambda claims: raw_token({"alg": "RS256", "kid": lms.kid, "jku": f"{lms.issuer}/evil"}, claims, b"x" * 256),
    ]
    for forgery in forgeries:
        refused(send(forgery), 401, browser)


def test_lti13_replay(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    asked = browser.begin()
    [(name, value)] = [
        (cookie.name, cookie.value) for cookie in browser.cookies if cookie.name.startswith("lti13-state")
    ]
    token = hub.lms.token(hub.lms.claims(asked["nonce"]))
    assert browser.callback(asked["state"], token).status_code == 303
    assert name not in browser.cookies, "the state cookie is used up"
    assert "cookie" in refused(browser.callback(asked["state"], token), 400)
    thief = Browser(hub)
    refused(thief.callback(asked["state"], token), 400, thief)
    # With the cookie as well (malware, a shared browser's history of requests):
    thief.headers["Cookie"] = f"{name}={value}"
    assert "used before" in refused(thief.callback(asked["state"], token), 401)
    # Nor can a new state carry the old token.
    del thief.headers["Cookie"]
    assert "nonce" in refused(thief.callback(thief.begin()["state"], token), 401, thief)


def test_a_refused_token_does_not_use_up_anything(
    browser: Browser, hub: Hub, keys: Keys, refused: Callable[..., str]
) -> None:
    asked = browser.begin()
    stranger = Browser(hub)
    refused(stranger.callback(asked["state"], hub.lms.token(hub.lms.claims(asked["nonce"]), key=keys[1])), 400)
    assert browser.callback(asked["state"], hub.lms.token(hub.lms.claims(asked["nonce"]))).status_code == 303


def test_lti13_login_csrf(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    """The attacker's own, genuine launch in the victim's browser."""
    attacker = Browser(hub)
    asked = attacker.begin()
    token = hub.lms.token(hub.lms.claims(asked["nonce"], sub="attacker"))
    assert "cookie" in refused(browser.callback(asked["state"], token), 400, browser)
    own = browser.begin()
    refused(browser.callback(asked["state"], token), 400, browser)
    assert "nonce" in refused(browser.callback(own["state"], token), 401, browser)
    # A victim who is signed in stays who she is.
    browser.launch13(sub="victim")
    refused(browser.callback(asked["state"], token), 400)
    assert browser.whoami() == user_name(hub.lms.issuer, "victim")


def signed_cookie(hub: Hub, name: str, value: str, age: float = 0) -> str:
    secret = bytes.fromhex((hub.directory / "jupyterhub_cookie_secret").read_text().strip())
    return create_signed_value(secret, name, value, clock=lambda: time.time() - age).decode()


def test_lti13_state_cookies(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    secret = "5" * 64
    state, nonce = (hashlib.sha256(f"{purpose}:{secret}".encode()).hexdigest() for purpose in ("state", "nonce"))
    name = f"lti13-state-{state[0]}"

    def send(cookie: str) -> requests.Response:
        browser.headers["Cookie"] = f"{name}={cookie}"
        return browser.callback(state, hub.lms.token(hub.lms.claims(nonce, sub="cookies")))

    signed = signed_cookie(hub, name, secret)
    refused(send(secret), 400)
    refused(send(""), 400)
    refused(send(signed[:-1] + ("0" if signed[-1] != "0" else "1")), 400)
    refused(send(signed_cookie(hub, "jupyterhub-hub-login", secret)), 400)
    refused(send(signed_cookie(hub, "lti13-state-" + ("0" if state[0] != "0" else "1"), secret)), 400)
    refused(send(signed_cookie(hub, name, "6" * 64)), 400)
    refused(send(signed_cookie(hub, name, secret, age=STATE_SECONDS + 5)), 400)
    assert send(signed_cookie(hub, name, secret, age=STATE_SECONDS - 20)).status_code == 303


@pytest.mark.parametrize(
    "state", ["", " ", "z", "ä", "\x00", "0", "a" * 64, "g" * 64, "A" * 64, "../", "a" * 100_000, "\U0001f600"]
)
def test_lti13_odd_states(browser: Browser, hub: Hub, state: str, refused: Callable[..., str]) -> None:
    asked = browser.begin()
    refused(browser.callback(state, hub.lms.token(hub.lms.claims(asked["nonce"]))), 400, browser)


@pytest.mark.parametrize(
    "token",
    [
        "",
        "x",
        "a.b.c",
        "\x00",
        "é.é.é",
        f"{b64(b'[' * 50_000)}.e30.",
        f"{b64(b'{"alg":' + b'9' * 5000 + b'}')}.e30.",
        "." * 1000,
    ],
)
def test_lti13_odd_tokens(browser: Browser, token: str, refused: Callable[..., str]) -> None:
    refused(browser.callback(browser.begin()["state"], token), 400, browser)


def test_lti13_errors_of_the_platform(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    data = {"state": browser.begin()["state"], "error": "<script>alert(1)</script>", "error_description": "x"}
    answer = browser.post(hub.page("hub/lti13/oauth_callback"), data=data)
    refused(answer, 401)
    assert "<script>alert" not in answer.text


def test_lti13_ambiguity(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    asked = browser.begin()
    token = hub.lms.token(hub.lms.claims(asked["nonce"]))
    where = hub.page("hub/lti13/oauth_callback")
    refused(browser.post(where, data=[("state", asked["state"]), ("state", "x"), ("id_token", token)]), 400)
    refused(browser.post(where, params={"id_token": "x"}, data={"state": asked["state"], "id_token": token}), 400)
    refused(
        browser.post(
            where, data=b"state=%ff&id_token=x", headers={"Content-Type": "application/x-www-form-urlencoded"}
        ),
        400,
    )
    answer = browser.post(where, data=[("<script>alert(1)</script>", "1"), ("<script>alert(1)</script>", "2")])
    refused(answer, 400)
    assert "<script>alert" not in answer.text


@pytest.mark.parametrize(
    ("wrong", "status"),
    [
        ({"iss": "https://evil.example"}, 401),
        ({"iss": None}, 400),
        ({"login_hint": None}, 400),
        ({"target_link_uri": None}, 400),
        ({"client_id": "another"}, 401),
        ({"lti_deployment_id": "8"}, 403),
        ({"login_hint": "x" * 10_000}, 400),
    ],
)
def test_lti13_wrong_login_requests(
    browser: Browser, hub: Hub, wrong: dict[str, Any], status: int, refused: Callable[..., str]
) -> None:
    good = {"iss": hub.lms.issuer, "login_hint": "1", "target_link_uri": "x", "client_id": "python-ws26"}
    arguments = {name: value for name, value in {**good, **wrong}.items() if value is not None}
    for answer in (
        browser.post(hub.page("hub/lti13/oauth_login"), data=arguments),
        browser.get(hub.page("hub/lti13/oauth_login"), params=arguments),
    ):
        refused(answer, status)
        assert "Location" not in answer.headers
        assert "lti13-state" not in answer.headers.get("Set-Cookie", "")


def test_lti13_login_request_leads_only_to_the_platform(browser: Browser, hub: Hub) -> None:
    headers = {
        "Host": "evil.example",
        "X-Forwarded-Host": "evil.example",
        "X-Forwarded-Proto": "https",
        "Origin": "https://evil.example",
    }
    arguments = {
        "iss": hub.lms.issuer,
        "login_hint": "a\r\nSet-Cookie: x=y",
        "target_link_uri": "https://evil.example/",
        "redirect_uri": "https://evil.example/",
        "response_type": "code",
        "state": "fixed",
        "nonce": "fixed",
    }
    answer = browser.post(hub.page("hub/lti13/oauth_login"), data=arguments, headers=headers)
    location = urlsplit(answer.headers["Location"])
    asked = dict(parse_qsl(location.query))
    assert f"{location.scheme}://{location.netloc}" == hub.lms.issuer
    assert asked["redirect_uri"] == "http://hub.example.edu/hub/lti13/oauth_callback"
    assert asked["response_type"] == "id_token"
    assert "fixed" not in {asked["state"], asked["nonce"]}
    assert "evil" not in answer.headers["Location"]
    assert answer.headers["Set-Cookie"].startswith("lti13-state-")


def test_invented_key_ids_do_not_reach_the_platform_each_time(
    browser: Browser, hub: Hub, keys: Keys, refused: Callable[..., str]
) -> None:
    before = hub.lms.fetches
    for number in range(10):
        asked = browser.begin()
        refused(
            browser.callback(
                asked["state"], hub.lms.token(hub.lms.claims(asked["nonce"]), key=keys[1], kid=f"k{number}")
            ),
            401,
        )
    assert hub.lms.fetches <= before + 2


# ---- one version for the other ----
def test_versions_are_not_confused(browser: Browser, hub: Hub, refused: Callable[..., str]) -> None:
    form = signed_form(browser.launch11_url, hub.shared_secret)
    answer = browser.post(
        hub.page("hub/lti13/oauth_callback"), data=form, headers={"Content-Type": "application/x-www-form-urlencoded"}
    )
    refused(answer, 400, browser)
    asked = browser.begin()
    both = urlencode({"id_token": hub.lms.token(hub.lms.claims(asked["nonce"])), "state": asked["state"]})
    refused(browser.post11(both), 400, browser)
    # A form signed for the other page is no launch either.
    other = signed_form(f"{hub.url}hub/lti13/oauth_callback", hub.shared_secret)
    refused(browser.post11(other), 401, browser)


def test_both_versions_mean_the_same_person_and_nobody_else(hub: Hub) -> None:
    one, two = Browser(hub), Browser(hub)
    one.launch11(user_id="same-person", tool_consumer_instance_guid="another.example.edu")
    two.launch13(sub="same-person")
    assert one.whoami() == two.whoami() == user_name(hub.lms.issuer, "same-person")


@pytest.mark.parametrize(
    "subject",
    [
        "ngshare",
        "probe",
        "admin",
        "root",
        "../..",
        "u" * 17,
        "a" * 255,
        "ünï-\u00e9\u4e2d",
        "1' OR '1'='1",
        "{username}",
    ],
)
def test_nobody_gets_a_name_that_he_chooses(hub: Hub, subject: str) -> None:
    browser = Browser(hub)
    assert browser.launch13(sub=subject).status_code == 303
    assert browser.whoami() == user_name(hub.lms.issuer, subject)
    assert len(browser.whoami()) == 17


# ---- too much ----
@pytest.mark.parametrize("path", ["hub/lti11/launch", "hub/lti13/oauth_callback", "hub/login", "hub/api/users"])
def test_large_bodies_are_not_even_read(hub: Hub, path: str) -> None:
    try:
        status = requests.post(hub.page(path), data=b"a" * 300_000, timeout=60).status_code
    except (requests.ConnectionError, requests.exceptions.ChunkedEncodingError):
        status = 0
    assert status in {0, 400}


def test_many_parameters(browser: Browser, hub: Hub) -> None:
    body = "&".join(f"p{number}={number}" for number in range(20_000))
    begin = time.monotonic()
    assert browser.post11(body).status_code == 400
    assert time.monotonic() - begin < 30


@pytest.mark.parametrize("method", ["PUT", "DELETE", "PATCH", "OPTIONS", "HEAD"])
@pytest.mark.parametrize("path", ["hub/lti11/launch", "hub/lti13/oauth_callback", "hub/lti13/oauth_login", "hub/login"])
def test_other_methods(browser: Browser, hub: Hub, method: str, path: str) -> None:
    assert browser.request(method, hub.page(path)).status_code in {204, 403, 405}
    assert browser.whoami() == ""


# ---- after a restart ----
def test_a_restarted_hub_remembers(make_hub: Callable[..., Hub], lms: Lms, refused: Callable[..., str]) -> None:
    hub = make_hub()
    one = Browser(hub)
    form = signed_form(one.launch11_url, hub.shared_secret)
    assert one.post11(form).status_code == 303
    two = Browser(hub)
    asked = two.begin()
    cookie = next(f"{cookie.name}={cookie.value}" for cookie in two.cookies if cookie.name.startswith("lti13-state"))
    token = lms.token(lms.claims(asked["nonce"]))
    assert two.callback(asked["state"], token).status_code == 303
    three = Browser(hub)
    under_way = three.begin()
    hub.stop()
    hub.start()
    assert "used before" in refused(one.post11(form), 401)
    thief = Browser(hub)
    thief.headers["Cookie"] = cookie
    assert "used before" in refused(thief.callback(asked["state"], token), 401)
    # Who was on the way when the hub went down still arrives, and sessions last.
    assert three.callback(under_way["state"], lms.token(lms.claims(under_way["nonce"], sub="three"))).status_code == 303
    assert one.whoami() == user_name(lms.issuer, "4711")
    assert json.loads((hub.directory / "jwks.json").read_text())
