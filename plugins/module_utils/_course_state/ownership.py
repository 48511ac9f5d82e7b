# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Who wrote which field of a live object, from its `metadata.managedFields`.

Format: https://github.com/kubernetes-sigs/structured-merge-diff (fieldpath, "FieldsV1"): a tree whose keys are
`f:<field>`, `k:<keys of a list's item as JSON>`, `v:<member of a set as JSON>`, `i:<index>` and `.` (the node itself).
A node without children is owned as a whole.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

Tree = dict[str, Any]
# Steps as in FieldsV1.
Path = tuple[str, ...]

HELM = "helm"
# Who writes what the inventory asks for: Helm, and this collection's modules.
OURS = (HELM, "campus.hubs")
# Parts of Kubernetes that write more than status: nobody edits by hand under these names.
_COMPONENTS = ("kube-controller-manager", "kube-scheduler", "kube-apiserver", "kubelet", "cloud-controller-manager")
_PLAIN = re.compile(r"[A-Za-z_]\w*")


class Absent:
    """The value of a field that is not there."""

    def __repr__(self) -> str:
        """Say so."""
        return "(absent)"


ABSENT = Absent()


@dataclass(frozen=True)
class Writer:
    """Who wrote something: the manager's name (the client's, unless it gave another), how, and when (RFC 3339)."""

    manager: str
    operation: str
    subresource: str
    time: str


@dataclass(frozen=True)
class ManagedFieldsEntry:
    """One entry of managedFields: a writer, and all fields that are its own."""

    writer: Writer
    fields: Tree


def read_entries(metadata: Mapping[str, Any]) -> list[ManagedFieldsEntry]:
    """Return the entries of an object's managedFields.

    Args:
        metadata: the object's metadata.
    """
    return [
        ManagedFieldsEntry(
            Writer(
                entry.get("manager") or "",
                entry.get("operation") or "",
                entry.get("subresource") or "",
                entry.get("time") or "",
            ),
            entry.get("fieldsV1") or {},
        )
        for entry in metadata.get("managedFields") or []
    ]


def merge(trees: Iterable[Tree]) -> Tree:
    """Return one tree with the nodes of all. It shares branches with them, so it is for reading only."""
    found: Tree = {}
    for tree in trees:
        found = _joined(found, tree)
    return found


def _joined(one: Tree, other: Tree) -> Tree:
    if not one or not other:
        return one or other
    return one | {step: _joined(one[step], below) if step in one else below for step, below in other.items()}


def reaches(tree: Tree, path: Path) -> bool:
    """Tell whether a path is owned: itself, something below it, or something above it as a whole."""
    for step in path:
        if step in tree:
            tree = tree[step]
            if not tree:
                return True
        else:
            return False
    return True


def last_writer(entries: Iterable[ManagedFieldsEntry], path: Path) -> Writer | None:
    """Return who wrote a path last, None if nobody owns it (a field that was removed has no owner)."""
    writers = [entry.writer for entry in entries if reaches(entry.fields, path)]
    return max(writers, key=lambda writer: writer.time, default=None)


class Managers:
    """Tells controllers from people by what they write, learnt from all objects of a run.

    Who writes the status of objects works on them by itself. `kubectl --subresource=status` is a person all the same.
    """

    def __init__(self) -> None:
        """Begin with what Kubernetes itself is made of."""
        self._learnt: set[str] = set()

    def learn(self, metadata: Mapping[str, Any]) -> None:
        """Look at one object's metadata."""
        for entry in metadata.get("managedFields") or ():
            if entry.get("subresource") == "status":
                self._learnt.add(entry.get("manager") or "")

    def is_controller(self, manager: str) -> bool:
        """Tell whether a manager is a controller."""
        if manager.startswith(_COMPONENTS):
            return True
        return manager in self._learnt and manager not in OURS and not manager.startswith("kubectl")

    def is_foreign(self, entry: ManagedFieldsEntry) -> bool:
        """Tell whether an entry is neither ours nor a controller's, nor about status."""
        writer = entry.writer
        return writer.manager not in OURS and writer.subresource != "status" and not self.is_controller(writer.manager)


def items_key(tree: Tree | None) -> tuple[str, ...] | None:
    """Return the names of the fields that identify a list's items, None if the list has no such."""
    for step in tree or ():
        if step.startswith("k:"):
            return tuple(json.loads(step[2:]))
    return None


def find_item(items: object, key: Mapping[str, Any]) -> int | None:
    """Return the index of the item with these key fields; a field that an item leaves out is no contradiction."""
    if not isinstance(items, list):
        return None
    matches = [
        (sum(name in item for name in key), -index)
        for index, item in enumerate(items)
        if isinstance(item, dict) and all(item.get(name, value) == value for name, value in key.items())
    ]
    if not matches:
        return None
    most, index = max(matches)
    return -index if most else None


def step_into(value: object, step: str) -> tuple[object, str]:
    """Return what a step leads to (ABSENT: nothing) and the step as a reference token of a JSON pointer."""
    kind, rest = step[:1], step[2:]
    if kind == "f":
        return (value.get(rest, ABSENT) if isinstance(value, dict) else ABSENT), rest
    if not isinstance(value, list):
        return ABSENT, "-"
    index: int | None
    if kind == "k":
        index = find_item(value, json.loads(rest))
    elif kind == "v":
        member = json.loads(rest)
        index = value.index(member) if member in value else None
    else:
        index = int(rest) if int(rest) < len(value) else None
    return (ABSENT, "-") if index is None else (value[index], str(index))


def resolve(value: object, path: Path) -> tuple[object, str]:
    """Follow a path into an object.

    Returns:
        What is there (ABSENT: nothing), and the path as a JSON pointer (RFC 6901) for this object; an item that is not
        there is `-`, the place behind the last.
    """
    tokens = []
    for step in path:
        value, token = step_into(value, step)
        tokens.append(token.replace("~", "~0").replace("/", "~1"))
    return value, "".join(f"/{token}" for token in tokens)


def json_path(path: Path) -> str:
    """Write a path as JSONPath (RFC 9535), e.g. `$.spec.template.spec.containers[?@.name=='hub'].image`."""
    return "$" + "".join(_segments(path))


def _segments(path: Path) -> Iterator[str]:
    for step in path:
        kind, rest = step[:1], step[2:]
        if kind == "f":
            yield f".{rest}" if _PLAIN.fullmatch(rest) else f"[{_literal(rest)}]"
        elif kind == "k":
            yield f"[?{' && '.join(f'@.{name}=={_literal(value)}' for name, value in json.loads(rest).items())}]"
        elif kind == "v":
            yield f"[?@=={_literal(json.loads(rest))}]"
        else:
            yield f"[{rest}]"


def _literal(value: object) -> str:
    if isinstance(value, str):
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"
    return json.dumps(value)
