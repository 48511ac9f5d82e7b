"""LTI 1.1: verification of a launch form signed with OAuth 1.0 (RFC 5849) HMAC-SHA1."""

from __future__ import annotations

import hmac
import re
import time
from dataclasses import dataclass, field
from pathlib import Path

from ltiauthenticator.lti11.constants import LTI11_LAUNCH_PARAMS_REQUIRED
from oauthlib.oauth1.rfc5849 import Client, signature

from .errors import LaunchRefused

# The form is signed when the LMS shows it and posted at once, so minutes cover clocks that differ. (OAuth leaves the
# window open.)
WINDOW_SECONDS = 300
_DIGITS = re.compile(r"[0-9]{1,12}")


@dataclass(frozen=True)
class Consumer:
    """Key and shared secret of the one LMS that may launch this course."""

    key: str
    secret: str = field(repr=False)

    @classmethod
    def from_directory(cls, directory: str | Path) -> Consumer:
        """Read a mounted Secret; at each launch, since Kubernetes replaces the files when the Secret changes.

        Raises:
            LaunchRefused: 503, if a file is missing or empty (an empty secret would let anybody sign).
        """
        try:
            key, secret = (
                Path(directory, name).read_text(encoding="utf-8").strip() for name in ("consumer_key", "shared_secret")
            )
        except (OSError, UnicodeDecodeError) as error:
            raise LaunchRefused(
                503, "The course's LTI 1.1 key cannot be read. Please tell the administrators of this hub."
            ) from error
        if not key or not secret:
            raise LaunchRefused(503, "The course's LTI 1.1 key is empty. Please tell the administrators of this hub.")
        return cls(key, secret)


def verify_form(url: str, query: str, body: str, *, consumer: Consumer) -> dict[str, str]:
    """Verify a launch form.

    Own code instead of LTI11LaunchValidator, which takes only the first value of a repeated parameter, uses up nonces
    before it has checked the signature, and forgets them with the process.

    Args:
        url: launch URL as the LMS knows it, without query.
        query: the URL's query, which the signature covers.
        body: `application/x-www-form-urlencoded` body, undecoded.
        consumer: who may launch.

    Returns:
        the parameters, one value each.

    Raises:
        LaunchRefused: 400 for an incomplete or ambiguous form, 401 for an unknown consumer, a wrong signature or a
            time stamp outside the window.
    """
    try:
        pairs = [
            (str(name), str(value))
            for name, value in signature.collect_parameters(query, body, exclude_oauth_signature=False)
        ]
    except ValueError as error:
        raise LaunchRefused(400, "The launch form is malformed.") from error
    form = dict(reversed(pairs))
    for name in LTI11_LAUNCH_PARAMS_REQUIRED:
        if not form.get(name):
            raise LaunchRefused(400, f"The launch form is incomplete ({name} is missing).")
    _refuse_ambiguity(pairs)
    if (form["lti_message_type"], form["lti_version"]) != ("basic-lti-launch-request", "LTI-1p0"):
        raise LaunchRefused(400, "Only basic launches of LTI 1.1 are supported (lti_message_type, lti_version).")
    if (form["oauth_signature_method"], form["oauth_version"]) != ("HMAC-SHA1", "1.0"):
        raise LaunchRefused(400, "The launch must be signed with OAuth 1.0 and HMAC-SHA1.")
    if not hmac.compare_digest(form["oauth_consumer_key"].encode(), consumer.key.encode()):
        raise LaunchRefused(401, "The launch comes from an LMS that this course does not know (consumer key).")
    signed = [pair for pair in pairs if pair[0] != "oauth_signature"]
    try:
        base = signature.signature_base_string(
            "POST", signature.base_string_uri(url), signature.normalize_parameters(signed)
        )
    except ValueError as error:
        raise LaunchRefused(400, "The launch was sent to an address that is no URL.") from error
    expected: str = signature.sign_hmac_sha1_with_client(base, Client(consumer.key, client_secret=consumer.secret))
    if not hmac.compare_digest(form["oauth_signature"].encode(), expected.encode()):
        raise LaunchRefused(401, "The signature of the launch is wrong.")
    if (
        not _DIGITS.fullmatch(form["oauth_timestamp"])
        or abs(time.time() - int(form["oauth_timestamp"])) > WINDOW_SECONDS
    ):
        raise LaunchRefused(401, "The launch has expired. Please open the course again from your LMS.")
    return form


def _refuse_ambiguity(pairs: list[tuple[str, str]]) -> None:
    """Refuse a parameter with two values: two programs could read two different launches."""
    first: dict[str, str] = {}
    for name, value in pairs:
        if first.setdefault(name, value) != value:
            raise LaunchRefused(400, f"The launch form gives {name[:64]!r} twice.")
