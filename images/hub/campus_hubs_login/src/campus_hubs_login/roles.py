"""What somebody is in the course, from the membership roles of a launch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final, Literal

from .errors import LaunchRefused

CourseRole = Literal["instructor", "teaching_assistant", "student"]
COURSE_ROLES: Final[tuple[CourseRole, ...]] = ("instructor", "teaching_assistant", "student")

# Context roles only. Institution and system roles (`.../institution/person#`, `urn:lti:instrole:`, ...) say what
# somebody is elsewhere: a professor may be a student here, and the LMS's administrator is nobody in this course.
_ROLE = re.compile(
    r"""
    (?: http://purl\.imsglobal\.org/vocab/lis/v2/membership\#(?P<uri>\w+)                     # LTI 1.3, A.2.2
      | http://purl\.imsglobal\.org/vocab/lis/v2/membership/(?P<parent>\w+)\#(?P<child>\w+)   # LTI 1.3, A.2.3
      | urn:lti:role:ims/lis/(?P<urn>\w+)(?:/(?P<urn_child>\w+))?                             # LTI 1.1, A.3
      | (?P<handle>\w+)(?:/(?P<handle_child>\w+))?                                            # the same without prefix
    )""",
    re.VERBOSE | re.ASCII,
)
# A bare word counts only if it is a context role of LTI 1.1 (A.2.3); a URI has said by its prefix what it is.
_HANDLES = {
    "administrator", "contentdeveloper", "instructor", "learner", "manager", "member", "mentor", "officer",
    "student", "teachingassistant",
}  # fmt: skip
_ASSISTS = re.compile(r"teachingassistant\w*|grader")


def course_role(roles: Iterable[str]) -> CourseRole:
    """Find the one role that counts in the course.

    A platform that sends a sub-role sends its principal role as well (LTI 1.3, A.2.3), so `Instructor` beside
    `Instructor#TeachingAssistant` is a teaching assistant, unless another sub-role (`Lecturer`, ...) says more.
    Any other membership (Learner, Mentor, Administrator of the course, unknown ones) is a student: who may open the
    link gets the least that is of use. Without a membership role the person is refused rather than made a student:
    either the LMS hides roles, and lecturers would silently work as students, or the person is no member.

    :param roles: role URIs, URNs or LTI 1.1 handles.
    :raises LaunchRefused: 403, if none of them is a role in the course.
    """
    found = {role for role in map(_membership, roles) if role is not None}
    if not found:
        raise LaunchRefused(403, "Your LMS does not say that you are a member of this course.")
    instructor_sub_roles = {child for parent, child in found if parent == "instructor" and child}
    if any(not _ASSISTS.fullmatch(child) for child in instructor_sub_roles):
        return "instructor"
    if instructor_sub_roles or any(parent == "teachingassistant" for parent, _ in found):
        return "teaching_assistant"
    return "instructor" if ("instructor", "") in found else "student"


def _membership(role: str) -> tuple[str, str] | None:
    """Read one role as (principal, sub-role or ''), lower case; None if it is not a role in a course."""
    match = _ROLE.fullmatch(role.strip())
    if match is None:
        return None
    principal = (match["uri"] or match["parent"] or match["urn"] or match["handle"]).lower()
    if match["handle"] and principal not in _HANDLES:
        return None
    return principal, (match["child"] or match["urn_child"] or match["handle_child"] or "").lower()
