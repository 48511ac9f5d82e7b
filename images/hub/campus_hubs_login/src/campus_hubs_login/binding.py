"""The one course of the LMS that this course belongs to."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from campus_hubs_membership.identity import normalise_issuer

from .errors import LaunchRefused
from .launch import Launch

VARIABLE = "course_hub_lms_context"


@dataclass(frozen=True)
class Bound:
    """A context of an LMS.

    Attributes:
        lms: the LMS as launches state it: `iss` (LTI 1.3), or `tool_consumer_instance_guid`.
        context: id, which is what counts.
        title: for people.
        label: for people.
    """

    lms: str
    context: str
    title: str
    label: str

    def __str__(self) -> str:
        """Name it for people."""
        names = " ".join(part for part in (self.label, self.title) if part)
        return f"{names} (id {self.context})" if names else f"id {self.context}"


class Binding:
    """Which launches are of this course: those of the contexts that the inventory names, else of the first lecturer's.

    Whoever teaches anywhere in an LMS can add the tool to a course of their own, and is a lecturer in what they launch.
    A file beside the hub's database, so that a restarted hub knows it; who binds is settled by its primary key.
    """

    def __init__(self, path: str | Path, contexts: Iterable[str] = ()) -> None:
        """Open or create the database.

        Args:
            path: SQLite file, or `:memory:` in tests.
            contexts: ids from the inventory, which count instead of what was bound.

        Raises:
            sqlite3.Error: if it cannot be written; better no hub than one that forgets whose it is.
        """
        self._contexts = frozenset(contexts)
        self._connection = sqlite3.connect(path, timeout=1, isolation_level=None)
        self._connection.execute(
            "CREATE TABLE IF NOT EXISTS bound (one INTEGER PRIMARY KEY CHECK (one = 1), lms TEXT NOT NULL,"
            " context TEXT NOT NULL, title TEXT NOT NULL, label TEXT NOT NULL, user TEXT NOT NULL, at INTEGER NOT NULL)"
        )

    @property
    def bound(self) -> Bound | None:
        """The context that was bound, or the inventory's that a lecturer came from last."""
        row = self._connection.execute("SELECT lms, context, title, label FROM bound").fetchone()
        return Bound(*row) if row else None

    def check(self, launch: Launch) -> None:
        """Refuse a launch from another context, and anybody's but a lecturer's while none is bound.

        Raises:
            LaunchRefused: 403.
        """
        came, bound = _context_of(launch), self.bound
        if not came.context:
            raise LaunchRefused(
                403,
                "The launch does not say which course of the LMS it comes from (context id).",
                student="Open the link inside the course in your LMS, not on another page of it.",
                admin="The LMS has to send the course's context with each launch.",
            )
        if self._contexts:
            if came.context not in self._contexts:
                raise _elsewhere(came, launch, f"id {', '.join(sorted(self._contexts))}")
        elif bound is None:
            if launch.role != "instructor":
                raise LaunchRefused(
                    403,
                    "Your lecturer has to open this course once before you can.",
                    student="Tell your lecturer, and open the link again afterwards.",
                    lecturer="Open the link in your LMS course once, as its teacher: this connects the two courses.",
                    admin=f"Or set {VARIABLE} to the id of the LMS course (this launch is of {came}).",
                )
        elif _key(bound) != _key(came):
            raise _elsewhere(came, launch, str(bound))

    def covers(self, state: Mapping[str, Any]) -> bool:
        """Tell whether a login was of this course, by its auth_state; the binding may be another one since then."""
        context = state.get("context")
        found = str(context.get("id") or "") if isinstance(context, Mapping) else ""
        bound = self.bound
        return found in (self._contexts or ({bound.context} if bound else ()))

    def bind(self, launch: Launch) -> None:
        """Bind the course by a lecturer's launch that was checked, if it is not bound; keep title and label new.

        Raises:
            LaunchRefused: 403, if a launch of another context was first.
        """
        if launch.role != "instructor":
            return
        came = _context_of(launch)
        row = (came.lms, came.context, came.title, came.label, launch.user_name, int(time.time()))
        if self._contexts:
            self._connection.execute("INSERT OR REPLACE INTO bound VALUES (1, ?, ?, ?, ?, ?, ?)", row)
            return
        self._connection.execute("INSERT OR IGNORE INTO bound VALUES (1, ?, ?, ?, ?, ?, ?)", row)
        self.check(launch)
        self._connection.execute("UPDATE bound SET title = ?, label = ?", (came.title, came.label))

    def close(self) -> None:
        """Close the file."""
        self._connection.close()


def _context_of(launch: Launch) -> Bound:
    context = launch.details["context"]
    return Bound(launch.lms, context["id"], context["title"], context["label"])


def _key(context: Bound) -> tuple[str, str]:
    # A deployment is checked with the launch's other claims; LTI 1.1 writes an issuer without scheme.
    return normalise_issuer(context.lms), context.context


def _elsewhere(came: Bound, launch: Launch, wanted: str) -> LaunchRefused:
    """Make the refusal; who teaches may know which course it is that has this hub."""
    other = f"It belongs to {wanted}. " if launch.role == "instructor" else ""
    return LaunchRefused(
        403,
        f"This link is in another course of the LMS than this hub's: in {came}.",
        lecturer=f"{other}Each course needs a hub of its own. If this is the hub's course, send the administrators the "
        "reference below.",
        admin=f"If this is the hub's course, set {VARIABLE} to {came.context!r} and run site.yml.",
    )
