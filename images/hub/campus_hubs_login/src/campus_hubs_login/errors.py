"""Why a launch is turned away."""

from __future__ import annotations


class LaunchRefused(Exception):  # noqa: N818 - a refusal is the expected outcome of a bad launch, not an error
    """A launch that must not lead to a login.

    :param status: HTTP status: 400 not a launch at all, 401 not verifiable, 403 verified but not entitled,
        404 LTI version off, 413 too large, 503 the platform's keys or our own secret cannot be had.
    :param reason: one sentence for the person in front of the browser and for the log; never holds a token or
        signature.
    """

    def __init__(self, status: int, reason: str) -> None:
        """Keep status and reason."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
