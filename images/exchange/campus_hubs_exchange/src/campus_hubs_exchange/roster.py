"""The LMS's roster (LTI Names and Role Provisioning Services 2.0), and what it changes in the course."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from campus_hubs_membership.identity import identifier_of, printable, user_name
from campus_hubs_membership.roles import COURSE_ROLES, NO_ROLES, course_role, listing, texts
from sqlalchemy.orm import Session

from .coursework import now
from .database import Database
from .errors import Refused
from .hub import Hub
from .lms import Lms13, LmsError
from .members import all_members, iso, plain, recall, remember, services, told_services, update
from .model import Member

log = logging.getLogger("exchange")

SCOPE = "https://purl.imsglobal.org/spec/lti-nrps/scope/contextmembership.readonly"
MEDIA_TYPE = "application/vnd.ims.lti-nrps.v2.membershipcontainer+json"
# A roster that removes more than these, and more than half of the members, waits until somebody confirms it.
UNCONFIRMED_REMOVALS = 5
CONFIRM_ALL = "all"
LECTURER = COURSE_ROLES[0]
_STATUSES = {"active": True, "inactive": False, "deleted": False}
_SHOWN_ROLES = 3


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
class Reading:
    """What a roster says.

    Attributes:
        listed: who is active and has a role in the course, by user name.
        unclear: user names of those of whom it says nothing usable: they stay what they are.
        notes: what could not be used, in sentences.
        began: when the LMS was asked (UTC); who has launched since then is what the launch says.
    """

    listed: dict[str, Listed] = field(default_factory=dict)
    unclear: set[str] = field(default_factory=set)
    notes: list[str] = field(default_factory=list)
    began: datetime = datetime.max


@dataclass
class Plan:
    """What a roster changes.

    Attributes:
        joined: user names of who comes (again).
        left: user names of who goes.
        waiting: user names of who would go, and stays until somebody confirms it.
        of: how many were active when that was seen first.
        role_changed: {"user", "before", "after"} each.
        updated: user names of those of whom only name or e-mail changes.
        members: how many are active afterwards.
        notes: what a lecturer should know, in sentences.
    """

    joined: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    waiting: list[str] = field(default_factory=list)
    of: int = 0
    role_changed: list[dict[str, str]] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    members: int = 0
    notes: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether there is anything to do."""
        return bool(self.joined or self.left or self.role_changed or self.updated)

    @property
    def confirm(self) -> str:
        """What confirms that these people leave, and no others; '' if nobody waits."""
        return hashlib.sha256("\n".join(self.waiting).encode()).hexdigest()[:16] if self.waiting else ""

    def document(self, context: Mapping[str, str], reason: str = "", *, available: bool = True) -> dict[str, Any]:
        """Write it for other programs."""
        return {
            "changed": self.changed,
            "joined": self.joined,
            "left": self.left,
            "waiting": self.waiting,
            "confirm": self.confirm,
            "role_changed": self.role_changed,
            "members": self.members,
            "notes": self.notes,
            "context": dict(context),
            "available": available,
            "reason": reason,
        }


def read_members(issuer: str, pages: Iterable[object], roles: Mapping[str, str] = NO_ROLES) -> Reading:
    """Read the membership containers (NRPS 2.0, section 2.2), as LMSs write them: what is usable counts.

    Args:
        pages: JSON documents.
        roles: what roles that only this LMS has mean.
        issuer: identity of the LMS, for user names.

    Raises:
        LmsError: something is no membership container.
    """
    entries: dict[str, list[Mapping[str, Any]]] = {}
    nameless = 0
    for page in pages:
        members = listing(page.get("members")) if isinstance(page, dict) else None
        if members is None:
            raise LmsError("The LMS's roster is not in the format of NRPS 2.0.", final=True)
        for member in members:
            subject = identifier_of(member.get("user_id")) if isinstance(member, dict) else ""
            if subject:
                entries.setdefault(subject, []).append(member)
            else:
                nameless += 1
    if nameless and not entries:
        raise LmsError("The LMS's roster holds nobody with a usable user_id.", final=True)
    reading, problems, odd = Reading(), Counter[str](), Counter[str]()
    problems["without a usable user_id"] = nameless
    for subject, found in entries.items():
        user = user_name(issuer, subject)
        listed, problem = _listed(user, subject, found, roles)
        if listed is not None:
            reading.listed[user] = listed
        elif problem:
            problems[problem] += 1
            if problem == _NO_ROLE:
                odd.update(role for entry in found for role in texts(entry.get("roles")) or [])
            else:
                reading.unclear.add(user)
    reading.notes = [f"The LMS's roster has {number} {text}." for text, number in problems.items() if number]
    if odd:
        names = ", ".join(printable(role, 100) for role, _ in odd.most_common(_SHOWN_ROLES))
        reading.notes.append(f"Roles that mean nothing here: {names}.")
    return reading


_NO_ROLE = "without a role in the course, who are no members"


def _listed(
    user: str, subject: str, entries: list[Mapping[str, Any]], meanings: Mapping[str, str]
) -> tuple[Listed | None, str]:
    """Make one of somebody's entries: an LMS may have one for each role, group or page.

    Returns:
        the person if they are in the course; else why not, '' if the LMS says clearly that they are not.
    """
    active = [entry for entry in entries if _is_active(entry.get("status"))]
    if not active:
        unknown = any(_is_active(entry.get("status")) is None for entry in entries)
        return None, "with a status that is not known, who stay as they are" * unknown
    roles = [texts(entry.get("roles")) for entry in active]
    if all(found is None for found in roles):
        return None, "whose roles cannot be read, who stay as they are"
    role = course_role([text for found in roles for text in found or []], meanings)
    if role is None:
        return None, _NO_ROLE
    names = {key: next(filter(None, (plain(entry.get(key)) for entry in active)), "") for key in _NAMES}
    if not names["given_name"] and not names["family_name"]:
        names["family_name"] = names["name"]
    return Listed(user, subject, role, names["given_name"], names["family_name"], names["email"]), ""


_NAMES = ("given_name", "family_name", "name", "email")


def _is_active(status: object) -> bool | None:
    """Read a status: in any letters, as a URI, or missing, which means active (NRPS 2.0, section 2.2); else None."""
    if status is None or status == "":
        return True
    return _STATUSES.get(re.split(r"[#/]", status)[-1].strip().lower()) if isinstance(status, str) else None


def plan(session: Session, reading: Reading, confirm: str = "") -> Plan:
    """Compare a roster with the members.

    Args:
        session: of the database.
        reading: the roster.
        confirm: what a lecturer has confirmed: `Plan.confirm` as they saw it, or CONFIRM_ALL.

    Raises:
        Refused: 409, if the roster would put everybody out, or was made for other user names.
    """
    listed = reading.listed
    members = {member.user: member for member in all_members(session)}
    active = {user for user, member in members.items() if member.active}
    newer = {user for user in active if (members[user].launched_at or datetime.min) >= reading.began}
    if active and not listed:
        raise Refused(
            409,
            f"The LMS says that nobody is in the course, which has {len(active)} members. Nothing was changed. "
            + " ".join(reading.notes),
        )
    subjects = {member.subject for member in members.values()}
    # With a new issuer everybody has a new name, whoever has launched since then in both places.
    if not members.keys() & listed.keys() and any(entry.subject in subjects for entry in listed.values()):
        raise Refused(
            409, "The user names of the roster are not those of the launches: LTI_ISSUER is not the hub's issuer."
        )
    result = Plan(notes=list(reading.notes))
    for user, entry in sorted(listed.items()):
        member = members.get(user)
        if member is None or not member.active:
            result.joined.append(user)
        elif member.role != entry.role and user not in newer:
            result.role_changed.append({"user": user, "before": member.role, "after": entry.role})
        elif any(getattr(member, name) != value for name, value in _attributes(entry).items()):
            result.updated.append(user)
    left = active - listed.keys() - reading.unclear - newer
    # An LMS may not list who teaches by a role above the course. Without a lecturer nobody could confirm anything.
    lecturers = {user for user in left if members[user].role == LECTURER}
    if lecturers and confirm != CONFIRM_ALL and not any(entry.role == LECTURER for entry in listed.values()):
        left -= lecturers
        result.notes.append("The LMS's roster names no lecturer: those of the course stay.")
    result.left = sorted(left)
    # Who has come meanwhile, by the same roster perhaps, does not make it less than half.
    result.of = min(len(active), (recall(session, "roster") or {}).get("of") or len(active))
    if len(result.left) > UNCONFIRMED_REMOVALS and 2 * len(result.left) > result.of:
        result.left, result.waiting = [], result.left
        if confirm in {CONFIRM_ALL, result.confirm}:
            result.left, result.waiting = result.waiting, []
        else:
            result.notes.append(
                f"{len(result.waiting)} of {result.of} members are not on the LMS's roster any more. "
                "That is more than half: they stay until a lecturer confirms that they leave."
            )
    result.members = len(active | listed.keys()) - len(result.left)
    return result


def carry_out(session: Session, reading: Reading, confirm: str = "") -> Plan:
    """Make the members what the roster says; raises what `plan` raises."""
    # Held here: the session itself forgets what nobody holds, and would ask for ten thousand one by one.
    members = {member.user: member for member in all_members(session)}
    result, listed = plan(session, reading, confirm), reading.listed
    for user in result.left:
        member = members[user]
        member.active, member.since, member.hub_due = False, now(), True
    for change in result.role_changed:
        member = members[change["user"]]
        member.role, member.since = change["after"], now()
        if COURSE_ROLES.index(change["after"]) > COURSE_ROLES.index(change["before"]):
            # Demoted: their server has what their old role has. The next launch starts one that fits the new role.
            member.hub_due = True
    for user in result.joined:
        entry, existing = listed[user], members.get(user)
        if existing is None:
            existing = members[user] = Member(
                user=user, subject=entry.subject, given_name="", family_name="", email="", outcome_url="",
                outcome_sourcedid="", outcome_link="", outcome_context="", hub_due=False, launched_at=None,
            )  # fmt: skip
            session.add(existing)
        elif existing.role == entry.role:
            # What the hub has not ended yet is right again.
            existing.hub_due = False
        existing.role, existing.active, existing.since, existing.confirmed_at = entry.role, True, now(), now()
    for user, entry in listed.items():
        update(members[user], _attributes(entry))
        members[user].confirmed_at = now()
    return result


def _attributes(entry: Listed) -> dict[str, str]:
    # An LMS may hide in one place what it tells in another: empty is no news.
    named = {"given_name": entry.given_name, "family_name": entry.family_name}
    attributes = (named if any(named.values()) else {}) | ({"email": entry.email} if entry.email else {})
    return {"subject": entry.subject, **attributes}


class Roster:
    """Brings the members up to date, one run at a time."""

    def __init__(  # noqa: PLR0913
        self,
        database: Database,
        hub: Hub,
        lms: Lms13 | None,
        *,
        issuer: str,
        deployment: Mapping[str, str],
        url: str,
        contexts: Sequence[str],
        roles: Mapping[str, str],
    ) -> None:
        """Take what is needed.

        Args:
            database: of the course.
            hub: of the course.
            lms: None for an LTI 1.1 course.
            issuer: identity of the LMS, for user names.
            deployment: issuer and deployment_id of the tool; empty texts for LTI 1.1.
            url: of the roster; empty means that launches tell it.
            contexts: ids of the LMS's courses that are this course; the members are those of all of them.
            roles: what roles that only this LMS has mean, see `course_role`.
        """
        self._database, self._hub, self._lms, self._issuer, self._url = database, hub, lms, issuer, url
        self._contexts, self._roles, self._deployment = contexts, roles, deployment
        self._lock = asyncio.Lock()

    async def synchronise(self, *, check: bool, confirm: str = "") -> dict[str, Any]:
        """Read the roster and follow it.

        Args:
            check: only say what would change.
            confirm: see `plan`.

        Returns:
            the plan's document; `available` is false if this course can have no roster (yet).

        Raises:
            Refused: 502, if the LMS fails; 409 if what it says cannot be right. Nothing has changed then.
        """
        async with self._lock:
            urls, context, count = await self._database.read(
                lambda session: (
                    self._addresses(session),
                    self._context(session),
                    sum(member.active for member in all_members(session)),
                )
            )
            if (reason := self._why_not(urls, context)) or self._lms is None:
                return Plan(members=count).document(context, reason, available=False)
            try:
                result = await self._follow(self._lms, urls, check=check, confirm=confirm)
            except (LmsError, Refused) as error:
                reason = str(error)
                log.warning("roster: %s", reason)
                if not check:
                    await self._database.write(lambda session: _note(session, error=reason))
                raise Refused(error.status if isinstance(error, Refused) else 502, f"Roster: {reason}") from None
            return result.document(context)

    async def _follow(self, lms: Lms13, urls: list[str], *, check: bool, confirm: str) -> Plan:
        began = now()
        pages = [page for url in urls async for page in lms.pages(url, [SCOPE], accept=MEDIA_TYPE)]
        reading = read_members(self._issuer, pages, self._roles)
        reading.began = began
        if check:
            return await self._database.read(lambda session: plan(session, reading, confirm))

        def write(session: Session) -> Plan:
            done = carry_out(session, reading, confirm)
            of = done.of if done.waiting else 0
            _note(session, error="", last_sync=iso(now()), notes=done.notes, confirm=done.confirm, of=of)
            return done

        result = await self._database.write(write)
        log.info(
            "roster: %d pages, %d members, %d joined, %d left, %d wait to be confirmed, %d roles changed",
            len(pages), len(reading.listed), len(result.joined), len(result.left), len(result.waiting),
            len(result.role_changed),
        )  # fmt: skip
        try:
            await self._hub.prepare_homes(reading.listed)
        except Refused as error:
            # Homes are made at the first start as well, only later.
            log.warning("roster: %s", error)
        return result

    def document(self, session: Session) -> dict[str, Any]:
        """Write down how the last look into the LMS's roster went, for other programs."""
        state = recall(session, "roster") or {}
        return {
            "available": not self._why_not(self._addresses(session), {}),
            "last_sync": state.get("last_sync"),
            "error": state.get("error", ""),
            "notes": state.get("notes", []),
            "confirm": state.get("confirm", ""),
            "context": self._context(session),
        }

    def _context(self, session: Session) -> dict[str, str]:
        """Return the LMS's course that this one is bound to; empty until staff have come from one."""
        context = services(session).get("context") or {}
        return {**context, **self._deployment} if context else {}

    def _addresses(self, session: Session) -> list[str]:
        """List the rosters' addresses; none as long as one is not known: its members would be put out."""
        if self._url:
            return [self._url]
        if len(self._contexts) > 1:
            rosters = told_services(session).get("rosters") or {}
            return [rosters[context] for context in self._contexts] if rosters.keys() >= set(self._contexts) else []
        url = services(session).get("nrps_url")
        return [url] if url else []

    def _why_not(self, urls: list[str], context: Mapping[str, str]) -> str:
        if self._lms is None:
            return "LTI 1.1 has no roster: people become members when they open the course."
        if urls or len(self._contexts) < 2:
            return "" if urls else _NOT_OFFERED if context else f"{_UNKNOWN} from the LMS."
        return f"{_UNKNOWN} from each of its LMS courses ({', '.join(self._contexts)})."


_NOT_OFFERED = (
    "The LMS has told a lecturer's launch no address of its roster: its administrator lets this tool read it (Names "
    "and Role Provisioning Services), then a lecturer opens the course once more."
)
_UNKNOWN = "The roster's address is not known yet: a lecturer opens the course once"


def _note(session: Session, **state: object) -> None:
    remember(session, {"roster": {**(recall(session, "roster") or {}), **state}})
