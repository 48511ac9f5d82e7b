"""What somebody is in the course, from membership roles; the hub's image decides the same at login."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

COURSE_ROLES: Final = ("instructor", "teaching_assistant", "student")
TEACHERS: Final = frozenset({"instructor", "teaching_assistant"})

# Roles in the course only, as URIs of LTI 1.3 or in LTI 1.1's short forms (NRPS 2.0, section 2.3 allows both).
_ROLE = re.compile(
    r"""
    (?: http://purl\.imsglobal\.org/vocab/lis/v2/membership\#(?P<uri>\w+)                     # LTI 1.3, A.2.2
      | http://purl\.imsglobal\.org/vocab/lis/v2/membership/(?P<parent>\w+)\#(?P<child>\w+)   # LTI 1.3, A.2.3
      | urn:lti:role:ims/lis/(?P<urn>\w+)(?:/(?P<urn_child>\w+))?                             # LTI 1.1, A.3
      | (?P<handle>\w+)(?:/(?P<handle_child>\w+))?                                            # the same without prefix
    )""",
    re.VERBOSE | re.ASCII,
)
_HANDLES = {
    "administrator", "contentdeveloper", "instructor", "learner", "manager", "member", "mentor", "officer",
    "student", "teachingassistant",
}  # fmt: skip
# What somebody is elsewhere in the LMS.
_ELSEWHERE = re.compile(
    r"http://purl\.imsglobal\.org/vocab/lis/v2/(institution|system)/person#.*|urn:lti:(inst|sys)role:.*", re.DOTALL
)
_ASSISTS = re.compile(r"teachingassistant\w*|grader")
NO_ROLES: Final[Mapping[str, str]] = MappingProxyType({})


def course_role(roles: Iterable[str], meanings: Mapping[str, str] = NO_ROLES) -> str | None:
    """Find the one role that counts: see `campus_hubs_login.roles`, which gives the reasons.

    :param roles: role URIs, URNs or short forms.
    :param meanings: what roles of this LMS mean, each one of COURSE_ROLES.
    :returns: one of COURSE_ROLES, or None, if none of them is a role in the course.
    """
    came = [stripped for role in roles if (stripped := role.strip())]
    meant = {role: meanings[role] for role in came if role in meanings}
    here = {meaning for role, meaning in meant.items() if not _ELSEWHERE.fullmatch(role)}
    if standard := _standard_role(role for role in came if role not in meant):
        here.add(standard)
    found = here or set(meant.values())
    return next((role for role in COURSE_ROLES if role in found), None)


def _standard_role(roles: Iterable[str]) -> str | None:
    found = {role for role in map(_membership, roles) if role is not None}
    if not found:
        return None
    sub_roles = {child for parent, child in found if parent == "instructor" and child}
    if any(not _ASSISTS.fullmatch(child) for child in sub_roles):
        return "instructor"
    if sub_roles or any(parent == "teachingassistant" for parent, _ in found):
        return "teaching_assistant"
    return "instructor" if ("instructor", "") in found else "student"


def _membership(role: str) -> tuple[str, str] | None:
    match = _ROLE.fullmatch(role.strip())
    if match is None:
        return None
    principal = (match["uri"] or match["parent"] or match["urn"] or match["handle"]).lower()
    if match["handle"] and principal not in _HANDLES:
        return None
    return principal, (match["child"] or match["urn_child"] or match["handle_child"] or "").lower()
