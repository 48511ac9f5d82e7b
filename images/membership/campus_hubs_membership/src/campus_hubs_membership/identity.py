"""Who somebody is: one name per person and LMS, the same for LTI 1.1, LTI 1.3, the roster and the grades."""

from __future__ import annotations

import base64
import hashlib
import re

_SCHEME = re.compile(r"^https?://", re.IGNORECASE)
USER_NAME = re.compile(r"u[a-z2-7]{16}")
# OpenID Connect Core 1.0, section 2: `sub` must not exceed 255 characters.
MAX_SUBJECT = 255
MAX_TEXT = 512
# Zero width non-joiner and joiner: without them, names in Persian or Hindi are other words.
_JOINERS = frozenset("\u200c\u200d")


def normalise_issuer(issuer: str) -> str:
    """Strip scheme and trailing slash, so that LTI 1.1's bare host name equals LTI 1.3's issuer URL.

    Args:
        issuer: `iss` of LTI 1.3 or `tool_consumer_instance_guid` of LTI 1.1.

    Returns:
        For example `moodle.example.edu` for `https://moodle.example.edu/`.

    """
    return _SCHEME.sub("", issuer.strip()).rstrip("/")


def user_name(issuer: str, subject: str) -> str:
    """Make the hub's user name: `u` and 16 characters of base32, a DNS label that no service name can equal.

    Only what the LMS never changes goes in; e-mail, login and display name may change.

    Args:
        issuer: identity of the LMS, with or without scheme.
        subject: `sub` of LTI 1.3, `user_id` of LTI 1.1, `user_id` of a roster entry (NRPS 2.0, section 2.2).

    Returns:
        17 characters, 80 bits of SHA-256.

    """
    digest = hashlib.sha256(f"{normalise_issuer(issuer)}\n{subject}".encode()).digest()
    return "u" + base64.b32encode(digest[:10]).decode("ascii").lower()


def digits(value: object) -> object:
    """Write a whole number as LMSs that keep to LTI do, in quotes; return all else as it is."""
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else value


def is_identifier(value: str) -> bool:
    """Tell whether a text is an opaque identifier of LTI: 1 to 255 characters that can be shown.

    So it holds no line feed, which separates issuer and subject in `user_name`, and no half of a surrogate pair.
    """
    return 0 < len(value) <= MAX_SUBJECT and value.isprintable() and not value.isspace()


def identifier_of(value: object) -> str:
    """Return somebody's identifier, which may be written as a number; '' if it is none."""
    text = digits(value)
    return text if isinstance(text, str) and is_identifier(text) else ""


def printable(value: object, limit: int = MAX_TEXT) -> str:
    """Make a text that can be stored, shown and put into an environment: no control characters, no surrogates.

    White space of any kind is a blank; what is no text is ''.
    """
    if not isinstance(value, str):
        return ""
    kept = (char if char.isprintable() or char in _JOINERS else " " * char.isspace() for char in value)
    return "".join(kept).strip()[:limit]
