# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""How full the cluster is, and how many more servers of each size fit."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from ansible_collections.campus.hubs.plugins.plugin_utils.quantities import parse_amount, parse_memory

Manifest = Mapping[str, Any]
Resources = dict[str, float]
GIB = 2.0**30


@dataclass(frozen=True)
class Server:
    """What one server of a course asks for.

    Attributes:
        requests: amounts by resource: cores, bytes, pieces.
        selector: labels that its node has to have.
        tolerations: as in a pod.
    """

    requests: Resources
    selector: Mapping[str, str]
    tolerations: Sequence[Manifest]


@dataclass(frozen=True)
class Node:
    """A node with what it has and what is requested on it, amounts by resource."""

    manifest: Manifest
    allocatable: Resources
    requested: Resources


def requests_of(pod: Manifest) -> Resources:
    """Return what a pod requests: its containers together, or the init container that asks for more; and one pod."""
    spec, total = pod.get("spec") or {}, {"pods": 1.0}

    def of(kind: str) -> list[Mapping[str, Any]]:
        return [(item.get("resources") or {}).get("requests") or {} for item in spec.get(kind) or []]

    for requests in of("containers"):
        for name, written in requests.items():
            total[name] = total.get(name, 0.0) + parse_amount(written)
    for requests in of("initContainers"):
        for name, written in requests.items():
            total[name] = max(total.get(name, 0.0), parse_amount(written))
    return total


def server_of(values: Mapping[str, Any]) -> Server:
    """Return what the chart's values make each server ask for.

    Args:
        values: of a course's release; memory in bytes or K, M, G, T (powers of 1024).
    """
    user = values["singleuser"]
    extra = user.get("extraResource") or {}
    requests = {
        "pods": 1.0,
        "cpu": float(user["cpu"]["guarantee"]),
        "memory": float(parse_memory(user["memory"]["guarantee"]) or 0),
    }
    # A limit without a request is one.
    for kind in ("limits", "guarantees"):
        requests |= {name: parse_amount(number) for name, number in (extra.get(kind) or {}).items()}
    return Server(requests, user.get("nodeSelector") or {}, user.get("extraTolerations") or [])


def nodes_of(nodes: Iterable[Manifest], pods: Iterable[Manifest]) -> list[Node]:
    """Return the nodes that are up, with what is requested on each.

    Args:
        nodes: all of the cluster.
        pods: all of the cluster; those that have ended do not count.
    """
    requested: dict[str, Resources] = {}
    for pod in pods:
        name = (pod.get("spec") or {}).get("nodeName")
        if name and (pod.get("status") or {}).get("phase") not in {"Succeeded", "Failed"}:
            there = requested.setdefault(name, {})
            for resource, number in requests_of(pod).items():
                there[resource] = there.get(resource, 0.0) + number
    return [
        Node(node, {name: parse_amount(number) for name, number in (status.get("allocatable") or {}).items()}, found)
        for node in nodes
        for status in (node.get("status") or {},)
        for found in (requested.get(node["metadata"]["name"], {}),)
        if any(c.get("type") == "Ready" and c.get("status") == "True" for c in status.get("conditions") or [])
    ]


def _tolerated(taint: Manifest, tolerations: Iterable[Manifest]) -> bool:
    return any(
        toleration.get("key") in {None, "", taint.get("key")}
        and toleration.get("effect") in {None, "", taint.get("effect")}
        and (toleration.get("operator") == "Exists" or (toleration.get("value") or "") == (taint.get("value") or ""))
        for toleration in tolerations
    )


def takes(node: Manifest, server: Server) -> bool:
    """Tell whether a node takes such servers at all, by its labels and taints."""
    labels, spec = node["metadata"].get("labels") or {}, node.get("spec") or {}
    return (
        not spec.get("unschedulable")
        and all(labels.get(name) == value for name, value in server.selector.items())
        and all(
            taint.get("effect") == "PreferNoSchedule" or _tolerated(taint, server.tolerations)
            for taint in spec.get("taints") or []
        )
    )


def servers_that_fit(nodes: Iterable[Node], server: Server) -> int:
    """Count how many more such servers have room, each on one node."""

    def on(node: Node) -> int:
        return min(
            # Sums of tenths are a little less or more than they should be.
            int((node.allocatable.get(name, 0.0) - node.requested.get(name, 0.0)) / number + 1e-6)
            for name, number in server.requests.items()
            if number
        )

    return sum(max(0, on(node)) for node in nodes if takes(node.manifest, server))


def report(nodes: Sequence[Node], courses: Mapping[str, Server]) -> list[str]:
    """Say how full the nodes are that take servers, and how many more servers of each size fit.

    Args:
        nodes: see `nodes_of`.
        courses: the server of each course.
    """
    taking = [node for node in nodes if any(takes(node.manifest, server) for server in courses.values())]
    if not courses:
        return []
    there, taken = (
        {name: sum(part.get(name, 0.0) for part in parts) for name in ("cpu", "memory")}
        for parts in ([node.allocatable for node in taking], [node.requested for node in taking])
    )
    lines = [
        f"{len(taking)} {'node takes' if len(taking) == 1 else 'nodes take'} servers; requested there: "
        f"{taken['cpu']:.1f} of {there['cpu']:.1f} cores, "
        f"{taken['memory'] / GIB:.1f} of {there['memory'] / GIB:.1f} GiB of memory."
    ]
    alike: list[tuple[Server, list[str]]] = []
    for course, server in courses.items():
        for known, names in alike:
            if known == server:
                names.append(course)
                break
        else:
            alike.append((server, [course]))
    for server, names in alike:
        size = _size(server)
        whose = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
        lines.append(f"{servers_that_fit(nodes, server)} more servers fit, of {size} each ({whose}).")
    return lines


def _size(server: Server) -> str:
    own = [f"{number:g} {name}" for name, number in server.requests.items() if name not in {"pods", "cpu", "memory"}]
    return ", ".join(
        [f"{server.requests['cpu']:g} cores", f"{server.requests['memory'] / 2**20:.0f} MiB of memory", *own]
    )
