"""What people and the tokens in their servers may do at a real hub: its whole API, on themselves and on others."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from jupyterhub.apihandlers import default_handlers

from tests.unit.images.hub.login_lab import Browser, Hub
from tests.unit.images.hub.test_login_hub import name, spawn

METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PUBLIC = {("GET", "/"), ("GET", "/health")}
# Of a person's own: the method and the path below /hub/api, with "me" for the name.
BY_COOKIE = PUBLIC | {
    ("GET", "/user"),
    ("GET", "/users/me"),
    ("GET", "/users/me/server"),
    ("GET", "/users/me/servers/"),
    ("GET", "/users/me/server/progress"),
    ("GET", "/users/me/servers//progress"),
    ("POST", "/users/me/activity"),
    ("POST", "/users/me/server"),
    ("POST", "/users/me/servers/"),
    ("PUT", "/users/me/server"),
    ("PUT", "/users/me/servers/"),
    ("PATCH", "/users/me/server"),
    ("PATCH", "/users/me/servers/"),
    ("DELETE", "/users/me/server"),
    ("DELETE", "/users/me/servers/"),
}
BY_TOKEN = PUBLIC | {("GET", "/user"), ("GET", "/users/me"), ("POST", "/users/me/activity")}
# What is written there must not matter; a body of the right form gets further than none.
BODIES: dict[str, Any] = {
    "activity": {"last_activity": "2020-01-01T00:00:00Z"},
    "tokens": {"note": "for ever"},
    "users": {"usernames": ["uzzzzzzzzzzzzzzzz"]},
    "server": {},
}


@pytest.fixture(scope="module")
def people(make_hub: Callable[..., Hub]) -> tuple[Hub, dict[str, Browser], dict[str, str]]:
    """Give a hub, a student and a lecturer with running servers, and the tokens in these."""
    hub = make_hub()
    browsers, tokens = {}, {}
    for subject, role in (("student", "Learner"), ("lecturer", "Instructor")):
        browsers[subject] = browser = Browser(hub)
        browser.launch11(user_id=subject, roles=role)
        spawn(browser)
        environment = json.loads((hub.directory / f"{name(hub, subject)}.env.json").read_text())
        tokens[subject] = environment["JUPYTERHUB_API_TOKEN"]
    return hub, browsers, tokens


def paths(me: str, other: str) -> Iterator[str]:
    """Fill in all paths of the hub's API, with one's own name and with another's."""
    for pattern, *_ in default_handlers:
        pieces = re.split(r"\([^()]*\)", re.sub(r"\(\?:/(\([^()]*\))\)\?", r"/\1", pattern.rstrip("$?")))
        for words in itertools.product((me, other, ""), repeat=len(pieces) - 1):
            if all(words[:1]):
                path = "".join(map("".join, itertools.zip_longest(pieces, words, fillvalue="")))
                yield path.removeprefix("/api") or "/"


def call(hub: Hub, session: requests.Session, method: str, path: str) -> int:
    body = BODIES.get(path.rstrip("/").rsplit("/", 1)[-1], {})
    answer = session.request(
        method, hub.page(f"hub/api{path}"), json=body if method != "GET" else None, timeout=20, stream=True
    )
    answer.close()
    return answer.status_code


def session_of(browser: Browser) -> requests.Session:
    """Take a page's cookies and its XSRF token, as its scripts have them."""
    page = browser.get(browser.hub.page("hub/home"))
    found = re.search(r'xsrf_token: "([^"]+)"', page.text)
    assert found
    browser.headers["X-XSRFToken"] = found[1]
    browser.headers["Referer"] = f"{browser.hub.url}hub/home"
    return browser


@pytest.mark.parametrize("by", ["cookie", "token"])
@pytest.mark.parametrize("who", ["student", "lecturer"])
def test_the_hubs_api_is_for_ones_own_server(
    people: tuple[Hub, dict[str, Browser], dict[str, str]], who: str, by: str
) -> None:
    hub, browsers, tokens = people
    me, other = name(hub, who), name(hub, {"student": "lecturer", "lecturer": "student"}[who])
    if by == "cookie":
        session: requests.Session = session_of(browsers[who])
    else:
        session = requests.Session()
        session.headers["Authorization"] = f"token {tokens[who]}"
    done = set()
    # A server's end would end its token.
    for method, path in sorted(itertools.product(METHODS, set(paths(me, other))), key=lambda one: one[0] == "DELETE"):
        if call(hub, session, method, path) < 400:
            done.add((method, path.replace(me, "me").replace(other, "other")))
    assert done <= (BY_COOKIE if by == "cookie" else BY_TOKEN), done
    assert ("GET", "/user") in done
    users = {user["name"]: user for user in hub.api("/users")}
    assert {me, other} <= set(users)
    assert users[other]["servers"], "the other's server was ended"
    if by == "cookie" and not hub.api(f"/users/{me}")["servers"].get("", {}).get("ready"):
        spawn(browsers[who])
        environment = json.loads((hub.directory / f"{me}.env.json").read_text())
        tokens[who] = environment["JUPYTERHUB_API_TOKEN"]


@pytest.mark.parametrize("page", ["token", "accept-share", "admin", "metrics"])
def test_pages_that_nobody_needs(people: tuple[Hub, dict[str, Browser], dict[str, str]], page: str) -> None:
    hub, browsers, _ = people
    assert browsers["lecturer"].get(hub.page(f"hub/{page}")).status_code in {403, 404}
    assert f"/hub/{page}" not in browsers["lecturer"].get(hub.page("hub/home")).text


def test_nobody_signs_in_to_anothers_server(people: tuple[Hub, dict[str, Browser], dict[str, str]]) -> None:
    """A student's link into their server, opened by a lecturer."""
    hub, browsers, tokens = people
    server = name(hub, "student")
    asked = {
        "client_id": f"jupyterhub-user-{server}",
        "response_type": "code",
        "redirect_uri": f"/user/{server}/oauth_callback",
    }
    own = browsers["student"].get(hub.page("hub/api/oauth2/authorize"), params=asked)
    assert own.status_code == 302, own.text
    place, code = own.headers["Location"].split("?code=")
    assert place == f"/user/{server}/oauth_callback"
    # The server takes the code for a token by which it knows its visitor, and which is good for nothing else.
    visit = requests.post(
        hub.page("hub/api/oauth2/token"),
        data={
            "client_id": asked["client_id"],
            "client_secret": tokens["student"],
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": asked["redirect_uri"],
        },
        timeout=20,
    )
    assert visit.status_code == 200, visit.text
    headers = {"Authorization": f"token {visit.json()['access_token']}"}
    visitor = requests.get(hub.page("hub/api/user"), headers=headers, timeout=20).json()
    assert (visitor["name"], visitor["groups"]) == (server, ["student"])
    assert {scope.partition("!")[0] for scope in visitor["scopes"]} == {
        "access:servers",
        "read:users:groups",
        "read:users:name",
    }
    lecturer = session_of(browsers["lecturer"])
    for answer in (
        lecturer.get(hub.page("hub/api/oauth2/authorize"), params=asked),
        lecturer.post(hub.page("hub/api/oauth2/authorize"), params=asked),
        lecturer.post(hub.page("hub/api/oauth2/authorize"), data=asked),
    ):
        assert answer.status_code == 403, answer.headers.get("Location")
    # Nor by the token in their server.
    for who, expected in (("student", {f"access:servers!server={server}/"}), ("lecturer", set())):
        answer = requests.get(hub.page("hub/api/user"), headers={"Authorization": f"token {tokens[who]}"}, timeout=20)
        access = {scope for scope in answer.json()["scopes"] if scope.startswith("access:")}
        assert {scope for scope in access if server in scope} == expected
