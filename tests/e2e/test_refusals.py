"""Who has no valid launch does not get in, and is told so with the right status.

Every refusal stands beside the same launch made right, so none of these tests passes because launches are broken.
"""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import jwt
import pytest
import requests
from cryptography.hazmat.primitives.asymmetric import rsa
from oauthlib import oauth1

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LMS_URL, LTI11_COURSE, LTI13_COURSE
from tests.e2e.lti import Lms

LTI = "https://purl.imsglobal.org/spec/lti/claim"
LEARNER = "http://purl.imsglobal.org/vocab/lis/v2/membership#Learner"
SUB = "900"  # nobody else's number: these launches must not end the session of another test


def is_signed_in(session: requests.Session, hub: str) -> bool:
    """Tell whether the browser has a session at the hub."""
    return session.get(f"{hub}/hub/home", timeout=10).status_code == 200


# ---- LTI 1.3 ----


def sign(claims: dict[str, Any]) -> str:
    """Have the demo LMS sign claims with its own key, by its loopback."""
    argv = ["podman", "exec", "-i", "lab-lms", "python3", "-m", "lab.lms.demo_lms", "sign"]
    return subprocess.run(argv, input=json.dumps(claims), text=True, capture_output=True, check=True).stdout  # noqa: S603


class Launch13:
    """An LTI 1.3 launch of one browser, from the login initiation on."""

    def __init__(self, hub: str) -> None:
        """Initiate the login as the LMS's form does."""
        self.hub = hub
        self.session = requests.Session()
        form = {"iss": LMS_URL, "login_hint": SUB, "target_link_uri": f"{hub}/", "client_id": LTI13_COURSE}
        form |= {"lti_message_hint": "test", "lti_deployment_id": "1"}
        answer = self.session.post(f"{hub}/hub/lti13/oauth_login", data=form, timeout=10, allow_redirects=False)
        assert answer.status_code in (302, 303), f"login initiation answered {answer.status_code}"
        query = parse_qs(urlsplit(answer.headers["Location"]).query)
        self.state, self.nonce = query["state"][0], query["nonce"][0]

    def claims(self, **changes: object) -> dict[str, Any]:
        """Return a right launch's claims with some of them changed."""
        now = int(time.time())
        return {
            "iss": LMS_URL,
            "aud": LTI13_COURSE,
            "sub": SUB,
            "exp": now + 300,
            "iat": now,
            "nonce": self.nonce,
            "name": "Test Person",
            f"{LTI}/message_type": "LtiResourceLinkRequest",
            f"{LTI}/version": "1.3.0",
            f"{LTI}/deployment_id": "1",
            f"{LTI}/target_link_uri": f"{self.hub}/",
            f"{LTI}/resource_link": {"id": "python-demo-1"},
            f"{LTI}/context": {"id": "python-demo"},
            f"{LTI}/roles": [LEARNER],
        } | changes

    def post(self, token: str, state: str | None = None) -> requests.Response:
        """Post the token as the LMS's form does."""
        form = {"id_token": token, "state": state or self.state}
        callback = f"{self.hub}/hub/lti13/oauth_callback"
        return self.session.post(callback, data=form, timeout=15, allow_redirects=False, headers={"Origin": LMS_URL})


@pytest.fixture
def launch(cluster: Cluster, lms: Lms) -> Launch13:
    assert lms.url == LMS_URL
    return Launch13(cluster.course_url(LTI13_COURSE))


def test_lti13_the_right_launch_is_let_in(launch: Launch13) -> None:
    assert launch.post(sign(launch.claims())).status_code in (302, 303)
    assert is_signed_in(launch.session, launch.hub)


@pytest.mark.parametrize(
    ("change", "status"),
    [
        ({"aud": "another-tool"}, 401),
        ({"iss": "http://10.89.7.6.evil.example"}, 401),
        ({f"{LTI}/deployment_id": "2"}, 403),
        ({"exp": 1_700_000_000, "iat": 1_699_999_700}, 401),
        ({"iat": 1_699_999_700}, 401),
        ({"nonce": "made-up"}, 401),
        ({f"{LTI}/roles": ["http://purl.imsglobal.org/vocab/lis/v2/system/person#Administrator"]}, 403),
    ],
    ids=["aud", "iss", "deployment", "expired", "old", "nonce", "no-course-role"],
)
def test_lti13_wrong_in_one_thing(launch: Launch13, change: dict[str, Any], status: int) -> None:
    assert launch.post(sign(launch.claims(**change))).status_code == status
    assert not is_signed_in(launch.session, launch.hub)


def test_lti13_wrong_signature(launch: Launch13) -> None:
    right = sign(launch.claims())
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    header = jwt.get_unverified_header(right)
    forged = jwt.encode(launch.claims(), key, algorithm="RS256", headers={"kid": header["kid"]})
    assert launch.post(forged).status_code == 401
    unsigned = jwt.encode(launch.claims(), "", algorithm="none")
    assert Launch13(launch.hub).post(unsigned).status_code in (400, 401)
    assert not is_signed_in(launch.session, launch.hub)


def test_lti13_replay(launch: Launch13) -> None:
    token = sign(launch.claims())
    assert launch.post(token).status_code in (302, 303)
    assert launch.post(token).status_code in (400, 401)
    other = Launch13(launch.hub)
    assert other.post(token).status_code == 401
    assert other.post(token, launch.state).status_code in (400, 401)
    assert not is_signed_in(other.session, launch.hub)


def test_lti13_answer_in_another_browser(launch: Launch13) -> None:
    """Somebody else's launch, put into a victim's browser, must not sign the victim in as somebody else."""
    token, state = sign(launch.claims()), launch.state
    victim = Launch13(launch.hub)
    assert victim.post(token, state).status_code in (400, 401)
    assert not is_signed_in(victim.session, launch.hub)


# ---- LTI 1.1 ----


class Launch11:
    """Signs LTI 1.1 launches as the LMS does."""

    def __init__(self, hub: str, key: str, secret: str) -> None:
        """Take the course's own key and secret."""
        self.hub, self.key, self.secret = hub, key, secret
        self.url = f"{hub}/hub/lti11/launch"
        self.session = requests.Session()

    def form(self, *, key: str = "", secret: str = "", age: int = 0, **changes: str) -> dict[str, str]:
        """Return the signed form of a launch that was made ``age`` seconds ago."""
        fields = {
            "lti_message_type": "basic-lti-launch-request",
            "lti_version": "LTI-1p0",
            "resource_link_id": "stats-demo-1",
            "context_id": "stats-demo",
            "user_id": SUB,
            "roles": "Learner",
            "tool_consumer_instance_guid": urlsplit(LMS_URL).netloc,
            "oauth_callback": "about:blank",
        } | changes
        client = oauth1.Client(
            key or self.key,
            client_secret=secret or self.secret,
            signature_type=oauth1.SIGNATURE_TYPE_BODY,
            nonce=secrets.token_hex(12),
            timestamp=str(int(time.time()) - age),
        )
        headers = {"Content-Type": "application/x-www-form-urlencoded"}
        return dict(parse_qsl(client.sign(self.url, "POST", body=fields, headers=headers)[2]))

    def post(self, form: dict[str, str], session: requests.Session | None = None) -> int:
        """Post the form and return the status of the answer."""
        headers = {"Origin": LMS_URL}
        to = session or self.session
        return to.post(self.url, data=form, timeout=15, allow_redirects=False, headers=headers).status_code


@pytest.fixture
def signer(cluster: Cluster, lms: Lms) -> Launch11:
    assert lms.url == LMS_URL
    consumer = cluster.secret(f"course-{LTI11_COURSE}", "lti11-consumer")
    return Launch11(cluster.course_url(LTI11_COURSE), consumer["consumer_key"], consumer["shared_secret"])


def test_lti11_the_right_launch_is_let_in(signer: Launch11) -> None:
    assert signer.post(signer.form()) in (302, 303)
    assert is_signed_in(signer.session, signer.hub)


@pytest.mark.parametrize("what", ["signature", "changed", "consumer", "expired", "no-role"])
def test_lti11_wrong_in_one_thing(signer: Launch11, what: str) -> None:
    form, status = {
        "signature": (signer.form(secret="0" * 64), 401),
        "changed": (signer.form() | {"roles": "Instructor"}, 401),
        "consumer": (signer.form(key="nobody"), 401),
        "expired": (signer.form(age=3600), 401),
        "no-role": (signer.form(roles="urn:lti:sysrole:ims/lis/Administrator"), 403),
    }[what]
    assert signer.post(form) == status
    assert not is_signed_in(signer.session, signer.hub)


def test_lti11_replay(signer: Launch11) -> None:
    form = signer.form()
    assert signer.post(form) in (302, 303)
    thief = requests.Session()
    assert signer.post(form, thief) == 401
    assert not is_signed_in(thief, signer.hub)


# ---- without a launch ----


@pytest.mark.parametrize("path", ["/", "/hub/", "/hub/login", "/hub/home", "/hub/spawn", "/hub/admin", "/user/x/lab"])
def test_without_a_launch_there_is_no_entry(cluster: Cluster, course: str, path: str) -> None:
    answer = requests.get(f"{cluster.course_url(course)}{path}", timeout=10)
    assert answer.status_code == 403
    assert "LMS" in answer.text
    assert LMS_URL in answer.text, "the page must lead to the LMS"


def test_the_other_lti_version_is_off(cluster: Cluster) -> None:
    url = cluster.course_url(LTI13_COURSE)
    assert requests.post(f"{url}/hub/lti11/launch", data={"lti_version": "LTI-1p0"}, timeout=10).status_code == 404
