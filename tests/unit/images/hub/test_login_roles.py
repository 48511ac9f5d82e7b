"""Whom a launch lets in, by identifier and roles: the same as a roster, or a refusal that says why."""

from __future__ import annotations

from itertools import combinations

import pytest
from campus_hubs_login.errors import LaunchRefused
from campus_hubs_login.launch import checked_identifier, checked_role
from campus_hubs_membership.roles import COURSE_ROLES, course_role

from tests.unit.images.membership.test_identity import UNUSABLE, USABLE
from tests.unit.images.membership.test_roles import NONE

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


def role_of_launch(roles: tuple[str, ...], meanings: dict[str, str]) -> str | None:
    try:
        return checked_role(roles, meanings)
    except LaunchRefused:
        return None


def test_roles_are_those_of_the_roster() -> None:
    for count in (0, 1, 2, 3):
        for roles in combinations(ROLES, count):
            choices: tuple[dict[str, str], ...] = ({}, {"urn:x:tutor": "teaching_assistant", INSTITUTION: "instructor"})
            for meanings in choices:
                assert course_role(roles, meanings) == role_of_launch(roles, meanings), (roles, meanings)
    assert {course_role([role]) for role in ROLES} == {None, *COURSE_ROLES}


@pytest.mark.parametrize("roles", NONE)
def test_without_a_role_in_the_course_nobody_comes_in(roles: list[str]) -> None:
    with pytest.raises(LaunchRefused) as refusal:
        checked_role(roles)
    assert refusal.value.status == 403


@pytest.mark.parametrize("role", [f"{LIS}/institution/person#instructor", f"{LIS}/institution/person#Other"])
def test_who_has_no_role_reads_the_ones_that_came(role: str) -> None:
    with pytest.raises(LaunchRefused, match="names these roles"):
        checked_role([role], {INSTITUTION: "instructor"})


@pytest.mark.parametrize("value", UNUSABLE)
def test_unusable_subjects_are_refused(value: object) -> None:
    with pytest.raises(LaunchRefused) as refusal:
        checked_identifier(value, "sub")
    assert refusal.value.status == 400


def test_a_number_is_the_person_of_its_digits() -> None:
    assert checked_identifier(4711, "sub") == "4711"


@pytest.mark.parametrize("value", USABLE)
def test_usable_subjects_stay_as_they_are(value: str) -> None:
    assert checked_identifier(value, "sub") == value
