# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare a wanted object with a live one: where they differ, and what somebody else has added.

What is found here are candidates: a server-side dry run of the repair shows which of them are real (`confirmed`).
Server-side defaults are never among them, since nobody owns them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_state.ownership import (
    ABSENT,
    ManagedFieldsEntry,
    Managers,
    Path,
    Tree,
    Writer,
    find_item,
    items_key,
    last_writer,
    merge,
    reaches,
    read_entries,
    resolve,
    step_into,
)

Manifest = dict[str, Any]
# https://kubernetes.io/docs/reference/kubernetes-api/common-definitions/quantity/
_QUANTITY = re.compile(r"([+-]?[0-9.]+)(?:([eE][+-]?[0-9]+)|([numkMGTPE]|[KMGTPE]i)?)")
_SUFFIX = {
    **{
        letter: Decimal(10) ** power
        for letter, power in zip("numkMGTPE", (-9, -6, -3, 3, 6, 9, 12, 15, 18), strict=True)
    },
    **{f"{letter}i": Decimal(2) ** (10 * power) for power, letter in enumerate("KMGTPE", 1)},
}
# Where the API has quantities; elsewhere "1000m" and "1" are different texts.
_QUANTITIES = frozenset({"f:requests", "f:limits", "f:capacity", "f:hard", "f:overhead"})
# What kubectl notes for itself in the objects it touches: its last manifest, when somebody asked for a restart.
_KUBECTL = "f:kubectl.kubernetes.io/"


@dataclass(frozen=True)
class Difference:
    """One field that differs from the release.

    Attributes:
        path: where, steps as in FieldsV1.
        wanted: what the release says; ABSENT if it says nothing.
        found: what is there; ABSENT if nothing is.
        writer: who wrote it last; None if nobody owns it.
    """

    path: Path
    wanted: Any
    found: Any
    writer: Writer | None = None


def quantity(value: object) -> Decimal | None:
    """Read a quantity as in "500m", 0.5 or "1Gi"; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        return None
    match = _QUANTITY.fullmatch(str(value))
    try:
        return Decimal(match[1] + (match[2] or "")) * _SUFFIX.get(match[3] or "", Decimal(1)) if match else None
    except ArithmeticError:
        return None


def _same(wanted: object, found: object, path: Path) -> bool:
    if wanted == found and isinstance(wanted, bool) == isinstance(found, bool):
        return True
    if _QUANTITIES.intersection(path[-2:-1]) or path[-1:] in {("f:sizeLimit",), ("f:divisor",)}:
        number = quantity(wanted)
        return number is not None and number == quantity(found)
    return False


def _equal(wanted: object, found: object) -> bool:
    """Tell of most fields, quickly, that there is nothing to find; within, 1 and true count as equal."""
    return type(wanted) is type(found) and wanted == found


def _empty(value: object) -> bool:
    """Tell whether the API leaves a value out when it stores an object."""
    return value is None or value in ({}, [], "")


def differences(
    wanted: object, found: object, shape: Tree | None, foreign: Tree | None, path: Path = ()
) -> Iterator[Difference]:
    """Find the release's fields that are not there, or have another value.

    Args:
        wanted: a part of the release's manifest.
        found: the same part of the live object.
        shape: all fields of this part that somebody owns; tells lists with keys, sets and atomic values apart.
        foreign: those that somebody owns who is neither helm nor a controller.
        path: of this part.
    """
    if foreign is not None and shape == {} and path and isinstance(wanted, (dict, list)):
        # An atomic value that somebody else wrote: whatever more it has may be theirs.
        if wanted != found:
            yield Difference(path, wanted, found)
    elif isinstance(wanted, dict) and isinstance(found, dict):
        for name, value in wanted.items():
            if name in found and _equal(value, found[name]):
                continue
            step = f"f:{name}"
            if name in found:
                yield from differences(value, found[name], _below(shape, step), _below(foreign, step), (*path, step))
            elif not _empty(value):
                yield Difference((*path, step), value, ABSENT)
    elif isinstance(wanted, list) and isinstance(found, list):
        yield from _list_differences(wanted, found, shape, foreign, path)
    elif not _same(wanted, found, path) and not (_empty(wanted) and _empty(found)):
        yield Difference(path, wanted, found)


def _below(tree: Tree | None, step: str) -> Tree | None:
    return None if tree is None else tree.get(step)


def _list_differences(
    wanted: list[Any], found: list[Any], shape: Tree | None, foreign: Tree | None, path: Path
) -> Iterator[Difference]:
    names = items_key(shape)
    if names:
        for item in wanted:
            key = {name: item[name] for name in names if name in item} if isinstance(item, dict) else {}
            index = find_item(found, key) if key else None
            if index is None:
                yield Difference((*path, _key_step(key)), item, ABSENT)
                continue
            if _equal(item, found[index]):
                continue
            step = _key_step({name: found[index][name] for name in names if name in found[index]})
            yield from differences(item, found[index], _below(shape, step), _below(foreign, step), (*path, step))
    elif any(step.startswith("v:") for step in shape or ()):
        for member in wanted:
            if member not in found:
                yield Difference((*path, f"v:{json.dumps(member)}"), member, ABSENT)
    elif len(wanted) != len(found):
        yield Difference(path, wanted, found)
    else:
        for index, pair in enumerate(zip(wanted, found, strict=True)):
            if not _equal(*pair):
                yield from differences(*pair, None, None, (*path, f"i:{index}"))


def _key_step(key: Mapping[str, Any]) -> str:
    """Write a list item's key as the API server does: compact, fields by name."""
    return "k:" + json.dumps(dict(sorted(key.items())), separators=(",", ":"), ensure_ascii=False)


def additions(
    wanted: Manifest, found: Manifest, entries: Sequence[ManagedFieldsEntry], managers: Managers
) -> Iterator[Difference]:
    """Find the fields that somebody else has set and the release does not.

    Args:
        wanted: the object as the release says.
        found: the live object.
        entries: its managedFields.
        managers: who is a controller.
    """
    ours = merge(entry.fields for entry in entries if not managers.is_foreign(entry))
    seen: set[Path] = set()
    for entry in entries:
        if managers.is_foreign(entry):
            for path in unwanted(entry, wanted, ours):
                value = resolve(found, path)[0]
                if path not in seen and value is not ABSENT:
                    seen.add(path)
                    yield Difference(path, ABSENT, value, entry.writer)


def unwanted(entry: ManagedFieldsEntry, wanted: Manifest, ours: Tree) -> Iterator[Path]:
    """Find the highest nodes of a entry that the wanted object does not have and nobody of ours owns a part of.

    Args:
        entry: somebody's fields.
        wanted: the object as the release says.
        ours: all fields that are ours or a controller's.
    """
    tree = {step: below for step, below in entry.fields.items() if step != "f:status"}
    if entry.writer.manager.startswith("kubectl"):
        tree = _without_notes(tree)
    yield from _unwanted(tree, wanted, ours, ())


def _without_notes(tree: Tree) -> Tree:
    """Leave out what kubectl notes for itself, and what would be empty without."""
    rest = {}
    for step, below in tree.items():
        kept = _without_notes(below)
        if not step.startswith(_KUBECTL) and (not below or kept.keys() - {"."}):
            rest[step] = kept
    return rest


def _unwanted(tree: Tree, wanted: object, ours: Tree, path: Path) -> Iterator[Path]:
    for step, below in tree.items():
        if step == ".":
            continue
        value = ABSENT if wanted is ABSENT else step_into(wanted, step)[0]
        here = (*path, step)
        if value is ABSENT and not reaches(ours, here):
            yield here
        elif below:
            yield from _unwanted(below, value, ours, here)


def candidate_drift(wanted: Manifest, found: Manifest, managers: Managers) -> list[Difference]:
    """Return all that may be drift in one object, to be confirmed by the API server.

    Args:
        wanted: the object as the release says, with what helm adds to it.
        found: the live object, with managedFields.
        managers: who is a controller.
    """
    entries = read_entries(found["metadata"])
    foreign = merge(entry.fields for entry in entries if managers.is_foreign(entry))
    shape = merge(entry.fields for entry in entries)
    candidates = []
    # Items of a list do not say what they are.
    fields = {name: value for name, value in wanted.items() if name not in ("apiVersion", "kind")}
    for difference in differences(fields, found, shape, foreign or None):
        writer = last_writer((entry for entry in entries if entry.writer.subresource != "status"), difference.path)
        if not writer or not managers.is_controller(writer.manager):  # what a controller writes is its job: replicas
            candidates.append(replace(difference, writer=writer))
    return [*candidates, *additions(fields, found, entries, managers)]


def repair_patch(candidates: Sequence[Difference], found: Manifest) -> list[dict[str, Any]]:
    """Write the JSON patch (RFC 6902) that sets what is wanted and removes what was added.

    Args:
        candidates: differences of one object.
        found: the live object. The patch fails if it is changed meanwhile.
    """
    version = found["metadata"].get("resourceVersion")
    operations = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}] if version else []
    removed = []
    for difference in candidates:
        value, pointer = resolve(found, difference.path)
        if difference.wanted is ABSENT:
            removed.append(pointer)
        else:
            operation = "add" if value is ABSENT else "replace"
            operations.append({"op": operation, "path": pointer, "value": difference.wanted})
    # From the end, so that the indexes of what is still to be removed stay right.
    removed.sort(key=lambda pointer: [(int(token) if token.isdigit() else -1, token) for token in pointer.split("/")])
    return [*operations, *({"op": "remove", "path": pointer} for pointer in reversed(removed))]


def confirmed(candidates: Sequence[Difference], after: Manifest) -> list[Difference]:
    """Return the differences that the repair would really change.

    Args:
        candidates: differences of one object.
        after: the object after a dry run of `repair_patch`. What comes back by itself is a default, and no drift.
    """
    real = []
    for difference in candidates:
        value = resolve(after, difference.path)[0]
        if value != difference.found:
            real.append(replace(difference, wanted=value) if difference.wanted is ABSENT else difference)
    return real
