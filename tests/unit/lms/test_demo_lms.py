"""The demo LMS keeps its side of LTI 1.1 and 1.3: what it sends verifies, and what it must not answer it refuses."""

from __future__ import annotations

import json
import re
from html import unescape
from urllib.parse import parse_qs, urlsplit

import jwt
import pytest
from flask.testing import FlaskClient
from oauthlib import oauth1
from oauthlib.oauth1.rfc5849 import signature

from lab.lms import demo_lms
from lab.lms.model import MEMBERSHIP, Platform

ISSUER = "http://10.89.7.6"
HUB13 = "http://10.89.7.201"
COURSE13 = {"id": "py", "title": "Python", "hub": HUB13, "lti": "1.3", "client_id": "py-client", "deployment_id": "1"}
COURSE11 = {
    "id": "stats",
    "title": "Stats & <more>",
    "hub": "http://10.89.7.202",
    "lti": "1.1",
    "consumer_key": "key",
    "shared_secret": "secret",
}
CLAIM = "https://purl.imsglobal.org/spec/lti/claim/"


@pytest.fixture
def platform() -> Platform:
    platform = Platform(issuer=ISSUER)
    platform.register([COURSE13, COURSE11])
    return platform


@pytest.fixture
def client(platform: Platform) -> FlaskClient:
    return demo_lms.create_app(platform).test_client()


def fields_of(page: str) -> tuple[str, dict[str, str]]:
    action = re.search(r'action="([^"]*)"', page)
    assert action
    pairs = re.findall(r'name="([^"]*)" value="([^"]*)"', page)
    return unescape(action[1]), {unescape(name): unescape(value) for name, value in pairs}


def authentication_request(client: FlaskClient, person: str = "student-1") -> dict[str, str]:
    """Click, and answer the login initiation as the hub does."""
    answer = client.post(f"/enter/py/{person}")
    assert answer.status_code == 303
    url = urlsplit(answer.headers["Location"])
    assert f"{url.scheme}://{url.netloc}{url.path}" == f"{HUB13}/hub/lti13/oauth_login"
    login = {name: values[0] for name, values in parse_qs(url.query).items()}
    assert login["iss"] == ISSUER
    assert login["target_link_uri"] == f"{HUB13}/"
    assert login["client_id"] == "py-client"
    assert login["lti_deployment_id"] == "1"
    return {
        "scope": "openid",
        "response_type": "id_token",
        "response_mode": "form_post",
        "prompt": "none",
        "client_id": "py-client",
        "redirect_uri": f"{HUB13}/hub/lti13/oauth_callback",
        "login_hint": login["login_hint"],
        "lti_message_hint": login["lti_message_hint"],
        "state": "the state",
        "nonce": "the nonce",
    }


@pytest.mark.parametrize(
    ("person", "sub", "role"),
    [
        ("lecturer", "2", f"{MEMBERSHIP}#Instructor"),
        ("teaching-assistant", "3", f"{MEMBERSHIP}/Instructor#TeachingAssistant"),
        ("student-1", "101", f"{MEMBERSHIP}#Learner"),
        ("student-17", "117", f"{MEMBERSHIP}#Learner"),
    ],
)
def test_lti13_launch_verifies_against_the_key_set(client: FlaskClient, person: str, sub: str, role: str) -> None:
    answer = client.get("/auth", query_string=authentication_request(client, person))
    assert answer.status_code == 200
    url, fields = fields_of(answer.text)
    assert url == f"{HUB13}/hub/lti13/oauth_callback"
    assert fields["state"] == "the state"
    keys = jwt.PyJWKSet.from_dict(client.get("/jwks").get_json())
    key = keys[jwt.get_unverified_header(fields["id_token"])["kid"]]
    claims = jwt.decode(fields["id_token"], key, algorithms=["RS256"], audience="py-client", issuer=ISSUER)
    assert claims["sub"] == sub
    assert claims["nonce"] == "the nonce"
    assert claims["exp"] - claims["iat"] == 300
    assert claims[f"{CLAIM}roles"] == [role]
    assert claims[f"{CLAIM}deployment_id"] == "1"
    assert claims[f"{CLAIM}message_type"] == "LtiResourceLinkRequest"
    assert claims[f"{CLAIM}context"]["label"] == "py"
    assert claims["email"].endswith("@campus.example")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("scope", "email"),
        ("response_type", "code"),
        ("response_mode", "query"),
        ("prompt", "login"),
        ("client_id", "other"),
        ("redirect_uri", "http://10.89.7.201.evil.example/hub/lti13/oauth_callback"),
        ("redirect_uri", f"{HUB13}/hub/lti13/oauth_callback?more"),
        ("login_hint", "2"),
        ("lti_message_hint", "guessed"),
        ("nonce", ""),
        ("state", ""),
    ],
)
def test_lti13_authentication_request_is_checked(client: FlaskClient, name: str, value: str) -> None:
    answer = client.get("/auth", query_string=authentication_request(client) | {name: value})
    assert answer.status_code == 400
    assert name in answer.text
    assert "id_token" not in answer.text.replace("response_type must be id_token", "")


def test_lti13_launch_is_for_one_time_and_one_browser(platform: Platform) -> None:
    app = demo_lms.create_app(platform)
    mine, other = app.test_client(), app.test_client()
    asked = authentication_request(mine)
    authentication_request(other)
    assert mine.post("/auth", data=asked).status_code == 200
    assert mine.post("/auth", data=asked).status_code == 400
    assert other.post("/auth", data=authentication_request(mine)).status_code == 400


def test_lti11_launch_verifies_with_the_shared_secret(client: FlaskClient) -> None:
    answer = client.post("/enter/stats/lecturer")
    assert answer.status_code == 200
    url, fields = fields_of(answer.text)
    assert url == "http://10.89.7.202/hub/lti11/launch"
    assert fields["roles"] == "Instructor"
    assert fields["user_id"] == "2"
    assert fields["context_title"] == "Stats & <more>"
    assert fields["tool_consumer_instance_guid"] == "10.89.7.6"
    assert "secret" not in answer.text
    sent = fields.pop("oauth_signature")
    parameters = signature.collect_parameters(body=list(fields.items()), exclude_oauth_signature=False)
    text = signature.signature_base_string("POST", url, signature.normalize_parameters(parameters))
    assert signature.sign_hmac_sha1_with_client(text, oauth1.Client("key", client_secret="secret")) == sent


def test_page_has_a_button_for_each_person_of_each_course(client: FlaskClient) -> None:
    page = client.get("/").text
    for course in ("py", "stats"):
        for person in ("lecturer", "teaching-assistant", "student-1", "student-2"):
            assert f'id="enter-{course}-{person}"' in page
    assert "Stats &amp; &lt;more&gt;" in page


@pytest.mark.parametrize("path", ["/enter/none/lecturer", "/enter/py/rector", "/enter/py/student-0"])
def test_unknown_course_or_person_is_not_found(client: FlaskClient, path: str) -> None:
    assert client.post(path).status_code == 404


def test_registration_tells_change_from_no_change() -> None:
    platform = Platform(issuer=ISSUER)
    admin = demo_lms.create_admin_app(platform).test_client()
    assert admin.put("/courses?check", json=[COURSE11]).get_json() == {"changed": True}
    assert platform.courses == {}
    assert admin.put("/courses", json=[COURSE11]).get_json() == {"changed": True}
    assert admin.put("/courses", json=[COURSE11]).get_json() == {"changed": False}
    assert admin.put("/courses?check", json=[COURSE11]).get_json() == {"changed": False}
    assert admin.put("/courses", json=[]).get_json() == {"changed": True}


def test_wrong_registration_is_refused_without_echoing_the_secret() -> None:
    admin = demo_lms.create_admin_app(Platform(issuer=ISSUER)).test_client()
    answer = admin.put("/courses", json=[COURSE11 | {"colour": "blue"}])
    assert answer.status_code == 400
    assert "consumer_key" in answer.text
    assert json.dumps("secret") not in answer.text
