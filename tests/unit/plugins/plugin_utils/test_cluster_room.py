"""How full the cluster is, and how many more servers fit."""

from __future__ import annotations

from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.plugin_utils.cluster_room import (
    Server,
    nodes_of,
    report,
    requests_of,
    server_of,
    servers_that_fit,
)

GIB = 2.0**30
TAINT = {"key": "node-role.kubernetes.io/control-plane", "effect": "NoSchedule"}
GPU = {"key": "nvidia.com/gpu", "value": "present", "effect": "NoSchedule"}


def node(name: str, /, **spec: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {
        "metadata": {"name": name, "labels": {"kubernetes.io/hostname": name}},
        "spec": spec,
        "status": {
            "allocatable": {"cpu": "2", "memory": "4Gi", "pods": "10", "nvidia.com/gpu": "2" if "gpu" in name else "0"},
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def pod(where: str, cpu: str = "100m", memory: str = "512Mi", phase: str = "Running") -> dict[str, Any]:
    container = {"resources": {"requests": {"cpu": cpu, "memory": memory}}}
    return {"spec": {"nodeName": where, "containers": [container]}, "status": {"phase": phase}}


def values(**user: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {"singleuser": {"memory": {"guarantee": "512M"}, "cpu": {"guarantee": 0.1}, **user}}


USUAL = server_of(values())


def test_what_is_requested() -> None:
    both = {
        "spec": {
            "containers": [
                {"resources": {"requests": {"cpu": "100m", "memory": "1Gi"}}},
                {"resources": {"requests": {"cpu": "1"}}},
            ],
            "initContainers": [{"resources": {"requests": {"cpu": "50m", "memory": "2Gi"}}}, {}],
        }
    }
    assert requests_of(both) == {"pods": 1.0, "cpu": pytest.approx(1.1), "memory": 2 * GIB}


def test_a_server_by_the_charts_values() -> None:
    assert Server({"pods": 1.0, "cpu": 0.1, "memory": GIB / 2}, {}, []) == USUAL
    special = server_of(
        values(extraResource={"limits": {"nvidia.com/gpu": 1}}, nodeSelector={"a": "b"}, memory={"guarantee": 2**29})
    )
    assert special.requests == {**USUAL.requests, "nvidia.com/gpu": 1.0}
    assert special.selector == {"a": "b"}


@pytest.mark.parametrize(
    ("nodes", "pods", "count"),
    [
        # By memory, cores and pods.
        ([node("w1")], [], 8),
        ([node("w1"), node("w2")], [], 16),
        ([node("w1")], [pod("w1", cpu="1900m")], 1),
        ([node("w1")], [pod("w1", memory="3840Mi")], 0),
        ([node("w1")], [pod("w1", memory="0") for _ in range(8)], 2),
        # Each on one node: 256 MiB are left on both.
        ([node("w1"), node("w2")], [pod("w1", memory="3840Mi"), pod("w2", memory="3840Mi")], 0),
        # More than there is, as after a node has shrunk.
        ([node("w1"), node("w2")], [pod("w1", memory="9Gi")], 8),
        ([node("w1")], [pod("w1", memory="4Gi", phase="Succeeded"), pod("", memory="4Gi", phase="Pending")], 8),
        ([node("cp1", taints=[TAINT]), node("w1", unschedulable=True), node("gpu1", taints=[GPU])], [], 0),
        ([{**node("w1"), "status": {"conditions": [{"type": "Ready", "status": "Unknown"}]}}], [], 0),
    ],
)
def test_as_many_servers_fit_as_the_nodes_have_room_for(
    nodes: list[dict[str, Any]], pods: list[dict[str, Any]], count: int
) -> None:
    assert servers_that_fit(nodes_of(nodes, pods), USUAL) == count


def test_nodes_of_a_kind() -> None:
    found = nodes_of([node("w1"), node("gpu1", taints=[GPU])], [])
    limits = {"limits": {"nvidia.com/gpu": 1}}
    tolerations = [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}]
    assert servers_that_fit(found, server_of(values(extraResource=limits, extraTolerations=tolerations))) == 2
    assert servers_that_fit(found, server_of(values(extraResource=limits))) == 0
    assert servers_that_fit(found, server_of(values(nodeSelector={"kubernetes.io/hostname": "w1"}))) == 8


def test_the_report() -> None:
    found = nodes_of([node("cp1", taints=[TAINT]), node("w1")], [pod("w1"), pod("cp1", cpu="2")])
    large = server_of(values(memory={"guarantee": "2G"}))
    courses = {"a": USUAL, "b": large, **dict.fromkeys("cdef", USUAL)}
    assert report(found, courses) == [
        "1 node takes servers; requested there: 0.1 of 2.0 cores, 0.5 of 4.0 GiB of memory.",
        "7 more servers fit, of 0.1 cores, 512 MiB of memory each (a, c, d and 2 more).",
        "1 more servers fit, of 0.1 cores, 2048 MiB of memory each (b).",
    ]
    assert report(found, {}) == []
