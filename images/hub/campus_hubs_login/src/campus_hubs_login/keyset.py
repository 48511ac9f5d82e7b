"""The platform's public keys: fetched without blocking the hub, cached, fetched again when a signature does not fit."""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from .errors import LaunchRefused

log = logging.getLogger(__name__)

TIMEOUT_SECONDS = 5
MAX_BYTES = 512 * 1024
# After an hour a key that the platform has withdrawn is no longer honoured, unless the platform cannot be reached:
# then for a day, since an LMS's short outage must not lock a class out.
LIFESPAN_SECONDS = 3600
STALE_SECONDS = 24 * 3600
# Anybody can send tokens with invented key ids; this is how often they can make us ask the platform.
COOLDOWN_SECONDS = 10
RETRY_SECONDS = 3
MIN_KEY_BITS = 2048


async def fetch(uri: str) -> bytes:
    """GET a key set; redirects are not followed, since the URI is what the administrator has trusted.

    Raises:
        Exception: any error of the HTTP client, also for a status other than 200.
    """
    client = AsyncHTTPClient(force_instance=True, max_body_size=MAX_BYTES)
    try:
        response = await client.fetch(
            HTTPRequest(
                uri,
                headers={"Accept": "application/json"},
                connect_timeout=TIMEOUT_SECONDS,
                request_timeout=TIMEOUT_SECONDS,
                follow_redirects=False,
                decompress_response=False,
            )
        )
        return bytes(response.body)
    finally:
        client.close()


class KeySet:
    """RSA signing keys of one platform, by key id."""

    def __init__(
        self,
        uri: str,
        *,
        fetch: Callable[[str], Awaitable[bytes]] = fetch,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Prepare; nothing is fetched before the first launch.

        Args:
            uri: `jwks_uri` of the platform.
            fetch: coroutine that returns the document.
            clock: seconds, monotonic.
        """
        self.uri = uri
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._keys: dict[str, RSAPublicKey] = {}
        self._fetched_at = float("-inf")
        self._next_attempt = float("-inf")

    async def find(self, kid: str, *, other_than: RSAPublicKey | None = None) -> RSAPublicKey | None:
        """Find a key, asking the platform if it is not known or the known one did not fit.

        Args:
            kid: key id of the token's header.
            other_than: a key that failed to verify the signature.

        Returns:
            the key, or None if the platform has no such key, or still the one that failed.

        Raises:
            LaunchRefused: 503, if no keys can be had.
        """
        if self._clock() - self._fetched_at > LIFESPAN_SECONDS or self._lacks(kid, other_than):
            async with self._lock:
                # Another launch may have fetched while this one waited.
                if self._clock() - self._fetched_at > LIFESPAN_SECONDS or self._lacks(kid, other_than):
                    await self._refresh()
        if self._clock() - self._fetched_at > STALE_SECONDS:
            raise LaunchRefused(
                503, "The keys of your LMS cannot be fetched at the moment. Please try again in a minute."
            )
        return None if self._lacks(kid, other_than) else self._keys[kid]

    def _lacks(self, kid: str, other_than: RSAPublicKey | None) -> bool:
        key = self._keys.get(kid)
        return key is None or key is other_than

    async def _refresh(self) -> None:
        if self._clock() < self._next_attempt:
            return
        try:
            keys = parse_key_set(await self._fetch(self.uri))
        except Exception as error:
            self._next_attempt = self._clock() + RETRY_SECONDS
            log.warning("Cannot fetch the LMS's key set from %s: %s", self.uri, error)
            return
        # Keep the very object of an unchanged key: `other_than` is compared by identity.
        self._keys = {kid: old if (old := self._keys.get(kid)) == key else key for kid, key in keys.items()}
        self._fetched_at = self._clock()
        self._next_attempt = self._fetched_at + COOLDOWN_SECONDS


def parse_key_set(document: bytes) -> dict[str, RSAPublicKey]:
    """Read the usable keys of a JWKS (RFC 7517): RSA, for signatures, at least 2048 bits, with a key id.

    Raises:
        ValueError: if the document is no key set or holds no usable key.
    """
    content = json.loads(document)
    entries = content.get("keys") if isinstance(content, dict) else None
    if not isinstance(entries, list):
        raise ValueError("not a JSON Web Key Set")
    keys: dict[str, RSAPublicKey] = {}
    for entry in entries:
        if not isinstance(entry, dict) or entry.get("kty") != "RSA" or not isinstance(entry.get("kid"), str):
            continue
        # Both are optional, and may be null.
        if (entry.get("use") or "sig") != "sig" or (entry.get("alg") or "RS256") != "RS256":
            continue
        try:
            key = jwt.PyJWK(entry, algorithm="RS256").key
        except jwt.PyJWTError:
            continue
        if isinstance(key, RSAPublicKey) and key.key_size >= MIN_KEY_BITS:
            keys[entry["kid"]] = key
    if not keys:
        raise ValueError("no RSA signing key of at least 2048 bits with a key id in the key set")
    return keys
