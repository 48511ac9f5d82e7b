# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Random tokens that the parts of a hub use among themselves."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._managed_secret import (
    SecretBackend,
    SecretError,
    hex_token,
    read_text,
)
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

DEFAULT_BYTES = 32
# 16 bytes are the least that OWASP ASVS 5 (11.5.1) accepts; 512 keeps a typing error from filling etcd.
LEAST_BYTES, MOST_BYTES = 16, 512
# https://kubernetes.io/docs/concepts/configuration/secret/#restriction-names-data
_KEY = re.compile(r"[-._a-zA-Z0-9]{1,253}")


def parse_keys(keys: object) -> dict[str, int]:
    """Read the module's option `keys`.

    Args:
        keys: a list of names, or a mapping of name to nothing or to `{bytes: N}`.

    Returns:
        Name to size in bytes.

    Raises:
        SecretError: anything else.
    """
    entries: list[tuple[object, object]]
    if isinstance(keys, Mapping):
        entries = list(keys.items())
    elif isinstance(keys, list):
        entries = [(name, None) for name in keys]
    else:
        raise SecretError(refusal("keys", repr(keys), "a list of names, or a mapping of name to {bytes: N}"))
    if not entries:
        raise SecretError(refusal("keys", "nothing", "at least one name"))
    sizes: dict[str, int] = {}
    for name, options in entries:
        if not isinstance(name, str) or not _KEY.fullmatch(name):
            raise SecretError(refusal("keys", f"the name {name!r}", "letters, digits, '-', '_' and '.' only"))
        if name in sizes:
            raise SecretError(refusal("keys", f"{name} twice", "each name once"))
        sizes[name] = _size(name, options)
    return sizes


def _size(name: str, options: object) -> int:
    if options is None:
        return DEFAULT_BYTES
    if not isinstance(options, Mapping) or set(options) - {"bytes"}:
        raise SecretError(refusal(f"keys.{name}", repr(options), "nothing, or {bytes: N}"))
    size = options.get("bytes", DEFAULT_BYTES)
    # A templated number reaches a module of Ansible as text.
    if isinstance(size, str) and size.isdecimal():
        size = int(size)
    if not isinstance(size, int) or isinstance(size, bool) or not LEAST_BYTES <= size <= MOST_BYTES:
        raise SecretError(refusal(f"keys.{name}.bytes", repr(size), f"{LEAST_BYTES} to {MOST_BYTES}"))
    return size


class TokenBackend(SecretBackend):
    """A Secret with random tokens in hexadecimal; missing ones are made, existing ones are never changed."""

    def __init__(self, sizes: Mapping[str, int]) -> None:
        """Take the wanted tokens.

        Args:
            sizes: field name to size in bytes.
        """
        self._sizes = sizes
        self._data: Mapping[str, bytes] = {}

    def set_existing(self, data: Mapping[str, bytes], created: datetime | None, now: datetime) -> None:
        """See `SecretBackend`; refuses a field that is there, but is no token of the wanted size."""
        del created, now
        for name in sorted(set(self._sizes) & set(data)):
            text, digits = read_text(data, name), 2 * self._sizes[name]
            if not re.fullmatch(f"[0-9a-fA-F]{{{digits}}}", text):
                expected = f"{digits} hexadecimal digits ({self._sizes[name]} bytes)"
                fix = "remove the field to get a new one; it is left as it is"
                raise SecretError(refusal(f"field {name}", f"a text of {len(text)} characters", expected, fix))
        self._data = data

    def _missing(self) -> list[str]:
        return sorted(set(self._sizes) - set(self._data))

    def needs_change(self) -> list[str]:
        """See `SecretBackend`."""
        return [f"{name} is missing" for name in self._missing()]

    def generate(self) -> dict[str, bytes]:
        """See `SecretBackend`; what is there, wanted or not, stays."""
        return {**self._data, **{name: hex_token(self._sizes[name]) for name in self._missing()}}

    def describe(self, *, planned: bool) -> dict[str, Any]:
        """See `SecretBackend`; names only."""
        return {"keys": sorted(set(self._data) | (set(self._sizes) if planned else set()))}

    def dump(self) -> dict[str, Any]:
        """See `SecretBackend`; nothing, for all of it is secret."""
        return {}
