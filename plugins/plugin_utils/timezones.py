# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Time zones by their names in the IANA's database."""

from __future__ import annotations

import contextlib
import functools
import os
import zoneinfo
from pathlib import Path

# Files of a machine's database that are no zone of the IANA's.
_OWN = {"Factory", "localtime", "posixrules"}


@functools.cache
def timezones() -> frozenset[str]:
    """Return the names of all zones; none if this machine has no database."""
    return frozenset(zoneinfo.available_timezones() - _OWN)


def local_timezone(etc: Path = Path("/etc")) -> str:
    """Return the name of this machine's zone: `TZ`, else /etc/localtime, else /etc/timezone, else UTC.

    Args:
        etc: where the machine's settings are.
    """
    said = [os.environ.get("TZ", "").removeprefix(":")]
    link = etc / "localtime"
    if link.is_symlink():
        # Copies of all zones lie in two subfolders.
        place = os.path.realpath(link).rpartition("/zoneinfo/")[2]
        said.append(place.removeprefix("posix/").removeprefix("right/"))
    with contextlib.suppress(OSError, ValueError):
        said.append((etc / "timezone").read_text(encoding="utf-8").strip())
    return next((name for name in said if name in timezones()), "UTC")
