"""Why a launch is turned away, and what each reader of the page can do about it."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Final

AGAIN = "Open the course again from your LMS, in a new window. If that does not help, send your lecturer the reference."
EVERYBODY = "If it happens to everybody, send the administrators of the hub the reference below."
TELL_ADMINS = "Send the administrators of the hub the reference below."

# What students, lecturers and administrators can do, by status; a refusal may know better.
ADVICE: Final[Mapping[int, tuple[str, str, str]]] = {
    400: (
        AGAIN,
        f"Let the LMS open the tool in a new window. {EVERYBODY}",
        "Compare the tool's addresses in the LMS with those that the course's run of site.yml reports.",
    ),
    401: (
        AGAIN,
        EVERYBODY,
        "Compare issuer, client id and key set URL (LTI 1.1: consumer key and secret) with the LMS, and both clocks.",
    ),
    403: (
        "Open the link in the right course of your LMS. If this is it, send your lecturer the reference.",
        TELL_ADMINS,
        "Compare the course's variables in the inventory with the LMS: deployment id, context, roles, LMS URL.",
    ),
    404: (
        "Go to the course in your LMS, and open its Jupyter link there.",
        TELL_ADMINS,
        "Compare LTI version and addresses of the tool in the LMS with those that the course's run reports.",
    ),
    413: (
        "Send your lecturer the reference below.",
        TELL_ADMINS,
        "Look at what the tool's settings in the LMS add to a launch.",
    ),
    503: (
        "Open the course again from your LMS in a minute.",
        EVERYBODY,
        "Look whether the hub reaches the LMS (course_hub_lms_networks), then at the hub's log.",
    ),
}
# On the hub's own error pages.
ERROR_ADVICE: Final = (AGAIN, EVERYBODY, "The hub's log has more around the reference.")


class LaunchRefused(Exception):  # noqa: N818 - a refusal is the expected outcome of a bad launch, not an error
    """A launch that must not lead to a login.

    Attributes:
        status: HTTP status: 400 not a launch at all, 401 not verifiable, 403 verified but not entitled,
            404 LTI version off, 413 too large, 503 the platform's keys or our own secret cannot be had.
        reason: one sentence for the person in front of the browser and for the log; never holds a token or
            signature.
        student: what a student can do, if it is not what `ADVICE` says for the status.
        lecturer: the same for a lecturer.
        admin: the same for the administrators of hub and LMS.
    """

    def __init__(self, status: int, reason: str, *, student: str = "", lecturer: str = "", admin: str = "") -> None:
        """Keep what the page says."""
        super().__init__(reason)
        self.status = status
        self.reason = reason
        usual = ADVICE[status]
        self.advice = (student or usual[0], lecturer or usual[1], admin or usual[2])


def reference() -> str:
    """Make a reference that stands on a page and beside the reason in the log; short enough to be read out."""
    return secrets.token_hex(4)
