"""What all requests have in common: who asks, what they may, and how an answer looks."""

from __future__ import annotations

import hmac
import json
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from campus_hubs_membership.roles import TEACHERS
from sqlalchemy.exc import OperationalError
from sqlalchemy.orm import Session
from tornado import web
from tornado.web import HTTPError

from .coursework import Coursework
from .database import Database
from .errors import Refused
from .files import FileStore
from .hub import Hub
from .members import active_member
from .outbox import Outbox
from .roster import Roster
from .settings import Settings

log = logging.getLogger("exchange")
T = TypeVar("T")


@dataclass
class Services:
    """The parts of the running service."""

    settings: Settings
    database: Database
    files: FileStore
    coursework: Coursework
    hub: Hub
    roster: Roster
    outbox: Outbox
    uploading: Counter[str] = field(default_factory=Counter)
    open_requests: int = 0

    def change(self, work: Callable[[Session], T]) -> T:
        """Run work of `coursework` in a transaction, in the writer, and remove contents that no row has then."""
        try:
            return self.database.transaction(work)
        finally:
            try:
                self.database.transaction(self.coursework.tidy)
            except (OSError, OperationalError):
                # The next start does it.
                log.exception("cannot remove contents that nothing refers to")


@dataclass(frozen=True)
class Caller:
    """Who asks.

    Attributes:
        user: the hub's user name; '' for the service token.
        role: role in the course; 'service' for the service token.
    """

    user: str
    role: str

    @property
    def teaches(self) -> bool:
        """Whether they are a lecturer or a tutor."""
        return self.role in TEACHERS


class Handler(web.RequestHandler):
    """A request with an Authorization header. Nothing else identifies anybody: no cookie, no part of the URL."""

    services: Services
    caller: Caller

    def initialize(self, services: Services) -> None:
        """Take the parts; called by Tornado."""
        self.services = services
        self._open = True
        services.open_requests += 1

    def set_default_headers(self) -> None:
        """Say nothing about the server, and let nobody keep an answer."""
        self.clear_header("Server")
        self.set_header("Content-Type", "application/json; charset=utf-8")
        self.set_header("Cache-Control", "no-store")
        self.set_header("X-Content-Type-Options", "nosniff")

    async def prepare(self) -> None:
        """Find out who asks, before the body is read."""
        self.caller = await self.identify()

    async def identify(self) -> Caller:
        """Identify the caller by their token.

        Raises:
            Refused: 401 without a valid token, 403 for who is no member, 503 without the hub.
        """
        headers = self.request.headers.get_list("Authorization")
        scheme, _, token = headers[0].partition(" ") if len(headers) == 1 else ("", "", "")
        token = token.strip()
        if scheme.lower() not in {"token", "bearer"} or not token:
            raise Refused(401, "Send your hub's API token in the header Authorization: token ...")
        if hmac.compare_digest(token.encode("utf-8", "replace"), self.services.settings.token.encode()):
            return Caller("", "service")
        user = await self.services.hub.user_of(token)
        if user is None:
            raise Refused(401, "The hub does not know this token, or not any more. Restart your server.")
        course = self.services.settings.course
        role = await self.services.database.read(lambda session: active_member(session, user, course).role)
        return Caller(user, role)

    def failure(self, message: str) -> dict[str, Any]:
        """Make the body of an error."""
        return {"error": message}

    def write_error(self, status_code: int, **kwargs: Any) -> None:  # noqa: ANN401 - Tornado's
        """Answer an exception: a sentence, never a traceback."""
        error = kwargs.get("exc_info", (None, None, None))[1]
        if isinstance(error, Refused):
            self.set_status(error.status)
            message = error.message
        elif isinstance(error, OSError | OperationalError):
            self.set_status(507)
            message = "The exchange cannot store or read files at the moment; nothing was changed. Tell your lecturer."
        elif isinstance(error, HTTPError):
            message = self._reason
        else:
            message = "The exchange failed; its log says why."
        self.finish(self.failure(message))

    def log_exception(self, typ: Any, value: Any, tb: Any) -> None:  # noqa: ANN401 - Tornado's
        """Log what is not an answer."""
        if not isinstance(value, Refused | HTTPError):
            log.error("%s %s failed", self.request.method, self.request.path, exc_info=(typ, value, tb))

    def on_finish(self) -> None:
        """Be done; called by Tornado."""
        self.release()

    def release(self) -> None:
        """Give back what the request holds; may be called twice."""
        if self._open:
            self._open = False
            self.services.open_requests -= 1

    @property
    def body(self) -> bytes | bytearray:
        """The request's body."""
        return self.request.body

    def body_object(self) -> Any:  # noqa: ANN401 - JSON
        """Read a JSON body.

        Raises:
            Refused: 400.
        """
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise Refused(400, "The body is not JSON.") from None


class NotFound(Handler):
    """Whatever else is asked for."""

    async def prepare(self) -> None:
        """Say that it is not here, to everybody alike."""
        raise Refused(404, "There is nothing here.")


def log_request(handler: web.RequestHandler) -> None:
    """Write one line per request: who, what, how it ended. The query is left out, whatever may stand in it."""
    caller = getattr(handler, "caller", None)
    status = handler.get_status()
    if status < 400 and handler.request.path == "/healthz":
        return
    log.log(
        logging.INFO if status < 500 else logging.WARNING,
        "%d %s %s by %s, %.0f ms",
        status,
        handler.request.method,
        handler.request.path,
        (caller.user or caller.role) if caller else "unknown",
        1000 * handler.request.request_time(),
    )
