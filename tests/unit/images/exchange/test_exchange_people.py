"""Names and roles: the exchange and the login, in two images, must say the same."""

from __future__ import annotations

import json
import sys
from itertools import combinations

import pytest
from campus_hubs_exchange.identity import subject_of, user_name
from campus_hubs_exchange.members import read_launched
from campus_hubs_exchange.roles import COURSE_ROLES, course_role

from tests.unit.charts.conftest import chart_module
from tests.unit.images.exchange.exchange_lab import ADA, ROOT, TEACHER, TOKEN, TUTOR, Exchange

sys.path.append(str(ROOT / "images/hub/campus_hubs_login/src"))

from campus_hubs_login import identity as login_identity
from campus_hubs_login import launch as login_launch
from campus_hubs_login import roles as login_roles
from campus_hubs_login.errors import LaunchRefused

LAUNCH = {"subject": "1", "role": "student", "launched_at": 0}
LIS = "http://purl.imsglobal.org/vocab/lis/v2"
ROLES = [
    f"{LIS}/membership#Instructor",
    f"{LIS}/membership#Learner",
    f"{LIS}/membership#Mentor",
    f"{LIS}/membership#Administrator",
    f"{LIS}/membership/Instructor#TeachingAssistant",
    f"{LIS}/membership/Instructor#TeachingAssistantSection",
    f"{LIS}/membership/Instructor#Grader",
    f"{LIS}/membership/Instructor#Lecturer",
    f"{LIS}/membership/Learner#GuestLearner",
    f"{LIS}/institution/person#Instructor",
    f"{LIS}/system/person#Administrator",
    "urn:lti:role:ims/lis/Instructor",
    "urn:lti:role:ims/lis/TeachingAssistant",
    "urn:lti:role:ims/lis/Learner/Learner",
    "urn:lti:instrole:ims/lis/Instructor",
    "Instructor",
    "urn:x:tutor",
    "Learner",
    "TeachingAssistant",
    "instructor ",
    "Student",
    "Owner",
    "",
    "Instruktor\n",
]


INSTITUTION = f"{LIS}/institution/person#Instructor"


def login_role(roles: tuple[str, ...], meanings: dict[str, str]) -> str | None:
    try:
        return login_roles.course_role(roles, meanings)
    except LaunchRefused:
        return None


def test_roles_are_those_of_the_login() -> None:
    assert login_roles.COURSE_ROLES == COURSE_ROLES
    for count in (0, 1, 2, 3):
        for roles in combinations(ROLES, count):
            choices: tuple[dict[str, str], ...] = ({}, {"urn:x:tutor": "teaching_assistant", INSTITUTION: "instructor"})
            for meanings in choices:
                assert course_role(roles, meanings) == login_role(roles, meanings), (roles, meanings)
    assert {course_role([role]) for role in ROLES} == {None, *COURSE_ROLES}


@pytest.mark.parametrize("issuer", ["https://moodle.example.edu/", "moodle.example.edu", " HTTP://a/b/ ", ""])
@pytest.mark.parametrize("subject", ["1", "Ümit", "a" * 255, " x "])
def test_names_are_those_of_the_login(issuer: str, subject: str) -> None:
    assert user_name(issuer, subject) == login_identity.user_name(issuer, subject)


@pytest.mark.parametrize("subject", ["1", "", " ", "a" * 255, "a" * 256, "a\nb", None, 7, "\ud800"])
def test_subjects_are_those_of_the_login(subject: object) -> None:
    try:
        found = login_identity.checked_identifier(subject, "sub")
    except LaunchRefused:
        found = ""
    assert subject_of(subject) == found


# ---- members by launches ----
@pytest.mark.parametrize("issuer", ["https://moodle.example.edu/", "http://moodle.example.edu/lti", "site-id"])
@pytest.mark.parametrize("sub", ["1", 7, " x ", "Ümit"])
def test_a_name_fits_the_identifier_that_the_hub_tells(issuer: str, sub: object) -> None:
    """By these two the exchange knows who is of the issuer of now, and gets grades."""
    role = f"{login_launch.LTI}roles"
    launch = login_launch.launch_from_claims({"sub": sub, "iat": 1, role: [ROLES[1]]}, issuer=issuer)
    told = json.loads(json.dumps(chart_module("exchange").member(launch.auth_state)))
    assert user_name(issuer.rstrip("/"), read_launched(told).subject) == launch.user_name


def test_a_launch_enrols_once_and_is_followed(exchange: Exchange) -> None:
    launch = {"given_name": "Eve", "family_name": "C", "email": "eve@campus.example"}
    assert exchange.enrol("unew", **launch) == {"changed": True}
    assert exchange.enrol("unew", **launch) == {"changed": False}
    assert exchange.enrol("unew") == {"changed": False}, "an LMS that hides the name says nothing new"
    assert exchange.enrol("unew", "teaching_assistant", **launch) == {"changed": True}
    [member] = [m for m in exchange.api("GET", "/members").json()["members"] if m["user"] == "unew"]
    assert all(member.pop(time).endswith("Z") for time in ("since", "confirmed_at"))
    assert member == {
        "user": "unew",
        "subject": "sub-unew",
        "name": "Eve C",
        "email": "eve@campus.example",
        "role": "teaching_assistant",
        "active": True,
    }


@pytest.mark.parametrize(
    "wrong",
    [
        {"subject": ""},
        {"subject": "a\nb"},
        {"role": "admin"},
        {"role": None},
        {"launched_at": None},
        {"launched_at": "now"},
        {"launched_at": True},
        {"launched_at": -1},
        {"launched_at": 1e300},
        {"given_name": 5},
        {"nrps_url": "file:///etc/passwd"},
        {"ags": []},
        {"ags": {"lineitems": "https://x", "scopes": "all"}},
        {"outcome": {"url": "ftp://x"}},
    ],
)
def test_a_wrong_launch_is_refused_by_its_field(shared: Exchange, wrong: dict[str, object]) -> None:
    answer = shared.api("PUT", "/members/unew", document=LAUNCH | wrong)
    assert answer.status_code == 400
    assert next(iter(wrong)).split(".")[0] in answer.json()["error"] or "url" in answer.json()["error"]


@pytest.mark.parametrize("user", ["%2e%2e", "UPPER", "a%2Fb", "a" * 65, "-x"])
def test_a_wrong_user_name_is_refused(shared: Exchange, user: str) -> None:
    answer = shared.api("PUT", f"/members/{user}", document=LAUNCH)
    assert answer.status_code == 400
    assert "user name" in answer.json()["error"]


def test_only_the_hub_enrols(shared: Exchange) -> None:
    document = LAUNCH | {"role": "instructor"}
    for user in (ADA, TUTOR, TEACHER):
        assert shared.api("PUT", f"/members/{ADA}", f"token-{user}", document).status_code == 403
    assert shared.api("PUT", f"/members/{ADA}", TOKEN + "x", document).status_code == 401
    assert shared.api("PUT", f"/members/{ADA}", document=5).status_code == 400
