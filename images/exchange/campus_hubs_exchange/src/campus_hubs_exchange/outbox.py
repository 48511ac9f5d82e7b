"""Sends what the LMS and the hub are to know: again and again until it is there or refused, also after a restart.

The database says what is to be done; this only does it. Each attempt is written down before it begins, so that a killed
process leaves a mark at what may have arrived.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from campus_hubs_membership.identity import user_name
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from .ags import Graded, Known, Placed, place_column, send_score
from .coursework import now
from .database import Database
from .errors import Refused
from .grades import queue, value_of, way
from .hub import Hub
from .lms import Http, Lms13, LmsError
from .members import services
from .model import Column, Member, Score
from .outcomes import Consumer, send_total

log = logging.getLogger("exchange")

FIRST_PAUSE_SECONDS = 2.0
LONGEST_PAUSE_SECONDS = 900.0
# Without an answer the LMS is left alone for a moment: a whole class must not run into the same time-out.
SILENT_SECONDS = 5.0
AT_ONCE = 4
BATCH = 40
HUB_PAUSE_SECONDS = 5.0
# The same answer for so long is a refusal: a locked grade, which Moodle calls an error of its own.
REFUSED_AFTER = timedelta(hours=1)
# What the LMS has is not known: an attempt has begun, and may have arrived.
UNKNOWN = "?"


def pause(attempts: int) -> float:
    """Say how long to wait after so many failures, in seconds: doubled each time, and not all at the same moment."""
    seconds = min(FIRST_PAUSE_SECONDS * 2.0 ** min(attempts - 1, 20), LONGEST_PAUSE_SECONDS)
    return seconds * random.uniform(0.8, 1.2)  # noqa: S311 - no secret


class Outbox:
    """One task that empties the outbox."""

    def __init__(  # noqa: PLR0913
        self, database: Database, hub: Hub, *, lms: Lms13 | None, issuer: str, http: Http, consumer: Consumer | None
    ) -> None:
        """Take what is needed.

        Args:
            database: of the course.
            hub: of the course.
            lms: the platform of an LTI 1.3 course.
            issuer: identity of the LMS, for user names.
            http: what LTI 1.1 goes through.
            consumer: the consumer of an LTI 1.1 course.
        """
        self._database, self._hub, self._lms, self._http, self._consumer = database, hub, lms, http, consumer
        self._issuer = issuer
        self._woken = asyncio.Event()
        self._left_alone_until = now()
        self._hub_next = now()

    def wake(self) -> None:
        """Look for work now."""
        self._woken.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            self._woken.clear()
            try:
                await self._end_sessions()
                if self._lms is not None:
                    await self._send_ags(self._lms)
                elif self._consumer is not None:
                    await self._send_outcomes(self._consumer)
                seconds = await self._seconds_to_next()
            except Exception:
                # A bug or a full disk must not end the outbox.
                log.exception("outbox")
                seconds = 60.0
            try:
                async with asyncio.timeout(seconds):
                    await self._woken.wait()
            except TimeoutError:
                pass

    # ---- hub ----
    async def _end_sessions(self) -> None:
        if now() < self._hub_next:
            return
        due = await self._database.read(
            lambda session: list(session.scalars(select(Member.user).where(Member.hub_due)))
        )
        for user in due:
            # The list grows old while the hub works: who has launched again meanwhile keeps that session.
            if not await self._database.read(lambda session, user=user: _is_due(session, user)):  # type: ignore[misc]
                continue
            try:
                await self._hub.end_sessions(user)
            except Refused as error:
                log.warning("%s", error)
                self._hub_next = now() + timedelta(seconds=HUB_PAUSE_SECONDS)
                continue
            log.info("sessions of %s are ended", user)
            await self._database.write(lambda session, user=user: _hub_done(session, user))  # type: ignore[misc]

    # ---- LTI 1.3 ----
    async def _send_ags(self, lms: Lms13) -> None:
        ags = await self._database.read(
            lambda session: services(session)["ags"] if way(session, lti13=True, lti11=False).kind == "ags" else None
        )
        if ags is None:
            return
        for name in await self._due(Column):
            await self._place(lms, ags["lineitems"], name)
        while due := await self._due(Score):
            gate = asyncio.Semaphore(AT_ONCE)

            async def guarded(key: tuple[str, str], gate: asyncio.Semaphore = gate) -> None:
                async with gate:
                    await self._score(lms, key)

            await asyncio.gather(*(guarded(key) for key in due))

    async def _place(self, lms: Lms13, lineitems: str, name: str) -> None:
        if self._left_alone():
            return

        def begin(session: Session) -> tuple[str, float, Known]:
            column = session.get_one(Column, name)
            column.attempts += 1
            return column.label, column.maximum, Known(column.lineitem, column.told_label, column.told_maximum)

        label, maximum, known = await self._database.write(begin)
        placed, error = None, None
        try:
            placed = await place_column(lms, lineitems, name, label, maximum, known)
        except LmsError as caught:
            error = self._note(caught)
        except Exception:
            error = _not_understood(f"column {name}")
        time = lms.now()

        def end(session: Session) -> None:
            column = session.get_one(Column, name)
            if error is not None:
                _failed(column, error)
                if column.state == "refused":
                    _refuse_scores(session, name, f"The LMS refuses the column: {error.reason}")
            if placed is not None:
                _placed(session, column, placed, time)
                column.told_label, column.told_maximum = label, maximum
                if (column.label, column.maximum) == (label, maximum):
                    column.state, column.reason, column.next_attempt = "made", "", None
                    column.failing_since = None

        await self._database.write(end)
        log.log(
            logging.WARNING if error else logging.INFO,
            "column %s: %s",
            name,
            error.reason if error else f"made, maximum {maximum:g}",
        )

    async def _score(self, lms: Lms13, key: tuple[str, str]) -> None:
        if self._left_alone():
            return
        begun = await self._database.write(lambda session: _begin_score(session, key, self._issuer))
        if begun is None:
            return
        lineitem, graded, attempt = begun
        error = None
        try:
            await send_score(lms, lineitem, graded)
        except LmsError as caught:
            # An earlier attempt has arrived: it had the same time.
            if not (caught.status == 409 and attempt.uncertain):
                error = self._note(caught)
        except Exception:
            error = _not_understood(f"score of {key[1]} in {key[0]}")
        await self._database.write(lambda session: _end_score(session, key, attempt, error))
        if error:
            log.warning("score of %s in %s: %s", key[1], key[0], error.reason)
        else:
            log.info("score of %s in %s: sent", key[1], key[0])

    # ---- LTI 1.1 ----
    async def _send_outcomes(self, consumer: Consumer) -> None:
        await self._database.write(_columns_are_made)
        while due := await self._due(Score):
            for user in sorted({user for _, user in due}):
                if not self._left_alone():
                    await self._total(consumer, user)

    async def _total(self, consumer: Consumer, user: str) -> None:
        begun = await self._database.write(lambda session: _begin_total(session, user))
        if begun is None:
            return
        url, sourcedid, total, attempts = begun
        error = None
        try:
            await send_total(self._http, consumer, url, sourcedid, total)
        except LmsError as caught:
            error = self._note(caught)
        except Exception:
            error = _not_understood(f"total of {user}")

        def end(session: Session) -> None:
            for assignment, attempt in attempts.items():
                _end_score(session, (assignment, user), attempt, error)

        await self._database.write(end)
        log.log(logging.WARNING if error else logging.INFO, "total of %s: %s", user, error.reason if error else "sent")

    # ---- common ----
    def _left_alone(self) -> bool:
        return now() < self._left_alone_until

    def _note(self, error: LmsError) -> LmsError:
        """Leave the LMS alone if it asks for that, or does not answer."""
        seconds = error.retry_after if error.retry_after is not None else SILENT_SECONDS if not error.status else 0.0
        if seconds and not error.final:
            self._left_alone_until = max(self._left_alone_until, now() + timedelta(seconds=seconds))
        return error

    async def _due(self, model: type[Column] | type[Score]) -> list[Any]:
        """List the keys of what is to be tried now."""
        if self._left_alone():
            return []

        def find(session: Session) -> list[Any]:
            waiting = (model.state == "waiting", model.next_attempt <= now())
            if model is Column:
                return list(session.scalars(select(Column.name).where(*waiting)))
            query = select(Score.assignment, Score.user).join(Column, Column.name == Score.assignment)
            query = query.where(*waiting, Column.state == "made")
            return [tuple(row) for row in session.execute(query.order_by(Score.next_attempt).limit(BATCH))]

        return await self._database.read(find)

    async def _seconds_to_next(self) -> float | None:
        def find(session: Session) -> list[datetime | None]:
            hub_due = session.scalar(select(func.count()).select_from(Member).where(Member.hub_due))
            times: list[datetime | None] = [self._hub_next if hub_due else None]
            if way(session, lti13=self._lms is not None, lti11=self._consumer is not None).kind == "none":
                # A launch that tells more wakes it up.
                return times
            score = select(func.min(Score.next_attempt)).join(Column, Column.name == Score.assignment)
            score = score.where(Score.state == "waiting", Column.state == "made")
            column = select(func.min(Column.next_attempt)).where(Column.state == "waiting")
            due = [time for query in (score, column) if (time := session.scalar(query)) is not None]
            return [*times, max(min(due), self._left_alone_until) if due else None]

        times = [time for time in await self._database.read(find) if time is not None]
        # Never a busy loop.
        return max((min(times) - now()).total_seconds(), 0.2) if times else None


def _not_understood(what: str) -> LmsError:
    """Take an answer that nobody has thought of for a failure of this one: the others go on."""
    log.exception("%s", what)
    return LmsError("The LMS's answer is not understood; the log says why.", uncertain=True, refusal=True)


def _is_due(session: Session, user: str) -> bool:
    return session.get_one(Member, user).hub_due


def _hub_done(session: Session, user: str) -> None:
    session.get_one(Member, user).hub_due = False


def _placed(session: Session, column: Column, placed: Placed, time: datetime) -> None:
    """Take what is known of a column now, and send again what the LMS has lost or changed by itself.

    Args:
        session: of the database.
        column: of an assignment.
        placed: what the LMS has of it.
        time: by the LMS's clock, later than whatever it has stamped on scores (UTC).
    """
    # What LTI 1.1 has sent is in another column.
    lost = column.lineitem != placed.url
    # With a new maximum Moodle rescales all scores, and takes none then that is older.
    rescaled = None not in {column.lms_maximum, placed.maximum} and column.lms_maximum != placed.maximum
    for row in session.scalars(select(Score).where(Score.assignment == column.name)):
        # An attempt that may have arrived keeps its time, unless that counts no more.
        restamp = row.state == "waiting" and (placed.changed or rescaled or not row.uncertain)
        if restamp or (lost and row.sent_value) or (rescaled and row.state == "sent"):
            queue(row, time)
        if lost:
            row.sent_value = ""
    column.lineitem, column.lms_maximum = placed.url, placed.maximum


def _failed(row: Column | Score, error: LmsError) -> None:
    # By the status before the colon: the words behind it may have a time or a number of their own.
    if row.reason.partition(":")[0] != error.reason.partition(":")[0] or row.failing_since is None:
        row.failing_since = now()
    row.reason = error.reason
    if error.final or (error.refusal and now() - row.failing_since >= REFUSED_AFTER):
        row.state, row.next_attempt = "refused", None
    else:
        row.next_attempt = now() + timedelta(seconds=max(pause(row.attempts), error.retry_after or 0.0))


def _refuse_scores(session: Session, assignment: str, reason: str) -> None:
    for row in session.scalars(select(Score).where(Score.assignment == assignment, Score.state == "waiting")):
        _refuse(row, reason)


def _refuse(row: Column | Score, reason: str) -> None:
    row.state, row.reason, row.next_attempt = "refused", reason, None


@dataclass(frozen=True)
class _Attempt:
    """An attempt that begins.

    Attributes:
        timestamp: of the row.
        value: what the LMS has if it arrives.
        before: what it has if it does not.
        uncertain: whether an earlier attempt with this time may have arrived.
    """

    timestamp: datetime
    value: str
    before: str
    uncertain: bool = False


def _begin(row: Score, maximum: float) -> _Attempt:
    """Write down that an attempt begins: if its answer is lost, the LMS may have anything."""
    attempt = _Attempt(row.timestamp, value_of(row, maximum), row.sent_value, row.uncertain)
    row.attempts += 1
    row.sent_value = UNKNOWN
    return attempt


_OTHER_ISSUER = (
    "This person's name is of another issuer (an earlier LMS, or LTI 1.1): in the LMS of now, the same identifier may "
    "be somebody else's. Enter this grade by hand."
)


def _begin_score(session: Session, key: tuple[str, str], issuer: str) -> tuple[str, Graded, _Attempt] | None:
    """Write down that an attempt begins; None if there is nothing to be sent any more."""
    row, column = session.get_one(Score, key), session.get_one(Column, key[0])
    member = session.get(Member, row.user)
    if row.state != "waiting" or column.state != "made":
        return None
    if member is None:
        _refuse(row, "This person is no member of the course, by what launches and roster say.")
        return None
    if user_name(issuer, member.subject) != member.user:
        _refuse(row, _OTHER_ISSUER)
        return None
    attempt = _begin(row, column.maximum)
    row.uncertain = True
    graded = Graded(member.subject, row.score, column.maximum, row.comment, row.timestamp)
    return column.lineitem, graded, attempt


def _end_score(session: Session, key: tuple[str, str], attempt: _Attempt, error: LmsError | None) -> None:
    """Write down how an attempt has ended."""
    row = session.get_one(Score, key)
    uncertain = error is not None and (attempt.uncertain or error.uncertain)
    if error is None:
        row.sent_value, row.sent_at = attempt.value, now()
    elif not uncertain and row.sent_value == UNKNOWN:
        row.sent_value = attempt.before
    if row.timestamp != attempt.timestamp or row.state != "waiting":
        # It was changed meanwhile; the new value goes its own way.
        return
    row.uncertain = uncertain
    if error is None:
        row.state, row.reason, row.next_attempt, row.failing_since = "sent", "", None, None
    else:
        _failed(row, error)


def _columns_are_made(session: Session) -> None:
    """LTI 1.1 has no columns that could be missing."""
    for column in session.scalars(select(Column).where(Column.state == "waiting")):
        if column.lineitem:
            # Of LTI 1.3, before the course has changed to 1.1.
            _placed(session, column, Placed("", None, changed=False), now())
        column.state, column.reason, column.next_attempt = "made", "", None


def _part(row: Score, maximum: float) -> tuple[float | None, float]:
    """Return score and maximum by which a row counts in a total: what is to be sent, else what the LMS has of it."""
    if row.state in {"waiting", "sent"} or row.sent_value == UNKNOWN:
        return row.score, maximum
    if not row.sent_value:
        return None, maximum
    score, maximum, _ = json.loads(row.sent_value)
    return score, maximum


def _is_replaced(session: Session, member: Member) -> bool:
    """Say whether the person of the LMS has a newer name here: they have one grade there."""
    same = select(Member.user).where(Member.subject == member.subject, Member.launched_at > member.launched_at)
    return session.scalar(same.limit(1)) is not None


def _begin_total(session: Session, user: str) -> tuple[str, str, float | None, dict[str, _Attempt]] | None:
    """Write down that an attempt begins; None if there is nothing to be sent, or nobody who would take it."""
    rows = list(session.scalars(select(Score).where(Score.user == user)))
    waiting = [row for row in rows if row.state == "waiting"]
    if not waiting:
        return None
    member = session.get(Member, user)
    if member is None or _is_replaced(session, member):
        for row in waiting:
            _refuse(row, _OTHER_ISSUER if member else "This person is no member of the course.")
        return None
    if not member.outcome_sourcedid:
        for row in waiting:
            # Their next launch wakes it up.
            row.next_attempt = None
            row.reason = "The LMS takes a grade only for who has opened the course: it is sent after their next visit."
        return None
    maxima = {row.assignment: session.get_one(Column, row.assignment).maximum for row in rows}
    parts = [_part(row, maxima[row.assignment]) for row in rows]
    graded = [(score, maximum) for score, maximum in parts if score is not None]
    total = min(sum(score for score, _ in graded) / sum(maximum for _, maximum in graded), 1.0) if graded else None
    attempts = {row.assignment: _begin(row, maxima[row.assignment]) for row in waiting}
    return member.outcome_url, member.outcome_sourcedid, total, attempts
