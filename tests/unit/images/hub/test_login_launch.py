"""What a launch leaves behind for the hub and for later work."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from campus_hubs_login import spawn_environment
from campus_hubs_login.errors import LaunchRefused
from campus_hubs_login.launch import launch_from_claims, launch_from_form
from campus_hubs_membership.identity import user_name

from tests.unit.images.hub.login_lab import MEMBERSHIP, Lms


def form(**changes: str) -> dict[str, str]:
    return {
        "user_id": "4711",
        "roles": "Instructor",
        "oauth_consumer_key": "consumer",
        "context_id": "course-9",
        "context_label": "PY1",
        "oauth_timestamp": "1790000000",
        **changes,
    }


def test_auth_state_has_what_rosters_and_grades_need(lms: Lms) -> None:
    claims = lms.claims("nonce", azp="python-ws26")
    before = time.time()
    state = launch_from_claims(claims, issuer=lms.issuer).auth_state
    assert before <= state.pop("launched_at") <= time.time()
    assert state == {
        "issuer": lms.issuer,
        "sub": "4711",
        "course_role": "student",
        "lti_version": "1.3",
        "client_id": "python-ws26",
        "deployment_id": "7",
        "issued_at": claims["iat"],
        "context": {"id": "course-9", "title": "Python", "label": "PY1"},
        "resource_link_id": "31",
        "full_name": "Ada Lovelace",
        "given_name": "Ada",
        "family_name": "Lovelace",
        "email": "ada@example.edu",
        "login": "ada",
        "nrps": {"context_memberships_url": f"{lms.issuer}/nrps/9", "service_versions": ["2.0"]},
        "ags": {
            "scope": ["https://purl.imsglobal.org/spec/lti-ags/scope/score"],
            "lineitems": f"{lms.issuer}/ags/9/lineitems?type_id=7",
            "lineitem": "",
        },
    }
    assert json.loads(json.dumps(state)) == state


def test_lti11_means_the_same_person_as_lti13(lms: Lms) -> None:
    by13 = launch_from_claims(
        lms.claims("nonce", iss="https://moodle.example.edu"), issuer="https://moodle.example.edu"
    )
    by11 = launch_from_form(form(tool_consumer_instance_guid="moodle.example.edu"), issuer="")
    configured = launch_from_form(
        form(tool_consumer_instance_guid="something else"), issuer="https://moodle.example.edu/"
    )
    assert by13.user_name == by11.user_name == configured.user_name == user_name("moodle.example.edu", "4711")


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("9", "9"),
        (9, "9"),
        (" 9", " 9"),
        ("9/ä b", "9/ä b"),
        ("9" * 255, "9" * 255),
        ("9" * 256, ""),
        ("9\n", ""),
        ("\x009", ""),
        ("9\u202e", ""),
        ("\ud800", ""),
        (" ", ""),
        ("", ""),
        (None, ""),
        (True, ""),
        (9.0, ""),
        (["9"], ""),
        ({"id": "9"}, ""),
    ],
)
def test_a_context_is_known_by_exactly_its_id(lms: Lms, sent: object, kept: str) -> None:
    """Two ids never become one, so that no course of the LMS is taken for another."""
    by13 = launch_from_claims(lms.claims("n", context={"id": sent, "title": "T\n", "label": 5}), issuer=lms.issuer)
    assert by13.auth_state["context"] == {"id": kept, "title": "T", "label": ""}
    if isinstance(sent, str):
        by11 = launch_from_form(form(context_id=sent), issuer="")
        assert by11.auth_state["context"] == {"id": kept, "title": "", "label": "PY1"}
        assert by11.auth_state["issued_at"] == 1790000000


def test_lti11_without_guid_falls_back_to_the_consumer_key() -> None:
    assert launch_from_form(form(), issuer="").user_name == user_name("consumer", "4711")


def test_name_does_not_depend_on_mail_login_or_display_name(lms: Lms) -> None:
    one = launch_from_claims(lms.claims("n"), issuer=lms.issuer)
    two = launch_from_claims(
        lms.claims("n", email="new@example.edu", name="Augusta King", ext={"user_username": "king"}), issuer=lms.issuer
    )
    assert one.user_name == two.user_name
    assert (two.auth_state["email"], two.auth_state["login"]) == ("new@example.edu", "king")


@pytest.mark.parametrize(
    "changes",
    [
        {"context": ["x"]},
        {"context": None},
        {"ext": "x"},
        {"name": {"a": 1}, "email": 5},
        {
            "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": {
                "scope": "x",
                "lineitems": "file:///etc/passwd",
                "lineitem": 7,
            }
        },
        {"https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice": []},
    ],
)
def test_odd_optional_claims_do_no_harm(lms: Lms, changes: dict[str, Any]) -> None:
    state = launch_from_claims(lms.claims("n", **changes), issuer=lms.issuer).auth_state
    assert state["sub"] == "4711"
    assert "file:" not in json.dumps(state)


@pytest.mark.parametrize(
    ("roles", "role"),
    [
        (f"{MEMBERSHIP}#Instructor", "instructor"),
        (f"{MEMBERSHIP}#Learner,{MEMBERSHIP}#Instructor", "instructor"),
        ("Learner, urn:lti:role:ims/lis/TeachingAssistant", "teaching_assistant"),
        (f"urn:lti:role:ims/lis/Learner {MEMBERSHIP}#Instructor", "instructor"),
        ("Learner, Assistant Instructor", "student"),
        ({"0": f"{MEMBERSHIP}#Learner", "2": f"{MEMBERSHIP}#Instructor"}, "instructor"),
        ({"Instructor": f"{MEMBERSHIP}#Instructor"}, None),
        ({}, None),
        ("", None),
        (5, None),
        (True, None),
    ],
)
def test_roles_count_however_they_are_written(lms: Lms, roles: object, role: str | None) -> None:
    claims = lms.claims("n", roles=roles)
    if role is None:
        with pytest.raises(LaunchRefused) as refusal:
            launch_from_claims(claims, issuer=lms.issuer)
        assert (refusal.value.status, "It names no role." in refusal.value.reason) == (403, True)
    else:
        assert launch_from_claims(claims, issuer=lms.issuer).role == role


@pytest.mark.parametrize("scope", [["a:1", "b:2"], "a:1 b:2", {"1": "a:1", "2": "b:2"}])
def test_scopes_count_however_they_are_written(lms: Lms, scope: object) -> None:
    ags = {"https://purl.imsglobal.org/spec/lti-ags/claim/endpoint": {"scope": scope, "lineitems": "https://l/i"}}
    assert launch_from_claims(lms.claims("n", **ags), issuer=lms.issuer).details["ags"]["scope"] == ["a:1", "b:2"]


def test_roles_that_are_no_strings_are_no_roles(lms: Lms) -> None:
    with pytest.raises(LaunchRefused) as refusal:
        launch_from_claims(lms.claims("n", roles=[1, None, [f"{MEMBERSHIP}#Instructor"]]), issuer=lms.issuer)
    assert refusal.value.status == 403


def test_launch_without_person_is_refused(lms: Lms) -> None:
    with pytest.raises(LaunchRefused) as refusal:
        launch_from_claims(lms.claims("n", sub=None), issuer=lms.issuer)
    assert refusal.value.status == 400


def test_environment_of_the_server() -> None:
    state = {
        "course_role": "instructor",
        "full_name": "Ada Lovelace",
        "email": "ada@example.edu",
        "context": {"id": "9", "title": "Python", "label": "PY1"},
    }
    assert spawn_environment(state) == {
        "COURSE_ROLE": "instructor",
        "COURSE_CONTEXT_ID": "9",
        "COURSE_USER_FULL_NAME": "Ada Lovelace",
        "COURSE_USER_EMAIL": "ada@example.edu",
    }


@pytest.mark.parametrize(
    "state", [None, {}, {"course_role": "admin"}, {"course_role": None}, {"course_role": ["instructor"]}]
)
def test_unknown_role_is_a_student(state: dict[str, Any] | None) -> None:
    assert spawn_environment(state)["COURSE_ROLE"] == "student"


def test_environment_cannot_be_broken_by_a_name() -> None:
    state = {
        "course_role": "student",
        "full_name": "$(JUPYTERHUB_API_TOKEN) {username}\x00\n\ud800Ω" + "x" * 9999,
        "given_name": 5,
    }
    name = spawn_environment(state)["COURSE_USER_FULL_NAME"]
    assert name.startswith("(JUPYTERHUB_API_TOKEN) username Ωx")
    assert len(name) <= 512
    name.encode()


def test_full_name_is_put_together_if_the_lms_sends_parts() -> None:
    assert (
        spawn_environment({"given_name": "Ada", "family_name": "Lovelace"})["COURSE_USER_FULL_NAME"] == "Ada Lovelace"
    )
