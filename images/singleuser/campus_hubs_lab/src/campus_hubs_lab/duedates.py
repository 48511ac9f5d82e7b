"""Due dates as people type them, and as pages show them: in the campus's time zone, which `TZ` names."""

from __future__ import annotations

import os
import re
from datetime import UTC, datetime, time, timedelta, timezone
from typing import Final
from zoneinfo import ZoneInfo

FORMS: Final = "Write 2026-12-01 23:59 or 1.12.2026 23:59, with or without a zone such as Europe/Berlin or +01:00."
_DATE: Final = r"(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})|(?P<d>\d{1,2})\.\s*(?P<m>\d{1,2})\.\s*(?P<y>\d{4})"
_TIME: Final = r"(?P<hour>\d{1,2}):(?P<minute>\d{2})(:(?P<second>\d{2})([.,]\d+)?)?"
_OFFSET: Final = r"(?P<sign>[+-])(?P<hours>\d{1,2})(:?(?P<minutes>\d{2}))?"
_ZONE: Final = rf"(?:{_OFFSET}|(?P<zone>[A-Za-z][\w/+-]*))"
_FORM: Final = re.compile(rf"(?:{_DATE})(?:(?:\s*[T,]\s*|\s+){_TIME})?\s*{_ZONE}?", re.ASCII)
# A date alone is the whole day.
_END: Final = time(23, 59, 59)


class DueDateError(ValueError):
    """A due date that is none; the message is for a lecturer."""


def campus_zone() -> ZoneInfo:
    """Return the campus's time zone; UTC if the environment names none."""
    return _zone(os.environ.get("TZ", "")) or ZoneInfo("UTC")


def parse(text: str) -> datetime | None:
    """Read a due date.

    Args:
        text: as a person types it; without a zone it is in the campus's.

    Returns:
        UTC, without a zone, as nbgrader keeps it; None if there is no text.

    Raises:
        DueDateError: it is none, or two (when clocks go back).

    """
    shown = " ".join(text.split())
    if not shown:
        return None
    found = _FORM.fullmatch(shown)
    if not found:
        raise DueDateError(f"{shown[:60]!r} is no due date. {FORMS}")
    part = found.groupdict()
    try:
        local = datetime(int(part["year"] or part["y"]), int(part["month"] or part["m"]), int(part["day"] or part["d"]))
        if not 2000 <= local.year < 2200:
            raise ValueError(local)
        if part["hour"] is None:
            local = datetime.combine(local, _END)
        elif (part["hour"], part["minute"], int(part["second"] or 0)) == ("24", "00", 0):
            local += timedelta(days=1)
        else:
            local = datetime.combine(local, time(int(part["hour"]), int(part["minute"]), int(part["second"] or 0)))
        zone = _zone_of(part) or campus_zone()
    except ValueError:
        raise DueDateError(f"{shown[:60]!r} is no due date: there is no such day, time or zone. {FORMS}") from None
    first, second = (local.replace(tzinfo=zone, fold=fold) for fold in (0, 1))
    if first.utcoffset() != second.utcoffset():
        offsets = " or ".join(f"{each:%z}" for each in (first, second))
        there = first.astimezone(UTC).astimezone(zone).replace(tzinfo=None) == local
        why = f"is twice in {zone}, since clocks go back: add {offsets}" if there else f"is left out in {zone}"
        raise DueDateError(f"{shown[:60]!r} {why}{'' if there else ', since clocks go forward: choose another time'}.")
    return first.astimezone(UTC).replace(tzinfo=None)


def in_zone(moment: datetime, zone: str) -> datetime:
    """Return a time of nbgrader's (UTC without a zone) in a zone; in UTC if there is no such zone."""
    return moment.replace(tzinfo=UTC).astimezone(_zone(zone) or UTC)


def _zone_of(part: dict[str, str | None]) -> timezone | ZoneInfo | None:
    """Return the zone that was typed, None if there was none.

    Raises:
        ValueError: there is no such zone.

    """
    if part["sign"]:
        hours, minutes = int(part["hours"] or 0), int(part["minutes"] or 0)
        if hours > 14 or minutes > 59:
            raise ValueError(part)
        return timezone((1 if part["sign"] == "+" else -1) * timedelta(hours=hours, minutes=minutes))
    if not part["zone"]:
        return None
    zone = _zone({"Z": "UTC", "z": "UTC"}.get(part["zone"], part["zone"]))
    if zone is None:
        raise ValueError(part)
    return zone


def _zone(name: str) -> ZoneInfo | None:
    try:
        return ZoneInfo(name) if name else None
    except (KeyError, ValueError, OSError):
        return None
