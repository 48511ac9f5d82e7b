"""Assignments, submissions and feedback: what happens to rows and contents, in one transaction each.

Rows are added one by one and explicitly; nothing here relies on an ORM's cascades.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from sqlalchemy import LargeBinary, cast, delete, func, select, union
from sqlalchemy.orm import Session

from .errors import Refused
from .files import FileStore
from .model import FILE_TABLES, Assignment, AssignmentFile, FeedbackFile, FileTable, Submission, SubmissionFile
from .uploads import SentFile, check_assignment_name, check_new_assignment, readable_size

# ngshare's way to write a time; nbgrader's own exchange writes the same.
_TIME = "%Y-%m-%d %H:%M:%S.%f"
MAX_SUBMISSIONS = 500
# Of one person, as a multiple of the largest upload: each different content counts once, each file's name each time.
MAX_KEPT_UPLOADS = 10
# What the database takes for a file of a submission beside its name: checksums, and both again in indexes.
ROW_BYTES = 512


@dataclass(frozen=True)
class FileEntry:
    """A stored file."""

    path: str
    sha256: str
    md5: str


def now() -> datetime:
    """Tell the time, UTC, as the database keeps it."""
    return datetime.now(UTC).replace(tzinfo=None)


def format_time(time: datetime) -> str:
    """Write a time for nbgrader."""
    return f"{time:{_TIME}} UTC"


def parse_time(text: str) -> datetime:
    """Read what `format_time` wrote; the time zone may be missing.

    Raises:
        Refused: 400.
    """
    try:
        return datetime.strptime(text.strip().removesuffix("UTC").strip(), _TIME)
    except ValueError:
        raise Refused(400, "Time format incorrect") from None


class Coursework:
    """What lecturers and students exchange. All methods block; those that change something run in the writer."""

    def __init__(self, files: FileStore, max_upload_bytes: int) -> None:
        """Take where contents are.

        Args:
            files: where contents are.
            max_upload_bytes: largest upload; a person's submissions may take MAX_KEPT_UPLOADS times that.
        """
        self._files = files
        self._max_kept = MAX_KEPT_UPLOADS * max_upload_bytes
        # Contents that were put for rows, or whose rows were deleted, since the last `tidy`. Only the writer is here.
        self._loose: set[str] = set()

    # ---- assignments ----
    def assignments(self, session: Session) -> list[str]:
        """List what is released."""
        return list(session.scalars(select(Assignment.name).where(Assignment.released).order_by(Assignment.name)))

    def release(self, session: Session, name: str, sent: Iterable[SentFile]) -> None:
        """Release an assignment; earlier submissions to one of this name are still there.

        Raises:
            Refused: 409, if it is released.
        """
        assignment = session.scalar(select(Assignment).where(Assignment.name == check_assignment_name(name)))
        if assignment is None:
            known = session.scalars(select(Assignment.name))
            assignment = Assignment(name=check_new_assignment(name, known), released=True)
            session.add(assignment)
        elif assignment.released:
            raise Refused(409, "Assignment already exists")
        assignment.released = True
        session.flush()
        self._store(session, AssignmentFile, assignment.id, sent)

    def take_back(self, session: Session, name: str) -> None:
        """Take an assignment back. What was handed in stays: `release --force` is this and a release.

        Raises:
            Refused: 404.
        """
        assignment = self._assignment(session, name)
        if not assignment.released:
            raise Refused(404, "Assignment not found")
        assignment.released = False
        self._delete(session, AssignmentFile, assignment.id)

    def assignment_files(self, session: Session, name: str) -> list[FileEntry]:
        """List the files of a released assignment.

        Raises:
            Refused: 404.
        """
        assignment = self._assignment(session, name)
        if not assignment.released:
            raise Refused(404, "Assignment not found")
        return _entries(session, AssignmentFile, assignment.id)

    # ---- submissions ----
    def submit(self, session: Session, name: str, user: str, sent: Iterable[SentFile]) -> datetime:
        """Take a submission.

        Returns:
            its time, later than that of any earlier one, whatever the clock does.

        Raises:
            Refused: 404 without such a released assignment, 413 if the person's submissions take too much.
        """
        assignment = self._assignment(session, name)
        if not assignment.released:
            raise Refused(404, "Assignment not found")
        mine = (Submission.assignment_id == assignment.id, Submission.user == user)
        count, last = session.execute(select(func.count(), func.max(Submission.timestamp)).where(*mine)).one()
        if count >= MAX_SUBMISSIONS:
            raise Refused(413, f"You have submitted {name} {count} times, which is the limit.")
        time = max(now(), last + timedelta(microseconds=1)) if last else now()
        submission = Submission(assignment_id=assignment.id, user=user, timestamp=time)
        session.add(submission)
        session.flush()
        self._store(session, SubmissionFile, submission.id, sent)
        if self._kept_bytes(session, user) > self._max_kept:
            raise Refused(
                413,
                f"All your submissions together take more than {readable_size(self._max_kept)}, which is the limit.",
            )
        return time

    def submissions(self, session: Session, name: str, user: str | None = None) -> list[tuple[str, datetime]]:
        """List (person, time) of the submissions, all or one person's.

        Raises:
            Refused: 404.
        """
        query = select(Submission.user, Submission.timestamp).where(
            Submission.assignment_id == self._assignment(session, name).id
        )
        if user is not None:
            query = query.where(Submission.user == user)
        return [(found, time) for found, time in session.execute(query.order_by(Submission.timestamp))]

    def submission_files(
        self, session: Session, name: str, user: str, time: datetime | None
    ) -> tuple[datetime, list[FileEntry]]:
        """List the files of a person's submission of that time, or of the latest.

        Raises:
            Refused: 404.
        """
        submission = self._submission(session, name, user, time)
        return submission.timestamp, _entries(session, SubmissionFile, submission.id)

    # ---- feedback ----
    def give_feedback(self, session: Session, name: str, user: str, time: datetime, sent: Iterable[SentFile]) -> None:
        """Put feedback on a submission, in place of what is there.

        Raises:
            Refused: 404.
        """
        submission = self._submission(session, name, user, time)
        self._delete(session, FeedbackFile, submission.id)
        self._store(session, FeedbackFile, submission.id, sent)

    def feedback_files(
        self, session: Session, name: str, user: str, time: datetime
    ) -> tuple[datetime, list[FileEntry]]:
        """List the files of the feedback on a submission; none, if there is none yet.

        Raises:
            Refused: 404 without such a submission.
        """
        submission = self._submission(session, name, user, time)
        return submission.timestamp, _entries(session, FeedbackFile, submission.id)

    # ---- common ----
    def referenced(self, session: Session) -> set[str]:
        """List the contents that any file has."""
        return set(session.scalars(union(*(select(table.sha256) for table in FILE_TABLES))))

    def tidy(self, session: Session) -> None:
        """Remove the contents that the last change has left without a file, whether it succeeded or not."""
        loose, self._loose = self._loose, set()
        for table in FILE_TABLES:
            loose -= set(session.scalars(select(table.sha256).where(table.sha256.in_(loose))))
        self._files.remove(loose)

    def _delete(self, session: Session, table: FileTable, owner: int) -> None:
        self._loose.update(session.scalars(select(table.sha256).where(table.owner == owner)))
        session.execute(delete(table).where(table.owner == owner))

    def _store(self, session: Session, table: FileTable, owner: int, sent: Iterable[SentFile]) -> None:
        for file in sent:
            sha256 = hashlib.sha256(file.content).hexdigest()
            self._loose.add(sha256)
            self._files.put(sha256, file.content)
            session.add(
                table(
                    owner=owner,
                    path=file.path,
                    sha256=sha256,
                    md5=hashlib.md5(file.content, usedforsecurity=False).hexdigest(),
                    size=len(file.content),
                )
            )
        session.flush()

    def _kept_bytes(self, session: Session, user: str) -> int:
        mine = SubmissionFile.owner.in_(select(Submission.id).where(Submission.user == user))
        contents = select(SubmissionFile.sha256, SubmissionFile.size).where(mine).distinct().subquery()
        # A name stands in the row and in its primary key.
        row = 2 * func.length(cast(SubmissionFile.path, LargeBinary)) + ROW_BYTES
        sums = (select(func.sum(contents.c.size)), select(func.sum(row)).where(mine))
        return sum(session.scalar(query) or 0 for query in sums)

    def _assignment(self, session: Session, name: str) -> Assignment:
        assignment = session.scalar(select(Assignment).where(Assignment.name == name))
        if assignment is None:
            raise Refused(404, "Assignment not found")
        return assignment

    def _submission(self, session: Session, name: str, user: str, time: datetime | None) -> Submission:
        query = select(Submission).where(
            Submission.assignment_id == self._assignment(session, name).id, Submission.user == user
        )
        if time is not None:
            query = query.where(Submission.timestamp == time)
        submission = session.scalar(query.order_by(Submission.timestamp.desc()).limit(1))
        if submission is None:
            raise Refused(404, "Submission not found")
        return submission


def _entries(session: Session, table: FileTable, owner: int) -> list[FileEntry]:
    query = select(table.path, table.sha256, table.md5).where(table.owner == owner).order_by(table.path)
    return [FileEntry(*row) for row in session.execute(query)]
