"""What somebody is in the course, from the membership roles of a launch or of a roster entry."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any, Final, Literal

CourseRole = Literal["instructor", "teaching_assistant", "student"]
COURSE_ROLES: Final[tuple[CourseRole, ...]] = ("instructor", "teaching_assistant", "student")
TEACHERS: Final = frozenset({"instructor", "teaching_assistant"})

NO_ROLES: Final[Mapping[str, str]] = MappingProxyType({})

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
# Roles that say what somebody is elsewhere in the LMS (LTI 1.3, A.2.1; LTI 1.1, A.1 and A.2).
_ELSEWHERE = re.compile(
    r"http://purl\.imsglobal\.org/vocab/lis/v2/(institution|system)/person#.*|urn:lti:(inst|sys)role:.*", re.DOTALL
)
_ASSISTS = re.compile(r"teachingassistant\w*|grader")
# Blanks stand between URIs only: "Assistant Instructor" is no instructor.
_BETWEEN = re.compile(r"[,;]|\s+(?=\w+:)")


def listing(value: object) -> list[Any] | None:
    """Read a list, or the object with numbers for names that PHP makes of one with gaps; None if it is neither."""
    if isinstance(value, dict) and value and all(name.isdecimal() for name in value):
        return list(value.values())
    return value if isinstance(value, list) else None


def texts(value: object) -> list[str] | None:
    """Read texts as LMSs write them: a `listing`, or one text as in LTI 1.1; None if there is no text in it."""
    if isinstance(value, str):
        return [text for part in _BETWEEN.split(value) if (text := part.strip())]
    found = listing(value)
    if found is None:
        return None
    kept = [text for text in found if isinstance(text, str)]
    return kept if kept or not found else None


def course_role(roles: Iterable[str], meanings: Mapping[str, str] = NO_ROLES) -> CourseRole | None:
    """Find the one role that counts in the course.

    A platform that sends a sub-role sends its principal role as well (LTI 1.3, A.2.3), so `Instructor` beside
    `Instructor#TeachingAssistant` is a teaching assistant, unless another sub-role (`Lecturer`, ...) says more.
    Any other membership (Learner, Mentor, Administrator of the course, unknown ones) is a student: who may open the
    link gets the least that is of use. Without a membership role nobody is made a student: either the LMS hides roles,
    and lecturers would silently work as students, or the person is no member.

    Args:
        roles: role URIs, URNs or LTI 1.1 handles (NRPS 2.0, section 2.3 allows all).
        meanings: what roles of this LMS mean here, each one of COURSE_ROLES. Roles of institution and system count only
            where none in the course is named: a professor may be a student here.

    Returns:
        One of COURSE_ROLES; None if none of them is a role in the course.

    """
    came = [stripped for role in roles if (stripped := role.strip())]
    meant = {role: meanings[role] for role in came if role in meanings}
    here = {meaning for role, meaning in meant.items() if not _ELSEWHERE.fullmatch(role)}
    if standard := _standard_role(role for role in came if role not in meant):
        here.add(standard)
    found = here or set(meant.values())
    return next((role for role in COURSE_ROLES if role in found), None)


def _standard_role(roles: Iterable[str]) -> CourseRole | None:
    found = {role for role in map(_membership, roles) if role is not None}
    if not found:
        return None
    instructor_sub_roles = {child for parent, child in found if parent == "instructor" and child}
    if any(not _ASSISTS.fullmatch(child) for child in instructor_sub_roles):
        return "instructor"
    if instructor_sub_roles or any(parent == "teachingassistant" for parent, _ in found):
        return "teaching_assistant"
    return "instructor" if ("instructor", "") in found else "student"


def _membership(role: str) -> tuple[str, str] | None:
    """Read one role as (principal, sub-role or ''), lower case; None if it is not a role in a course."""
    match = _ROLE.fullmatch(role)
    if match is None:
        return None
    principal = (match["uri"] or match["parent"] or match["urn"] or match["handle"]).lower()
    if match["handle"] and principal not in _HANDLES:
        return None
    return principal, (match["child"] or match["urn_child"] or match["handle_child"] or "").lower()
