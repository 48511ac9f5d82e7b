"""Our own part of the service: members, roster, grades."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session
from tornado.http1connection import HTTP1Connection
from tornado.web import HTTPError, stream_request_body

from . import grades
from .errors import Refused
from .members import Launched, all_members, bound, full_name, is_elsewhere, iso, launched, read_launched, told_services
from .model import Member
from .web import Handler, log

MAX_GRADES_BYTES = 8 * 1024 * 1024


class ApiHandler(Handler):
    """A request below /api."""

    def require(self, *, service: bool, teachers: bool) -> None:
        """Refuse who is neither.

        Raises:
            Refused: 403.
        """
        if not ((service and self.caller.role == "service") or (teachers and self.caller.teaches)):
            raise Refused(
                403, "This is for lecturers and tutors of the course." if teachers else "This is for the course's hub."
            )


class Members(ApiHandler):
    """/api/members."""

    async def get(self) -> None:
        """List who is or was in the course."""
        self.require(service=True, teachers=True)
        self.finish(await self.services.database.read(self.document))

    def document(self, session: Session) -> dict[str, Any]:
        """Write down everybody, and how the last look into the LMS's roster went."""
        return {
            "members": [
                {
                    "user": member.user,
                    "subject": member.subject,
                    "name": full_name(member),
                    "email": member.email,
                    "role": member.role,
                    "active": member.active,
                    "since": iso(member.since),
                    "confirmed_at": iso(member.confirmed_at),
                }
                for member in all_members(session)
            ],
            "roster": self.services.roster.document(session),
        }


class OneMember(ApiHandler):
    """/api/members/<user>."""

    async def put(self, user: str) -> None:
        """Take what the hub knows from a launch."""
        self.require(service=True, teachers=False)
        what = bound(read_launched(self.body_object()), self.services.settings.contexts)
        changed = await self.services.database.write(lambda session: _launched(session, user, what))
        if changed:
            log.info("member %s: %s", user, what.role)
            self.services.outbox.wake()
        self.finish({"changed": changed})


class Roster(ApiHandler):
    """/api/roster."""

    async def post(self) -> None:
        """Read the LMS's roster and follow it; with `?check=1` only say what would change.

        With `confirm` from an earlier answer, or `all`, also if more than half of the members leave.
        """
        self.require(service=True, teachers=True)
        confirm = self.get_query_argument("confirm", "")
        if confirm and self.caller.role not in {"service", "instructor"}:
            raise Refused(403, "Only a lecturer can confirm that so many members leave.")
        check = self.get_query_argument("check", "0") == "1"
        document = await self.services.roster.synchronise(check=check, confirm=confirm)
        self.services.outbox.wake()
        self.finish(document)


class Grades(ApiHandler):
    """/api/grades."""

    async def get(self) -> None:
        """Tell how far the grades are."""
        self.require(service=False, teachers=True)
        self.finish(await self.services.database.read(self.document))

    def document(self, session: Session) -> dict[str, Any]:
        """Write down columns and scores."""
        settings = self.services.settings
        how = grades.way(session, lti13=bool(settings.platform), lti11=settings.consumer_dir is not None)
        return grades.document(session, how)


@stream_request_body
class AssignmentGrades(Grades):
    """/api/grades/<assignment>."""

    async def prepare(self) -> None:
        """Let lecturers and tutors send the grades of a large class."""
        await super().prepare()
        self._body = bytearray()
        self.require(service=False, teachers=True)
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.set_max_body_size(MAX_GRADES_BYTES)

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body; called by Tornado."""
        self._body += chunk

    @property
    def body(self) -> bytes | bytearray:
        """The whole body."""
        return self._body

    async def get(self, assignment: str) -> None:  # type: ignore[override]
        """Refuse: all grades are one document."""
        raise HTTPError(405)

    async def post(self, assignment: str) -> None:
        """Take what the LMS is to know of an assignment."""
        self.require(service=False, teachers=True)
        grade_request = grades.read_request(self.body_object())
        await self.services.database.write(lambda session: grades.store(session, assignment, grade_request))
        log.info(
            "grades of %s by %s: %d scores%s",
            assignment,
            self.caller.user,
            len(grade_request.scores),
            ", to be sent" * grade_request.send,
        )
        self.services.outbox.wake()
        self.set_status(202)
        self.finish(await self.services.database.read(self.document))


def _launched(session: Session, user: str, what: Launched) -> bool:
    before, known = told_services(session), session.get(Member, user)
    link = known.outcome_link if known else ""
    changed = launched(session, user, what)
    if is_elsewhere(before, told_services(session)):
        grades.start_over(session)
    elif link and session.get_one(Member, user).outcome_link not in {"", link}:
        grades.send_again(session, user)
    if changed:
        # The launch may have told what grades wait for.
        grades.wake_waiting(session)
    return changed


ROUTES = [
    (r"/api/members", Members),
    (r"/api/members/([^/]+)", OneMember),
    (r"/api/roster", Roster),
    (r"/api/grades", Grades),
    (r"/api/grades/([^/]+)", AssignmentGrades),
]
