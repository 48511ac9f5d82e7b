"""Why a request is not served."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - an answer, not an error
    """A request that is answered with a status and a sentence for the person who asked."""

    def __init__(self, status: int, message: str) -> None:
        """Keep both.

        Args:
            status: HTTP status code, 400 or more.
            message: one sentence; it is shown to people.
        """
        super().__init__(message)
        self.status = status
        self.message = message
