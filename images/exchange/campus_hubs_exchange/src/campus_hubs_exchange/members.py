"""Who is in the course, in which role; the only place that decides what somebody may do."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html import unescape
from html.entities import html5
from typing import Any

from campus_hubs_membership.identity import MAX_TEXT, identifier_of, printable
from campus_hubs_membership.roles import COURSE_ROLES, TEACHERS
from sqlalchemy import select
from sqlalchemy import update as change
from sqlalchemy.orm import Session

from .coursework import now
from .errors import Refused
from .model import Member, PlatformFact, Score

MAX_URL = 2048
USER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")
# With its semicolon: "R&D" and "AT&T" are no escapes.
_ESCAPE = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[a-zA-Z][a-zA-Z0-9]{1,31});")
# Moodle escapes names once, an import into it may have done so before.
_ESCAPED_TIMES = 3


@dataclass(frozen=True)
class Launched:
    """What a launch says about a person and about the course's services at the LMS.

    Attributes:
        at: when the hub took it (UTC, without a zone).
        outcome_link: the link of the LMS that the outcome belongs to, LTI 1.1's resource_link_id.
        issued_at: when the LMS issued it (seconds since 1970).
        context: id, title and label of the LMS's course; empty if it has none.
        services: nrps_url and ags, as far as the launch has them.
        beside: the LMS's course is one of several that are this course, and not the one with the gradebook.
    """

    subject: str
    role: str
    at: datetime
    given_name: str = ""
    family_name: str = ""
    email: str = ""
    outcome_url: str = ""
    outcome_sourcedid: str = ""
    outcome_link: str = ""
    issued_at: float = 0.0
    context: Mapping[str, str] = field(default_factory=dict)
    services: Mapping[str, Any] = field(default_factory=dict)
    beside: bool = False


def read_launched(document: object) -> Launched:
    """Read the body of PUT /api/members/<user>.

    Raises:
        Refused: 400, with the field and what is expected.
    """
    if not isinstance(document, dict):
        raise Refused(400, "The body is not a JSON object.")
    subject = identifier_of(document.get("subject"))
    if not subject:
        raise Refused(400, "subject: expected 1 to 255 printable characters.")
    if document.get("role") not in COURSE_ROLES:
        raise Refused(400, f"role: expected one of {', '.join(COURSE_ROLES)}.")
    services: dict[str, Any] = {}
    if nrps_url := _url(document, "nrps_url"):
        services["nrps_url"] = nrps_url
    ags = _object(document, "ags")
    if lineitems := _url(ags, "lineitems"):
        scopes = ags.get("scopes")
        if not isinstance(scopes, list) or not all(isinstance(scope, str) for scope in scopes):
            raise Refused(400, "ags.scopes: expected a list of texts.")
        services["ags"] = {"lineitems": lineitems, "scopes": sorted(scopes)}
    outcome, context = _object(document, "outcome"), _object(document, "context")
    at = _time(document, "launched_at")
    return Launched(
        subject=subject,
        role=document["role"],
        at=at,
        given_name=_name(document, "given_name"),
        family_name=_name(document, "family_name"),
        email=_name(document, "email"),
        outcome_url=_url(outcome, "url"),
        outcome_sourcedid=_text(outcome, "sourcedid", 4 * MAX_TEXT),
        outcome_link=_text(outcome, "link"),
        issued_at=(_time(document, "issued_at") if document.get("issued_at") else at).replace(tzinfo=UTC).timestamp(),
        # The id is compared: it stays as the LMS has it.
        context={"id": _text(context, "id"), "title": plain(context.get("title")), "label": plain(context.get("label"))}
        if context.get("id")
        else {},
        services=services,
    )


def bound(what: Launched, contexts: Sequence[str]) -> Launched:
    """Return what a launch says of a course that the inventory has bound.

    Args:
        what: the launch.
        contexts: ids, first the one with the gradebook; empty if it names none.
    """
    context = what.context.get("id")
    if contexts and context not in contexts:
        # A session of before the inventory has named another course of the LMS.
        what = replace(what, services={}, outcome_url="", outcome_sourcedid="")
    return replace(what, beside=bool(contexts) and context != contexts[0])


def launched(session: Session, user: str, what: Launched) -> bool:
    """Enrol a person, or follow what changed. Launches may come again, and late: an older one changes nothing.

    Args:
        session: of the database.
        user: the hub's user name.
        what: the launch.

    Returns:
        whether anything changed.

    Raises:
        Refused: 400, if the user name is none.
    """
    if not USER.fullmatch(user):
        raise Refused(400, "user name: expected a-z, 0-9, dot, underscore and hyphen, at most 64.")
    member = session.get(Member, user)
    if member is None:
        member = Member(
            user=user, subject=what.subject, hub_due=False, role="", active=False, since=what.at, given_name="",
            family_name="", email="", outcome_url="", outcome_sourcedid="", outcome_link="", outcome_context="",
            launched_at=None, confirmed_at=what.at,
        )  # fmt: skip
        session.add(member)
    elif what.at < max(member.since, member.launched_at or member.since):
        # A server that starts with an old session must not bring back what the LMS has changed since that launch.
        return False
    if member.role != what.role or not member.active:
        member.since = what.at
    member.launched_at, member.confirmed_at = what.at, max(member.confirmed_at, what.at)
    # Sessions that the hub has not ended yet are older than this launch, and it has taken their place.
    member.hub_due = False
    wanted: dict[str, Any] = {"subject": what.subject, "role": what.role, "active": True}
    # An LMS may hide in a launch what it tells in the roster: empty is no news.
    if what.given_name or what.family_name:
        wanted |= {"given_name": what.given_name, "family_name": what.family_name}
    if what.email:
        wanted["email"] = what.email
    followed = what.role in TEACHERS and _follow_services(session, what)
    if _tells_place(session, member, what):
        wanted |= {"outcome_url": what.outcome_url, "outcome_sourcedid": what.outcome_sourcedid}
        wanted |= {"outcome_link": what.outcome_link, "outcome_context": what.context.get("id", "")}
    return update(member, wanted) or followed


def _tells_place(session: Session, member: Member, what: Launched) -> bool:
    """Say whether a launch tells where the person's grade belongs: each link of LTI 1.1 has a grade of its own.

    The course's first link counts; for who has no place yet, or whose grade the LMS has refused there, any does.
    """
    if not what.outcome_url or not what.outcome_sourcedid:
        # From a link without a grade, or as a lecturer: what was there is still right.
        return False
    first = recall(session, "outcome_link")
    if not first and not what.beside:
        first = what.outcome_link
        remember(session, {"outcome_link": first})
    if not first or first == what.outcome_link or not member.outcome_sourcedid:
        return True
    refused = select(Score.user).where(Score.user == member.user, Score.state == "refused").limit(1)
    return session.scalar(refused) is not None


def _forget_places(session: Session) -> None:
    """Forget where LTI 1.1 takes grades, in another course of the LMS: people's next launches tell it of this one."""
    session.execute(change(Member).values(outcome_url="", outcome_sourcedid="", outcome_link="", outcome_context=""))
    remember(session, {"outcome_link": ""})


def services(session: Session) -> dict[str, Any]:
    """Return where the LMS's services are: context, issued_at, nrps_url, ags, as far as staff's launches told them.

    Also `rosters`, the rosters' addresses by the ids of contexts. Those of another course of the LMS are none.
    """
    known = told_services(session)
    return {} if known.get("elsewhere") else known


def told_services(session: Session) -> dict[str, Any]:
    """Return the same, of whichever course of the LMS; `elsewhere` if it is not this course's any more."""
    return recall(session, "services") or {}


def follow_binding(session: Session, contexts: Sequence[str]) -> None:
    """Have no use for the addresses of an LMS course that the inventory does not name any more.

    Args:
        session: of the database.
        contexts: ids, first the one with the gradebook; empty if it names none.
    """
    if known := told_services(session):
        context = (known.get("context") or {}).get("id")
        elsewhere = bool(contexts) and context != contexts[0]
        if elsewhere and context and not known.get("elsewhere"):
            _forget_places(session)
        remember(session, {"services": {**known, "elsewhere": elsewhere}})
    if contexts:
        # The link stays: by another one, what was sent is sent again.
        gone = Member.outcome_context.not_in([*contexts, ""])
        session.execute(change(Member).where(gone).values(outcome_url="", outcome_sourcedid=""))


def _follow_services(session: Session, what: Launched) -> bool:
    """Keep what a launch by staff says about the course's services, unless a newer one has said it already."""
    known = told_services(session)
    rosters = dict(known.get("rosters") or {})
    if what.context and "nrps_url" in what.services:
        rosters[what.context["id"]] = what.services["nrps_url"]
    if what.beside:
        return remember(session, {"services": {**known, "rosters": rosters}})
    if what.issued_at < known.get("issued_at", 0) or not (what.context or what.services):
        return False
    # A launch may come from a link without a service that others have; another course of the LMS has its own only.
    elsewhere = known.get("elsewhere")
    if not elsewhere and is_elsewhere(known, {"context": what.context, **what.services}):
        _forget_places(session)
        elsewhere = True
    kept = {} if elsewhere else known
    new = {
        **kept,
        **what.services,
        "context": what.context or kept.get("context", {}),
        "issued_at": what.issued_at,
        "rosters": rosters,
        "elsewhere": False,
    }
    remember(session, {"services": new})
    return {**new, "issued_at": 0} != {**known, "issued_at": 0}


def is_elsewhere(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Say whether services are of another course of the LMS than those before: by the context, else by the address."""
    ids = [(one.get("context") or {}).get("id") for one in (before, after)]
    if all(ids):
        return ids[0] != ids[1]
    addresses = [(one.get("ags") or {}).get("lineitems") for one in (before, after)]
    return all(addresses) and addresses[0] != addresses[1]


def update(member: Member, wanted: Mapping[str, Any]) -> bool:
    """Set columns of a member; say whether one of them was different."""
    different = {name: value for name, value in wanted.items() if getattr(member, name) != value}
    for name, value in different.items():
        setattr(member, name, value)
    return bool(different)


def active_member(session: Session, user: str, course: str) -> Member:
    """Find the person who asks.

    Raises:
        Refused: 403, with what they can do about it.
    """
    member = session.get(Member, user)
    if member is None:
        raise Refused(403, f"You are not known as a member of course {course}. Open it once from your LMS.")
    if not member.active:
        raise Refused(403, f"By your LMS you are no longer a member of course {course}. Your work is kept.")
    return member


def all_members(session: Session) -> list[Member]:
    """List everybody who is or was in the course, by name."""
    return list(session.scalars(select(Member).order_by(Member.family_name, Member.given_name, Member.user)))


def full_name(member: Member) -> str:
    """Write a person's name, or the user name if the LMS tells none."""
    return f"{member.given_name} {member.family_name}".strip() or member.user


def remember(session: Session, facts: Mapping[str, Any]) -> bool:
    """Keep what the LMS told; say whether it is new."""
    changed = False
    for name, value in facts.items():
        text = json.dumps(value, sort_keys=True)
        fact = session.get(PlatformFact, name)
        if fact is None:
            session.add(PlatformFact(name=name, value=text))
            changed = True
        elif fact.value != text:
            fact.value = text
            changed = True
    return changed


def recall(session: Session, name: str) -> Any:  # noqa: ANN401 - JSON
    """Return what was kept under a name, or None."""
    fact = session.get(PlatformFact, name)
    return None if fact is None else json.loads(fact.value)


def iso(time: datetime) -> str:
    """Write a time of the database for other programs."""
    return f"{time.isoformat(timespec='seconds')}Z"


def _object(document: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    value = document.get(name)
    if value is not None and not isinstance(value, dict):
        raise Refused(400, f"{name}: expected an object or null.")
    return value or {}


def _time(document: Mapping[str, Any], name: str) -> datetime:
    """Read seconds since 1970; a clock that is ahead of ours must not outlast later changes."""
    value = document.get(name)
    try:
        if isinstance(value, int | float) and not isinstance(value, bool) and value >= 0:
            return min(datetime.fromtimestamp(value, UTC).replace(tzinfo=None), now())
    except (OSError, OverflowError, ValueError):
        pass
    raise Refused(400, f"{name}: expected seconds since 1970.")


def _text(document: Mapping[str, Any], name: str, limit: int = MAX_TEXT) -> str:
    value = document.get(name)
    if value is not None and not isinstance(value, str):
        raise Refused(400, f"{name}: expected a text.")
    return printable(value, limit)


def _name(document: Mapping[str, Any], name: str) -> str:
    _text(document, name)
    return plain(document.get(name))


def plain(value: object) -> str:
    """Make a text of people's that can be stored and shown: names that the LMS has escaped for HTML are not any more.

    Moodle's roster says `&amp;` where its launch says `&`; both are one name.
    """
    text = value if isinstance(value, str) else ""
    for _ in range(_ESCAPED_TIMES):
        text = _ESCAPE.sub(
            lambda match: unescape(match[0]) if match[0][1] == "#" else html5.get(match[0][1:], match[0]), text
        )
    return printable(text)


def _url(document: Mapping[str, Any], name: str) -> str:
    url = _text(document, name, MAX_URL + 1)
    if url and (not url.startswith(("https://", "http://")) or len(url) > MAX_URL):
        raise Refused(400, f"{name}: expected an http or https URL of at most {MAX_URL} characters.")
    return url
