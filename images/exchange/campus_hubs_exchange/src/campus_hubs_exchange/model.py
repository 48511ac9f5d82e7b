"""The database's tables. Whoever changes them adds a migration."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import ForeignKey, MetaData, UniqueConstraint
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    """Names all constraints, so that migrations can refer to them."""

    metadata = MetaData(
        naming_convention={
            "ix": "ix_%(column_0_label)s",
            "uq": "uq_%(table_name)s_%(column_0_name)s",
            "fk": "fk_%(table_name)s_%(column_0_name)s",
            "pk": "pk_%(table_name)s",
        }
    )


class Member(Base):
    """A person of the course, now or once. Rows are never deleted: submissions belong to them."""

    __tablename__ = "members"
    user: Mapped[str] = mapped_column(primary_key=True)
    """The hub's user name."""
    subject: Mapped[str]
    """The LMS's identifier of the person."""
    role: Mapped[str]
    given_name: Mapped[str]
    family_name: Mapped[str]
    email: Mapped[str]
    active: Mapped[bool]
    since: Mapped[datetime]
    """When they came, left or changed their role, the last of these (UTC)."""
    launched_at: Mapped[datetime | None]
    """When the hub took their newest launch (UTC)."""
    confirmed_at: Mapped[datetime]
    """When a launch or a roster said last that they are in the course (UTC)."""
    outcome_url: Mapped[str]
    """LTI 1.1 Basic Outcomes: where this person's score goes ..."""
    outcome_sourcedid: Mapped[str]
    """... and whose it is, ..."""
    outcome_link: Mapped[str]
    """... by which link of the LMS ..."""
    outcome_context: Mapped[str]
    """... in which of its courses; '' for not known."""
    hub_due: Mapped[bool]
    """The hub is to end this person's servers and sessions, and has not confirmed it."""


class PlatformFact(Base):
    """What launches and answers of the LMS told about the course: URLs of its services, state of the roster."""

    __tablename__ = "platform"
    name: Mapped[str] = mapped_column(primary_key=True)
    value: Mapped[str]
    """JSON."""


class Assignment(Base):
    """A released assignment; if taken back, only its submissions are left."""

    __tablename__ = "assignments"
    id: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(unique=True)
    released: Mapped[bool]


class Submission(Base):
    """One hand-in."""

    __tablename__ = "submissions"
    __table_args__ = (UniqueConstraint("assignment_id", "user", "timestamp"),)
    id: Mapped[int] = mapped_column(primary_key=True)
    assignment_id: Mapped[int] = mapped_column(ForeignKey("assignments.id"))
    user: Mapped[str] = mapped_column(ForeignKey("members.user"), index=True)
    timestamp: Mapped[datetime]
    """When it was on disk by the server's clock (UTC); no two of one person and assignment are equal."""


class StoredFile:
    """Columns of a file of something: the name there, and which content it has."""

    path: Mapped[str] = mapped_column(primary_key=True)
    sha256: Mapped[str] = mapped_column(index=True)
    md5: Mapped[str]
    """ngshare's `checksum`, by which ngshare-exchange sees that feedback has changed."""
    size: Mapped[int]


class AssignmentFile(StoredFile, Base):
    """A file of an assignment."""

    __tablename__ = "assignment_files"
    owner: Mapped[int] = mapped_column(ForeignKey("assignments.id"), primary_key=True, index=True)


class SubmissionFile(StoredFile, Base):
    """A file of a submission."""

    __tablename__ = "submission_files"
    owner: Mapped[int] = mapped_column(ForeignKey("submissions.id"), primary_key=True, index=True)


class FeedbackFile(StoredFile, Base):
    """A file of the feedback on a submission."""

    __tablename__ = "feedback_files"
    owner: Mapped[int] = mapped_column(ForeignKey("submissions.id"), primary_key=True, index=True)


FileTable = type[AssignmentFile] | type[SubmissionFile] | type[FeedbackFile]
FILE_TABLES: tuple[FileTable, ...] = (AssignmentFile, SubmissionFile, FeedbackFile)


class Column(Base):
    """An assignment's column in the LMS's gradebook."""

    __tablename__ = "columns"
    name: Mapped[str] = mapped_column(primary_key=True)
    """The assignment's name, which is the line item's resourceId."""
    label: Mapped[str]
    maximum: Mapped[float]
    lineitem: Mapped[str]
    """URL at the LMS, or ''."""
    state: Mapped[str]
    """made, waiting or refused."""
    reason: Mapped[str]
    attempts: Mapped[int]
    next_attempt: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    """Since when each attempt has failed for the same reason (UTC)."""
    told_label: Mapped[str]
    """What the LMS was told last, '' for nothing: where it says otherwise, a teacher has renamed the column ..."""
    told_maximum: Mapped[float | None]
    """... or changed its maximum."""
    lms_maximum: Mapped[float | None]
    """The maximum that the LMS had when the column was looked at last."""


class Score(Base):
    """The score that the LMS is to have of somebody, and how far that is: the outbox."""

    __tablename__ = "scores"
    assignment: Mapped[str] = mapped_column(ForeignKey("columns.name"), primary_key=True)
    user: Mapped[str] = mapped_column(primary_key=True)
    """The hub's user name; whoever is graded, member or not."""
    score: Mapped[float | None]
    comment: Mapped[str]
    timestamp: Mapped[datetime]
    """When this value was queued (UTC). All attempts carry it, so that the LMS takes only one of them."""
    state: Mapped[str]
    """sent, waiting, refused or unsent."""
    reason: Mapped[str]
    attempts: Mapped[int]
    next_attempt: Mapped[datetime | None]
    failing_since: Mapped[datetime | None]
    """Since when each attempt has failed for the same reason (UTC)."""
    uncertain: Mapped[bool]
    """An attempt has begun of which the LMS's answer is not known."""
    sent_at: Mapped[datetime | None]
    sent_value: Mapped[str]
    """JSON of score, maximum and comment that the LMS has, or ''."""
