"""What lecturers want the LMS to know of grades, and how far that is; `outbox.py` does the sending."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, TypeGuard

from campus_hubs_membership.identity import identifier_of, printable
from sqlalchemy import select, update
from sqlalchemy.orm import Session

from .ags import missing_scopes
from .coursework import now
from .errors import Refused
from .members import all_members, full_name, iso, services
from .model import Column, Score
from .uploads import check_assignment_name

MAX_LABEL = 255
MAX_COMMENT = 10_000
# Moodle compares times of scores in whole seconds.
_LATER = timedelta(seconds=1)


@dataclass(frozen=True)
class GradeRequest:
    """The body of POST /api/grades/<assignment>."""

    label: str
    maximum: float
    scores: Mapping[str, float | None]
    comments: Mapping[str, str]
    send: bool


@dataclass(frozen=True)
class Way:
    """How grades get to the LMS.

    Attributes:
        kind: ags, outcomes or none.
        reason: why none, or what the lecturer has to know about it.
    """

    kind: str
    reason: str


_NOT_TOLD = "No lecturer's launch has told yet where the LMS takes grades: open the course once from the LMS."
_NOT_OFFERED = (
    "The LMS has told a lecturer's launch no place for grades: its administrator lets this tool make columns "
    "(Assignment and Grade Services), then a lecturer opens the course once more."
)


def way(session: Session, *, lti13: bool, lti11: bool) -> Way:
    """Find out how grades get to the LMS."""
    if lti11:
        return Way(
            "outcomes",
            "LTI 1.1 has one grade per person: the LMS gets the sum of the scores over the sum of the maxima.",
        )
    if not lti13:
        return Way("none", "This course is not connected to an LMS.")
    known = services(session)
    ags = known.get("ags")
    if ags is None:
        return Way("none", _NOT_OFFERED if known.get("issued_at") else _NOT_TOLD)
    if missing := missing_scopes(ags):
        return Way(
            "none", f"The LMS does not let this tool {missing}: its administrator allows it in the tool's settings."
        )
    return Way("ags", "")


def read_request(document: object) -> GradeRequest:
    """Read and check the body.

    Raises:
        Refused: 400, with the field and what is expected.
    """
    if not isinstance(document, dict):
        raise Refused(400, "The body is not a JSON object.")
    label = printable(document.get("label"), MAX_LABEL)
    if not label:
        raise Refused(400, "label: expected a text.")
    maximum = document.get("maximum")
    if not _is_points(maximum) or not maximum:
        raise Refused(400, "maximum: expected a number greater than 0.")
    scores, comments = document.get("scores"), document.get("comments") or {}
    if not isinstance(scores, dict) or not all(score is None or _is_points(score) for score in scores.values()):
        raise Refused(400, "scores: expected an object: user names, and a number of at least 0 or null for each.")
    if not all(identifier_of(user) for user in scores):
        raise Refused(400, "scores: expected user names of 1 to 255 printable characters.")
    if not isinstance(comments, dict) or not all(isinstance(comment, str) for comment in comments.values()):
        raise Refused(400, "comments: expected an object: user names, and a text for each.")
    if not isinstance(document.get("send", False), bool):
        raise Refused(400, "send: expected true or false.")
    return GradeRequest(
        label=label,
        maximum=float(maximum),
        scores={user: None if score is None else float(score) for user, score in scores.items()},
        # Half of a surrogate pair can be in JSON, and nowhere else.
        comments={
            user: comment.encode("utf-8", "replace").decode()[:MAX_COMMENT] for user, comment in comments.items()
        },
        send=document.get("send", False),
    )


def _is_points(value: object) -> TypeGuard[float]:
    try:
        return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    except OverflowError:  # a whole number of hundreds of digits
        return False


def store(session: Session, name: str, request: GradeRequest) -> None:
    """Store what a request says; with `send`, queue what the LMS does not have.

    Raises:
        Refused: 400 for an assignment name that can be none.
    """
    column = session.get(Column, check_assignment_name(name))
    if column is None:
        column = Column(
            name=name, label="", maximum=0.0, lineitem="", state="waiting", reason="", attempts=0, next_attempt=None,
            failing_since=None, told_label="", told_maximum=None, lms_maximum=None,
        )  # fmt: skip
        session.add(column)
    rescaled = column.maximum != request.maximum
    if (column.label, column.maximum) != (request.label, request.maximum) or column.state != "made" or request.send:
        # Also if it was made: somebody may have deleted it in the LMS.
        column.label, column.maximum = request.label, request.maximum
        column.state, column.reason, column.attempts, column.next_attempt = "waiting", "", 0, now()
        column.failing_since = None
    session.flush()
    rows = {row.user: row for row in session.scalars(select(Score).where(Score.assignment == name))}
    for user in request.scores.keys() - rows.keys():
        rows[user] = Score(
            assignment=name, user=user, score=None, comment="", timestamp=now(), state="unsent", reason="", attempts=0,
            next_attempt=None, failing_since=None, uncertain=False, sent_at=None, sent_value="",
        )  # fmt: skip
        session.add(rows[user])
    for row in rows.values():
        _update_row(row, column.maximum, request, rescaled=rescaled)


def _update_row(row: Score, maximum: float, request: GradeRequest, *, rescaled: bool) -> None:
    score = request.scores.get(row.user, row.score)
    comment = request.comments.get(row.user, row.comment)
    same = (row.score, row.comment) == (score, comment) and not rescaled
    row.score, row.comment = score, comment
    if row.sent_value == value_of(row, maximum) or (score is None and not row.sent_value):
        row.state, row.reason, row.next_attempt = "sent" if row.sent_value else "unsent", "", None
    elif not request.send:
        if row.state == "waiting" and row.user not in request.scores:
            # Somebody has sent it before, and nobody has taken that back.
            if rescaled:
                queue(row)
        elif not same:
            row.state, row.reason, row.next_attempt = "unsent", "", None
    elif row.user in request.scores or row.sent_value:
        if row.state == "waiting" and same:
            row.next_attempt = now()
        else:
            queue(row)


def queue(row: Score, after: datetime | None = None) -> None:
    """Let a score be sent, as a new one.

    Args:
        row: the score.
        after: when the LMS may have stamped the score that it has, if it has changed it by itself (UTC).
    """
    # The LMS refuses what is not newer than what it has.
    earlier = [row.timestamp] if row.sent_value or row.attempts else []
    row.timestamp = max([now(), *(time + _LATER for time in (*earlier, after) if time)])
    row.state, row.reason, row.attempts, row.next_attempt, row.uncertain = "waiting", "", 0, now(), False
    row.failing_since = None


def value_of(row: Score, maximum: float) -> str:
    """Write what the LMS has once this row is sent."""
    return json.dumps([row.score, maximum, row.comment])


def wake_waiting(session: Session) -> None:
    """Try at once what waits, since something has changed that it may have waited for."""
    session.execute(update(Column).where(Column.state == "waiting").values(next_attempt=now()))
    session.execute(update(Score).where(Score.state == "waiting").values(next_attempt=now()))


def send_again(session: Session, user: str) -> None:
    """Have sent what was sent, or refused: the LMS takes this person's grade elsewhere now."""
    for row in session.scalars(select(Score).where(Score.user == user, Score.state.in_(["sent", "refused"]))):
        queue(row)


def start_over(session: Session) -> None:
    """Forget what the LMS has, since the course is another one there now: a lecturer sends the scores anew."""
    session.execute(
        update(Column).values(
            lineitem="", state="waiting", reason="", attempts=0, next_attempt=now(), failing_since=None, told_label="",
            told_maximum=None, lms_maximum=None,
        )
    )  # fmt: skip
    session.execute(
        update(Score).values(state="unsent", reason="", next_attempt=None, uncertain=False, sent_at=None, sent_value="")
    )


def document(session: Session, how: Way) -> dict[str, Any]:
    """Write down all of it for a lecturer."""
    names = {member.user: full_name(member) for member in all_members(session)}
    scores: dict[str, list[dict[str, Any]]] = {}
    for row in session.scalars(select(Score)):
        entry = {
            "user": row.user,
            "name": names.get(row.user, row.user),
            "score": row.score,
            "state": row.state,
            "reason": row.reason or (how.reason if row.state == "waiting" and how.kind == "none" else ""),
            "attempts": row.attempts,
            "next_attempt": _iso(row.next_attempt),
            "sent_at": _iso(row.sent_at),
        }
        scores.setdefault(row.assignment, []).append(entry)
    return {
        "kind": how.kind,
        "reason": how.reason,
        "assignments": [
            {
                "name": column.name,
                "label": column.label,
                "maximum": column.maximum,
                "lineitem": bool(column.lineitem),
                "column_state": column.state,
                "column_reason": column.reason
                or (how.reason if column.state == "waiting" and how.kind == "none" else ""),
                "scores": sorted(scores.get(column.name, []), key=lambda entry: (entry["name"], entry["user"])),
            }
            for column in session.scalars(select(Column).order_by(Column.name))
        ],
    }


def _iso(time: datetime | None) -> str | None:
    return None if time is None else iso(time)
