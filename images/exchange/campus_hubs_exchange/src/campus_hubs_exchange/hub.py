"""The course's hub: who has a token, and what the hub is to do about people who left."""

from __future__ import annotations

import asyncio
import hashlib
import json
import time
from collections.abc import Callable, Iterable
from typing import Any
from urllib.parse import quote

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from .errors import Refused

# How long a token is believed that the hub no longer accepts.
CACHE_SECONDS = 30
CACHE_SIZE = 4096
TIMEOUT_SECONDS = 10
MAX_ANSWER_BYTES = 1024 * 1024


class Hub:
    """JupyterHub's REST API, as service `exchange`."""

    def __init__(self, url: str, token: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        """Remember where and who.

        Args:
            url: of the API, without a trailing slash.
            token: the service's own.
            clock: seconds, monotonic.
        """
        self._url, self._token, self._clock = url, token, clock
        self._client = AsyncHTTPClient(force_instance=True, max_clients=50, max_body_size=MAX_ANSWER_BYTES)
        self._users: dict[bytes, tuple[float, asyncio.Task[str | None]]] = {}

    async def user_of(self, token: str) -> str | None:
        """Ask whose token it is.

        Returns:
            the user's name, or None if the hub does not know the token or it is no person's.

        Raises:
            Refused: 503, if the hub gives no answer.
        """
        # A copy of this memory does not give tokens away.
        key = hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()
        until, task = self._users.get(key, (0.0, None))
        if task is None or until <= self._clock():
            task = asyncio.ensure_future(self._ask(token))
            if len(self._users) >= CACHE_SIZE:
                self._users.clear()
            self._users[key] = (self._clock() + CACHE_SECONDS, task)
        try:
            # Shielded: who asked first may go away while others wait.
            user = await asyncio.shield(task)
        except Exception:
            self._users.pop(key, None)
            raise
        if user is None:
            # It may become valid.
            self._users.pop(key, None)
        return user

    async def _ask(self, token: str) -> str | None:
        answer = await self._fetch("GET", "/user", token)
        if answer.code in {401, 403}:
            return None
        try:
            user = json.loads(answer.body) if answer.code == 200 else None
        except ValueError:
            user = None
        if not isinstance(user, dict):
            raise Refused(503, f"The hub cannot say who you are at the moment (it answered {answer.code}). Try again.")
        name = user.get("name")
        return name if user.get("kind", "user") == "user" and isinstance(name, str) else None

    async def end_sessions(self, user: str) -> None:
        """Delete a user of the hub: servers and sessions end, the home stays. The next launch makes the user anew.

        Raises:
            Refused: 503, if the hub has not done it (a server of theirs is stopping, for instance).
        """
        path = f"/users/{quote(user, safe='')}"
        # By itself, since the hub does not delete a user whose server is still starting.
        await self._fetch("DELETE", f"{path}/server", self._token)
        answer = await self._fetch("DELETE", path, self._token)
        if answer.code not in {204, 404}:
            raise Refused(503, f"the hub answered {answer.code} when user {user} was to be deleted")

    async def prepare_homes(self, users: Iterable[str]) -> None:
        """Tell the hub who will come, so that it makes home volumes ahead.

        Raises:
            Refused: 503, if it does not take the list. A hub without this call is fine.
        """
        answer = await self._fetch("POST", "/homes", self._token, {"users": sorted(users)})
        if answer.code not in {200, 201, 202, 204, 404}:
            raise Refused(503, f"the hub answered {answer.code} to the list of homes")

    async def _fetch(self, method: str, path: str, token: str, document: Any = None) -> HTTPResponse:  # noqa: ANN401 - JSON
        try:
            request = HTTPRequest(
                self._url + path,
                method=method,
                headers={"Authorization": f"token {token}", "Content-Type": "application/json"},
                body=None if document is None else json.dumps(document),
                connect_timeout=TIMEOUT_SECONDS,
                request_timeout=TIMEOUT_SECONDS,
                follow_redirects=False,
            )
            return await self._client.fetch(request, raise_error=False)
        except Exception as error:
            # Its text may hold the request.
            raise Refused(
                503, f"The hub gives no answer at the moment ({error.__class__.__name__}). Try again."
            ) from None
