"""One assignment, several graders: who may do what at the same time.

Graders' servers share the course volume on one node (or on a file system whose `flock` works between nodes), so a lock
on a file there holds between all of them, and is gone with the process that held it. An action on a whole assignment
(generate, release, collect, ...) wants it alone; actions on single students go on side by side, but not twice for the
same student.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote

from .duedates import campus_zone

if TYPE_CHECKING:
    from collections.abc import Iterator

FOLDER: Final = ".locks"
# Characters: a file's name has 255 bytes, and a letter that is quoted up to twelve.
LONGEST: Final = 200
# What this process holds: a step may consist of others.
_held: set[str] = set()


class AssignmentBusyError(Exception):
    """Somebody else works on the same; the message says who, what and since when."""


@contextmanager
def assignment_lock(root: Path, assignment: str, action: str, student: str = "*") -> Iterator[None]:
    """Hold an assignment for an action.

    Args:
        root: the course's folder.
        assignment: its name.
        action: what is done, as a participle ("collecting").
        student: user name; anything that may mean several (`*`, '') takes the whole assignment.

    Raises:
        AssignmentBusyError: somebody else holds it; nothing is waited for.

    """
    whole = student in {"", "."} or any(c in student for c in "*?[")
    if assignment in _held or f"{assignment}/{student}" in _held:
        yield
        return
    folder = root / FOLDER
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        name = assignment if whole else f"{assignment}/{student}"
        file = stack.enter_context(_open(folder, assignment))
        _take(file, fcntl.LOCK_EX if whole else fcntl.LOCK_SH, assignment)
        if not whole:
            own = stack.enter_context(_open(folder, assignment, student))
            _take(own, fcntl.LOCK_EX, f"{assignment} of {student}")
            _write(own, action)
        # Only who works leaves a note: others read it.
        _write(file, action)
        _held.add(name)
        stack.callback(_held.discard, name)
        yield


def _open(folder: Path, *names: str) -> IO[str]:
    # quote leaves no slash, and no name can be `.` or `..` with the suffix.
    quoted = "+".join(quote(name, safe="") for name in names)
    if len(quoted) > LONGEST:
        quoted = f"{quoted[:100]}+{hashlib.sha256(quoted.encode()).hexdigest()}"
    path = folder / f"{quoted}.lock"
    return os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664), "r+", encoding="utf-8")


def _take(file: IO[str], mode: int, what: str) -> None:
    try:
        fcntl.flock(file, mode | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AssignmentBusyError(
            f"{_holder(file, what)} Nothing was done; try again when that has finished."
        ) from error


def _write(file: IO[str], action: str) -> None:
    """Leave a note for who comes while it is locked."""
    note = {"user": os.environ.get("JUPYTERHUB_USER", ""), "action": action, "since": datetime.now(UTC).isoformat()}
    file.seek(0)
    file.write(json.dumps(note))
    file.truncate()
    file.flush()


def _holder(file: IO[str], what: str) -> str:
    try:
        note = json.loads(file.read())
        mine = note["user"] == os.environ.get("JUPYTERHUB_USER", "")
        since = datetime.fromisoformat(note["since"]).astimezone(campus_zone()).strftime("%H:%M %Z")
        return f"{'You are' if mine else 'Somebody else is'} {note['action']} {what} just now, since {since}."
    except (ValueError, KeyError, TypeError):
        return f"Somebody is working on {what} just now."
