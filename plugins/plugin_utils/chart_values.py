# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values for the chart against its schema: unknown keys, before helm would refuse them in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import (
    COURSES,
    Inventory,
    Mistake,
    did_you_mean,
    show,
)

VALUES = "course_hub_values"


def check_chart_values(inventory: Inventory, schema: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find keys that the chart does not know.

    Args:
        inventory: all hosts.
        schema: content of the chart's values.schema.json (draft 2020-12, local references only).
    """
    for course in inventory.group(COURSES):
        values = course.value(VALUES)
        if isinstance(values, Mapping):
            yield from _walk(course.name, VALUES, values, schema, schema)


def _walk(host: str, path: str, value: object, schema: Mapping[str, Any], root: Mapping[str, Any]) -> Iterator[Mistake]:
    if "$ref" in schema:
        schema = root["$defs"][schema["$ref"].removeprefix("#/$defs/")]
    known = schema.get("properties")
    if not isinstance(known, Mapping):
        return
    if not isinstance(value, Mapping):
        yield Mistake(host, path, show(path, value), f"a dictionary with {', '.join(sorted(known))}")
        return
    for name, part in value.items():
        if name in known:
            yield from _walk(host, f"{path}.{name}", part, known[name], root)
        elif schema.get("additionalProperties") is False:
            wanted = f"one of {', '.join(sorted(known))}"
            yield Mistake(host, f"{path}.{name}", "unknown", wanted, did_you_mean(str(name), known))
