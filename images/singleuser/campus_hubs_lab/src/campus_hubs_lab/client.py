"""The exchange's own API (`$EXCHANGE_URL`): who is in the course, and grades for the LMS."""

from __future__ import annotations

import os
from typing import Any, Final
from urllib.parse import quote, urlencode

import requests

# Seconds: to connect, and for an answer.
TIMEOUT: Final = (5, 60)


def direct_session() -> requests.Session:
    """Return a session for the course's own pods: no proxy of the environment stands between them."""
    session = requests.Session()
    session.trust_env = False
    return session


class ExchangeApiError(Exception):
    """The exchange cannot be asked, or refuses; the message says why."""


class Exchange:
    """The exchange, asked with a person's own token. Calls block: from a server, call them in a thread.

    Args:
        url: base of the API, without a trailing slash.
        token: $JUPYTERHUB_API_TOKEN.

    """

    def __init__(self, url: str, token: str) -> None:
        """Nothing is asked for yet."""
        self._url, self._token = url.rstrip("/"), token

    @classmethod
    def of_environment(cls) -> Exchange:
        """Make it by EXCHANGE_URL and JUPYTERHUB_API_TOKEN.

        Raises:
            ExchangeApiError: they are not set.

        """
        try:
            return cls(os.environ["EXCHANGE_URL"], os.environ["JUPYTERHUB_API_TOKEN"])
        except KeyError as error:
            raise ExchangeApiError(f"This server has no exchange ({error} is not set).") from error

    def members(self) -> dict[str, Any]:
        """Return `members` and `roster` (last_sync, error, available)."""
        return self._ask("GET", "members")

    def sync_roster(self, confirm: str = "") -> dict[str, Any]:
        """Ask the LMS who is in the course; return who joined, left, changed, and who waits to be confirmed.

        Args:
            confirm: what the exchange gave for those who wait, to let them leave.

        """
        return self._ask("POST", f"roster?{urlencode({'confirm': confirm})}")

    def grades(self) -> dict[str, Any]:
        """Return what was sent to the LMS, by assignment and student."""
        return self._ask("GET", "grades")

    def post_grades(self, assignment: str, document: dict[str, Any]) -> dict[str, Any]:
        """Tell an assignment's column (label, maximum), scores, and whether to send them (send)."""
        return self._ask("POST", f"grades/{quote(assignment, safe='')}", document)

    def _ask(self, method: str, path: str, document: dict[str, Any] | None = None) -> dict[str, Any]:
        try:
            with direct_session() as session:
                answer = session.request(
                    method,
                    f"{self._url}/{path}",
                    json=document if document is not None else ({} if method == "POST" else None),
                    headers={"Authorization": f"token {self._token}"},
                    timeout=TIMEOUT,
                    allow_redirects=False,
                )
        except requests.RequestException as error:
            raise ExchangeApiError(f"The exchange does not answer ({type(error).__name__}).") from error
        try:
            content = answer.json()
        except ValueError:
            content = None
        if not answer.ok:
            said = content.get("error") or content.get("message") if isinstance(content, dict) else None
            raise ExchangeApiError(str(said or f"The exchange answered {answer.status_code} {answer.reason}."))
        if not isinstance(content, dict):
            raise ExchangeApiError("The exchange's answer is not understood.")
        return content
