# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What dpkg and apt say of packages, and which of them are not as their pins want them."""

from __future__ import annotations

import dataclasses
import fnmatch
import re
import typing

if typing.TYPE_CHECKING:
    from collections.abc import Mapping

# For dpkg-query(1).
FORMAT = "${Package} ${db:Status-Want} ${db:Status-Status} ${Version}\\n"
ANY = "*"


@dataclasses.dataclass(frozen=True)
class Package:
    """A package as it is: its version, empty if it is not installed, and whether its selection is hold."""

    version: str = ""
    is_held: bool = False

    def has(self, pattern: str) -> bool:
        """Tell whether it is installed in a version of a glob pattern."""
        return bool(self.version) and fnmatch.fnmatchcase(self.version, pattern)

    def __str__(self) -> str:
        """Return its version, and that it is held."""
        return f"{self.version or 'absent'}{' (held)' if self.is_held else ''}"


def query(names: typing.Iterable[str]) -> list[str]:
    """Return the command that asks dpkg for packages. It fails where one of them is unknown, and prints the others."""
    return ["dpkg-query", "--show", f"--showformat={FORMAT}", *names]


def read_packages(dpkg_query: str) -> dict[str, Package]:
    """Return packages by name, from what `query` prints."""
    found: dict[str, Package] = {}
    for line in dpkg_query.splitlines():
        # What is not installed may have no version.
        name, want, status, *version = line.split()
        found[name] = Package(version[0] if status == "installed" else "", want == "hold")
    return found


def to_install(pins: Mapping[str, str], found: Mapping[str, Package]) -> list[str]:
    """Return the names of the packages that are not there in a version of their pins."""
    return [name for name, pattern in pins.items() if not found.get(name, Package()).has(pattern)]


def to_hold(names: typing.Iterable[str], found: Mapping[str, Package]) -> list[str]:
    """Return the names of the packages that are not held."""
    return [name for name in names if not found.get(name, Package()).is_held]


def candidates(madison: str) -> list[str]:
    """Return the versions of a package in the repositories, newest first, from ``apt-cache madison``."""
    rows = [[cell.strip() for cell in line.split("|")] for line in madison.splitlines()]
    return list(dict.fromkeys(row[1] for row in rows if len(row) == 3 and row[2].endswith(" Packages")))


def newest(versions: list[str], pattern: str) -> str | None:
    """Return the first version of a glob pattern; None if there is none."""
    return next((version for version in versions if fnmatch.fnmatchcase(version, pattern)), None)


def is_locked(stderr: str) -> bool:
    """Tell whether apt or dpkg has failed because another program of theirs is at work."""
    return re.search(r"^(E|dpkg): .*\block(ed)?\b", stderr, re.MULTILINE) is not None
