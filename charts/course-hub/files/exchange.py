"""Tell ngshare who is in the course: everybody who starts a server, with the role of their launch.

It never holds up a start. What ngshare does not take now, because it restarts for instance, is tried again; the
person's next start says it once more anyway.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

if TYPE_CHECKING:
    from collections.abc import Mapping

log = logging.getLogger("jupyterhub.exchange")

TEACHERS = {"instructor", "teaching_assistant"}
# Seconds between two attempts; after the last it is left to the next start.
PAUSES = (2, 5, 15, 30, 60, 300)
_EXISTS = 409


class Exchange:
    """One course in ngshare, by its REST API.

    Args:
        url: base of the API, without a trailing slash.
        token: API token of the hub service that is ngshare's administrator.
        course: the course's id.

    """

    def __init__(self, url: str, token: str, course: str) -> None:
        """Remember where and who; nothing is sent."""
        self._url, self._token, self._course = url, token, quote(course, safe="")
        self._tasks: set[asyncio.Task[None]] = set()

    def enrol_soon(self, name: str, state: Mapping[str, Any]) -> None:
        """Enrol a person in the background; see `enrol`."""
        task = asyncio.ensure_future(self._enrol_patiently(name, state))
        # The loop itself holds tasks weakly.
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def enrol(self, name: str, state: Mapping[str, Any]) -> None:
        """Make a person student or instructor of the course, which is made if it is not there.

        Args:
            name: the hub's user name.
            state: the login's auth_state; course_role, given_name, family_name and email are read.

        Raises:
            HTTPClientError: ngshare refuses.
            OSError: ngshare is not there.

        """
        await self._send("POST", f"course/{self._course}", {"instructors": "[]"}, accept=_EXISTS)
        fields = {
            "first_name": str(state.get("given_name") or ""),
            "last_name": str(state.get("family_name") or state.get("full_name") or ""),
            "email": str(state.get("email") or ""),
        }
        person = f"{self._course}/{quote(name, safe='')}"
        if state.get("course_role") in TEACHERS:
            await self._send("POST", f"instructor/{person}", fields)
        elif await self._send("POST", f"student/{person}", fields, accept=_EXISTS) == _EXISTS:
            # An instructor is not made a student in one step.
            await self._send("DELETE", f"instructor/{person}")
            await self._send("POST", f"student/{person}", fields)

    async def _enrol_patiently(self, name: str, state: Mapping[str, Any]) -> None:
        for pause in (*PAUSES, None):
            try:
                await self.enrol(name, state)
            except (HTTPClientError, OSError) as error:
                log.warning("ngshare does not know %s yet: %s", name, error)
                if pause is not None:
                    await asyncio.sleep(pause)
            else:
                return

    async def _send(self, method: str, path: str, fields: Mapping[str, str] | None = None, accept: int = 200) -> int:
        response = await AsyncHTTPClient().fetch(
            f"{self._url}/{path}",
            method=method,
            headers={"Authorization": f"token {self._token}"},
            body=urlencode(fields) if fields is not None else None,
            request_timeout=20,
            raise_error=False,
        )
        if response.code not in {200, accept}:
            response.rethrow()
        return response.code
