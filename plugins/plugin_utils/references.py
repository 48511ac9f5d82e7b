# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a text is the name of a host, an address, a URL or a reference of an image that programs take."""

from __future__ import annotations

import ipaddress
import re
from typing import NamedTuple
from urllib.parse import SplitResult, urlsplit

API_PORT = 6443
# RFC 3986, section 2.
_URL = re.compile(r"[A-Za-z]+://[-A-Za-z0-9._~%:/?#\[\]@!$&'()*+,;=]+")
# https://github.com/distribution/reference
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_IMAGE = re.compile(
    rf"(?:(?P<registry>localhost|[^/]*[.:][^/]*)/)?(?P<path>{_COMPONENT}(?:/{_COMPONENT})*)"
    r"(?::(?P<tag>[A-Za-z0-9_][-A-Za-z0-9_.]{0,127}))?(?:@(?P<digest>sha256:[0-9a-f]{64}))?"
)

type Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class Image(NamedTuple):
    """A reference of an image; what it leaves out is empty."""

    registry: str
    path: str
    tag: str
    digest: str


def parse_address(text: object) -> Address | None:
    """Return an IP address; None if it is none."""
    try:
        return ipaddress.ip_address(text) if isinstance(text, str) else None
    except ValueError:
        return None


def is_host(text: object) -> bool:
    """Tell whether a value is the name of a host or an IP address, and not a number that is no address."""
    label = r"[A-Za-z0-9]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?"
    if not isinstance(text, str) or len(text) > 253:
        return False
    # What ends in a number is read as an address (WHATWG URL, "ends in a number").
    is_name = re.fullmatch(rf"{label}(\.{label})*\.?", text) and not re.search(r"(^|\.)[0-9]+\.?$", text)
    return bool(is_name or parse_address(text))


def parse_endpoint(text: object) -> tuple[str, int] | None:
    """Return host and port of `HOST:PORT`, with an IPv6 address in brackets; the port is 6443 if there is none.

    Returns:
        None if it is something else, such as a URL, or a number that is no address.
    """
    found = re.fullmatch(r"(?:\[([^\]]+)\]|([^:\[\]]+))(?::([0-9]{1,5}))?", text) if isinstance(text, str) else None
    if not found or (found[1] and not parse_address(found[1])):
        return None
    host, port = found[1] or found[2], int(found[3] or API_PORT)
    return (host, port) if is_host(host) and 1 <= port <= 65535 else None


def parse_http_url(value: object) -> SplitResult | None:
    """Return the parts of a URL with http:// or https:// and a host; None if it is none."""
    if not isinstance(value, str) or not _URL.fullmatch(value):
        return None
    try:
        parts = urlsplit(value)
        port = parts.port
    except ValueError:
        return None
    place, host = parts.netloc.rpartition("@")[2], parts.hostname or ""
    if parts.scheme not in ("http", "https") or port == 0 or re.search(r":(0[0-9]*)?$", place):
        return None
    # Names with _ are no names of hosts, but browsers and proxies take them.
    is_right = parse_address(host) if place.startswith("[") else is_host(host.replace("_", "-"))
    return parts if is_right and "%" not in host else None


def parse_image(text: object) -> Image | None:
    """Return the parts of a reference; None if it is none, or none of a registry that can be."""
    found = _IMAGE.fullmatch(text) if isinstance(text, str) else None
    if not found or (found["registry"] and not is_registry(found["registry"])):
        return None
    return Image(*(found[name] or "" for name in ("registry", "path", "tag", "digest")))


def is_registry(text: str) -> bool:
    """Tell whether a text is a registry as in the names of images: a host in small letters, and a port if need be."""
    return text == text.lower() and "[" not in text and bool(parse_endpoint(text))
