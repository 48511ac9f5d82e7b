"""The LMS's roster (LTI Names and Role Provisioning Services 2.0), and what it changes in the course."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy.orm import Session

from .coursework import now
from .database import Database
from .errors import Refused
from .hub import Hub
from .identity import is_subject, user_name
from .lms import Lms13, LmsError
from .members import all_members, iso, printable, recall, remember, update
from .model import Member
from .roles import COURSE_ROLES, course_role

log = logging.getLogger("exchange")

SCOPE = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
MEDIA_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"


@dataclass(frozen=True)
class Listed:
    """Somebody on the roster who is active and has a role in the course."""

    user: str
    subject: str
    role: str
    given_name: str
    family_name: str
    email: str


@dataclass
class Plan:
    """What a roster changes.

    :param joined: user names of who comes (again).
    :param left: user names of who goes.
    :param role_changed: {"user", "before", "after"} each.
    :param updated: user names of those of whom only name or e-mail changes.
    :param members: how many are active afterwards.
    """

    joined: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    role_changed: list[dict[str, str]] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    members: int = 0

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.joined or self.left or self.role_changed or self.updated)

    def document(self, reason: str = "", *, available: bool = True) -> dict[str, Any]:
        """Write it for other programs."""
        return {
            "changed": self.changed,
            "joined": self.joined,
            "left": self.left,
            "role_changed": self.role_changed,
            "members": self.members,
            "available": available,
            "reason": reason,
        }


def read_members(issuer: str, pages: Iterable[object]) -> dict[str, Listed]:
    """Read the membership containers (NRPS 2.0, section 2.2).

    :param issuer: identity of the LMS, for user names.
    :param pages: JSON documents.
    :returns: who is active and has a role in the course, by user name.
    :raises LmsError: something is no membership container.
    """
    listed: dict[str, Listed] = {}
    for page in pages:
        members = page.get("members") if isinstance(page, dict) else None
        if not isinstance(members, list):
            raise LmsError("The LMS's roster is not in the format of NRPS 2.0.", final=True)
        for member in members:
            if not isinstance(member, dict) or not is_subject(member.get("user_id")):
                raise LmsError("The LMS's roster holds somebody without a usable user_id.", final=True)
            roles = member.get("roles")
            role = course_role([text for text in roles if isinstance(text, str)] if isinstance(roles, list) else [])
            user = user_name(issuer, member["user_id"])
            if role is None or member.get("status", "Active") != "Active":
                # If somebody is on two pages because the roster has changed meanwhile, the later one counts.
                listed.pop(user, None)
                continue
            given, family = printable(member.get("given_name")), printable(member.get("family_name"))
            if not given and not family:
                family = printable(member.get("name"))
            listed[user] = Listed(user, member["user_id"], role, given, family, printable(member.get("email")))
    return listed


def plan(session: Session, listed: Mapping[str, Listed]) -> Plan:
    """Compare a roster with the members.

    :raises Refused: 409, if the roster would put everybody out, or was made for other user names.
    """
    members = {member.user: member for member in all_members(session)}
    active = {user for user, member in members.items() if member.active}
    if active and not listed:
        raise Refused(
            409, f"The LMS says that nobody is in the course, which has {len(active)} members. Nothing was changed."
        )
    by_subject = {member.subject: user for user, member in members.items()}
    for user, entry in listed.items():
        if by_subject.get(entry.subject, user) != user:
            raise Refused(
                409, "The user names of the roster are not those of the launches: LTI_ISSUER is not the hub's issuer."
            )
    result = Plan(members=len(listed))
    for user, entry in sorted(listed.items()):
        member = members.get(user)
        if member is None or not member.active:
            result.joined.append(user)
        elif member.role != entry.role:
            result.role_changed.append({"user": user, "before": member.role, "after": entry.role})
        elif any(getattr(member, name) != value for name, value in _attributes(entry).items()):
            result.updated.append(user)
    result.left = sorted(active - listed.keys())
    return result


def carry_out(session: Session, listed: Mapping[str, Listed]) -> Plan:
    """Make the members what the roster says; raises what `plan` raises."""
    result = plan(session, listed)
    for user in result.left:
        member = session.get_one(Member, user)
        member.active, member.since, member.hub_due = False, now(), True
    for change in result.role_changed:
        member = session.get_one(Member, change["user"])
        member.role, member.since = change["after"], now()
        if COURSE_ROLES.index(change["after"]) > COURSE_ROLES.index(change["before"]):
            # Demoted: their server has what their old role has. The next launch starts one that fits the new role.
            member.hub_due = True
    for user in result.joined:
        entry, existing = listed[user], session.get(Member, user)
        if existing is None:
            existing = Member(
                user=user, subject=entry.subject, given_name="", family_name="", email="", outcome_url="",
                outcome_sourcedid="", hub_due=False,
            )  # fmt: skip
            session.add(existing)
        elif existing.role == entry.role:
            # What the hub has not ended yet is right again.
            existing.hub_due = False
        existing.role, existing.active, existing.since = entry.role, True, now()
    session.flush()
    for user, entry in listed.items():
        update(session.get_one(Member, user), _attributes(entry))
    return result


def _attributes(entry: Listed) -> dict[str, str]:
    # An LMS may hide in one place what it tells in another: empty is no news.
    named = {"given_name": entry.given_name, "family_name": entry.family_name}
    attributes = (named if any(named.values()) else {}) | ({"email": entry.email} if entry.email else {})
    return {"subject": entry.subject, **attributes}


class Roster:
    """Brings the members up to date, one run at a time."""

    def __init__(self, database: Database, hub: Hub, lms: Lms13 | None, *, issuer: str, url: str) -> None:
        """Take what is needed.

        :param lms: None for an LTI 1.1 course.
        :param issuer: identity of the LMS, for user names.
        :param url: of the roster; empty means that launches tell it.
        """
        self._database, self._hub, self._lms, self._issuer, self._url = database, hub, lms, issuer, url
        self._lock = asyncio.Lock()

    async def synchronise(self, *, check: bool) -> dict[str, Any]:
        """Read the roster and follow it.

        :param check: only say what would change.
        :returns: the plan's document; `available` is false if this course can have no roster (yet).
        :raises Refused: 502, if the LMS fails; 409 if what it says cannot be right. Nothing has changed then.
        """
        async with self._lock:
            url, count = await self._database.read(
                lambda session: (
                    self._url or recall(session, "nrps_url") or "",
                    sum(member.active for member in all_members(session)),
                )
            )
            if (reason := self._why_not(url)) or self._lms is None:
                return Plan(members=count).document(reason, available=False)
            try:
                result = await self._follow(self._lms, url, check=check)
            except (LmsError, Refused) as error:
                reason = str(error)
                log.warning("roster: %s", reason)
                if not check:
                    await self._note(error=reason)
                raise Refused(error.status if isinstance(error, Refused) else 502, f"Roster: {reason}") from None
            return result.document()

    async def _follow(self, lms: Lms13, url: str, *, check: bool) -> Plan:
        pages = [page async for page in lms.pages(url, [SCOPE], accept=MEDIA_TYPE)]
        listed = read_members(self._issuer, pages)
        if check:
            return await self._database.read(lambda session: plan(session, listed))
        result = await self._database.write(lambda session: carry_out(session, listed))
        await self._note(error="")
        log.info(
            "roster: %d pages, %d members, %d joined, %d left, %d roles changed",
            len(pages), len(listed), len(result.joined), len(result.left), len(result.role_changed),
        )  # fmt: skip
        try:
            await self._hub.prepare_homes(listed)
        except Refused as error:
            # Homes are made at the first start as well, only later.
            log.warning("roster: %s", error)
        return result

    def is_available(self, session: Session) -> bool:
        """Say whether the roster can be read."""
        return not self._why_not(self._url or recall(session, "nrps_url") or "")

    def _why_not(self, url: str) -> str:
        if self._lms is None:
            return "LTI 1.1 has no roster: people become members when they open the course."
        return "" if url else "The roster's address is not known yet: open the course once from the LMS."

    async def _note(self, *, error: str) -> None:
        def note(session: Session) -> None:
            roster = recall(session, "roster") or {}
            remember(session, {"roster": {**roster, "error": error, **({} if error else {"last_sync": iso(now())})}})

        await self._database.write(note)
