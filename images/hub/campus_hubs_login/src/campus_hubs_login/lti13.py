"""LTI 1.3: verification of the login initiation and of the id_token.

Follows 1EdTech Security Framework 1.0 (section 5.1, OpenID Connect third-party initiated login), LTI 1.3 Core and
OpenID Connect Core 1.0 (3.1.3.7, 3.2.2.11).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any
from urllib.parse import urlsplit

import jwt
from campus_hubs_membership.identity import digits
from ltiauthenticator.lti13.error import IncorrectValueError, MissingRequiredArgumentError, ValidationError
from ltiauthenticator.lti13.validator import LTI13LaunchValidator

from .errors import LaunchRefused
from .keyset import KeySet
from .launch import LTI

LEEWAY_SECONDS = 60
# Fixed: a token never chooses its algorithm (`none`, HS256 with the public key as the secret).
ALGORITHMS = ["RS256"]
MAX_TOKEN = 128 * 1024
MAX_HINT = 4096


@dataclass(frozen=True)
class Platform:
    """An LTI 1.3 registration: the platform's side of one tool."""

    issuer: str
    client_id: str
    deployment_id: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    # Of the exchange, which asks for access tokens.
    token_audience: str = ""

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Platform:
        """Check a registration; client_id and deployment_id may both be empty, see `registered`.

        Raises:
            ValueError: naming the key that is missing, empty, unknown or no http(s) URL.
        """
        names = [field.name for field in fields(cls)]
        if unknown := sorted(set(values) - set(names)):
            raise ValueError(f"lti13_platform: found the unknown key {unknown[0]!r}, expected {', '.join(names)}.")
        # YAML makes a number of an unquoted deployment id.
        texts = {name: str(values.get(name) if values.get(name) is not None else "").strip() for name in names}
        waiting = not texts["client_id"] and not texts["deployment_id"]
        optional = {"token_audience"} | ({"client_id", "deployment_id"} if waiting else set())
        for name, value in texts.items():
            if name in optional:
                continue
            if not value:
                raise ValueError(f"lti13_platform.{name}: found nothing, expected a value.")
            if name.endswith(("_endpoint", "_uri")) and urlsplit(value).scheme not in {"http", "https"}:
                raise ValueError(f"lti13_platform.{name}: found {value!r}, expected an http or https URL.")
        return cls(**texts)

    @property
    def registered(self) -> bool:
        """Whether the LMS has given the course its ids; it wants the course's addresses first."""
        return bool(self.client_id)


def check_login_initiation(args: Mapping[str, str], platform: Platform) -> None:
    """Check a third-party initiated login before the browser is sent to the platform.

    The target is not read here: what counts is the signed `target_link_uri` of the id_token.

    Raises:
        LaunchRefused: 400 for a missing or oversized parameter, 401 for an unknown issuer or client,
            403 for another deployment.
    """
    try:
        LTI13LaunchValidator().validate_login_request(args)
    except ValidationError as error:
        raise LaunchRefused(400, f"Your LMS has sent an incomplete login request ({error}).") from error
    if len(args["login_hint"]) > MAX_HINT or len(args.get("lti_message_hint", "")) > MAX_HINT:
        raise LaunchRefused(400, "Your LMS has sent an oversized login request.")
    if args["iss"] != platform.issuer:
        raise _unknown_issuer("login request", args["iss"], platform)
    # Both are optional, and an LMS may name them and leave them empty.
    if (args.get("client_id") or platform.client_id) != platform.client_id:
        raise LaunchRefused(401, "The login request is meant for another tool (client_id).")
    if (args.get("lti_deployment_id") or platform.deployment_id) != platform.deployment_id:
        raise LaunchRefused(403, "The login request belongs to another deployment of this tool (deployment id).")


async def verify_id_token(token: str, *, platform: Platform, keys: KeySet, nonce: str) -> dict[str, Any]:
    """Verify an id_token.

    Args:
        token: compact JWS.
        platform: the registration that it must belong to.
        keys: the platform's keys.
        nonce: the nonce that was sent in the authentication request of this browser.

    Returns:
        the claims.

    Raises:
        LaunchRefused: 400 no JWT or no resource link launch, 401 not verifiable (signature, key, `alg`, `iss`,
            `aud`, `azp`, `exp`, `iat`, `nonce`), 403 other deployment, 503 the platform's keys cannot be had.
    """
    kid = _key_id(token)
    key = await keys.find(kid)
    if key is None:
        raise LaunchRefused(401, "The launch is signed with a key that your LMS does not publish.")
    try:
        claims = _decode(token, key, platform)
    except jwt.InvalidSignatureError as error:
        # The platform may have put a new key under an old name.
        newer = await keys.find(kid, other_than=key)
        if newer is None:
            raise LaunchRefused(401, "The signature of the launch is wrong.") from error
        try:
            claims = _decode(token, newer, platform)
        except jwt.InvalidSignatureError as again:
            raise LaunchRefused(401, "The signature of the launch is wrong.") from again
    _check_claims(claims, platform, nonce)
    return claims


def _key_id(token: str) -> str:
    if len(token) > MAX_TOKEN:
        raise LaunchRefused(413, "The launch is too large.")
    try:
        header = jwt.get_unverified_header(token)
    except (jwt.PyJWTError, ValueError, RecursionError) as error:
        raise LaunchRefused(400, "The launch holds no readable id_token.") from error
    if header.get("alg") not in ALGORITHMS:
        raise LaunchRefused(401, "The launch is not signed with RS256.")
    kid = header.get("kid")
    if not isinstance(kid, str) or not kid:
        raise LaunchRefused(401, "The launch does not name its signing key (kid).")
    return kid


def _decode(token: str, key: Any, platform: Platform) -> dict[str, Any]:  # noqa: ANN401 - PyJWT takes many key types
    try:
        return jwt.decode(
            token,
            key,
            algorithms=ALGORITHMS,
            issuer=platform.issuer,
            leeway=LEEWAY_SECONDS,
            # Some LMSs send numbers: `_check_claims` and `checked_identifier` read them. Nothing depends on `jti`.
            options={
                "require": ["iss", "aud", "exp", "iat", "nonce"],
                "verify_aud": False,
                "verify_sub": False,
                "verify_jti": False,
            },
        )
    except jwt.InvalidSignatureError:
        raise
    except jwt.ExpiredSignatureError as error:
        raise LaunchRefused(401, "The launch has expired. Please open the course again from your LMS.") from error
    except jwt.ImmatureSignatureError as error:
        raise LaunchRefused(
            401, "The launch comes from the future; the clocks of the LMS and the hub differ."
        ) from error
    except jwt.InvalidIssuerError as error:
        raise _unknown_issuer("launch", _payload(token).get("iss"), platform) from error
    except (jwt.PyJWTError, ValueError, TypeError, OverflowError, RecursionError) as error:
        raise LaunchRefused(401, "The launch could not be verified.") from error


def _payload(token: str) -> dict[str, Any]:
    """Read the claims of a token whose signature is right."""
    return jwt.decode(token, options={"verify_signature": False})


def _unknown_issuer(what: str, issuer: object, platform: Platform) -> LaunchRefused:
    return LaunchRefused(
        401,
        f"The {what} comes from an LMS that this course does not know (iss).",
        admin=f"The {what} has iss {str(issuer)[:200]!r}; the inventory has issuer {platform.issuer!r}. Write it as the"
        " LMS does.",
    )


def _check_claims(claims: dict[str, Any], platform: Platform, nonce: str) -> None:
    """Check what a signature does not: that it is the answer to our question, and a launch of this deployment."""
    audience = claims["aud"] if isinstance(claims["aud"], list) else [claims["aud"]]
    if platform.client_id not in map(digits, audience):
        raise LaunchRefused(401, "The launch is meant for another tool (aud).")
    # An LMS may name it and leave it empty.
    authorised = digits(claims.get("azp")) or ""
    if authorised not in ("", platform.client_id):
        raise LaunchRefused(401, "The launch is meant for another tool (azp).")
    if claims["nonce"] != nonce:
        raise LaunchRefused(401, "The launch does not answer this browser's login request (nonce).")
    # The message types first, since LTI13LaunchValidator also lets deep linking pass, and takes the shapes for granted.
    if claims.get(LTI + "message_type") != "LtiResourceLinkRequest":
        raise LaunchRefused(400, "Only resource link launches are supported (message_type).")
    if not isinstance(claims.get(LTI + "resource_link"), dict):
        raise LaunchRefused(400, "The launch is malformed (resource_link).")
    validator = LTI13LaunchValidator(time_leeway=LEEWAY_SECONDS)
    # `context` is optional and needs no label (LTI 1.3, 5.4.1); the validator would refuse an empty one.
    checked = {claim: value for claim, value in claims.items() if claim != LTI + "context"}
    # PyJWT has read it: as a number, or as one in quotes.
    checked |= {"iat": int(claims["iat"]), "azp": authorised}
    try:
        validator.validate_id_token(checked)
        validator.validate_azp_claim(checked, {platform.client_id})
    except (MissingRequiredArgumentError, IncorrectValueError) as error:
        raise LaunchRefused(400, f"The launch is incomplete ({error}).") from error
    except ValidationError as error:
        raise LaunchRefused(401, "The launch has expired. Please open the course again from your LMS.") from error
    if digits(claims[LTI + "deployment_id"]) != platform.deployment_id:
        raise LaunchRefused(403, "The launch belongs to another deployment of this tool (deployment id).")
