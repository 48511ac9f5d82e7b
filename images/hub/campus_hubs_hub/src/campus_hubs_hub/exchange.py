"""Tell the exchange who is in the course: everybody who launches, at once, with what their launch said.

It never holds up a login. What the exchange does not take now, because it restarts for instance, waits and is told
again, in the order of the launches; the person's next server start says it once more anyway.
"""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPClientError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

log = logging.getLogger("jupyterhub.exchange")

# Seconds between two attempts; the last one for as long as it takes.
PAUSES = (1, 2, 5, 15, 30, 60)
# What the exchange will not take next time either.
REFUSALS = {400, 404, 405, 413}
# It is not there, whoever it is about; 0 and 599 are no answer.
AWAY = {0, 502, 503, 504, 599}


def member(state: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the exchange keeps of a launch, from the login's auth_state.

    Args:
        state: sub, course_role, launched_at and issued_at (seconds since 1970, by the hub's clock and the LMS's),
            context (id, title, label of the LMS's course), given_name, family_name, full_name, email; nrps and ags as
            LTI 1.3 launches claim them, outcomes and resource_link_id as LTI 1.1 launches have them.

    """
    ags = state.get("ags") or {}
    outcomes = state.get("outcomes") or {}
    context = state.get("context") or {}
    names = {name: str(state.get(name) or "") for name in ("given_name", "family_name")}
    if not any(names.values()):
        # The same as in the roster, which would change it back: some people have one name only.
        names["family_name"] = str(state.get("full_name") or "")
    return {
        "subject": str(state.get("sub") or ""),
        "role": str(state.get("course_role") or "student"),
        "launched_at": state.get("launched_at") or 0,
        "issued_at": state.get("issued_at") or 0,
        "context": {name: str(context.get(name) or "") for name in ("id", "title", "label")},
        **names,
        "email": str(state.get("email") or ""),
        "nrps_url": str((state.get("nrps") or {}).get("context_memberships_url") or ""),
        "ags": {"lineitems": ags["lineitems"], "scopes": ags.get("scope") or []} if ags.get("lineitems") else None,
        "outcome": {
            "url": outcomes["service_url"],
            "sourcedid": outcomes["result_sourcedid"],
            "link": str(state.get("resource_link_id") or ""),
        }
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
        self._waiting: dict[str, Mapping[str, Any]] = {}
        self._news = asyncio.Event()
        self._telling: asyncio.Task[None] | None = None

    def after_login(self, student: str) -> Callable[[Any, Any, dict[str, Any]], dict[str, Any]]:
        """Return the authenticator's post_auth_hook, which enrols everybody but the synthetic student."""

        def hook(_authenticator: Any, _handler: Any, login: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
            if login["name"] != student and login.get("auth_state"):
                self.enrol_soon(login["name"], login["auth_state"])
            return login

        return hook

    def enrol_soon(self, name: str, state: Mapping[str, Any]) -> None:
        """Enrol a person in the background, see `enrol`; a newer launch takes the place of one that still waits."""
        before = self._waiting.get(name, {})
        if (before.get("launched_at") or 0) > (state.get("launched_at") or 0):
            return
        self._waiting.pop(name, None)
        self._waiting[name] = state
        self._news.set()
        if self._telling is None or self._telling.done():
            # The loop itself holds tasks weakly.
            self._telling = asyncio.ensure_future(self._tell())

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

    async def _tell(self) -> None:
        """Enrol all who wait, one after the other."""
        failures = 0
        while self._waiting:
            self._news.clear()
            name, state = next(iter(self._waiting.items()))
            try:
                await self.enrol(name, state)
            except (HTTPClientError, OSError, ValueError) as error:
                log.warning("The exchange does not know %s yet: %s", name, error)
                code = getattr(error, "code", 0)
                if code not in REFUSALS:
                    if code not in AWAY and self._waiting.get(name) is state:
                        # It is about this one: the others go first.
                        self._waiting[name] = self._waiting.pop(name)
                    pause = PAUSES[min(failures, len(PAUSES) - 1)]
                    failures += 1
                    with suppress(TimeoutError):
                        await asyncio.wait_for(self._news.wait(), pause)
                    continue
            failures = 0
            if self._waiting.get(name) is state:
                del self._waiting[name]

    async def _send(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        response = await AsyncHTTPClient().fetch(
            f"{self._url}/{path}",
            method=method,
            headers={"Authorization": f"token {self._token}", "Content-Type": "application/json"},
            body=None if body is None else json.dumps(body),
            request_timeout=20,
        )
        try:
            answer: dict[str, Any] = json.loads(response.body)
        except ValueError:
            message = f"its answer to {method} {path} is no JSON"
            raise OSError(message) from None
        return answer
