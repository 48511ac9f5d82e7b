# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Which values must not be shown, by their names: those of variables, of Kubernetes' fields, of the environment."""

from __future__ import annotations

import re

_SECRET = re.compile(r"passw|passphrase|secret|token|private|credential|api_?key|auth_?key", re.IGNORECASE)
_WORDS = ("audience", "bytes", "days", "dir", "endpoint", "file", "hours", "name", "path", "seconds", "uri", "url")
# Where a secret is, how it is called and how long it lasts is none: in snake case, capitals, or as in Kubernetes.
_PUBLIC = re.compile(
    rf"_({'|'.join(_WORDS)})$|_({'|'.join(_WORDS).upper()})$|({'|'.join(map(str.capitalize, _WORDS))}|URL|URI)$"
    r"|secretKeyRef|secretRef|show_secret$|^checksum|automount"
)


def is_secret(name: str) -> bool:
    """Tell whether a value under this name must not be shown."""
    return bool(_SECRET.search(name)) and not _PUBLIC.search(name)
