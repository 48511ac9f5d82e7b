# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The consumer key and shared secret of LTI 1.1 (IMS LTI 1.1.1 implementation guide, section 4.2)."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import (
    SecretBackend,
    hex_token,
    read_text,
)
from ansible_collections.campus.hubs.plugins.module_utils._refusals import difference

KEY, SECRET = "consumer_key", "shared_secret"
KEY_BYTES, SECRET_BYTES = 16, 32
ON_APPLY = "(generated when applied)"


class ConsumerBackend(SecretBackend):
    """A Secret with an LTI 1.1 consumer key, which is public, and the shared secret, which is not."""

    def __init__(self, consumer_key: str | None, *, renew: bool = False, return_secret: bool = False) -> None:
        """Take what is wanted.

        Args:
            consumer_key: the wanted key; None adopts any and makes a random one where there is none.
            renew: make a new shared secret.
            return_secret: `dump` returns the shared secret as well.
        """
        if consumer_key is not None:
            read_text({KEY: consumer_key.encode("utf-8")}, KEY)
        self._wanted, self._renew, self._return_secret = consumer_key, renew, return_secret
        self._data: Mapping[str, bytes] = {}
        self._first_secret: bytes | None = None
        self._made_secret: bytes | None = None

    def set_existing(self, data: Mapping[str, bytes], created: datetime | None, now: datetime) -> None:
        """See `SecretBackend`; a Secret with only one of the two fields is refused."""
        del created, now
        if data:
            read_text(data, KEY)
            read_text(data, SECRET)
            if self._first_secret is None:
                self._first_secret = data[SECRET]
        self._data = data

    def _key(self) -> str:
        return self._data[KEY].decode("ascii")

    def _renews(self) -> bool:
        # Renewed once: neither what this run wrote nor what another run wrote meanwhile is renewed again.
        return self._renew and self._data[SECRET] == self._first_secret

    def needs_change(self) -> list[str]:
        """See `SecretBackend`."""
        if not self._data:
            return ["there is no consumer yet"]
        reasons = []
        if self._wanted is not None and self._key() != self._wanted:
            reasons.append(difference(KEY, self._key(), self._wanted))
        if self._renews():
            reasons.append("a new shared secret is asked for")
        return reasons

    def generate(self) -> dict[str, bytes]:
        """See `SecretBackend`; fields of others stay."""
        if self._data and not self._renews():
            secret = self._data[SECRET]
        else:
            secret = self._made_secret = hex_token(SECRET_BYTES)
        key = self._wanted.encode("ascii") if self._wanted else self._data.get(KEY) or hex_token(KEY_BYTES)
        return {**self._data, KEY: key, SECRET: secret}

    def describe(self, *, planned: bool) -> dict[str, Any]:
        """See `SecretBackend`; whether the shared secret is a new one, but not the secret."""
        if planned:
            new = not self._data or self._renews()
            return {KEY: self._wanted or (self._key() if self._data else ON_APPLY), SECRET: "(new)" if new else "(set)"}
        if not self._data:
            return {}
        return {KEY: self._key(), SECRET: "(new)" if self._data[SECRET] == self._made_secret else "(set)"}

    def dump(self) -> dict[str, Any]:
        """See `SecretBackend`; in check mode the wanted key, if that is known before it is made."""
        values = {KEY: self._wanted or (self._key() if self._data else "")}
        if self._return_secret:
            values[SECRET] = self._data[SECRET].decode("ascii") if self._data else ""
        return values
