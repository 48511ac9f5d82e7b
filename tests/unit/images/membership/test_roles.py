"""Roles of both LTI versions, and of rosters."""

from __future__ import annotations

import pytest
from campus_hubs_membership.roles import COURSE_ROLES, TEACHERS, course_role

M = "http://purl.imsglobal.org/vocab/lis/v2/membership"
INSTITUTION = "http://purl.imsglobal.org/vocab/lis/v2/institution/person"
SYSTEM = "http://purl.imsglobal.org/vocab/lis/v2/system/person"
URN = "urn:lti:role:ims/lis/"


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([f"{M}#Instructor"], "instructor"),
        ([f"{M}#Learner"], "student"),
        ([f"{M}/Instructor#TeachingAssistant"], "teaching_assistant"),
        # A platform sends the principal role beside the sub-role (LTI 1.3, A.2.3): still an assistant.
        ([f"{M}#Instructor", f"{M}/Instructor#TeachingAssistant"], "teaching_assistant"),
        ([f"{M}/Instructor#TeachingAssistantSection", f"{M}#Instructor"], "teaching_assistant"),
        ([f"{M}#Instructor", f"{M}/Instructor#Grader"], "teaching_assistant"),
        ([f"{M}#Instructor", f"{M}/Instructor#PrimaryInstructor"], "instructor"),
        ([f"{M}/Instructor#Lecturer", f"{M}/Instructor#TeachingAssistant"], "instructor"),
        ([f"{M}#Learner", f"{M}#Instructor"], "instructor"),
        ([f"{M}#Learner", f"{M}/Instructor#TeachingAssistant"], "teaching_assistant"),
        # A learner who teaches is a learner: the sub-role's name is not the role.
        ([f"{M}/Learner#Instructor"], "student"),
        ([f"{M}/Learner#GuestLearner"], "student"),
        ([f"{M}#Mentor"], "student"),
        ([f"{M}#Administrator"], "student"),
        ([f"{M}#ContentDeveloper"], "student"),
        ([f"{M}#SomethingNew"], "student"),
        # Institution and system roles add nothing.
        ([f"{INSTITUTION}#Instructor", f"{M}#Learner"], "student"),
        ([f"{SYSTEM}#Administrator", f"{INSTITUTION}#Faculty", f"{M}#Learner"], "student"),
        # LTI 1.1
        (["Instructor"], "instructor"),
        (["Learner"], "student"),
        (["Student"], "student"),
        (["TeachingAssistant"], "teaching_assistant"),
        ([" instructor "], "instructor"),
        ([f"{URN}Instructor"], "instructor"),
        ([f"{URN}Instructor/Lecturer"], "instructor"),
        ([f"{URN}Learner"], "student"),
        ([f"{URN}TeachingAssistant"], "teaching_assistant"),
        ([f"{URN}TeachingAssistant/TeachingAssistant"], "teaching_assistant"),
        ([f"{URN}TeachingAssistant/Grader", "Learner"], "teaching_assistant"),
        (["urn:lti:sysrole:ims/lis/Administrator", "urn:lti:instrole:ims/lis/Administrator", "Learner"], "student"),
        (["urn:lti:instrole:ims/lis/Instructor", f"{URN}Learner"], "student"),
        (["Learner", "Instructor"], "instructor"),
    ],
)
def test_role_in_the_course(roles: list[str], expected: str) -> None:
    assert course_role(roles) == expected


NONE: list[list[str]] = [
    [],
    [""],
    [f"{INSTITUTION}#Instructor"],
    [f"{SYSTEM}#Administrator"],
    ["urn:lti:sysrole:ims/lis/Administrator"],
    ["urn:lti:instrole:ims/lis/Instructor"],
    ["Administrators"],
    ["Instructor,Learner"],
    [f"https://evil.example/{M}#Instructor"],
    [f"{M}#Instructor\nx"],
    ["\u0131nstructor"],
    ["\uff29nstructor"],
    ["http://purl.imsglobal.org/vocab/lis/v2/membershipXInstructor"],
    ["http://purlXimsglobalXorg/vocab/lis/v2/membership#Instructor"],
]


@pytest.mark.parametrize("roles", NONE)
def test_without_a_role_in_the_course_nobody_has_one(roles: list[str]) -> None:
    assert course_role(roles) is None


@pytest.mark.parametrize(
    ("roles", "expected"),
    [
        ([f"{INSTITUTION}#Instructor"], "instructor"),
        ([f"{INSTITUTION}#Staff", f"{INSTITUTION}#Student"], "teaching_assistant"),
        ([f" {INSTITUTION}#Student "], "student"),
        (["urn:lti:instrole:ims/lis/Instructor"], "instructor"),
        # What the launch says of the course counts before what it says of the institution.
        ([f"{INSTITUTION}#Instructor", f"{M}#Learner"], "student"),
        # An LMS's own roles in the course count beside the standard ones, and may replace one.
        (["https://campus.example/roles#Tutor", f"{M}#Learner"], "teaching_assistant"),
        ([f"{M}#Mentor", f"{M}#Learner"], "teaching_assistant"),
        ([f"{M}#Manager"], "instructor"),
        ([f"{INSTITUTION}#Instructor", "https://campus.example/roles#Tutor"], "teaching_assistant"),
        ([f"{INSTITUTION}#instructor"], None),
        ([f"{INSTITUTION}#Other"], None),
    ],
)
def test_a_campus_says_what_its_roles_mean(roles: list[str], expected: str | None) -> None:
    meanings = {
        f"{INSTITUTION}#Instructor": "instructor",
        f"{INSTITUTION}#Staff": "teaching_assistant",
        f"{INSTITUTION}#Student": "student",
        "urn:lti:instrole:ims/lis/Instructor": "instructor",
        "https://campus.example/roles#Tutor": "teaching_assistant",
        f"{M}#Mentor": "teaching_assistant",
        f"{M}#Manager": "instructor",
    }
    assert course_role(roles, meanings) == expected


def test_every_role_of_a_course_can_be_had() -> None:
    assert {course_role([role]) for role in (f"{M}#Instructor", "TeachingAssistant", "Student", "Owner", "x\n")} == {
        None,
        *COURSE_ROLES,
    }
    assert set(COURSE_ROLES) > TEACHERS
