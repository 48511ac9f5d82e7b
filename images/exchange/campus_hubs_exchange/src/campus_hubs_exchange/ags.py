"""Columns and scores at an LTI 1.3 platform: Assignment and Grade Services 2.0."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from tornado.httpclient import HTTPResponse

from .lms import Lms13, LmsError, is_same_server, with_query

LINEITEM = "https://purl.imsglobal.org/spec/lti-ags/scope/lineitem"
SCORE = "https://purl.imsglobal.org/spec/lti-ags/scope/score"
SCOPES = frozenset({LINEITEM, SCORE})
LINEITEM_TYPE = "application/vnd.ims.lis.v2.lineitem+json"
LINEITEMS_TYPE = "application/vnd.ims.lis.v2.lineitemcontainer+json"
SCORE_TYPE = "application/vnd.ims.lis.v1.score+json"
# Tells our columns from those of other tools and of teachers.
TAG = "campus.hubs"


@dataclass(frozen=True)
class Graded:
    """A score to be sent.

    Attributes:
        subject: the LMS's identifier of the person.
        score: points, or None to take a score back.
        maximum: points.
        comment: for the person, or ''.
        timestamp: when it was decided (UTC); the LMS refuses what is not newer than what it has.
    """

    subject: str
    score: float | None
    maximum: float
    comment: str
    timestamp: datetime


@dataclass(frozen=True)
class Known:
    """What is known of an assignment's line item.

    Attributes:
        url: of the line item, or ''.
        label: what the LMS was told last; '' for nothing.
        maximum: the same.
    """

    url: str
    label: str
    maximum: float | None


@dataclass(frozen=True)
class Placed:
    """A line item as it is at the LMS.

    Attributes:
        url: of the line item.
        maximum: that the LMS has; None if it does not say.
        changed: whether it was made or changed now.
    """

    url: str
    maximum: float | None
    changed: bool


async def place_column(  # noqa: PLR0913, PLR0917 - what a column is
    lms: Lms13, lineitems: str, name: str, label: str, maximum: float, known: Known
) -> Placed:
    """Find an assignment's line item, or make it (AGS 2.0, section 3.2).

    Label and maximum are the teachers' in the LMS once they were told: what somebody has changed there stays.

    Args:
        lms: the platform.
        lineitems: URL of the course's line items; it may have a query.
        name: the assignment's name, which becomes the resourceId.
        label: what people read.
        maximum: points.
        known: what was told before.

    Raises:
        LmsError: the LMS refuses or fails.
    """
    wanted = {"label": label, "scoreMaximum": maximum, "resourceId": name, "tag": TAG}
    existing = await _stored_column(lms, lineitems, known.url) or await _find_column(lms, lineitems, name, known.url)
    changed = existing is None
    if existing is None:
        answer = await lms.request(
            "POST", lineitems, SCOPES, accept=LINEITEM_TYPE, document=wanted, content_type=LINEITEM_TYPE
        )
        existing = _object(answer)
        if not isinstance(existing, dict):
            raise LmsError("The LMS does not answer with a column.", final=True)
    url = existing.get("id")
    if not isinstance(url, str) or not is_same_server(url, lineitems):
        raise LmsError("The LMS does not say where the column is.", final=True)
    differs = {
        "label": known.label != label and existing.get("label") != label,
        "scoreMaximum": known.maximum != maximum and _number(existing.get("scoreMaximum")) != maximum,
    }
    if not changed and any(differs.values()):
        # What else the line item has (dates, the link, a teacher's own label) stays.
        document = {**wanted, **existing, "resourceId": name, "tag": TAG}
        document |= {key: wanted[key] for key, different in differs.items() if different}
        try:
            answer = await lms.request(
                "PUT", url, SCOPES, accept=LINEITEM_TYPE, document=document, content_type=LINEITEM_TYPE
            )
        except LmsError as error:
            # It may not let a tool change a column; each score says of how many points it is.
            if not error.final:
                raise
        else:
            changed, existing = True, {**document, **(_object(answer) or {})}
    return Placed(url, _number(existing.get("scoreMaximum")), changed)


async def _stored_column(lms: Lms13, lineitems: str, url: str) -> dict[str, Any] | None:
    """Ask for the line item itself: an LMS need not give back resourceId and tag, by which it could be found."""
    if not url or not is_same_server(url, lineitems):
        return None
    try:
        found = _object(await lms.request("GET", url, SCOPES, accept=LINEITEM_TYPE))
    except LmsError as error:
        if not error.final:
            raise
        return None
    return None if found is None else {**found, "id": url}


async def _find_column(lms: Lms13, lineitems: str, name: str, url: str) -> dict[str, Any] | None:
    # An LMS may ignore a filter, and a resourceId may be another tool's. It may also list only what it can filter.
    async for page in lms.pages(with_query(lineitems, resource_id=name), SCOPES, accept=LINEITEMS_TYPE):
        for item in page if isinstance(page, list) else []:
            if isinstance(item, dict) and (
                (url and item.get("id") == url) or (item.get("resourceId") == name and item.get("tag") == TAG)
            ):
                return item
    return None


def _object(answer: HTTPResponse) -> dict[str, Any] | None:
    try:
        document = json.loads(answer.body)
    except (ValueError, RecursionError):
        return None
    return document if isinstance(document, dict) else None


def _number(value: object) -> float | None:
    """Read a maximum: a number, or one written as a text; None if it is neither."""
    try:
        number = float(value) if isinstance(value, int | float | str) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) else None


async def send_score(lms: Lms13, lineitem: str, graded: Graded) -> None:
    """Send a score (AGS 2.0, section 3.4).

    Args:
        lms: the platform.
        lineitem: URL of the line item; `/scores` goes before its query.
        graded: whose score, and what it is.

    Raises:
        LmsError: the LMS refuses or fails.
    """
    parts = urlsplit(lineitem)
    url = urlunsplit(parts._replace(path=f"{parts.path.rstrip('/')}/scores"))
    document: dict[str, Any] = {
        "userId": graded.subject,
        "timestamp": graded.timestamp.isoformat(timespec="milliseconds") + "+00:00",
        "activityProgress": "Completed",
        "gradingProgress": "FullyGraded",
    }
    if graded.score is None:
        # Without scoreGiven, and as if nothing had been begun: the LMS clears what it has (AGS 2.0, section 3.4.2).
        document |= {"activityProgress": "Initialized", "gradingProgress": "NotReady"}
    else:
        document |= {"scoreGiven": graded.score, "scoreMaximum": graded.maximum}
    if graded.comment:
        document["comment"] = graded.comment
    await lms.request("POST", url, SCOPES, accept="*/*", document=document, content_type=SCORE_TYPE)


def missing_scopes(ags: Mapping[str, Any]) -> str:
    """Say which of the permissions the LMS has not given, in words; '' if none is missing."""
    given = set(ags.get("scopes") or [])
    words = {LINEITEM: "make columns", SCORE: "send scores"}
    return " or ".join(text for scope, text in words.items() if scope not in given)
