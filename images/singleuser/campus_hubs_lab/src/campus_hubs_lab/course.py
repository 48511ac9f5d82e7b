"""The course page of lecturers and tutors: who is in the course, and the grades' way to the LMS."""

from __future__ import annotations

import asyncio
import functools
import os
import secrets
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from jinja2 import Environment, FileSystemLoader
from jupyter_server.base.handlers import JupyterHandler
from jupyter_server.utils import url_path_join
from tornado import web

from . import gradebook, names, plugins
from .client import Exchange, ExchangeApiError
from .duedates import campus_zone

if TYPE_CHECKING:
    from collections.abc import Mapping

HERE: Final = Path(__file__).parent
ROLES: Final = {"instructor": "Lecturer", "teaching_assistant": "Tutor", "student": "Student"}
STATES: Final = {"sent": "sent", "waiting": "waiting", "refused": "refused", "unsent": "not sent"}
WAYS: Final = {
    "ags": "Each assignment has its own column in the LMS.",
    "outcomes": "This course's LTI 1.1 link takes one grade per person: the total of all assignments.",
    "none": "This course's LMS takes no grades.",
}


def moment(text: str | None) -> str:
    """Write an ISO time for people, in the campus's zone; '' if there is none."""
    try:
        stamp = datetime.fromisoformat(text or "")
    except ValueError:
        return ""
    aware = stamp if stamp.tzinfo else stamp.replace(tzinfo=UTC)
    return aware.astimezone(campus_zone()).strftime("%Y-%m-%d %H:%M %Z")


def points(number: float | None) -> str:
    """Write a score without needless digits; '' if there is none."""
    return "" if number is None else f"{round(number, 2):g}"


def matrix(
    members: list[Mapping[str, Any]], book: list[dict[str, Any]], sent: list[Mapping[str, Any]]
) -> list[dict[str, Any]]:
    """Lay the gradebook beside what the LMS has.

    Args:
        members: of the course, by the exchange.
        book: assignments by `gradebook.assignments`.
        sent: assignments by the exchange's grades.

    Returns:
        assignments with rows: name, score (text), missing (why there is none), note (what was found in the hand-in),
        state (of what the LMS has), why.

    """
    people = {m["user"]: m.get("name") or m["user"] for m in members}
    students = {m["user"] for m in members if m.get("role") == "student" and m.get("active", True)}
    columns = {column["name"]: column for column in sent}
    result = []
    for assignment in book:
        column = columns.get(assignment["name"], {})
        told = {score["user"]: score for score in column.get("scores") or []}
        rows = []
        for user in students | set(assignment["scores"]) | set(told) | set(assignment.get("notes", {})):
            score, entry = assignment["scores"].get(user), told.get(user, {})
            state = entry.get("state", "unsent")
            why = str(entry.get("reason") or "")
            if state == "waiting" and entry.get("next_attempt"):
                why = f"{why} Next attempt: {moment(entry['next_attempt'])}.".strip()
            if state == "sent":
                why = moment(entry.get("sent_at"))
                if score is not None and points(score) != points(entry.get("score")):
                    why = f"{points(entry.get('score'))} on {why}; changed since" if why else "changed since"
            missing = assignment["missing"].get(user, "" if user in assignment["scores"] else "nothing collected")
            rows.append(
                {
                    "name": people.get(user) or str(entry.get("name") or user),
                    "score": points(score),
                    "missing": missing,
                    "note": assignment.get("notes", {}).get(user, ""),
                    "state": state if state in STATES else "unsent",
                    "why": why,
                }
            )
        rows.sort(key=lambda row: row["name"].casefold())
        result.append(
            {
                "name": assignment["name"],
                "maximum": points(assignment["maximum"]),
                "rows": rows,
                "column": column.get("column_state", ""),
                "column_reason": column.get("column_reason", ""),
                "complete": sum(score is not None for score in assignment["scores"].values()),
                "waiting": any(row["state"] == "waiting" for row in rows),
            }
        )
    return result


class CoursePage(JupyterHandler):
    """`<base>course` and its forms."""

    @property
    def content_security_policy(self) -> str:
        """Return the header: the page has files of its own, and nothing else."""
        own = (
            "default-src 'none'; script-src 'nonce-{0}'; style-src 'nonce-{0}'; connect-src 'self'; form-action 'self'"
        )
        return f"{super().content_security_policy}; {own.format(self.nonce)}; base-uri 'none'"

    @functools.cached_property
    def nonce(self) -> str:
        """Return the page's."""
        return secrets.token_urlsafe(16)

    def initialize(self, root: Path, course: str, pages: Environment, notes: list[str]) -> None:
        """Remember the course; `notes` are shown once, on the next page."""
        self.root, self.course, self.pages, self.notes = root, course, pages, notes

    @web.authenticated
    async def get(self) -> None:
        """Show the page; parts that cannot be had are said so."""
        problems: list[str] = []
        roster, sent, book = await asyncio.gather(
            _safe(problems, lambda: Exchange.of_environment().members()),
            _safe(problems, lambda: Exchange.of_environment().grades()),
            _safe(problems, gradebook.assignments, self.root, self.course),
        )
        roster, sent = roster or {}, sent or {}
        members = roster.get("members") or []
        if members:
            await _safe(problems, gradebook.enrol, self.root, self.course, members)
        notes, self.notes[:] = self.notes[:], []
        text = self.pages.get_template("course.html").render(
            base=self.base_url,
            title=os.environ.get("COURSE_TITLE") or self.course,
            nonce=self.nonce,
            xsrf=self.xsrf_token.decode("utf-8"),
            notes=notes,
            problems=[*dict.fromkeys(problems), *names.problems()],
            members=sorted(members, key=lambda m: (not m.get("active", True), str(m.get("name") or "").casefold())),
            roster=roster.get("roster") or {},
            may_sync=os.environ.get("COURSE_ROLE") == "instructor",
            way=WAYS.get(sent.get("kind", ""), ""),
            way_reason=sent.get("reason") or "",
            may_send=sent.get("kind") in {"ags", "outcomes"},
            assignments=matrix(members, book or [], sent.get("assignments") or []),
            roles=ROLES,
            states=STATES,
            moment=moment,
        )
        self.set_header("Cache-Control", "no-store")
        self.set_header("Content-Type", "text/html; charset=utf-8")
        self.finish(text)

    def back(self, note: str) -> None:
        """Show the page again, with a sentence."""
        self.notes.append(note)
        self.redirect(url_path_join(self.base_url, "course"), status=303)


class SyncRoster(CoursePage):
    """The roster's button."""

    @web.authenticated
    async def post(self) -> None:
        """Ask the LMS who is in the course."""
        try:
            confirm = self.get_body_argument("confirm", "")
            done = await asyncio.to_thread(Exchange.of_environment().sync_roster, confirm)
        except ExchangeApiError as error:
            self.back(f"The roster was not updated: {error}")
            return
        if done.get("available") is False:
            self.back(f"The LMS gives no roster: {done.get('reason') or 'no details'}")
            return
        parts = [f"{len(done.get(key) or [])} {word}" for key, word in _CHANGES.items()]
        self.back(f"The roster is up to date: {', '.join(parts)}.")

    # A form's answer has no page of its own.
    async def get(self) -> None:
        """Go to the page."""
        self.redirect(url_path_join(self.base_url, "course"))


_CHANGES: Final = {"joined": "joined", "left": "left", "role_changed": "changed their role"}


class SendGrades(SyncRoster):
    """An assignment's button."""

    @web.authenticated
    async def post(self) -> None:
        """Hand the complete scores to the exchange."""
        name = self.get_body_argument("assignment")
        try:
            await asyncio.to_thread(plugins.send_grades, self.root, self.course, name)
        except ExchangeApiError as error:
            self.back(f"The grades of {name} were not sent: {error}")
        except Exception as error:
            self.back(
                f"The grades of {name} were not sent: the gradebook cannot be read: {type(error).__name__}: {error}"
            )
        else:
            self.back(f"The grades of {name} are on their way.")


async def _safe(problems: list[str], call: Any, *arguments: Any) -> Any:  # noqa: ANN401 - any function
    """Call in a thread; note what goes wrong."""
    try:
        return await asyncio.to_thread(call, *arguments)
    except ExchangeApiError as error:
        problems.append(str(error))
    except Exception as error:
        problems.append(f"The gradebook cannot be read: {type(error).__name__}: {error}")
    return None


def load(server: Any, root: Path, course: str) -> None:  # noqa: ANN401 - a ServerApp
    """Add the page.

    Args:
        server: Jupyter's.
        root: the course's folder.
        course: the course's id.

    """
    pages = Environment(loader=FileSystemLoader(HERE / "templates"), autoescape=True)
    options = {"root": root, "course": course, "pages": pages, "notes": []}
    base = server.web_app.settings["base_url"]
    server.web_app.add_handlers(
        ".*$",
        [
            (url_path_join(base, "course/?"), CoursePage, options),
            (url_path_join(base, "course/roster"), SyncRoster, options),
            (url_path_join(base, "course/grades"), SendGrades, options),
            (url_path_join(base, "course/static/(.*)"), web.StaticFileHandler, {"path": str(HERE / "static")}),
        ],
    )
