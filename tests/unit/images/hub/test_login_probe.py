"""The module's synthetic student against a real hub: comes, starts a server, leaves nothing, and may nothing else."""

from __future__ import annotations

import socket
from typing import Any

import pytest
import requests
from ansible_collections.campus.hubs.plugins.module_utils._course_probe import (
    LMS,
    Answer,
    Course,
    Probe,
    ProbeError,
    Site,
    signed,
    subject,
    user_name,
)
from campus_hubs_login import lti11
from campus_hubs_membership.identity import user_name as hubs_user_name

from tests.unit.images.hub.login_lab import Browser, Hub


class Direct(Site):
    """A course whose hub is asked without a proxy; servers are not behind it."""

    def __init__(self, hub: Hub) -> None:
        """Take the hub."""
        super().__init__(hub.url, lambda: socket.create_connection(("127.0.0.1", hub.hub_port), timeout=30))
        self.server: list[str] = []

    def ask(self, method: str, path: str, **options: Any) -> Answer:  # noqa: ANN401
        """Ask the hub; note what a server would be asked."""
        if path.startswith("/user/"):
            self.server.append(path)
            return Answer(200, {}, b"{}")
        return super().ask(method, path, **options)


def course(hub: Hub, *, lti13: bool, **changes: Any) -> Course:  # noqa: ANN401
    platform = hub.lms.registration if lti13 else {}
    fields = {"key": "consumer", "secret": hub.shared_secret, "token": hub.token[::-1], **changes}
    return Course(platform=platform, issuer=hub.lms.issuer, **fields)


def users(hub: Hub) -> set[str]:
    return {user["name"] for user in hub.api("/users")}


@pytest.mark.parametrize("lti13", [True, False])
def test_the_student_comes_and_goes(hub: Hub, lti13: bool) -> None:
    site, before = Direct(hub), users(hub)
    known = course(hub, lti13=lti13)
    probe = Probe(site, known, 60)
    probe.leave()
    probe.login()
    assert users(hub) == before | {known.user}
    probe.server()
    assert site.server == [f"/user/{known.user}/api/status"]
    assert hub.api(f"/users/{known.user}")["servers"][""]["ready"]
    probe.leave()
    assert users(hub) == before


def test_a_wrong_secret_is_no_launch(hub: Hub) -> None:
    with pytest.raises(ProbeError, match=r"launch by LTI 1\.1: found 401 .*signature"):
        Probe(Direct(hub), course(hub, lti13=False, secret="another"), 60).login()


def test_an_lms_that_the_hub_does_not_know_is_told(hub: Hub) -> None:
    known = course(hub, lti13=True)
    other = Course(**{**known.__dict__, "platform": {**known.platform, "client_id": "another"}})
    with pytest.raises(ProbeError, match=r"login by LTI 1\.3: found 4"):
        Probe(Direct(hub), other, 60).login()


def test_a_hub_that_does_not_answer_is_told() -> None:
    with pytest.raises(ProbeError, match="no answer"):
        Site("http://127.0.0.1:1/", lambda: socket.create_connection(("127.0.0.1", 1), timeout=5)).ask("GET", "/hub/")


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/users/{other}"),
        ("DELETE", "/users/{other}"),
        ("POST", "/users/{other}/server"),
        ("POST", "/users/{other}/tokens"),
        ("GET", "/groups"),
        ("POST", "/shutdown"),
        ("POST", "/users/uaaaaaaaaaaaaaaaa"),
    ],
)
def test_the_token_is_good_for_the_student_only(hub: Hub, browser: Browser, method: str, path: str) -> None:
    browser.launch11(user_id="somebody-else")
    other = browser.whoami()
    answer = requests.request(
        method,
        f"{hub.origin}{hub.base_url}hub/api{path.format(other=other)}",
        headers={"Authorization": f"token {hub.token[::-1]}"},
        json={} if method == "POST" else None,
        timeout=30,
    )
    assert answer.status_code in (403, 404), answer.text
    assert other in users(hub)


@pytest.mark.parametrize("url", ["http://10.1.2.3/hub/lti11/launch", "https://Hub.Example.edu:8443/a/hub/lti11/launch"])
def test_the_signature_is_the_one_that_the_hub_wants(url: str) -> None:
    form = {
        "lti_message_type": "basic-lti-launch-request",
        "lti_version": "LTI-1p0",
        "resource_link_id": "probe",
        "user_id": subject("x"),
        "lis_person_name_full": "Ä & ö=~ ü*",
    }
    consumer = lti11.Consumer("key of mine", "s=cret&")
    read = lti11.verify_form(url, "", signed(url, form, consumer.key, consumer.secret), consumer=consumer)
    assert read["lis_person_name_full"] == form["lis_person_name_full"]


@pytest.mark.parametrize("issuer", [LMS, "https://moodle.example.edu/", "http://10.89.7.6"])
def test_the_name_is_the_one_that_the_hub_makes(issuer: str) -> None:
    assert user_name(issuer, "4711") == hubs_user_name(issuer, "4711")
