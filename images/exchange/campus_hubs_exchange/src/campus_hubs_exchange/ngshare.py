"""The REST protocol of ngshare 0.6, as far as ngshare-exchange and its users call it.

Answers are `{"success": true, ...}` or `{"success": false, "message": ...}`. Two things differ from ngshare, for the
good of those who hand in: taking an assignment back (`release --force` does) keeps the submissions, and students may
read their own. People are not changed here: they come from the LMS.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from datetime import datetime
from typing import IO, Any, TypeVar

from campus_hubs_membership.roles import TEACHERS
from sqlalchemy.orm import Session
from tornado.http1connection import HTTP1Connection
from tornado.web import stream_request_body

from .coursework import FileEntry, format_time, parse_time
from .errors import Refused
from .members import all_members
from .model import Member
from .uploads import SentFile, decoded_size, form_limit, read_files, read_form, too_large
from .web import Handler, Services

T = TypeVar("T")
# Of one person at the same time; a browser tab that retries has one.
MAX_UPLOADS = 3
# Who sends more is cut off and does not read why.
MAX_DISCARDED_BYTES = 4 * 1024**3


class NgshareHandler(Handler):
    """A request below /ngshare: the first part of the path after the noun is the course."""

    async def prepare(self) -> None:
        """Let in who is in the course, and nobody for another course."""
        await super().prepare()
        if self.caller.role == "service":
            raise Refused(403, "Permission denied: this is for people.")
        if self.path_args and self.path_args[0] != self.services.settings.course:
            raise Refused(404, "Course not found")

    def require_teacher(self) -> None:
        """Refuse students.

        Raises:
            Refused: 403.
        """
        if not self.caller.teaches:
            raise Refused(403, "Permission denied: this is for lecturers and tutors of the course.")

    def require_self_or_teacher(self, user: str) -> None:
        """Refuse students who ask for somebody else; whether that person exists is not said.

        Raises:
            Refused: 403.
        """
        if user != self.caller.user:
            self.require_teacher()

    def succeed(self, **answer: Any) -> None:  # noqa: ANN401 - JSON
        """Answer."""
        self.finish({"success": True, **answer})

    def failure(self, message: str) -> dict[str, Any]:
        """Make the body of an error."""
        return {"success": False, "message": message}

    async def read(self, work: Callable[[Session], T]) -> T:
        """Read from the database."""
        return await self.services.database.read(work)

    async def send_files(self, entries: Sequence[FileEntry], **answer: str) -> None:
        """Answer with files, piece by piece: there may be more than memory should hold."""
        if self.get_query_argument("list_only", "false") == "true":
            self.succeed(files=[{"path": entry.path, "checksum": entry.md5} for entry in entries], **answer)
            return
        pieces = self._document(entries, answer)
        while (piece := await self.services.database.in_reader(lambda: next(pieces, None))) is not None:
            self.write(piece)
            await self.flush()
        self.finish()

    def _document(self, entries: Sequence[FileEntry], answer: dict[str, str]) -> Iterator[str]:
        yield json.dumps({"success": True, **answer})[:-1] + ', "files": ['
        for index, entry in enumerate(entries):
            head = json.dumps({"path": entry.path, "checksum": entry.md5})[:-1]
            yield f'{"," if index else ""}{head}, "content": "'
            for piece in self.services.files.pieces(entry.sha256):
                yield base64.b64encode(piece).decode("ascii")
            yield '"}'
        yield "]}"


@stream_request_body
class UploadHandler(NgshareHandler):
    """A request that may bring files.

    The body goes to disk as it comes. What is too much is thrown away until its end: a client that is cut off while it
    sends never reads why.
    """

    def initialize(self, services: Services) -> None:
        """Expect a body."""
        super().initialize(services)
        self._spool: IO[bytes] | None = None
        self._broken: OSError | None = None
        self._decoded = 0
        self._counted = False
        self._storing = False

    async def prepare(self) -> None:
        """Find out who asks, and whether they have too much under way."""
        connection = self.request.connection
        if isinstance(connection, HTTP1Connection):
            connection.set_max_body_size(MAX_DISCARDED_BYTES)
        await super().prepare()
        if self.request.method != "POST":
            return
        self.authorise_upload(*self.path_args)
        kind = self.request.headers.get("Content-Type", "").partition(";")[0].strip().lower()
        if kind != "application/x-www-form-urlencoded":
            raise Refused(415, "Send files as application/x-www-form-urlencoded.")
        if self.services.uploading[self.caller.user] >= MAX_UPLOADS:
            raise Refused(429, f"{MAX_UPLOADS} uploads of yours are under way. Wait until one of them is done.")
        self.services.uploading[self.caller.user] += 1
        self._counted = True
        self._spool = self.services.files.spool()

    def authorise_upload(self, *path: str) -> None:
        """Refuse who may not send this; overridden.

        Raises:
            Refused: 403.
        """
        raise NotImplementedError

    def data_received(self, chunk: bytes) -> None:
        """Take a piece of the body; called by Tornado."""
        self._decoded += decoded_size(chunk)
        if self._spool is None:
            return
        if self._decoded > form_limit(self.services.settings.max_upload_bytes):
            self._drop_spool()
            return
        try:
            self._spool.write(chunk)
        except OSError as error:
            # Raised here it would cut the client off.
            self._broken = error
            self._drop_spool()

    async def store(self, work: Callable[[Session, list[SentFile], dict[str, bytes | bytearray]], T]) -> T:
        """Read the files and do with them what is to be done, in the writer, in one transaction.

        Args:
            work: gets the session, the files and the form's fields.

        Raises:
            Refused: 400, 413 for the files, and what work raises.
            OSError: the volume is full or broken.
        """
        if self._broken is not None:
            raise self._broken
        spool, services = self._spool, self.services
        limit = services.settings.max_upload_bytes
        if spool is None:
            raise too_large(limit)

        def run() -> T:
            form = read_form(spool)
            sent = read_files(form.pop("files", None), limit)
            return services.change(lambda session: work(session, sent, form))

        self._storing = True
        return await services.database.in_writer(run)

    def release(self) -> None:
        """Let the next upload of this person come."""
        super().release()
        self._drop_spool()
        if self._counted:
            self._counted = False
            self.services.uploading[self.caller.user] -= 1
            if not self.services.uploading[self.caller.user]:
                del self.services.uploading[self.caller.user]

    def on_connection_close(self) -> None:
        """Forget a body that will not come to its end; called by Tornado."""
        super().on_connection_close()
        if not self._storing:
            self.release()

    def _drop_spool(self) -> None:
        if self._spool is not None:
            with suppress(OSError):
                # What is not written yet is not wanted.
                self._spool.close()
            self._spool = None


class Courses(NgshareHandler):
    """/courses."""

    async def get(self) -> None:
        """List the course."""
        self.succeed(courses=[self.services.settings.course])


class People(NgshareHandler):
    """/instructors/<course> and /students/<course>, /instructor/<course>/<user> and /student/<course>/<user>."""

    async def get(self, course: str, user: str | None = None) -> None:
        """Tell about people: lecturers to everybody, students to lecturers and themselves."""
        noun = self.request.path.split("/")[2]
        teachers = noun.startswith("instructor")
        if not teachers and user != self.caller.user:
            self.require_teacher()
        found = [
            _person(member)
            for member in await self.read(all_members)
            if member.active and (member.role in TEACHERS) == teachers and user in {None, member.user}
        ]
        if user is None:
            self.succeed(**{noun: found})
        elif found:
            self.succeed(**found[0])
        else:
            raise Refused(404, f"{noun.capitalize()} not found")

    async def post(self, course: str, user: str | None = None) -> None:
        """Refuse changes."""
        raise Refused(403, "Permission denied: the members of this course come from the LMS.")

    delete = post


class Course(NgshareHandler):
    """/course/<course>."""

    async def post(self, course: str) -> None:
        """Refuse changes."""
        raise Refused(403, "Permission denied: this exchange is made for one course.")

    delete = post


class Assignments(NgshareHandler):
    """/assignments/<course>."""

    async def get(self, course: str) -> None:
        """List what is released."""
        self.succeed(assignments=await self.read(self.services.coursework.assignments))


class Assignment(UploadHandler):
    """/assignment/<course>/<assignment>."""

    def authorise_upload(self, *path: str) -> None:
        """Let lecturers release."""
        self.require_teacher()

    async def get(self, course: str, assignment: str) -> None:
        """Send an assignment."""
        work = self.services.coursework
        await self.send_files(await self.read(lambda session: work.assignment_files(session, assignment)))

    async def post(self, course: str, assignment: str) -> None:
        """Release an assignment."""
        work = self.services.coursework
        await self.store(lambda session, sent, _: work.release(session, assignment, sent))
        self.succeed()

    async def delete(self, course: str, assignment: str) -> None:
        """Take an assignment back; submissions stay."""
        self.require_teacher()
        services = self.services
        await services.database.in_writer(
            lambda: services.change(lambda session: services.coursework.take_back(session, assignment))
        )
        self.succeed()


class Submissions(NgshareHandler):
    """/submissions/<course>/<assignment>, and /<user> after it."""

    async def get(self, course: str, assignment: str, user: str | None = None) -> None:
        """List submissions: everybody's to lecturers, their own to students."""
        self.require_self_or_teacher(user or "")
        work = self.services.coursework
        found = await self.read(lambda session: work.submissions(session, assignment, user))
        self.succeed(submissions=[{"student_id": name, "timestamp": format_time(time)} for name, time in found])


class Submit(UploadHandler):
    """/submission/<course>/<assignment>."""

    def authorise_upload(self, *path: str) -> None:
        """Let everybody hand in, for themselves."""

    async def post(self, course: str, assignment: str) -> None:
        """Take a submission; the answer is sent when it is on disk."""
        work, user = self.services.coursework, self.caller.user
        time = await self.store(lambda session, sent, _: work.submit(session, assignment, user, sent))
        self.succeed(timestamp=format_time(time))


class Submission(NgshareHandler):
    """/submission/<course>/<assignment>/<user>."""

    async def get(self, course: str, assignment: str, user: str) -> None:
        """Send the latest submission, or that of a time."""
        self.require_self_or_teacher(user)
        asked = self.get_query_argument("timestamp", "")
        time: datetime | None = parse_time(asked) if asked else None
        work = self.services.coursework
        found, entries = await self.read(lambda session: work.submission_files(session, assignment, user, time))
        await self.send_files(entries, timestamp=format_time(found))


class Feedback(UploadHandler):
    """/feedback/<course>/<assignment>/<user>."""

    def authorise_upload(self, *path: str) -> None:
        """Let lecturers give feedback."""
        self.require_teacher()

    async def get(self, course: str, assignment: str, user: str) -> None:
        """Send the feedback on the submission of a time."""
        self.require_self_or_teacher(user)
        time = parse_time(self.get_query_argument("timestamp", ""))
        work = self.services.coursework
        found, entries = await self.read(lambda session: work.feedback_files(session, assignment, user, time))
        await self.send_files(entries, timestamp=format_time(found))

    async def post(self, course: str, assignment: str, user: str) -> None:
        """Put feedback on the submission of a time, in place of earlier feedback."""
        services = self.services

        def give(session: Session, sent: list[SentFile], form: dict[str, bytes | bytearray]) -> None:
            time = parse_time(form.get("timestamp", b"").decode("utf-8", "replace"))
            services.coursework.give_feedback(session, assignment, user, time, sent)

        await self.store(give)
        self.succeed()


def _person(member: Member) -> dict[str, str]:
    return {
        "username": member.user,
        "first_name": member.given_name,
        "last_name": member.family_name,
        "email": member.email,
    }


_COURSE = r"/ngshare/{}/([^/]+)"
ROUTES = [
    (r"/ngshare/courses", Courses),
    (_COURSE.format("course"), Course),
    (_COURSE.format("(?:instructors|students)"), People),
    (_COURSE.format("(?:instructor|student)") + r"/([^/]+)", People),
    (_COURSE.format("assignments"), Assignments),
    (_COURSE.format("assignment") + r"/([^/]+)", Assignment),
    (_COURSE.format("submissions") + r"/([^/]+)(?:/([^/]+))?", Submissions),
    (_COURSE.format("submission") + r"/([^/]+)", Submit),
    (_COURSE.format("submission") + r"/([^/]+)/([^/]+)", Submission),
    (_COURSE.format("feedback") + r"/([^/]+)/([^/]+)", Feedback),
]
