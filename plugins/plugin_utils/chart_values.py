# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Values for the chart against its schema, before helm would refuse them in the middle of a run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from ansible.utils.vars import merge_hash
from ansible_collections.campus.hubs.plugins.plugin_utils.inventory_model import COURSES, Inventory, Mistake, show
from ansible_collections.campus.hubs.plugins.plugin_utils.json_schema import Violation, Word, violations

VALUES, CONFIG = "course_hub_values", "course_hub_config"
# What the role adds to the chart's defaults, which alone are not enough.
_IMAGE = {"image": {"name": "image"}}
_CONFIG = ("hub", "config")
_OURS: dict[str, Any] = {
    "hub": _IMAGE,
    "singleuser": _IMAGE,
    "exchange": _IMAGE,
    "proxy": {"chp": _IMAGE},
    "networkPolicy": {"apiServer": {"cidrs": ["192.0.2.1/32"]}},
}


def check_chart_values(
    inventory: Inventory, schema: Mapping[str, Any], defaults: Mapping[str, Any], traits: Mapping[str, Any]
) -> Iterator[Mistake]:
    """Find values and settings that the chart or the hub would not take.

    Args:
        inventory: all hosts.
        schema: content of the chart's values.schema.json (draft 2020-12, local references only).
        defaults: content of the chart's values.yaml.
        traits: schema of class -> trait -> value of what the hub's image has.
    """
    for course in inventory.group(COURSES):
        values, config = course.value(VALUES), course.value(CONFIG)
        if isinstance(values, Mapping):
            # They are laid over others, so what is required may come from there.
            whole = merge_hash(merge_hash(dict(defaults), _OURS), dict(values))
            for wrong in violations(whole, schema, schema):
                if wrong.path[:2] != _CONFIG or len(wrong.path) == 2:
                    yield _mistake(course.name, VALUES, wrong)
            hub = values.get("hub")
            inner = hub.get("config") if isinstance(hub, Mapping) else None
            if isinstance(inner, Mapping):
                for wrong in violations(inner, traits, traits, _CONFIG):
                    yield _mistake(course.name, VALUES, wrong)
        if isinstance(config, Mapping):
            for wrong in violations(config, traits, traits):
                yield _mistake(course.name, CONFIG, wrong)


def _mistake(host: str, root: str, wrong: Violation) -> Mistake:
    path = root
    for part in wrong.path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    found = str(wrong.found) if isinstance(wrong.found, Word) else show(path, wrong.found)
    return Mistake(host, path, found, wrong.expected, wrong.fix)
