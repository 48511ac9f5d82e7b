"""A launch that was verified: who comes in, in which role, and what later work (roster, grades) needs to know."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from campus_hubs_membership.identity import MAX_TEXT, digits, identifier_of, is_identifier, printable, user_name
from campus_hubs_membership.roles import COURSE_ROLES, NO_ROLES, CourseRole, course_role, texts

from .errors import LaunchRefused

LTI = "https://purl.imsglobal.org/spec/lti/claim/"
NRPS = "https://purl.imsglobal.org/spec/lti-nrps/claim/namesroleservice"
AGS = "https://purl.imsglobal.org/spec/lti-ags/claim/endpoint"

MAX_URL = 2048
# Of the roles that came, so many are shown, each so long.
SHOWN_ROLES, SHOWN_CHARACTERS = 5, 120
# `$(X)` is expanded by Kubernetes and `{x}` by KubeSpawner, wherever a person's name becomes an environment variable.
_UNWANTED_IN_NAMES = str.maketrans("", "", "${}")


@dataclass(frozen=True)
class Launch:
    """A verified launch.

    Attributes:
        issuer: identity of the LMS that the user name is made from.
        subject: the LMS's identifier of the person.
        role: the role in this course.
        details: the rest of the auth state (JSON types only, no token).
        target: the URL that the launch asks for, or ''.
        lms: what the launch itself calls the LMS: `iss`, or `tool_consumer_instance_guid`, else the consumer key.
        at: when it was verified (seconds since 1970).
    """

    issuer: str
    subject: str
    role: CourseRole
    details: Mapping[str, Any]
    target: str
    lms: str
    at: float = field(default_factory=time.time)

    @property
    def user_name(self) -> str:
        """The hub's name for the person."""
        return user_name(self.issuer, self.subject)

    @property
    def auth_state(self) -> dict[str, Any]:
        """What the hub stores, encrypted, with the user."""
        return {
            "issuer": self.issuer,
            "sub": self.subject,
            "course_role": self.role,
            "launched_at": self.at,
            **self.details,
        }


def launch_from_claims(claims: Mapping[str, Any], *, issuer: str, roles: Mapping[str, str] = NO_ROLES) -> Launch:
    """Read the verified claims of an LTI 1.3 id_token.

    Args:
        claims: payload of the id_token.
        issuer: identity of the LMS for user names.
        roles: what the LMS's own roles mean, see `campus_hubs_membership.roles.course_role`.

    Raises:
        LaunchRefused: 400 without a usable `sub`, 403 without a role in the course.
    """
    subject = checked_identifier(claims.get("sub"), "sub")
    context = _mapping(claims.get(LTI + "context"))
    nrps = _mapping(claims.get(NRPS))
    ags = _mapping(claims.get(AGS))
    details = {
        "lti_version": "1.3",
        "client_id": _first(claims.get("azp"), claims.get("aud")),
        "deployment_id": printable(digits(claims.get(LTI + "deployment_id"))),
        "issued_at": int(claims["iat"]),
        "context": {
            # Exactly as it is, since it is compared; some LMSs send a number.
            "id": identifier_of(context.get("id")),
            "title": printable(context.get("title")),
            "label": printable(context.get("label")),
        },
        "resource_link_id": printable(_mapping(claims.get(LTI + "resource_link")).get("id")),
        "full_name": printable(claims.get("name")),
        "given_name": printable(claims.get("given_name")),
        "family_name": printable(claims.get("family_name")),
        "email": printable(claims.get("email")),
        # Moodle sends the login name in `ext`, and only if the tool's privacy settings allow it.
        "login": _first(claims.get("preferred_username"), _mapping(claims.get(LTI + "ext")).get("user_username")),
        "nrps": {
            "context_memberships_url": _url(nrps.get("context_memberships_url")),
            "service_versions": _texts(nrps.get("service_versions")),
        },
        "ags": {
            "scope": _texts(ags.get("scope")),
            "lineitems": _url(ags.get("lineitems")),
            "lineitem": _url(ags.get("lineitem")),
        },
    }
    role = checked_role(_texts(claims.get(LTI + "roles")), roles)
    target = claims.get(LTI + "target_link_uri")
    lms = printable(claims.get("iss"))
    return Launch(issuer, subject, role, details, target if isinstance(target, str) else "", lms)


def launch_from_form(form: Mapping[str, str], *, issuer: str, roles: Mapping[str, str] = NO_ROLES) -> Launch:
    """Read the verified parameters of an LTI 1.1 launch.

    Args:
        form: launch parameters, one value each.
        issuer: configured identity of the LMS; if empty, the launch's `tool_consumer_instance_guid`, else its
            consumer key.
        roles: what the LMS's own roles mean, see `campus_hubs_membership.roles.course_role`.

    Raises:
        LaunchRefused: 400 without a usable `user_id`, 403 without a role in the course.
    """
    subject = checked_identifier(form.get("user_id"), "user_id")
    lms = form.get("tool_consumer_instance_guid") or form["oauth_consumer_key"]
    details = {
        "lti_version": "1.1",
        "consumer_key": printable(form["oauth_consumer_key"]),
        "issued_at": int(form["oauth_timestamp"]),
        "context": {
            "id": identifier_of(form.get("context_id")),
            "title": printable(form.get("context_title")),
            "label": printable(form.get("context_label")),
        },
        "resource_link_id": printable(form.get("resource_link_id")),
        "full_name": printable(form.get("lis_person_name_full")),
        "given_name": printable(form.get("lis_person_name_given")),
        "family_name": printable(form.get("lis_person_name_family")),
        "email": printable(form.get("lis_person_contact_email_primary")),
        "login": _first(form.get("ext_user_username"), form.get("custom_canvas_user_login_id")),
        # Basic Outcomes, LTI 1.1's only way to give a score back.
        "outcomes": {
            "service_url": _url(form.get("lis_outcome_service_url")),
            "result_sourcedid": printable(form.get("lis_result_sourcedid"), limit=4 * MAX_TEXT),
        },
    }
    role = checked_role(form.get("roles", "").split(","), roles)
    lms = checked_identifier(lms, "tool_consumer_instance_guid")
    return Launch(issuer or lms, subject, role, details, form.get("custom_next") or form.get("next", ""), lms)


def checked_identifier(value: object, what: str) -> str:
    """Accept an opaque identifier that can be hashed without ambiguity.

    Args:
        value: what the launch says; a number, which some LMSs send, means its digits.
        what: the field's name for the message.

    Raises:
        LaunchRefused: 400, if it is no identifier.
    """
    value = digits(value)
    if not isinstance(value, str) or not value.strip():
        raise LaunchRefused(400, f"The launch does not say who you are ({what} is missing).")
    if not is_identifier(value):
        raise LaunchRefused(400, f"The launch holds an unusable {what}.")
    return value


def checked_role(roles: Iterable[str], meanings: Mapping[str, str] = NO_ROLES) -> CourseRole:
    """Accept the roles of a member of the course.

    Args:
        roles: role URIs, URNs or LTI 1.1 handles.
        meanings: what roles of this LMS mean here.

    Raises:
        LaunchRefused: 403, if none of them is a role in the course; names them.
    """
    came = [stripped for role in roles if (stripped := role.strip())]
    if role := course_role(came, meanings):
        return role
    shown = ", ".join(f"'{role[:SHOWN_CHARACTERS]}'" for role in came[:SHOWN_ROLES])
    more = f" and {len(came) - SHOWN_ROLES} more" if len(came) > SHOWN_ROLES else ""
    raise LaunchRefused(
        403,
        "Your LMS does not say that you are a member of this course. "
        + (f"It names these roles: {shown}{more}." if came else "It names no role."),
        student="Ask your lecturer whether you are enrolled in the LMS course.",
        lecturer="Look who is enrolled in the LMS course, and as what. If it is all right there, send the "
        "administrators the reference below.",
        admin="If the LMS sends no roles in the course but only those of the institution, say in course_hub_lti_roles "
        "what they mean.",
    )


def spawn_environment(auth_state: Mapping[str, Any] | None) -> dict[str, str]:
    """Make the environment of the single-user server.

    It tells programs in the server who works there; it protects nothing, since people control their own environment.

    Args:
        auth_state: as stored by the login; None (crypt key lost) means a student, the role that may do least.

    Returns:
        COURSE_ROLE, COURSE_CONTEXT_ID, COURSE_USER_FULL_NAME, COURSE_USER_EMAIL.
    """
    state = auth_state or {}
    role = state.get("course_role")
    full_name, given_name, family_name = (printable(state.get(f"{part}_name")) for part in ("full", "given", "family"))
    return {
        "COURSE_ROLE": role if role in COURSE_ROLES else "student",
        "COURSE_CONTEXT_ID": printable(_mapping(state.get("context")).get("id")).translate(_UNWANTED_IN_NAMES),
        "COURSE_USER_FULL_NAME": (full_name or f"{given_name} {family_name}".strip()).translate(_UNWANTED_IN_NAMES),
        "COURSE_USER_EMAIL": printable(state.get("email")).translate(_UNWANTED_IN_NAMES),
    }


def _first(*values: object) -> str:
    """Return the first value that has text; of a list (`aud`), its first entry."""
    return next(
        (
            found
            for value in values
            if (found := printable(digits(value[0] if isinstance(value, list) and value else value)))
        ),
        "",
    )


def _texts(value: object) -> list[str]:
    return [printable(entry) for entry in texts(value) or []]


def _mapping(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, dict) else {}


def _url(value: object) -> str:
    url = printable(value, limit=MAX_URL + 1)
    return url if url.startswith(("https://", "http://")) and len(url) <= MAX_URL else ""
