"""The hub's name of a person, from the LMS's issuer and identifier; the hub's image computes the same at login."""

from __future__ import annotations

import base64
import hashlib
import re

_SCHEME = re.compile(r"^https?://", re.IGNORECASE)
MAX_SUBJECT = 255
USER = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}")


def user_name(issuer: str, subject: str) -> str:
    """Make the hub's user name: `u` and 16 characters of base32 of 80 bits of SHA-256.

    :param issuer: identity of the LMS, with or without scheme.
    :param subject: `sub` of LTI 1.3, `user_id` of a roster entry (NRPS 2.0, section 2.2).
    """
    normalised = _SCHEME.sub("", issuer.strip()).rstrip("/")
    digest = hashlib.sha256(f"{normalised}\n{subject}".encode()).digest()
    return "u" + base64.b32encode(digest[:10]).decode("ascii").lower()


def is_subject(value: object) -> bool:
    """Say whether a value can be somebody's identifier, by the rules of the login."""
    return isinstance(value, str) and bool(value.strip()) and len(value) <= MAX_SUBJECT and value.isprintable()


def subject_of(value: object) -> str:
    """Read somebody's identifier: the specifications want a text, some LMSs send a number.

    :returns: the text; '' if it is no identifier.
    """
    text = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
    return str(text) if is_subject(text) else ""
