# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The inventory as the checks see it, and what they report."""

from __future__ import annotations

import datetime
import difflib
import json
import re
import unicodedata
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal
from ansible_collections.campus.hubs.plugins.module_utils._secret_names import is_secret

CLUSTER, CONTROL_PLANE, WORKERS = "cluster", "control_plane", "workers"
IMAGE_BUILDERS, COURSES, OPS = "image_builders", "courses", "ops"
GROUPS = (CLUSTER, CONTROL_PLANE, WORKERS, IMAGE_BUILDERS, COURSES, OPS)

# Control and format characters, and separators of lines.
_UNSEEN = frozenset({"Cc", "Cf", "Zl", "Zp"})
_USERINFO = re.compile(r"(?<=://)[^/@\s]+@")


@dataclass(frozen=True)
class Host:
    """One host of the inventory.

    Attributes:
        name: its inventory name; for a course its id.
        groups: all groups it is in, directly or through children.
        given: variables that the inventory or the command line sets, as far as their values are known by now.
        names: all of those variables' names, and of those whose values depend on facts.
        others: names of all other variables that the inventory sets.
        defaults: the roles' defaults, as far as their values are known by now.
        extra: names of variables that come from the command line (-e).
    """

    name: str
    groups: frozenset[str]
    given: Mapping[str, Any] = field(default_factory=dict)
    names: frozenset[str] = frozenset()
    defaults: Mapping[str, Any] = field(default_factory=dict)
    extra: frozenset[str] = frozenset()
    others: frozenset[str] = frozenset()

    def value(self, name: str) -> Any:  # noqa: ANN401 (a variable can be anything)
        """Return a variable's value, given or default; None if it has none or it is not known yet."""
        if name in self.names:
            return self.given.get(name)
        return self.defaults.get(name)

    def address(self) -> str:
        """Return where Ansible finds the host."""
        return str(self.given.get("ansible_host", self.name))


@dataclass(frozen=True)
class Inventory:
    """All hosts, in the inventory's order."""

    hosts: tuple[Host, ...]
    group_names: tuple[str, ...] = ()

    def group(self, name: str) -> tuple[Host, ...]:
        """Return the hosts of a group."""
        return tuple(host for host in self.hosts if name in host.groups)

    def cluster(self) -> tuple[Host, ...]:
        """Return all nodes."""
        return tuple(host for host in self.hosts if host.groups & {CLUSTER, CONTROL_PLANE, WORKERS})

    def first_control_plane(self) -> Host | None:
        """Return the host whose variables the roles for the whole cluster read."""
        return next(iter(self.group(CONTROL_PLANE)), None)


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong: where, what, and how to fix it; see `refusal`."""

    host: str
    variable: str
    found: str
    expected: str
    fix: str = ""

    def sentence(self) -> str:
        """Return everything but the host."""
        return printable(refusal(self.variable, self.found, self.expected, self.fix))


def printable(text: str) -> str:
    """Return a text for a terminal: control characters, what turns lines around and what is no Unicode as escapes."""
    escaped = "".join(
        letter if unicodedata.category(letter) not in _UNSEEN else letter.encode("unicode_escape").decode()
        for letter in text
    )
    return escaped.encode(errors="backslashreplace").decode()


class Unquoted(str):
    """A text that stands in YAML as a number."""

    __slots__ = ()


def show(name: object, value: object) -> str:
    """Return a value for a message: short, on one line, and without secrets.

    Args:
        name: the variable's or option's name, dotted, perhaps a number by YAML; decides whether the value may be shown.
        value: anything from an inventory.
    """
    if any(is_secret(part) for part in str(name).split(".")):
        return "(hidden)"
    if isinstance(value, Mapping):
        return "a dictionary with " + (", ".join(str(key) for key in value) or "nothing")
    if isinstance(value, (list, tuple, set, frozenset)):
        inner = [show(name, item) for item in value]
        text = f"[{', '.join(inner)}]"
    elif isinstance(value, Unquoted):
        text = str(value)
    elif isinstance(value, (str, int, float)) or value is None:
        text = json.dumps(_USERINFO.sub("", value) if isinstance(value, str) else value, ensure_ascii=False)
    elif isinstance(value, datetime.date):
        text = f"{value}, a date"
    else:
        text = type(value).__name__
    return text if len(text) <= 100 else f"{text[:97]}..."


def did_you_mean(name: str, known: Iterable[str], likeness: float = 0.75) -> str:
    """Return a hint at the known name that is nearest, or nothing if none is near.

    Args:
        name: what was written.
        known: what can be meant.
        likeness: from 0 (anything) to 1 (the same).
    """
    near = difflib.get_close_matches(name, sorted(known), n=1, cutoff=likeness)
    return f"Did you mean {near[0]}?" if near else ""


def report(mistakes: Sequence[Mistake]) -> str:
    """Return all mistakes as text, one line each; the same mistake of several hosts is one line."""
    lines: dict[str, list[str]] = {}
    for mistake in mistakes:
        hosts = lines.setdefault(mistake.sentence(), [])
        if mistake.host not in hosts:
            hosts.append(mistake.host)
    what = "1 mistake" if len(lines) == 1 else f"{len(lines)} mistakes"
    body = [f"- {_hosts(hosts)}: {sentence}" for sentence, hosts in lines.items()]
    return "\n".join([f"The inventory has {what}:", *body, "Nothing was changed."])


def _hosts(names: Sequence[str]) -> str:
    return ", ".join(names) if len(names) <= 3 else f"{', '.join(names[:2])} and {len(names) - 2} more"
