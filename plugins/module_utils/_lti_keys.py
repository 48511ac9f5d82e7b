# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The RSA key pair of an LTI 1.3 tool, its public key set, and rotation with overlap.

The 1EdTech security framework 1.0 (section 5.4) wants RS256 and a key set (RFC 7517) with `kid`. A key's `kid` is its
RFC 7638 thumbprint, so it follows from the key alone.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import SecretBackend, SecretError
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

try:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa
except ImportError:  # the module says so
    HAS_CRYPTOGRAPHY = False
else:
    HAS_CRYPTOGRAPHY = True

PRIVATE, JWKS, ROTATION = "private.pem", "jwks.json", "rotation.json"
# RFC 7518, section 3.3: "A key of size 2048 bits or larger MUST be used".
LEAST_BITS = 2048
ON_APPLY = "(generated when applied)"

Jwk = dict[str, str]


def public_jwk(private_pem: bytes) -> Jwk:
    """Return the public JSON Web Key of a private key.

    Args:
        private_pem: unencrypted RSA private key, PEM.

    Raises:
        SecretError: not that.
    """
    numbers = _load_private(private_pem).public_key().public_numbers()
    jwk = {"kty": "RSA", "n": _base64url_uint(numbers.n), "e": _base64url_uint(numbers.e)}
    return {**jwk, "alg": "RS256", "use": "sig", "kid": thumbprint(jwk)}


def public_pem(private_pem: bytes) -> str:
    """Return the public key of a private key (PEM, SubjectPublicKeyInfo); parameters and errors as `public_jwk`."""
    public = _load_private(private_pem).public_key()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    return public.public_bytes(serialization.Encoding.PEM, form).decode("ascii")


def generate_private(size: int) -> bytes:
    """Return a new RSA private key of `size` bits (PEM, PKCS #8, unencrypted)."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=size)
    encryption = serialization.NoEncryption()
    return key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, encryption)


def thumbprint(jwk: Mapping[str, str]) -> str:
    """Return the RFC 7638 thumbprint (SHA-256, base64url) of an RSA key."""
    canonical = json.dumps({name: jwk[name] for name in ("e", "kty", "n")}, separators=(",", ":"))
    return base64.urlsafe_b64encode(hashlib.sha256(canonical.encode("ascii")).digest()).rstrip(b"=").decode("ascii")


def _base64url_uint(number: int) -> str:
    raw = number.to_bytes((number.bit_length() + 7) // 8, "big")
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode("ascii")


def _load_private(pem: bytes) -> rsa.RSAPrivateKey:
    name = f"field {PRIVATE}"
    fix = "restore it, or delete the Secret to get a new key (which the LMS must then learn); it is left as it is"
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except TypeError as error:
        raise SecretError(refusal(name, "an encrypted key", "an unencrypted one", fix)) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise SecretError(refusal(name, "no readable private key", "one in PEM form", fix)) from error
    if not isinstance(key, rsa.RSAPrivateKey):
        found = "a key that is not RSA"
        raise SecretError(refusal(name, found, "one of RSA, as LTI 1.3 signs with RS256", fix))
    if key.key_size < LEAST_BITS:
        found = f"a key of {key.key_size} bits"
        raise SecretError(refusal(name, found, f"{LEAST_BITS} or more, as RS256 needs them", fix))
    return key


def _parse_jwks(raw: bytes) -> dict[str, Jwk]:
    """Return `kid` to key, in the order of the file."""
    restore = "restore or remove the field; it is left as it is"
    wrong = refusal(f"field {JWKS}", "no set of public RSA keys", "one whose keys have a kid", restore)
    try:
        keys = json.loads(raw)["keys"]
        found = {str(key["kid"]): key for key in keys}
        for key in keys:
            base64.urlsafe_b64decode(key["n"] + "==")
            thumbprint(key)
            if key["kty"] != "RSA":
                raise SecretError(wrong)
    except (ValueError, KeyError, TypeError, binascii.Error) as error:
        raise SecretError(wrong) from error
    private = {"d", "p", "q", "dp", "dq", "qi"}
    if any(private & set(key) for key in keys):
        expected = "public ones alone, as it is published"
        raise SecretError(refusal(f"field {JWKS}", "private numbers of a key", expected, "remove the field at once"))
    return found


def _stamp(moment: datetime) -> str:
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _moment(text: str) -> datetime:
    return datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)


@dataclass(frozen=True)
class KeyState:
    """A key pair with its history.

    Attributes:
        private: the current private key, PEM.
        jwk: its public key.
        created: when it was made.
        retired: keys that no longer sign, `kid` to (key, when it leaves the key set).
    """

    private: bytes
    jwk: Jwk
    created: datetime
    retired: Mapping[str, tuple[Jwk, datetime]]

    @property
    def kid(self) -> str:
        """The current key's id."""
        return self.jwk["kid"]

    def jwks(self) -> dict[str, list[Jwk]]:
        """Return the public key set: current key first, retired ones by their end."""
        old = sorted(self.retired.values(), key=lambda entry: (entry[1], entry[0]["kid"]), reverse=True)
        return {"keys": [self.jwk, *(jwk for jwk, _end in old)]}

    def rotation(self) -> dict[str, Any]:
        """Return what decides the next rotation, as stored."""
        ends = {kid: _stamp(end) for kid, (_jwk, end) in sorted(self.retired.items())}
        return {"created": _stamp(self.created), "retired": ends}

    def fields(self) -> dict[str, bytes]:
        """Return the Secret's fields."""
        return {
            PRIVATE: self.private,
            JWKS: json.dumps(self.jwks()).encode("ascii"),
            ROTATION: json.dumps(self.rotation()).encode("ascii"),
        }


class KeyBackend(SecretBackend):
    """A Secret with an RSA private key, the public key set, and the times that decide rotation."""

    def __init__(
        self,
        *,
        size: int = LEAST_BITS,
        rotate_after_days: int | None = None,
        overlap_days: int = 30,
        rotate: bool = False,
    ) -> None:
        """Take what is wanted.

        Args:
            size: bits of a key that is made from now on; existing keys stay.
            rotate_after_days: age in days at which a key is replaced; None: never by itself.
            overlap_days: days for which a replaced key stays in the public key set.
            rotate: replace the key now.
        """
        self._size, self._rotate = size, rotate
        self._rotate_after = None if rotate_after_days is None else timedelta(days=rotate_after_days)
        self._overlap = timedelta(days=overlap_days)
        self._data: Mapping[str, bytes] = {}
        self._now = datetime.now(UTC)
        self._state: KeyState | None = None
        self._first_kid: str | None = None

    def set_existing(self, data: Mapping[str, bytes], created: datetime | None, now: datetime) -> None:
        """See `SecretBackend`; a lone private key is adopted, a Secret of other fields is refused."""
        self._data, self._now, self._state = data, now.replace(microsecond=0), None
        if not data:
            return
        if PRIVATE not in data:
            there = ", ".join(sorted(data))
            fix = "complete the Secret, or choose another name; it is left as it is"
            raise SecretError(refusal(f"field {PRIVATE}", f"nothing (there: {there})", "a private key", fix))
        jwk = public_jwk(data[PRIVATE])
        published = _parse_jwks(data[JWKS]) if JWKS in data else {}
        born, ends = self._parse_rotation(created or now)
        # A key without an end was the current one until somebody replaced private.pem by hand: it ends as if rotated.
        retired = {
            kid: (key, ends.get(kid, self._now + self._overlap)) for kid, key in published.items() if kid != jwk["kid"]
        }
        self._state = KeyState(data[PRIVATE], jwk, born, retired)
        if self._first_kid is None:
            self._first_kid = jwk["kid"]

    def _parse_rotation(self, created: datetime) -> tuple[datetime, dict[str, datetime]]:
        if ROTATION not in self._data:
            return created, {}
        try:
            stored = json.loads(self._data[ROTATION])
            return _moment(stored["created"]), {kid: _moment(end) for kid, end in stored["retired"].items()}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            fix = "restore or remove the field; it is left as it is"
            message = refusal(f"field {ROTATION}", "nothing that can be read", "the times of the keys as JSON", fix)
            raise SecretError(message) from error

    def _rotation_reason(self, state: KeyState) -> str | None:
        # Rotated once: neither what this run wrote nor what another run wrote meanwhile is rotated again.
        if self._rotate and state.kid == self._first_kid:
            return "a new key is asked for"
        if self._rotate_after is not None and self._now >= state.created + self._rotate_after:
            return f"the key is of {_stamp(state.created)}, older than {self._rotate_after.days} days"
        return None

    def _kept(self, state: KeyState, *, rotate: bool) -> dict[str, tuple[Jwk, datetime]]:
        retired = dict(state.retired)
        if rotate:
            retired[state.kid] = (state.jwk, self._now + self._overlap)
        return {kid: entry for kid, entry in retired.items() if entry[1] > self._now}

    def needs_change(self) -> list[str]:
        """See `SecretBackend`."""
        if self._state is None:
            return ["there is no key yet"]
        reason = self._rotation_reason(self._state)
        reasons = [reason] if reason else []
        gone = sorted(set(self._state.retired) - set(self._kept(self._state, rotate=False)))
        reasons += [f"the overlap of the old key {kid} is over" for kid in gone]
        if not reasons and any(self._read_json(name) != want for name, want in self._wanted_json(self._state).items()):
            reasons.append(f"{JWKS} or {ROTATION} does not fit {PRIVATE}")
        return reasons

    @staticmethod
    def _wanted_json(state: KeyState) -> dict[str, Any]:
        return {JWKS: state.jwks(), ROTATION: state.rotation()}

    def _read_json(self, name: str) -> Any:  # noqa: ANN401 (JSON)
        return json.loads(self._data[name]) if name in self._data else None

    def generate(self) -> dict[str, bytes]:
        """See `SecretBackend`; fields of others stay."""
        state = self._state
        rotate = state is not None and self._rotation_reason(state) is not None
        retired = self._kept(state, rotate=rotate) if state else {}
        if state and not rotate:
            state = KeyState(state.private, state.jwk, state.created, retired)
        else:
            private = generate_private(self._size)
            state = KeyState(private, public_jwk(private), self._now, retired)
        return {**self._data, **state.fields()}

    def describe(self, *, planned: bool) -> dict[str, Any]:
        """See `SecretBackend`; key ids and times."""
        state = self._state
        if not planned:
            return {"kid": state.kid, **state.rotation()} if state else {}
        if state is None:
            return {"kid": ON_APPLY, "created": _stamp(self._now), "retired": {}}
        rotate = self._rotation_reason(state) is not None
        after = KeyState(state.private, state.jwk, state.created, self._kept(state, rotate=rotate))
        new = {"kid": ON_APPLY, **after.rotation(), "created": _stamp(self._now)}
        return new if rotate else {"kid": after.kid, **after.rotation()}

    def dump(self) -> dict[str, Any]:
        """See `SecretBackend`; all of it public, and empty in check mode if there is no key yet."""
        state = self._state
        if state is None:
            return {"kid": "", "jwks": {"keys": []}, "public_key_pem": "", "created": "", "retired": {}}
        values = {"kid": state.kid, "jwks": state.jwks(), "public_key_pem": public_pem(state.private)}
        return {**values, **state.rotation()}
