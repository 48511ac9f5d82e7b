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
from ansible_collections.campus.hubs.plugins.plugin_utils.quantities import parse_amount

VALUES, CONFIG, VOLUMES = "course_hub_values", "course_hub_config", "course_hub_volumes"
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
            yield from _check_overrides(course.name, whole, traits)
            yield from _check_pods(course.name, whole)
            hub = values.get("hub")
            inner = hub.get("config") if isinstance(hub, Mapping) else None
            if isinstance(inner, Mapping):
                for wrong in violations(inner, traits, traits, _CONFIG):
                    yield _mistake(course.name, VALUES, wrong)
            if "sharedVolumes" in _at(values, "singleuser", otherwise={}):
                path = ("singleuser", "sharedVolumes")
                yield _mistake(course.name, VALUES, Violation(path, Word("a value"), "none", f"use {VOLUMES}"))
        if isinstance(config, Mapping):
            for wrong in violations(config, traits, traits):
                yield _mistake(course.name, CONFIG, wrong)


def _check_overrides(host: str, whole: Mapping[str, Any], traits: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find settings of profiles that no server could be started with."""
    for index, profile in enumerate(_at(whole, "singleuser", "profileList", otherwise=[])):
        path = ("singleuser", "profileList", index, "kubespawner_override")
        override = profile.get(path[-1]) if isinstance(profile, Mapping) else None
        if isinstance(override, Mapping):
            for wrong in violations(override, traits["properties"]["KubeSpawner"], traits, path):
                yield _mistake(host, VALUES, wrong)


def _check_pods(host: str, whole: Mapping[str, Any]) -> Iterator[Mistake]:
    """Find what Kubernetes refuses in pods, and no schema can say."""
    for place in (("hub",), ("exchange",), ("proxy", "chp")):
        requests, limits = (_at(whole, *place, "resources", kind, otherwise={}) for kind in ("requests", "limits"))
        for name in sorted({"cpu", "memory"} & set(requests) & set(limits)):
            if parse_amount(requests[name]) > parse_amount(limits[name]):
                expected = f"at most the limit ({limits[name]})"
                wrong = Violation((*place, "resources", "requests", name), requests[name], expected, "raise the limit")
                yield _mistake(host, VALUES, wrong)
    for index, toleration in enumerate(_at(whole, "singleuser", "extraTolerations", otherwise=[])):
        path = ("singleuser", "extraTolerations", index)
        is_equal = _at(toleration, "operator", otherwise="Equal") == "Equal"
        if not is_equal and _at(toleration, "value", otherwise=""):
            yield _mistake(host, VALUES, Violation((*path, "value"), toleration["value"], "none with Exists"))
        if is_equal and not _at(toleration, "key", otherwise=""):
            yield _mistake(host, VALUES, Violation((*path, "key"), Word("nothing"), "one, or the operator Exists"))
        if _at(toleration, "tolerationSeconds", otherwise=0) and _at(toleration, "effect", otherwise="") != "NoExecute":
            yield _mistake(
                host, VALUES, Violation((*path, "effect"), Word("no NoExecute"), "it, for tolerationSeconds")
            )


def _at(value: object, *path: str, otherwise: Any) -> Any:  # noqa: ANN401 (anything)
    """Return what is at a path, if it is of the type of `otherwise`; else that."""
    for name in path:
        value = value.get(name) if isinstance(value, Mapping) else None
    return value if isinstance(value, type(otherwise)) else otherwise


def _mistake(host: str, root: str, wrong: Violation) -> Mistake:
    path = root
    for part in wrong.path:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    found = str(wrong.found) if isinstance(wrong.found, Word) else show(path, wrong.found)
    return Mistake(host, path, found, wrong.expected, wrong.fix)
