"""Membership is a lease: a launch or the LMS's roster confirms it for some hours.

Who has not been confirmed again when it is over loses session, tokens and server, as somebody who left the roster: the
hub forgets the user, the home stays, the next launch creates the user again. While the exchange gives no answer, nobody
loses what the roster has confirmed.
"""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.apihandlers import APIHandler
from jupyterhub.app import JupyterHub
from tornado.httpclient import AsyncHTTPClient, HTTPClientError
from tornado.web import HTTPError

if TYPE_CHECKING:
    from .exchange import Exchange

log = logging.getLogger("jupyterhub.leases")

# Seconds between two looks; before the end, when people are told (also after a restart of the hub); between two
# attempts to read a roster.
LOOK = 60
NOTICE = 3600
RETRY = 900
# A lease is confirmed by the roster several times before it is over, so that an LMS may be away for a while.
CONFIRMATIONS = 4


def seconds(written: str | None) -> float:
    """Return a time of the exchange (ISO 8601) as seconds since 1970; 0 for none."""
    return datetime.fromisoformat(written).timestamp() if written else 0.0


class Leases:
    """The leases of one course.

    Args:
        exchange: who knows the members.
        hub_url: base of the hub's API, without a trailing slash.
        token: of a service that may end servers and users.
        hours: how long a confirmation is good for.
        roster: whether the LMS has one (LTI 1.3).

    """

    def __init__(self, exchange: Exchange, hub_url: str, token: str, hours: float, *, roster: bool) -> None:
        """Remember; nobody is asked yet."""
        self._exchange, self._hub_url, self._token, self._roster = exchange, hub_url, token, roster
        self._seconds, self._began = hours * 3600, time.time()
        self._confirmed: dict[str, float] | None = None if roster else {}
        self._asked = 0.0

    async def watch(self) -> None:
        """Look now and then. Run it as a task when the hub starts."""
        while True:
            await asyncio.sleep(LOOK)
            try:
                await self.look()
            except Exception:
                # A bug must not make memberships endless.
                log.exception("The leases could not be looked at")

    async def look(self) -> None:
        """End what is over."""
        await self._confirm()
        if self._confirmed is None:
            return
        hub = JupyterHub.instance()
        for user in [hub.users[found.id] for found in hub.db.query(orm.User)]:
            if await self.end(user) <= time.time():
                try:
                    await self._end(user.name)
                except (HTTPClientError, OSError) as error:
                    log.warning("The session of %s does not end: %s", user.name, error)

    async def end(self, user: Any) -> float:  # noqa: ANN401 - JupyterHub's User
        """Return when somebody's lease is over, in seconds since 1970."""
        state = await user.get_auth_state() or {}
        # Who has never launched was made by an administrator or the probe.
        launched = state.get("launched_at") or user.created.replace(tzinfo=UTC).timestamp()
        confirmed = (self._confirmed or {}).get(user.name, 0.0)
        return float(max(max(launched, confirmed) + self._seconds, self._began + NOTICE))

    async def _confirm(self) -> None:
        """Learn who is in the course, and have the roster read if that was long ago."""
        try:
            found = await self._exchange.roster()
            last, now = (found.get("roster") or {}).get("last_sync"), time.time()
            due = max(seconds(last) + self._seconds / CONFIRMATIONS, self._asked + RETRY)
            if self._roster and due <= now:
                self._asked = now
                await self._exchange.read_roster()
                found = await self._exchange.roster()
        except (HTTPClientError, OSError) as error:
            log.warning("The exchange does not tell who is in the course: %s", error)
        else:
            last = (found.get("roster") or {}).get("last_sync")
            # An exchange of before only knows when it has read the roster.
            self._confirmed = {m["user"]: seconds(m.get("confirmed_at", last)) for m in found["members"] if m["active"]}

    async def _end(self, name: str) -> None:
        # The server by itself: also one that is still starting.
        for path in (f"/users/{quote(name, safe='')}/server", f"/users/{quote(name, safe='')}"):
            answer = await AsyncHTTPClient().fetch(
                self._hub_url + path,
                method="DELETE",
                headers={"Authorization": f"token {self._token}"},
                request_timeout=LOOK,
                raise_error=False,
            )
        if answer.code in {204, 404}:
            log.info("The membership of %s was not confirmed again: session and server have ended", name)
        else:
            log.warning("The session of %s does not end, the hub answered %s", name, answer.code)


class LeaseHandler(APIHandler):  # type: ignore[misc]
    """`GET /hub/api/lease`: when the caller's lease is over, and since when they should be told."""

    leases: ClassVar[Leases | None] = None

    async def get(self) -> None:
        """Answer `{"ends": seconds since 1970, "notice": the same}`."""
        user = self.current_user
        if user is None or user.kind != "user" or self.leases is None:
            raise HTTPError(403)
        ends = await self.leases.end(user)
        self.write({"ends": ends, "notice": ends - NOTICE})
