"""When a course runs, when it never will, and which warnings have to do with that."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._course_readiness import Crash, Look

REVISION = "deployment.kubernetes.io/revision"
RUNS = {"observedGeneration": 4, "replicas": 1, "updatedReplicas": 1, "readyReplicas": 1, "availableReplicas": 1}
COMES = {"observedGeneration": 4, "replicas": 1, "updatedReplicas": 1, "unavailableReplicas": 1}
LOOPS = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s restarting failed container"}}


def deployment(name: str, status: Mapping[str, Any] = RUNS) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "generation": 4, "annotations": {REVISION: "7"}}
    return {"metadata": metadata, "spec": {"replicas": 1}, "status": dict(status)}


def replica_set(name: str, revision: str) -> dict[str, Any]:
    owner = {"uid": f"uid-{name.partition('-')[0]}"}
    metadata = {"name": name, "uid": f"uid-{name}", "annotations": {REVISION: revision}, "ownerReferences": [owner]}
    return {"metadata": metadata, "status": {"replicas": 1}}


def pod(name: str, restarts: int, state: Mapping[str, Any]) -> dict[str, Any]:
    metadata = {"name": name, "uid": f"uid-{name}", "ownerReferences": [{"uid": f"uid-{name.rpartition('-')[0]}"}]}
    status = {"name": "hub", "restartCount": restarts, "state": dict(state)}
    return {"metadata": metadata, "status": {"containerStatuses": [status]}}


def look(*pods: dict[str, Any], hub: Mapping[str, Any] = COMES) -> Look:
    deployments = [deployment("hub", hub), deployment("proxy"), deployment("exchange")]
    return Look(deployments, [replica_set("hub-old", "6"), replica_set("hub-new", "7")], pods)


def test_nothing_is_unready_and_no_crash_counts_where_all_run() -> None:
    assert look(hub=RUNS).unready() == []
    assert look(pod("hub-new-a", 9, LOOPS), hub=RUNS).crashes() == []


def test_what_is_not_there_or_not_seen_by_its_controller_does_not_run() -> None:
    assert Look([], [], []).unready() == ["hub", "proxy", "exchange"]
    assert look(hub={**RUNS, "observedGeneration": 3}).unready() == ["hub"]
    assert look(hub=COMES).unready() == ["hub"]


def test_a_loop_is_known_after_the_third_restart() -> None:
    assert look(pod("hub-new-a", 3, LOOPS)).crashes() == [Crash("hub-new-a", "hub", 3)]
    assert look(pod("hub-new-a", 2, LOOPS)).crashes() == []
    assert look(pod("hub-new-a", 3, {"running": {}})).crashes() == []


def test_the_pod_of_before_is_not_blamed() -> None:
    """What is deployed now may be what mends it."""
    old = pod("hub-old-a", 40, LOOPS)
    assert look(old).crashes() == []
    assert look(pod("hub-new-a", 40, LOOPS), hub={**COMES, "observedGeneration": 3}).crashes() == []
    leaving = pod("hub-new-a", 40, LOOPS)
    leaving["metadata"]["deletionTimestamp"] = "2026-11-24T17:04:51Z"
    assert look(leaving).crashes() == []


def test_warnings_are_of_what_does_not_run() -> None:
    def event(message: str, **about: str) -> dict[str, Any]:
        return {"message": message, "involvedObject": about}

    events = [
        event("Startup probe failed:\n refused", kind="Pod", name="hub-new-a", uid="uid-hub-new-a"),
        event("Startup probe failed:\n refused", kind="Pod", name="hub-new-a", uid="uid-hub-new-a"),
        event("forbidden by quota", kind="ReplicaSet", name="hub-new", uid="uid-hub-new"),
        event("no volume", kind="PersistentVolumeClaim", name="db", uid="x"),
        event("of before", kind="Pod", name="hub-old-a", uid="uid-hub-old-a"),
        event("of a person", kind="Pod", name="user-1", uid="y"),
        event("of what runs", kind="Deployment", name="proxy", uid="uid-proxy"),
    ]
    found = look(pod("hub-new-a", 1, {"running": {}}), pod("hub-old-a", 1, LOOPS)).warnings(events)
    assert found == ["Startup probe failed: refused", "forbidden by quota", "no volume"]
