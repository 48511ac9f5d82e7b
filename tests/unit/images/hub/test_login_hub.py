"""Launches against a real hub: who comes in, as whom, and where to."""

from __future__ import annotations

import asyncio
import json
import re
import sqlite3
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from campus_hubs_login import CourseAuthenticator
from campus_hubs_login.keyset import RETRY_SECONDS
from campus_hubs_membership.identity import user_name
from traitlets import TraitError
from traitlets.config import Config

from tests.unit.images.hub.login_lab import MEMBERSHIP, Browser, Hub, Lms, signed_form

ADA = "4711"


def name(hub: Hub, subject: str = ADA) -> str:
    return user_name(hub.lms.issuer, subject)


def spawn(browser: Browser) -> None:
    """Do what the browser does after a launch, until the server runs."""
    answer = browser.get(browser.hub.page("hub/spawn"))
    assert answer.status_code == 302, answer.text
    user = browser.whoami()
    deadline = time.monotonic() + 20
    while not browser.hub.api(f"/users/{user}")["servers"].get("", {}).get("ready"):
        assert time.monotonic() < deadline, browser.hub.log[-3000:]
        time.sleep(0.2)


# ---- who comes in ----
@pytest.mark.parametrize("version", ["launch11", "launch13"])
def test_a_launch_signs_in_and_leads_to_the_server(browser: Browser, hub: Hub, version: str) -> None:
    answer = getattr(browser, version)()
    assert (answer.status_code, answer.headers["Location"]) == (303, "/hub/spawn"), answer.text
    assert answer.headers["Cache-Control"] == "no-store"
    assert browser.whoami() == name(hub)


@pytest.mark.parametrize(
    ("by11", "by13", "group"),
    [
        ("Instructor", [f"{MEMBERSHIP}#Instructor"], "instructor"),
        (
            "urn:lti:role:ims/lis/TeachingAssistant",
            [f"{MEMBERSHIP}/Instructor#TeachingAssistant"],
            "teaching_assistant",
        ),
        ("Learner", [f"{MEMBERSHIP}#Learner"], "student"),
    ],
)
def test_the_role_is_the_one_group(hub: Hub, by11: str, by13: list[str], group: str) -> None:
    Browser(hub).launch11(user_id=f"11-{group}", roles=by11)
    Browser(hub).launch13(sub=f"13-{group}", roles=by13)
    for subject in (f"11-{group}", f"13-{group}"):
        user = hub.api(f"/users/{name(hub, subject)}")
        assert (user["groups"], user["admin"], user["roles"]) == ([group], False, ["user"])


def test_a_changed_role_replaces_the_old_one(hub: Hub) -> None:
    for role in ("Instructor", "TeachingAssistant", "Learner", "Instructor"):
        Browser(hub).launch11(user_id="changing", roles=role)
        groups = hub.api(f"/users/{name(hub, 'changing')}")["groups"]
        assert groups == [
            {"Instructor": "instructor", "TeachingAssistant": "teaching_assistant", "Learner": "student"}[role]
        ]


@pytest.mark.parametrize("state", ["runs", "starts"])
@pytest.mark.parametrize(
    ("before", "after"),
    [("Instructor", "Learner"), ("Learner", "Instructor"), ("TeachingAssistant", "Learner")],
)
def test_a_server_of_the_old_role_is_stopped(hub: Hub, before: str, after: str, state: str) -> None:
    """Also one that only starts: what a server may is decided at its start."""
    browser, subject = Browser(hub), f"{before}-{after}-{state}"
    held, user = hub.directory / f"{name(hub, subject)}.held", f"/users/{name(hub, subject)}"
    browser.launch11(user_id=subject, roles=before)
    if state == "runs":
        spawn(browser)
        assert browser.launch11(user_id=subject, roles=before).headers["Location"].startswith("/user/")
    else:
        held.touch()
        assert browser.get(hub.page("hub/spawn")).status_code == 302
        assert hub.api(user)["servers"][""]["pending"] == "spawn"
    answer = browser.launch11(user_id=subject, roles=after)
    assert (answer.status_code, answer.headers.get("Location")) == (303, "/hub/spawn"), answer.text
    assert hub.api(user)["servers"] == {}
    held.unlink(missing_ok=True)
    spawn(browser)
    roles = {"Instructor": "instructor", "Learner": "student"}
    environment = json.loads((hub.directory / f"{name(hub, subject)}.env.json").read_text())
    assert environment["COURSE_ROLE"] == roles[after]


def test_a_launch_in_the_same_role_leaves_a_start_alone(browser: Browser, hub: Hub) -> None:
    held = hub.directory / f"{name(hub, 'patient')}.held"
    held.touch()
    browser.launch11(user_id="patient")
    browser.get(hub.page("hub/spawn"))
    assert browser.launch11(user_id="patient").headers["Location"] == "/hub/spawn"
    assert hub.api(f"/users/{name(hub, 'patient')}")["servers"][""]["pending"] == "spawn"
    held.unlink()
    spawn(browser)


def test_auth_state_is_kept_without_any_token(browser: Browser, hub: Hub) -> None:
    asked = browser.begin()
    token = hub.lms.token(hub.lms.claims(asked["nonce"], sub="state"))
    browser.callback(asked["state"], token)
    state = hub.api(f"/users/{name(hub, 'state')}")["auth_state"]
    assert state["sub"] == "state"
    assert state["email"] == "ada@example.edu"
    assert state["nrps"]["context_memberships_url"] == f"{hub.lms.issuer}/nrps/9"
    assert state["ags"]["lineitems"].endswith("?type_id=7")
    assert "id_token" not in json.dumps(state)
    body = token.split(".")[1]
    assert body not in json.dumps(state)


def test_nothing_secret_is_logged(browser: Browser, hub: Hub) -> None:
    """The hub logs at level DEBUG here."""
    asked = browser.begin()
    token = hub.lms.token(hub.lms.claims(asked["nonce"], sub="logged"))
    browser.callback(asked["state"], token)
    form = signed_form(browser.launch11_url, hub.shared_secret)
    browser.post11(form)
    browser.post11(form)
    log = hub.log
    assert "User logged in" in log
    assert token.split(".")[1] not in log
    assert token.split(".")[2] not in log
    assert hub.shared_secret not in log
    assert dict(parse_qsl(form))["oauth_signature"] not in log


def test_the_server_knows_role_and_name(browser: Browser, hub: Hub) -> None:
    browser.launch13(sub="spawns", roles=[f"{MEMBERSHIP}#Instructor"], name="Ada $(HOME) {x} Ünï")
    spawn(browser)
    environment = json.loads((hub.directory / f"{name(hub, 'spawns')}.env.json").read_text())
    assert environment["COURSE_ROLE"] == "instructor"
    assert environment["COURSE_USER_FULL_NAME"] == "Ada (HOME) x Ünï"
    assert environment["COURSE_USER_EMAIL"] == "ada@example.edu"
    assert environment["COURSE_CONTEXT_ID"] == "course-9"


def test_a_launch_of_a_running_server_goes_straight_to_it(browser: Browser, hub: Hub) -> None:
    browser.launch13(sub="runs")
    spawn(browser)
    user = name(hub, "runs")
    assert browser.launch13(sub="runs").headers["Location"] == f"/user/{user}/"
    assert Browser(hub).launch11(user_id="runs").headers["Location"] == f"/user/{user}/"
    # The server dies unnoticed; the next launch finds out and starts it anew.
    (hub.directory / f"{user}.dead").touch()
    assert browser.launch13(sub="runs").headers["Location"] == "/hub/spawn"


@pytest.mark.parametrize(
    ("target", "leads_to"),
    [
        ("http://hub.example.edu/hub/user-redirect/lab/tree/a%20b.ipynb", "/hub/user-redirect/lab/tree/a%20b.ipynb"),
        (
            "http://hub.example.edu/user-redirect/git-pull?repo=https%3A%2F%2Fx%2Fy&branch=main",
            "/hub/user-redirect/git-pull?repo=https%3A%2F%2Fx%2Fy&branch=main",
        ),
        ("http://evil.example/hub/user-redirect/lab", "/hub/user-redirect/lab"),
        ("http://evil.example/", "/hub/spawn"),
        ("http://hub.example.edu//evil.example/", "/hub/spawn"),
        ("http://hub.example.edu/hub/user-redirect//evil.example/", "/hub/spawn"),
        ("http://hub.example.edu/hub/user-redirect/../../hub/logout", "/hub/spawn"),
        ("http://hub.example.edu/hub/user-redirect/%2e%2e/%2e%2e/hub/logout", "/hub/spawn"),
        ("http://hub.example.edu/hub/user-redirect/\\evil.example", "/hub/spawn"),
        ("http://hub.example.edu/hub/user-redirect/a\r\nSet-Cookie: x=y", "/hub/spawn"),
        ("http://hub.example.edu/hub/logout", "/hub/spawn"),
        ("javascript:alert(1)", "/hub/spawn"),
        ("http://[", "/hub/spawn"),
        ("", None),
    ],
)
def test_where_a_launch_may_lead(browser: Browser, target: str, leads_to: str | None) -> None:
    """The target is in the signed token, but an LMS lets teachers write it."""
    answer = browser.launch13(sub="target", target_link_uri=target)
    if leads_to:
        assert (answer.status_code, answer.headers["Location"]) == (303, leads_to)
    by11 = browser.launch11(user_id="target", custom_next=target)
    assert (by11.status_code, by11.headers["Location"]) == (303, leads_to or "/hub/spawn")


def test_the_target_of_the_login_request_counts_for_nothing(browser: Browser, hub: Hub) -> None:
    asked = browser.begin(target_link_uri="http://evil.example/?next=http://evil.example/", next="http://evil.example/")
    assert "evil" not in json.dumps(asked)
    answer = browser.callback(asked["state"], hub.lms.token(hub.lms.claims(asked["nonce"])))
    assert answer.headers["Location"] == "/hub/spawn"


# ---- shared computers ----
def test_the_next_person_in_the_browser_gets_a_session_of_her_own(browser: Browser, hub: Hub) -> None:
    browser.launch13(sub="first")
    first = name(hub, "first")
    session = browser.cookies["jupyterhub-session-id"]
    browser.cookies.set("jupyterhub-user-" + first, "server token", domain="hub.example.edu", path=f"/user/{first}/")
    answer = browser.launch13(sub="second")
    assert browser.whoami() == name(hub, "second")
    assert browser.cookies["jupyterhub-session-id"] != session
    assert f"jupyterhub-user-{first}" not in browser.cookies
    assert f'jupyterhub-user-{first}=""' in answer.headers["Set-Cookie"]
    assert browser.launch11(user_id="first").status_code == 303
    assert browser.whoami() == first


def test_the_same_person_keeps_her_session(browser: Browser, hub: Hub) -> None:
    browser.launch13(sub="same")
    session = browser.cookies["jupyterhub-session-id"]
    browser.launch13(sub="same")
    assert browser.cookies["jupyterhub-session-id"] == session


def test_a_session_id_planted_before_the_login_is_not_used(browser: Browser) -> None:
    browser.cookies.set("jupyterhub-session-id", "planted", domain="hub.example.edu", path="/")
    browser.launch13()
    assert "planted" not in browser.cookies.values()


def test_cookies_end_with_the_browser_session(browser: Browser) -> None:
    browser.launch13()
    assert {cookie.name for cookie in browser.cookies} >= {"jupyterhub-hub-login", "jupyterhub-session-id"}
    lasting = [
        cookie.name for cookie in browser.cookies if not cookie.discard and not cookie.name.startswith("lti13-state")
    ]
    assert lasting == []


def test_two_tabs_do_not_disturb_each_other(browser: Browser, hub: Hub) -> None:
    one = browser.begin()
    two = browser.begin()
    for asked in (one, two):
        assert browser.callback(asked["state"], hub.lms.token(hub.lms.claims(asked["nonce"]))).status_code == 303


def test_log_out_shows_the_way_in(browser: Browser, hub: Hub) -> None:
    browser.launch13()
    page = browser.get(hub.page("hub/logout"))
    assert page.status_code == 200
    assert "You are logged out" in page.text
    assert browser.whoami() == ""


# ---- the question that the LMS is asked ----
@pytest.mark.parametrize("method", ["get", "post"])
def test_login_request_asks_the_platform(browser: Browser, hub: Hub, method: str) -> None:
    arguments = {
        "iss": hub.lms.issuer,
        "login_hint": "4711&x=ü",
        "target_link_uri": hub.url,
        "lti_message_hint": '{"cmid":5}',
    }
    where = {"params": arguments} if method == "get" else {"data": arguments}
    answer = browser.request(method, hub.page("hub/lti13/oauth_login"), **where)
    assert answer.status_code == 302
    assert answer.headers["Cache-Control"] == "no-store"
    location = urlsplit(answer.headers["Location"])
    assert f"{location.scheme}://{location.netloc}{location.path}" == f"{hub.lms.issuer}/authorize"
    asked = dict(parse_qsl(location.query))
    assert asked.pop("state") != asked.pop("nonce")
    assert asked == {
        "response_type": "id_token",
        "response_mode": "form_post",
        "scope": "openid",
        "prompt": "none",
        "client_id": "python-ws26",
        "redirect_uri": "http://hub.example.edu/hub/lti13/oauth_callback",
        "login_hint": "4711&x=ü",
        "lti_message_hint": '{"cmid":5}',
    }


def test_state_cookie_over_http_survives_a_post_from_another_site(browser: Browser, hub: Hub) -> None:
    browser.headers["Host"] = "hub.example.edu"
    answer = browser.get(
        hub.page("hub/lti13/oauth_login"), params={"iss": hub.lms.issuer, "login_hint": "1", "target_link_uri": "x"}
    )
    cookie = answer.headers["Set-Cookie"]
    assert re.match(r"lti13-state-[0-9a-f]=", cookie)
    assert "HttpOnly" in cookie
    assert "Path=/hub/lti13" in cookie
    assert "Max-Age=600" in cookie
    # Browsers send a Lax cookie with such a POST only if Lax was not asked for (and it is young).
    assert "SameSite" not in cookie
    assert "Secure" not in cookie


def test_cookies_over_https_work_in_a_frame(make_hub: Callable[..., Hub], lms: Lms) -> None:
    hub = make_hub(base_url="/course/", scheme="https")
    browser = Browser(hub)
    asked = browser.begin()
    assert asked["redirect_uri"] == "https://hub.example.edu/course/hub/lti13/oauth_callback"
    [state] = [cookie for cookie in browser.cookies if "lti13-state" in cookie.name]
    assert state.name.startswith("__Host-lti13-state-")
    assert (state.secure, state.path, state.get_nonstandard_attr("SameSite")) == (True, "/", "None")
    # The test speaks http to the hub, as the proxy does: send what a browser would send over https.
    browser.headers["Cookie"] = f"{state.name}={state.value}"
    answer = browser.callback(asked["state"], lms.token(lms.claims(asked["nonce"])))
    assert (answer.status_code, answer.headers["Location"]) == (303, "/course/hub/spawn")
    for cookie in browser.cookies:
        assert cookie.secure, cookie
        assert cookie.get_nonstandard_attr("SameSite") == "None", cookie
    assert answer.headers["Content-Security-Policy"] == f"frame-ancestors {lms.issuer}"
    del browser.headers["Cookie"]
    assert browser.launch11(user_id="x").headers["Location"] == "/course/hub/spawn"
    assert requests.get(hub.page("hub/lti13/jwks"), timeout=30).json()["keys"][0]["kid"] == "tool-1"
    page = requests.get(f"{hub.origin}/course/", headers={"Host": "hub.example.edu"}, timeout=30, allow_redirects=False)
    assert page.headers["Location"].startswith("https://hub.example.edu/course/hub/")


# ---- without a launch ----
@pytest.mark.parametrize(
    "path",
    [
        "",
        "hub",
        "hub/",
        "hub/login",
        "hub/login?next=%2Fhub%2Fhome",
        "hub/login?next=http://evil.example/",
        "hub/spawn",
        "hub/home",
        "hub/admin",
        "hub/user-redirect/lab",
        "hub/lti11/launch",
        "hub/lti13/oauth_login",
        "hub/lti13/oauth_callback",
        "user/somebody/lab",
    ],
)
def test_a_direct_visit_shows_the_way_in(browser: Browser, hub: Hub, path: str) -> None:
    answer = browser.get(hub.page(path))
    for _ in range(5):
        if answer.status_code not in {301, 302}:
            break
        target = urlsplit(answer.headers["Location"])
        assert target.netloc in {"", "hub.example.edu"}, answer.headers["Location"]
        answer = browser.get(f"{hub.origin}{target.path}{'?' + target.query if target.query else ''}")
    assert answer.status_code == 403
    assert "<h1>Open this course from your LMS</h1>" in answer.text
    assert f'href="{hub.lms.issuer}/course/9"' in answer.text
    assert "Python &lt;WS26&gt;" in answer.text
    assert "password" in answer.text
    assert "<form" not in answer.text
    assert 'id="login"' not in answer.text
    assert answer.headers["Content-Type"] == "text/html"


def test_pages_are_accessible(browser: Browser, hub: Hub) -> None:
    for page in (browser.get(hub.page("hub/login")), browser.post11("x=1")):
        assert '<html lang="en">' in page.text
        assert page.text.count("<h1") == 1
        assert '<main class="container" id="main">' in page.text
        assert re.search(r"<title>\s*\S.*</title>", page.text, re.DOTALL)


def test_passwords_lead_nowhere(browser: Browser, hub: Hub) -> None:
    for data in ({"username": "admin", "password": "admin"}, {"launch": "x"}, {"_xsrf": "x", "username": "u"}):
        answer = browser.post(hub.page("hub/login"), data=data)
        assert answer.status_code == 403
        assert "Open this course from your LMS" in answer.text
    for body in ({"auth": {"username": "a", "password": "b"}}, {"auth": {"launch": {"user_name": "root"}}}):
        answer = browser.post(hub.page("hub/api/users/admin/tokens"), json=body)
        assert answer.status_code in {403, 404}, answer.text
    assert browser.whoami() == ""


def test_no_user_is_called_like_a_service(hub: Hub) -> None:
    for name in ("ngshare", "probe", "Ngshare", "u123"):
        answer = requests.post(
            hub.page(f"hub/api/users/{name}"), headers={"Authorization": f"token {hub.token}"}, timeout=30
        )
        assert answer.status_code == 400, answer.text


@pytest.mark.parametrize(
    "data",
    [None, {}, "root", {"username": "root", "password": "x"}, {"launch": None}, {"launch": {"user_name": "root"}}],
)
def test_only_a_verified_launch_is_a_login(data: object) -> None:
    assert asyncio.run(CourseAuthenticator().authenticate(None, data)) is None


def test_error_pages_show_the_way_in(browser: Browser, hub: Hub) -> None:
    answer = browser.get(hub.page("hub/nothing-here"))
    assert answer.status_code == 404
    assert f'href="{hub.lms.issuer}/course/9"' in answer.text


# ---- the tool's keys ----
def test_key_set_is_public_and_new_at_once(hub: Hub) -> None:
    answer = requests.get(hub.page("hub/lti13/jwks"), timeout=30)
    assert answer.status_code == 200
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.headers["Cache-Control"] == "public, max-age=300"
    assert "Set-Cookie" not in answer.headers
    assert answer.json() == {"keys": [{"kty": "RSA", "kid": "tool-1", "n": "AQAB", "e": "AQAB"}]}
    hub.write_tool_keys("tool-2")
    assert requests.get(hub.page("hub/lti13/jwks"), timeout=30).json()["keys"][0]["kid"] == "tool-2"
    assert requests.head(hub.page("hub/lti13/jwks"), timeout=30).status_code == 200
    hub.write_tool_keys("tool-1")


@pytest.mark.parametrize("content", [None, "", "{", "[]", '{"keys": 1}', '{"keys": [1]}'])
def test_a_broken_key_file_is_no_traceback(hub: Hub, content: str | None) -> None:
    file = hub.directory / "jwks.json"
    file.unlink()
    if content is not None:
        file.write_text(content)
    answer = requests.get(hub.page("hub/lti13/jwks"), timeout=30)
    hub.write_tool_keys("tool-1")
    assert answer.status_code == 503
    assert answer.headers["Cache-Control"] == "no-store"
    assert set(answer.json()) == {"error"}


# ---- the platform's keys ----
def test_keys_are_not_fetched_for_each_launch(hub: Hub) -> None:
    Browser(hub).launch13()
    before = hub.lms.fetches
    for number in range(5):
        assert Browser(hub).launch13(sub=f"many-{number}").status_code == 303
    assert hub.lms.fetches == before


# ---- courses with one LTI version, and narrower ones ----
def test_a_course_of_lti11_only(make_hub: Callable[..., Hub], reason: Callable[[requests.Response], str]) -> None:
    hub = make_hub(lti13_platform={}, lms_url="")
    browser = Browser(hub)
    answer = browser.post(
        hub.page("hub/lti13/oauth_login"), data={"iss": "x", "login_hint": "x", "target_link_uri": "x"}
    )
    assert (answer.status_code, reason(answer)) == (404, "This course does not use LTI 1.3.")
    assert browser.callback("x", "y").status_code == 404
    assert browser.launch11(context_id="course-8").status_code == 403
    assert browser.launch11(context_id=None).status_code == 403
    # Nothing says where the LMS is: people see as whom they come in, and press a button.
    page = browser.launch11(lis_person_name_full="Ada <b>L.</b>", headers={"Origin": "http://elsewhere.example"})
    assert page.status_code == 200
    assert "Continue as Ada &lt;b&gt;L.&lt;/b&gt; to Python &lt;WS26&gt;?" in page.text
    assert "frame-ancestors 'none'" in page.headers["Content-Security-Policy"]
    assert browser.whoami() == ""
    # Another browser, another site, another launch, none: nobody comes in, and the button still works afterwards.
    other = Browser(hub)
    theirs = other.launch11(user_id="other")
    assert other.confirm(page).status_code == 400
    [sealed] = re.findall(r'name="launch" value="([^"]*)"', theirs.text)
    assert Browser(hub).confirm(theirs).status_code == 400
    evil = browser.post(hub.page("hub/lti11/confirm"), data={"state": "x"}, headers={"Origin": "http://evil.example"})
    assert (evil.status_code, reason(evil)) == (403, "The button was not pressed on this hub's page.")
    for launch in (sealed, sealed[:-1], "", "x"):
        page = browser.launch11()
        assert browser.confirm(page, launch=launch).status_code == 401
    assert (other.whoami(), browser.whoami()) == ("", "")
    page = browser.launch11()
    cookies = dict(browser.cookies)
    assert (browser.confirm(page).status_code, browser.whoami()) == (303, user_name("moodle.example.edu", ADA))
    again = Browser(hub)
    again.cookies.update(cookies)
    assert again.confirm(page).status_code == 401
    # An https LMS is not named by the browser to a hub without https: the same button.
    secure = make_hub(lti13_platform={}, lms_url="https://lms.example.edu/course/9")
    unsaid = Browser(secure)
    page = unsaid.launch11(headers={"Origin": "null"})
    assert (page.status_code, unsaid.whoami()) == (200, "")
    assert unsaid.confirm(page).status_code == 303
    assert "not this course's LMS" in reason(Browser(secure).launch11(headers={"Origin": "http://evil.example"}))
    no_guid = Browser(hub)
    no_guid.confirm(no_guid.launch11(tool_consumer_instance_guid=None, user_id="no-guid"))
    assert hub.api(f"/users/{user_name('consumer', 'no-guid')}")["groups"] == ["student"]
    page = Browser(hub).get(hub.page("hub/login"))
    assert "learning management system" in page.text
    assert 'href=""' not in page.text


def test_a_course_waits_for_its_registration(
    make_hub: Callable[..., Hub], lms: Lms, reason: Callable[[requests.Response], str]
) -> None:
    """An LMS gives the ids only once it has the addresses. LTI 1.1 is no way in meanwhile."""
    hub = make_hub(lti13_platform={**lms.registration, "client_id": "", "deployment_id": ""})
    browser = Browser(hub)
    for path in ("hub/", "hub/login", "hub/spawn", "hub/lti13/oauth_login", "hub/lti11/launch"):
        page = browser.get(hub.page(path), allow_redirects=True)
        assert page.status_code == 403
        assert "waits for its registration" in page.text
        for address in ("/", "/hub/lti13/oauth_login", "/hub/lti13/oauth_callback", "/hub/lti13/jwks"):
            assert f"<code>http://hub.example.edu{address}</code>" in page.text
    assert requests.get(hub.page("hub/lti13/jwks"), timeout=30).json()["keys"]
    begun = {"iss": lms.issuer, "login_hint": "1", "target_link_uri": hub.url, "client_id": "", "lti_deployment_id": ""}
    for answer in (
        browser.post(hub.page("hub/lti13/oauth_login"), data=begun),
        browser.callback("0" * 64, lms.token(lms.claims("n", aud="", deployment_id=""))),
        browser.launch11(),
        browser.post(hub.page("hub/lti11/confirm"), data={"state": "x"}),
    ):
        assert (answer.status_code, reason(answer)) == (403, "This course waits for its registration in the LMS.")
    assert hub.api("/users") == []


def test_each_refusal_helps_who_reads_it_and_is_in_the_log(browser: Browser, hub: Hub) -> None:
    """Student, lecturer and administrator read what they can do; the log has the reason beside the page's reference."""
    institution = "http://purl.imsglobal.org/vocab/lis/v2/institution/person#<i>Faculty</i>"
    browser.launch13(sub="member")
    refusals = {
        "no signature": (browser.launch11(secret="guessed"), 401, "signature"),
        "no launch": (browser.post11("x=1"), 400, "lti_message_type is missing"),
        "institution roles": (browser.launch13(roles=[institution, *["x" * 999] * 9]), 403, "person#<i>Faculty</i>"),
        "other context": (browser.launch13(context={"id": "1", "title": "Two\nlines"}), 403, "Two lines (id 1)"),
        "other issuer": (browser.launch13(iss=f"{hub.lms.issuer}/"), 401, f"inventory has issuer '{hub.lms.issuer}'"),
        "direct visit": (Browser(hub).get(hub.page("hub/login")), 403, "/hub/login without a launch"),
        "error of the hub": (browser.get(hub.page("hub/spawn/someone-else")), 404, "No access to resources"),
        "error before a login": (Browser(hub).get(hub.page("hub/nothing-here\x07")), 404, "404"),
    }
    log = hub.log
    for name, (page, status, why) in refusals.items():
        assert page.status_code == status, name
        for reader in ("You teach the course", "You run the hub or the LMS"):
            assert reader in page.text, name
        assert "You are a student" in page.text or name == "direct visit"
        [reference] = re.findall(r'<code id="reference">([0-9a-f]{8})</code>', page.text)
        [line] = [line for line in log.splitlines() if f"Reference {reference}: {status} " in line]
        assert why in line, name
        assert "<i>" not in page.text
        assert len(page.text) < 20_000
    text = refusals["institution roles"][0].text
    assert "person#&lt;i&gt;Faculty&lt;/i&gt;&#39;" in text
    assert text.count("x" * 120) == 4
    assert "x" * 121 not in text
    assert "and 5 more" in text
    assert "course_hub_lti_roles" in text


def test_who_is_removed_and_comes_back_at_once_comes_in(hub: Hub) -> None:
    """The hub stops the server first, and then removes the user, who has launched meanwhile."""
    user = name(hub, "removed")
    first = Browser(hub)
    first.launch13(sub="removed")
    spawn(first)
    (hub.directory / f"{user}.slow").touch()
    with ThreadPoolExecutor() as pool:
        removal = pool.submit(
            requests.delete, hub.page(f"hub/api/users/{user}"), headers={"Authorization": f"token {hub.token}"},
            timeout=30,
        )  # fmt: skip
        time.sleep(1)
        back = Browser(hub)
        assert back.launch13(sub="removed").headers["Location"] == "/hub/spawn"
        assert removal.result().status_code == 204
    assert first.whoami() == ""
    assert back.whoami() == user
    spawn(back)


def test_a_course_of_lti13_only(
    make_hub: Callable[..., Hub], lms: Lms, reason: Callable[[requests.Response], str]
) -> None:
    hub = make_hub(
        lti11_consumer_dir="",
        issuer="https://identity.example.edu",
        blocked_users=[user_name("identity.example.edu", "blocked")],
    )
    answer = Browser(hub).launch11()
    assert (answer.status_code, reason(answer)) == (404, "This course does not use LTI 1.1.")
    # An LMS that sends us elsewhere for its keys gets nobody in; when it is well again, so is the hub.
    lms.behaviour = "redirect"
    answer = Browser(hub).launch13()
    assert answer.status_code == 503
    assert "try again" in reason(answer)
    lms.behaviour = ""
    time.sleep(RETRY_SECONDS + 0.5)
    browser = Browser(hub)
    assert browser.launch13().status_code == 303
    assert browser.whoami() == user_name("identity.example.edu", ADA)
    blocked = Browser(hub)
    assert blocked.launch13(sub="blocked").status_code == 403
    assert blocked.whoami() == ""


def test_a_hub_that_cannot_remember_launches_does_not_start(make_hub: Callable[..., Hub]) -> None:
    with pytest.raises(RuntimeError, match="unable to open database file"):
        make_hub(replay_database="/nowhere/replay.sqlite")


@pytest.mark.parametrize(
    ("traits", "message"),
    [
        ({"lti13_platform": {"issuer": "http://x", "deployment_id": "1"}}, "lti13_platform.client_id: found nothing"),
        ({"lti13_platform": {"issuers": "http://x"}}, "lti13_platform: found the unknown key 'issuers'"),
        ({"lms_url": "javascript:alert(1)"}, "lms_url: found 'javascript:alert(1)', expected an http or https URL"),
    ],
)
def test_a_wrong_configuration_is_named(traits: dict[str, Any], message: str) -> None:
    with pytest.raises(TraitError, match=re.escape(message)):
        CourseAuthenticator(config=Config({"CourseAuthenticator": traits}))


@pytest.mark.parametrize("file", ["lti-replay.sqlite", "lti-context.sqlite", "jupyterhub.sqlite"])
def test_a_launch_that_cannot_be_stored_says_so(hub: Hub, file: str) -> None:
    """A full disk looks the same to SQLite's callers as a file that somebody else holds."""
    launch: dict[str, Any] = {"sub": "lecturer", "roles": [f"{MEMBERSHIP}#Instructor"]}
    with closing(sqlite3.connect(hub.directory / file, isolation_level=None)) as held:
        held.execute("BEGIN EXCLUSIVE")
        refused = Browser(hub).launch13(**launch)
    assert (refused.status_code, "The hub cannot store your login." in refused.text) == (503, True)
    assert Browser(hub).launch13(**launch).status_code == 303
