"""Our own part of the service: members, roster, grades."""

from __future__ import annotations

from typing import Any

from sqlalchemy.orm import Session

from .errors import Refused
from .members import all_members, full_name, iso, launched, read_launched, recall
from .web import Handler


class ApiHandler(Handler):
    """A request below /api."""

    def require(self, *, service: bool, teachers: bool) -> None:
        """Refuse who is neither.

        :raises Refused: 403.
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
        self.finish(await self.services.database.read(members_document))


class OneMember(ApiHandler):
    """/api/members/<user>."""

    async def put(self, user: str) -> None:
        """Take what the hub knows from a launch."""
        self.require(service=True, teachers=False)
        what = read_launched(self.body_object())
        changed = await self.services.database.write(lambda session: launched(session, user, what))
        self.finish({"changed": changed})


def members_document(session: Session) -> dict[str, Any]:
    """Write down everybody, and how the last look into the LMS's roster went."""
    roster = recall(session, "roster") or {}
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
            }
            for member in all_members(session)
        ],
        "roster": {
            "available": recall(session, "nrps_url") is not None,
            "last_sync": roster.get("last_sync"),
            "error": roster.get("error", ""),
        },
    }


ROUTES = [(r"/api/members", Members), (r"/api/members/([^/]+)", OneMember)]
