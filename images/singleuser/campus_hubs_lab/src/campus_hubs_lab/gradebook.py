"""nbgrader's gradebook: people go in, maxima and scores come out."""

from __future__ import annotations

import fcntl
import json
import sqlite3
from contextlib import closing, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from nbgrader.api import Gradebook, MissingEntry

from .places import course_root

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

__all__ = ["assignments", "course_root", "enrol", "maximum", "prepare"]

FOLDERS: Final = ("source", "release", "submitted", "autograded", "feedback")
# Seconds that a writer waits for another.
BUSY: Final = 60
_NOTES: Final = (
    "hand_in_note (assignment TEXT, student TEXT, about TEXT, text TEXT, PRIMARY KEY (assignment, student, about))"
)
_VERSIONS: Final = (
    "released_version (assignment TEXT, notebook TEXT, texts TEXT, PRIMARY KEY (assignment, notebook, texts))"
)
# Between nodes there is no shared memory, which SQLite's write-ahead log needs (sqlite.org/wal.html).
_NETWORK: Final = ("nfs", "cifs", "smb", "ceph", "fuse", "9p", "gluster", "lustre", "beegfs")


def db_url(root: Path) -> str:
    """Return SQLAlchemy's URL of the gradebook."""
    return f"sqlite:///{root / 'gradebook.db'}?timeout={BUSY}"


def prepare(root: Path, course: str) -> None:
    """Make the folders and the gradebook if they are not there.

    Args:
        root: the course's folder.
        course: the course's id.

    Raises:
        OSError: the volume is not there or full.

    """
    for name in FOLDERS:
        (root / name).mkdir(exist_ok=True)
    with (root / ".gradebook.lock").open("a", encoding="ascii") as lock:
        # nbgrader makes its tables without looking whether somebody else does.
        fcntl.flock(lock, fcntl.LOCK_EX)
        with sqlite3.connect(root / "gradebook.db", timeout=BUSY) as db:
            mode = "DELETE" if file_system(root).startswith(_NETWORK) else "WAL"
            db.execute(f"PRAGMA journal_mode={mode}")
            made = db.execute("SELECT count(*) FROM sqlite_master WHERE name='alembic_version'").fetchone()[0]
        db.close()
        if not made:
            Gradebook(db_url(root), course).close()


def file_system(path: Path) -> str:
    """Return the type of a path's file system as the kernel calls it (proc(5), mounts)."""
    best, kind = "", ""
    for line in Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines():
        _, mount, found, *_ = line.split(" ")
        inside = mount == "/" or path.resolve() == Path(mount) or Path(mount) in path.resolve().parents
        if inside and len(mount) >= len(best):
            best, kind = mount, found
    return kind


def enrol(root: Path, course: str, members: Iterable[Mapping[str, Any]]) -> int:
    """Put the course's students into the gradebook. Who has left stays there: their grades do too.

    Args:
        root: the course's folder.
        course: the course's id.
        members: as the exchange lists them.

    Returns:
        how many were added or changed.

    """
    changed = 0
    with Gradebook(db_url(root), course) as book:
        known = {s.id: (s.first_name, s.last_name, s.email) for s in book.students}
        for member in members:
            if member.get("role") != "student" or not member.get("active", True):
                continue
            first, last = names(member)
            wanted = (first, last, member.get("email") or None)
            if known.get(member["user"]) != wanted:
                book.update_or_create_student(member["user"], first_name=first, last_name=last, email=wanted[2])
                changed += 1
    return changed


def names(member: Mapping[str, Any]) -> tuple[str | None, str | None]:
    """Return first and last name; what the LMS gives as one is split at its last space."""
    first, last = member.get("given_name"), member.get("family_name")
    if not (first or last):
        first, _, last = str(member.get("name") or "").strip().rpartition(" ")
    return first or None, last or None


@contextmanager
def _table(root: Path | str, definition: str) -> Iterator[sqlite3.Connection]:
    """Open the gradebook, in one transaction, with a table of ours in it."""
    with closing(sqlite3.connect(Path(root) / "gradebook.db", timeout=BUSY)) as db, db:
        db.execute(f"CREATE TABLE IF NOT EXISTS {definition}")
        yield db


def note(root: Path | str, assignment: str, student: str, about: str, sentences: Sequence[str]) -> None:
    """Keep what was found in a hand-in, in place of what was kept before.

    Args:
        root: the course's folder.
        assignment: its name.
        student: user name.
        about: the part that it is about: "collect", "autograde" or a notebook.
        sentences: none = nothing to say.

    """
    with _table(root, _NOTES) as db:
        key = (assignment, student, about)
        db.execute("DELETE FROM hand_in_note WHERE assignment = ? AND student = ? AND about = ?", key)
        if sentences:
            db.execute("INSERT INTO hand_in_note VALUES (?, ?, ?, ?)", (*key, " ".join(sentences)))


def notes(root: Path) -> dict[tuple[str, str], str]:
    """Return what is kept about hand-ins, by assignment and student."""
    kept: dict[tuple[str, str], str] = {}
    with _table(root, _NOTES) as db:
        for assignment, student, text in db.execute(
            "SELECT assignment, student, text FROM hand_in_note ORDER BY about"
        ):
            kept[assignment, student] = f"{kept.get((assignment, student), '')} {text}".strip()
    return kept


def keep_version(root: Path | str, assignment: str, notebook: str, texts: Mapping[str, str]) -> None:
    """Keep what students may have got, beside other versions of it.

    Args:
        root: the course's folder.
        assignment: its name.
        notebook: its name.
        texts: of its cells, by grade_id.

    """
    with _table(root, _VERSIONS) as db:
        db.execute("INSERT OR IGNORE INTO released_version VALUES (?, ?, ?)", (assignment, notebook, json.dumps(texts)))


def versions(root: Path | str, assignment: str, notebook: str) -> list[dict[str, str]]:
    """Return the versions of a notebook that students may have got; see `keep_version`."""
    with _table(root, _VERSIONS) as db:
        asked = "SELECT texts FROM released_version WHERE assignment = ? AND notebook = ?"
        return [json.loads(texts) for (texts,) in db.execute(asked, (assignment, notebook))]


def assignments(root: Path, course: str) -> list[dict[str, Any]]:
    """Return name, maximum and, by student, score, what is missing and what was found, for each assignment.

    A score counts when it is complete: autograded, and graded by hand where that is asked for. Otherwise it is None,
    which takes nothing away from what was sent before.
    """
    kept = notes(root)
    with Gradebook(db_url(root), course) as book:
        return [_assignment(root, book, assignment, kept) for assignment in book.assignments]


def _assignment(
    root: Path,
    book: Gradebook,
    assignment: Any,  # noqa: ANN401 - nbgrader's
    kept: Mapping[tuple[str, str], str],
) -> dict[str, Any]:
    scores: dict[str, float | None] = {}
    missing: dict[str, str] = {}
    name = assignment.name
    graded = _students(root / "autograded", name)
    for submission in book.assignment_submissions(name):
        student = submission.student.id
        if student not in graded or not any(notebook.grades for notebook in submission.notebooks):
            scores[student], missing[student] = None, "is still to be autograded"
        elif submission.needs_manual_grade:
            scores[student], missing[student] = None, "is still to be graded by hand"
        else:
            penalty = submission.late_submission_penalty or 0.0
            scores[student] = max(0.0, float(submission.score) - penalty)
    for student in _students(root / "submitted", name) - scores.keys():
        scores[student], missing[student] = None, "is still to be autograded"
    found = {student: text for (of, student), text in kept.items() if of == name}
    return {"name": name, "maximum": float(assignment.max_score), "scores": scores, "missing": missing, "notes": found}


def _students(folder: Path, assignment: str) -> set[str]:
    """Return who has a folder of an assignment."""
    return {path.name for path in folder.glob("*") if (path / assignment).is_dir()}


def maximum(root: Path, course: str, assignment: str) -> float | None:
    """Return an assignment's highest score, None if the gradebook does not know the assignment."""
    with Gradebook(db_url(root), course) as book:
        try:
            return float(book.find_assignment(assignment).max_score)
        except MissingEntry:
            return None
