"""The demo LMS's pages for administrators and teachers: docs/moodle.md is followed on them, in a real Chromium."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
import pytest
import requests
from flask.testing import FlaskClient
from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import WebDriverWait

from lab.lms import demo_lms, tools
from lab.lms.model import LINEITEM, MEMBERSHIP_READONLY, SCOPES, Platform
from tests import moodle_docs
from tests.unit import chromium
from tests.unit.lms.conftest import Lms

TITLE = "Programming in Python's depths"
FIELDS = {each.label: each for section in tools.FIELDS.values() for each in section}


@pytest.fixture
def browser() -> Iterator[webdriver.Chrome]:
    driver = chromium.start()
    yield driver
    driver.quit()


class Hub(ThreadingHTTPServer):
    """A tool that answers a login as hubs do, and shows the claims of the launch.

    Args:
        lms: the address of the LMS.

    """

    def __init__(self, lms: str) -> None:
        """Start it."""
        owner = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                query = {name: values[0] for name, values in parse_qs(urlsplit(self.path).query).items()}
                fields = {"scope": "openid", "response_type": "id_token", "response_mode": "form_post"}
                fields |= {"prompt": "none", "client_id": query["client_id"], "state": "s", "nonce": "n"}
                fields |= {"redirect_uri": f"{owner.url}hub/lti13/oauth_callback"}
                fields |= {name: query[name] for name in ("login_hint", "lti_message_hint")}
                self.send_response(302)
                self.send_header("Location", f"{lms}/auth?{urlencode(fields)}")
                self.end_headers()

            def do_POST(self) -> None:
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                keys = jwt.PyJWKSet.from_dict(requests.get(f"{lms}/jwks", timeout=10).json())
                token = form["id_token"][0]
                key = keys[jwt.get_unverified_header(token)["kid"]]
                claims = jwt.decode(token, key, algorithms=["RS256"], options={"verify_aud": False})
                body = json.dumps(claims).encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_arguments: object) -> None:
                """Say nothing."""

        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}/"
        threading.Thread(target=self.serve_forever, daemon=True).start()

    @property
    def printed(self) -> dict[str, str]:
        """What a run of site.yml prints for it."""
        hub = f"{self.url}hub/lti13"
        return {
            "Tool URL": self.url,
            "Initiate login URL": f"{hub}/oauth_login",
            "Redirection URI": f"{hub}/oauth_callback",
            "Public keyset URL": f"{hub}/jwks",
        }


def test_the_docs_are_followed_word_by_word(browser: webdriver.Chrome, process: Lms) -> None:
    hub, course = Hub(process.url), f"c{secrets.token_hex(3)}"
    client_id, deployment_id = moodle_docs.configure(browser, process.url, TITLE, hub.printed)
    moodle_docs.add_to_course(browser, process.url, course, TITLE)
    moodle_docs.click(browser, "Enter as lecturer")
    wait = WebDriverWait(browser, 20)
    wait.until(lambda b: len(b.window_handles) == 2)
    browser.switch_to.window(browser.window_handles[1])
    wait.until(lambda b: b.current_url.startswith(hub.url))
    claims: dict[str, Any] = json.loads(browser.find_element(By.TAG_NAME, "body").text)
    hub.shutdown()
    claim = "https://purl.imsglobal.org/spec/lti/claim"
    assert client_id in claims["aud"]
    assert claims[f"{claim}/deployment_id"] == deployment_id
    assert claims[f"{claim}/target_link_uri"] == hub.url
    assert claims[f"{claim}/context"]["id"] == course
    assert claims["name"] == "Ada Brandt"


def test_the_page_has_the_fields_and_options_of_the_docs() -> None:
    values = moodle_docs.settings(TITLE)
    assert set(moodle_docs.addresses()) == set(Hub("").printed)
    assert set(values) | set(moodle_docs.addresses().values()) <= set(FIELDS)
    assert len(values) >= 10
    for label, value in values.items():
        assert not FIELDS[label].options or value in FIELDS[label].options, label


def form(**changes: str) -> dict[str, str]:
    """Return what the page sends when the docs were followed, but for some fields by their labels."""
    values = moodle_docs.settings(TITLE) | dict.fromkeys(moodle_docs.addresses().values(), "https://hub/x")
    values |= {label.replace("_", " "): value for label, value in changes.items()}
    return {FIELDS[label].name: value for label, value in values.items()}


@pytest.fixture
def platform() -> Platform:
    return Platform(issuer="http://10.89.7.6")


@pytest.fixture
def client(platform: Platform) -> FlaskClient:
    return demo_lms.create_app(platform).test_client()


def activity(client: FlaskClient, fields: dict[str, str]) -> None:
    assert client.post("/admin/tools/new", data=fields).status_code == 303
    assert client.post("/course", data={"shortname": "py"}).status_code == 303
    client.post("/course/py/tools", data={"tool": "1"})
    assert client.post("/course/py/activity", data={"tool": "1"}).status_code == 303


def test_what_is_entered_has_its_effect(client: FlaskClient, platform: Platform) -> None:
    activity(client, form() | {FIELDS["IMS LTI Assignment and Grade Services"].name: tools.GRADE_SYNC})
    assert set(SCOPES) - set(platform.book("py").scopes) == {LINEITEM}
    assert platform.activities["py"]["keyset_url"] == "https://hub/x"
    assert client.post("/enter/py/lecturer").headers["Location"].startswith("https://hub/x?")


def test_defaults_are_those_that_the_docs_change(client: FlaskClient, platform: Platform) -> None:
    """Nothing works by accident: who skips a row of the docs gets less."""
    kept = ["Tool name", "Tool URL", "LTI version", "Initiate login URL", "Redirection URI(s)"]
    kept.append("Tool configuration usage")
    fields = form()
    activity(client, {FIELDS[label].name: fields[FIELDS[label].name] for label in kept})
    assert platform.book("py").scopes == ()
    assert platform.activities["py"] | {"keyset_url": "", "share_name": "no"} == platform.activities["py"]
    fields.pop(FIELDS["Tool configuration usage"].name)
    client.post("/admin/tools/new", data=fields)
    assert client.post("/course/py/tools", data={"tool": "2"}).status_code == 404


@pytest.mark.parametrize("given", [True, False])
def test_a_launch_says_what_the_administrator_shares(client: FlaskClient, given: bool) -> None:
    fields = form()
    if not given:
        for label in ("Share launcher's name with tool", "Share launcher's email with tool"):
            fields[FIELDS[label].name] = "Never"
        for label in ("IMS LTI Assignment and Grade Services", "IMS LTI Names and Role Provisioning"):
            fields[FIELDS[label].name] = tools.UNUSED
    activity(client, fields)
    login = parse_qs(urlsplit(client.post("/enter/py/student-1").headers["Location"]).query)
    query = {"scope": "openid", "response_type": "id_token", "response_mode": "form_post", "prompt": "none"}
    query |= {"state": "s", "nonce": "n", "redirect_uri": "https://hub/x"}
    query |= {name: login[name][0] for name in ("client_id", "login_hint", "lti_message_hint")}
    page = client.get("/auth", query_string=query).text
    token = page.split('name="id_token" value="')[1].split('"')[0]
    claims = jwt.decode(token, options={"verify_signature": False})
    assert {"name", "given_name", "family_name", "email"} & {k for k, v in claims.items() if v} == (
        {"name", "given_name", "family_name", "email"} if given else set()
    )
    services = {key for key in claims if key.endswith(("/endpoint", "/namesroleservice"))}
    assert len(services) == (2 if given else 0)


NEEDED = [*tools.NEEDED[tools.LTI_13], "Public keyset"]


@pytest.mark.parametrize("label", NEEDED)
def test_a_field_that_is_needed_is_named(client: FlaskClient, label: str) -> None:
    answer = client.post("/admin/tools/new", data=form() | {FIELDS[label].name: " "})
    assert answer.status_code == 200
    assert f"{label}: Required." in answer.text


def test_lti11_works_too(client: FlaskClient, platform: Platform) -> None:
    fields = form(LTI_version=tools.LTI_11, Consumer_key="key", Shared_secret="secret")
    activity(client, fields | {FIELDS["Tool URL"].name: "https://hub/hub/lti11/launch"})
    page = client.post("/enter/py/student-1").text
    assert 'action="https://hub/hub/lti11/launch"' in page
    assert 'name="oauth_consumer_key" value="key"' in page
    assert MEMBERSHIP_READONLY in platform.book("py").scopes
