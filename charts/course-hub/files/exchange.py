"""Tell the exchange who is in the course: everybody who starts a server, with what their launch said.

It never holds up a start. What the exchange does not take now, because it restarts for instance, is tried again; the
person's next start says it once more anyway.
"""

from __future__ import annotations

import asyncio
import json
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("jupyterhub.exchange")

# Seconds between two attempts; after the last it is left to the next start.
PAUSES = (2, 5, 15, 30, 60, 300)


def member(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the exchange keeps of a launch, from the login's auth_state.

    Args:
        state: sub, course_role, launched_at and issued_at (seconds since 1970, by the hub's clock and the LMS's),
            context (id, title, label of the LMS's course), given_name, family_name, full_name, email; nrps and ags as
            LTI 1.3 launches claim them, outcomes as LTI 1.1 launches have them.

    """
    ags = state.get("ags") or {}
    outcomes = state.get("outcomes") or {}
    context = state.get("context") or {}
    return {
        "subject": str(state.get("sub") or ""),
        "role": str(state.get("course_role") or "student"),
        "launched_at": state.get("launched_at") or 0,
        "issued_at": state.get("issued_at") or 0,
        "context": {name: str(context.get(name) or "") for name in ("id", "title", "label")},
        "given_name": str(state.get("given_name") or ""),
        "family_name": str(state.get("family_name") or state.get("full_name") or ""),
        "email": str(state.get("email") or ""),
        "nrps_url": str((state.get("nrps") or {}).get("context_memberships_url") or ""),
        "ags": {"lineitems": ags["lineitems"], "scopes": ags.get("scope") or []} if ags.get("lineitems") else None,
        "outcome": {"url": outcomes["service_url"], "sourcedid": outcomes["result_sourcedid"]}
        if outcomes.get("service_url") and outcomes.get("result_sourcedid")
        else None,
    }


class Exchange:
    """The course's exchange, by the part of its API that is the hub's.

    Args:
        url: base of the API, without a trailing slash.
        token: the service's token.

    """

    def __init__(self, url: str, token: str) -> None:
        """Remember where and who; nothing is sent."""
        self._url, self._token = url, token
        self._tasks: set[asyncio.Task[None]] = set()

    def enrol_soon(self, name: str, state: Mapping[str, Any]) -> None:
        """Enrol a person in the background; see `enrol`."""
        task = asyncio.ensure_future(self._enrol_patiently(name, state))
        # The loop itself holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def enrol(self, name: str, state: Mapping[str, Any]) -> None:
        """Make a person a member of the course, in the role of their launch.

        Args:
            name: the hub's user name.
            state: the login's auth_state, see `member`.

        Raises:
            HTTPClientError: the exchange refuses.
            OSError: the exchange is not there.

        """
        await self._send("PUT", f"members/{quote(name, safe='')}", member(state))

    async def members(self) -> list[dict[str, Any]]:
        """Return the course's members: user, role, active and more.

        Raises:
            HTTPClientError: the exchange refuses.
            OSError: the exchange is not there.

        """
        found: list[dict[str, Any]] = (await self.roster())["members"]
        return found

    async def roster(self) -> dict[str, Any]:
        """Return `members` and the state of the `roster`; raises what `members` raises."""
        return await self._send("GET", "members")

    async def read_roster(self) -> None:
        """Have the LMS's roster read and followed; raises what `members` raises."""
        await self._send("POST", "roster", {})

    async def _enrol_patiently(self, name: str, state: Mapping[str, Any]) -> None:
        for pause in (*PAUSES, None):
            try:
                await self.enrol(name, state)
            except (HTTPClientError, OSError) as error:
                log.warning("The exchange does not know %s yet: %s", name, error)
                if pause is not None:
                    await asyncio.sleep(pause)
            else:
                return

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        response = await AsyncHTTPClient().fetch(
            f"{self._url}/{path}",
            method=method,
            headers={"Authorization": f"token {self._token}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            request_timeout=20,
        )
        answer: dict[str, Any] = json.loads(response.body)
        return answer
