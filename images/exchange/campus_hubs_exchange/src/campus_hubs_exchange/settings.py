"""What the service is told by its environment."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from campus_hubs_membership.roles import COURSE_ROLES

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True)
class Settings:
    """The environment, read and checked once.

    Attributes:
        course: id of the course, the only one that is served.
        hub_api: URL of the hub's REST API, without a trailing slash.
        token: token of this service at the hub, and of the hub here.
        data: folder of the database and the files.
        address: where to listen, '' for all addresses.
        port: TCP port, 0 for any.
        max_upload_bytes: largest sum of the sizes of the files of one upload.
        platform: the LMS of an LTI 1.3 course: issuer, client_id, token_endpoint, perhaps token_audience; empty for
            LTI 1.1.
        key_dir: folder with private.pem and jwks.json (LTI 1.3).
        consumer_dir: folder with consumer_key and shared_secret (LTI 1.1), or None.
        nrps_url: the roster's URL; empty means that launches tell it.
        contexts: ids of the LMS's courses that this course belongs to, first the one whose gradebook is used; empty
            for the one that launches come from.
        lti_roles: what roles that only this LMS has mean in the course.
        lti_issuer: identity of the LMS that the hub makes user names from, if it is not the platform's issuer.
    """

    course: str
    hub_api: str
    token: str = field(repr=False)
    data: Path = Path("/srv/exchange")
    address: str = ""
    port: int = 8080
    max_upload_bytes: int = 100 * MEBIBYTE
    platform: Mapping[str, Any] = field(default_factory=dict)
    key_dir: Path = Path("/etc/campus-hubs/lti13")
    consumer_dir: Path | None = None
    nrps_url: str = ""
    contexts: tuple[str, ...] = ()
    lti_roles: Mapping[str, str] = field(default_factory=dict)
    lti_issuer: str = ""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> Settings:
        """Read the variables that the chart sets.

        Raises:
            ValueError: with the variable's name, what was found and what is expected.
        """
        return cls(
            course=_required(environment, "COURSE_ID"),
            hub_api=_required(environment, "JUPYTERHUB_API_URL").rstrip("/"),
            token=_token(Path(environment.get("EXCHANGE_TOKEN_FILE", "/etc/campus-hubs/secrets/exchange-token"))),
            data=Path(environment.get("EXCHANGE_DATA", "/srv/exchange")),
            address=environment.get("EXCHANGE_ADDRESS", ""),
            port=_number(environment, "EXCHANGE_PORT", 8080, least=0),
            max_upload_bytes=_number(environment, "EXCHANGE_MAX_UPLOAD_BYTES", 100 * MEBIBYTE, least=1024),
            platform=_platform(environment.get("LTI13_PLATFORM", "")),
            key_dir=Path(environment.get("LTI13_KEY_DIR", "/etc/campus-hubs/lti13")),
            consumer_dir=Path(folder) if (folder := environment.get("LTI11_CONSUMER_DIR", "")) else None,
            nrps_url=environment.get("NRPS_URL", ""),
            contexts=_contexts(environment.get("LTI_CONTEXTS", "")),
            lti_roles=_roles(environment.get("LTI_ROLES", "")),
            lti_issuer=environment.get("LTI_ISSUER", ""),
        )


def _required(environment: Mapping[str, str], name: str) -> str:
    if not (value := environment.get(name, "").strip()):
        raise ValueError(f"{name}: found nothing, expected a value.")
    return value


def _token(path: Path) -> str:
    try:
        token = path.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"EXCHANGE_TOKEN_FILE: cannot read {path}: {error.__class__.__name__}") from None
    if len(token) < 32:
        raise ValueError(
            f"EXCHANGE_TOKEN_FILE: found {len(token)} characters in {path}, expected a token of at least 32."
        )
    return token


def _number(environment: Mapping[str, str], name: str, default: int, *, least: int) -> int:
    text = environment.get(name, "") or str(default)
    if not text.isascii() or not text.isdigit() or int(text) < least:
        raise ValueError(f"{name}: found {text!r}, expected a whole number, {least} or more.")
    return int(text)


def _platform(text: str) -> Mapping[str, Any]:
    if not text:
        return {}
    try:
        platform = json.loads(text)
    except ValueError:
        raise ValueError("LTI13_PLATFORM: found no JSON, expected an object.") from None
    keys = ("issuer", "client_id", "token_endpoint")
    if not isinstance(platform, dict) or not all(isinstance(platform.get(key), str) for key in keys):
        raise ValueError(f"LTI13_PLATFORM: expected an object with {', '.join(keys)}.")
    return platform


def _contexts(text: str) -> tuple[str, ...]:
    try:
        contexts = json.loads(text or "[]")
    except ValueError:
        raise ValueError("LTI_CONTEXTS: found no JSON, expected a list.") from None
    if not isinstance(contexts, list):
        raise ValueError("LTI_CONTEXTS: expected a list.")
    return tuple(map(str, contexts))


def _roles(text: str) -> Mapping[str, str]:
    try:
        roles = json.loads(text or "{}")
    except ValueError:
        raise ValueError("LTI_ROLES: found no JSON, expected an object.") from None
    if not isinstance(roles, dict) or not set(map(str, roles.values())) <= set(COURSE_ROLES):
        raise ValueError(f"LTI_ROLES: expected an object whose values are of {', '.join(COURSE_ROLES)}.")
    return roles
