"""Columns and scores at an LTI 1.3 platform: Assignment and Grade Services 2.0."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import urlsplit, urlunsplit

from .lms import Lms13, LmsError, with_query

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

    :param subject: the LMS's identifier of the person.
    :param score: points, or None to take a score back.
    :param maximum: points.
    :param comment: for the person, or ''.
    :param timestamp: when it was decided (UTC); the LMS refuses what is not newer than what it has.
    """

    subject: str
    score: float | None
    maximum: float
    comment: str
    timestamp: datetime


async def place_column(lms: Lms13, lineitems: str, name: str, label: str, maximum: float) -> str:
    """Find an assignment's line item, or make it, with this label and maximum (AGS 2.0, section 3.2).

    :param lineitems: URL of the course's line items; it may have a query.
    :param name: the assignment's name, which becomes the resourceId.
    :returns: URL of the line item.
    :raises LmsError: the LMS refuses or fails.
    """
    wanted = {"label": label, "scoreMaximum": maximum, "resourceId": name, "tag": TAG}
    existing = await _find_column(lms, lineitems, name)
    if existing is None:
        answer = await lms.request(
            "POST", lineitems, SCOPES, accept=LINEITEM_TYPE, document=wanted, content_type=LINEITEM_TYPE
        )
        try:
            existing = json.loads(answer.body)
        except ValueError:
            existing = None
    if not isinstance(existing, dict):
        raise LmsError("The LMS does not answer with a column.", final=True)
    url = existing.get("id")
    if not isinstance(url, str) or urlsplit(url)[:2] != urlsplit(lineitems)[:2]:
        raise LmsError("The LMS does not say where the column is.", final=True)
    if any(existing.get(key) != value for key, value in wanted.items()):
        # What else the line item has (dates, the link) stays.
        document = {**existing, **wanted}
        await lms.request("PUT", url, SCOPES, accept=LINEITEM_TYPE, document=document, content_type=LINEITEM_TYPE)
    return url


async def _find_column(lms: Lms13, lineitems: str, name: str) -> dict[str, Any] | None:
    # An LMS may ignore a filter, and a resourceId may be another tool's.
    async for page in lms.pages(with_query(lineitems, resource_id=name), SCOPES, accept=LINEITEMS_TYPE):
        for item in page if isinstance(page, list) else []:
            if isinstance(item, dict) and item.get("resourceId") == name and item.get("tag") == TAG:
                return item
    return None


async def send_score(lms: Lms13, lineitem: str, graded: Graded) -> None:
    """Send a score (AGS 2.0, section 3.4).

    :param lineitem: URL of the line item; `/scores` goes before its query.
    :raises LmsError: the LMS refuses or fails.
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
        document |= {"activityProgress": "Submitted", "gradingProgress": "Pending"}
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
