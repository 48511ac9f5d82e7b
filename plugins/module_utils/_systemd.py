# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What systemd says of a service. For systemd 249 (Ubuntu 22.04) and newer."""

from __future__ import annotations

import dataclasses
from datetime import datetime

# For systemctl show; it writes times as seconds since 1970 from systemd 251 on only.
PROPERTIES = "--property=LoadState,ActiveState,UnitFileState,ExecMainStartTimestamp"
ENVIRONMENT = {"LC_ALL": "C", "TZ": "UTC"}
# As systemctl is-enabled counts.
_ENABLED = ("enabled", "enabled-runtime", "static", "alias", "indirect", "generated")


@dataclasses.dataclass(frozen=True)
class Service:
    """A service.

    Attributes:
        exists: whether systemd has a unit of it.
        is_active: whether it runs.
        is_enabled: whether it will after a boot.
        started: when its process began, in seconds since 1970; 0 for never.
    """

    exists: bool
    is_active: bool
    is_enabled: bool
    started: float

    def has_read(self, written: float) -> bool:
        """Tell whether it has started since a file was written, whose time is in seconds since 1970."""
        # Its start is known to the second.
        return written <= self.started + 1


def read_service(show: str) -> Service:
    """Return the service that ``systemctl show`` describes with `PROPERTIES` and `ENVIRONMENT`."""
    found = dict(line.partition("=")[::2] for line in show.splitlines())
    return Service(
        exists=found.get("LoadState", "not-found") != "not-found",
        is_active=found.get("ActiveState") == "active",
        is_enabled=found.get("UnitFileState") in _ENABLED,
        started=started_at(found.get("ExecMainStartTimestamp", "")),
    )


def started_at(time: str) -> float:
    """Return a time of systemctl show(1) in UTC in seconds since 1970; 0 for none."""
    words = time.split()
    return datetime.fromisoformat(f"{words[1]}T{words[2]}+00:00").timestamp() if len(words) == 4 else 0
