# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Public keys of OpenPGP (RFC 9580): whose they are, and until when they hold. They are not used to verify anything."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import hashlib
import re
import typing

if typing.TYPE_CHECKING:
    from collections.abc import Iterator

SIGNATURE, PUBLIC_KEY = 2, 6
_ARMOR = re.compile(
    r"-----BEGIN PGP PUBLIC KEY BLOCK-----[ \t]*\r?\n(.*?)-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL
)


class KeyFileError(Exception):
    """The text is no file of public keys."""


@dataclasses.dataclass(frozen=True)
class Key:
    """One primary key; ``expires`` is in seconds since 1970, 0 for never."""

    fingerprint: str
    expires: int


def read_packets(text: str) -> bytes:
    """Return the packets in all armored blocks of a text (RFC 9580, 6.2).

    Raises KeyFileError when there are none, or their base64 is damaged.
    """
    packets = b""
    for block in _ARMOR.findall(text):
        # Headers, if there are any, end with an empty line; the checksum begins with =.
        head, separator, body = block.replace("\r", "").partition("\n\n")
        lines = (body if separator else head).strip().splitlines()
        try:
            packets += base64.b64decode("".join(line for line in lines if not line.startswith("=")), validate=True)
        except binascii.Error as error:
            raise KeyFileError(f"its base64 is damaged ({error})") from error
    if not packets:
        raise KeyFileError("it is no ASCII-armoured public key")
    return packets


def write_armor(packets: bytes) -> str:
    """Return packets as one armored block: what is written is what was read, whatever stood between and around it."""
    encoded = base64.b64encode(packets).decode()
    lines = [encoded[index : index + 64] for index in range(0, len(encoded), 64)]
    checksum = base64.b64encode(_crc24(packets).to_bytes(3, "big")).decode()
    begin, end = "-----BEGIN PGP PUBLIC KEY BLOCK-----", "-----END PGP PUBLIC KEY BLOCK-----"
    return "\n".join([begin, "", *lines, f"={checksum}", end, ""])


def read_keys(packets: bytes) -> list[Key]:
    """Return all primary keys.

    Raises KeyFileError when a packet cannot be read, or a key is older than version 4.
    """
    keys: list[Key] = []
    created = 0
    try:
        for tag, body in _split(packets):
            if tag == PUBLIC_KEY:
                keys.append(Key(_fingerprint(body), 0))
                created = int.from_bytes(body[1:5], "big")
            elif tag == SIGNATURE and keys and (seconds := _lifetime(body)):
                keys[-1] = dataclasses.replace(keys[-1], expires=max(keys[-1].expires, created + seconds))
    except IndexError as error:
        raise KeyFileError("it ends within a packet") from error
    if not keys:
        raise KeyFileError("it has no public key")
    return keys


def _fingerprint(body: bytes) -> str:
    """Return a fingerprint (RFC 9580, 5.5.4)."""
    if body[0] == 4:
        return hashlib.sha1(b"\x99" + len(body).to_bytes(2, "big") + body).hexdigest().upper()  # noqa: S324 (the format's)
    if body[0] == 6:
        return hashlib.sha256(b"\x9b" + len(body).to_bytes(4, "big") + body).hexdigest().upper()
    raise KeyFileError(f"it has a key of version {body[0]}")


def _split(packets: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield type and body of each packet (RFC 9580, 4.2)."""
    at = 0
    while at < len(packets):
        head = packets[at]
        if head & 0x40:
            tag, (length, size) = head & 0x3F, _length(packets, at + 1)
        else:
            tag, size = (head >> 2) & 0x0F, (1, 2, 4, 0)[head & 3]
            length = int.from_bytes(packets[at + 1 : at + 1 + size], "big")
        if not head & 0x80 or size == 0:
            raise KeyFileError("it has a packet of unknown length")
        at += 1 + size
        if at + length > len(packets):
            raise IndexError
        yield tag, packets[at : at + length]
        at += length


def _length(data: bytes, at: int) -> tuple[int, int]:
    """Return a length and how many octets it takes; none for a partial one (RFC 9580, 4.2.1)."""
    first = data[at]
    if first < 192:
        return first, 1
    if first < 224:
        return ((first - 192) << 8) + data[at + 1] + 192, 2
    return (int.from_bytes(data[at + 1 : at + 5], "big"), 5) if first == 255 else (0, 0)


def _lifetime(body: bytes) -> int:
    """Return the key expiration time that a signature of version 4 or 6 gives, in seconds; 0 for none (5.2.3.13)."""
    if body[0] not in (4, 6):
        return 0
    size = 2 if body[0] == 4 else 4
    at, end = 4 + size, 4 + size + int.from_bytes(body[4 : 4 + size], "big")
    while at < end:
        # Lengths of subpackets (5.2.3.7) differ from those of packets between 224 and 254.
        first = body[at]
        if 192 <= first < 255:
            length, octets = ((first - 192) << 8) + body[at + 1] + 192, 2
        else:
            length, octets = (int.from_bytes(body[at + 1 : at + 5], "big"), 5) if first == 255 else (first, 1)
        kind = body[at + octets]
        if kind & 0x7F == 9:
            return int.from_bytes(body[at + octets + 1 : at + octets + length], "big")
        at += octets + max(length, 1)
    return 0


def _crc24(data: bytes) -> int:
    """Return the checksum of an armored block (RFC 9580, 6.1.1)."""
    crc = 0xB704CE
    for octet in data:
        crc ^= octet << 16
        for _dummy in range(8):
            crc = (crc << 1) ^ (0x1864CFB if crc & 0x800000 else 0)
    return crc & 0xFFFFFF
