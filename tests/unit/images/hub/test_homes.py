"""Which homes are made ahead, where, and that people who wait come first."""

from __future__ import annotations

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from campus_hubs_hub import homes
from kubernetes_asyncio.client import ApiException

SPAWNER = {
    "image": "registry.example/singleuser@sha256:0",
    "storage_capacity": "5Gi",
    "storage_class": None,
    "storage_access_modes": ["ReadWriteOnce"],
    "storage_extra_labels": {"campus.hubs/course": "python-ws26"},
    "extra_labels": {"campus.hubs/course": "python-ws26"},
    "node_selector": {},
    "tolerations": [],
}


def member(user: str, role: str = "student", *, active: bool = True) -> dict[str, Any]:
    return {"user": user, "role": role, "active": active}


def claim(name: str, node: str = "w1", phase: str = "Bound") -> dict[str, Any]:
    notes = {
        "volume.kubernetes.io/selected-node": node,
        "volume.kubernetes.io/storage-provisioner": "rancher.io/local-path",
    }
    return {"metadata": {"name": name, "annotations": notes}, "status": {"phase": phase}}


def test_who_is_missing_and_teachers_first() -> None:
    people = [member("u1"), member("u2", "instructor"), member("u3"), member("u4", active=False), member("u5")]
    claims = [claim("home-u3"), claim("home-u5", phase="Pending"), claim("exchange")]
    assert homes.missing(people, claims) == [("u2", True), ("u1", False), ("u5", False)]


@pytest.mark.parametrize(
    ("nodes", "avoided"),
    [([], []), (["w1"], ["w1"]), (["w1", "w2"], ["w1", "w2"]), (["w1", "w1", "w2"], ["w1"])],
)
def test_homes_spread_over_the_nodes(nodes: list[str], avoided: list[str]) -> None:
    claims = [claim(f"home-u{number}", node) for number, node in enumerate(nodes)]
    assert homes.crowded([*claims, claim("exchange", "w9")]) == avoided


def test_the_pod_does_nothing_and_may_do_nothing() -> None:
    pod = homes.pod_manifest("u1", SPAWNER, ["w1"], teaches=False)
    (container,) = pod["spec"]["containers"]
    assert container["command"] == ["/bin/true"]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"]] == ["home-u1"]
    assert "campus.hubs/grader" not in pod["metadata"]["labels"]


def test_a_teachers_home_is_made_where_the_course_is() -> None:
    pod = homes.pod_manifest("u1", SPAWNER, [], teaches=True)
    assert [v["persistentVolumeClaim"]["claimName"] for v in pod["spec"]["volumes"]] == ["home-u1", "course"]
    assert pod["metadata"]["labels"]["campus.hubs/grader"] == "true"
    assert pod["spec"]["affinity"]["podAffinity"]


class Cluster:
    """An API server that knows claims and pods; each pod makes its volume at once."""

    def __init__(self) -> None:
        """Start empty."""
        self.claims: dict[str, dict[str, Any]] = {}
        self.pods: list[str] = []
        self.most_pods = 0
        self.refused = ""
        self.api_client = self

    def sanitize_for_serialization(self, found: Any) -> Any:  # noqa: ANN401
        """Return what it got."""
        return found

    async def list_namespaced_persistent_volume_claim(self, _namespace: str) -> SimpleNamespace:
        """List claims."""
        return SimpleNamespace(items=list(self.claims.values()))

    async def create_namespaced_persistent_volume_claim(self, _namespace: str, body: dict[str, Any]) -> None:
        """Take a new claim."""
        name = body["metadata"]["name"]
        if name == self.refused:
            raise ApiException(status=403)
        if name in self.claims:
            raise ApiException(status=409)
        self.claims[name] = claim(name, phase="Pending")

    async def create_namespaced_pod(self, _namespace: str, body: dict[str, Any]) -> None:
        """Run a pod."""
        self.pods.append(body["metadata"]["name"])
        self.most_pods = max(self.most_pods, len(self.pods))
        self.claims[body["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"]]["status"]["phase"] = "Bound"

    async def read_namespaced_pod(self, _name: str, _namespace: str) -> SimpleNamespace:
        """Say that it is done."""
        return SimpleNamespace(status=SimpleNamespace(phase="Succeeded"))

    async def delete_namespaced_pod(self, name: str, _namespace: str) -> None:
        """Forget a pod."""
        self.pods.remove(name)


def exchange(members: Any) -> Any:  # noqa: ANN401
    """Return an exchange with these members."""
    return SimpleNamespace(members=members)


def test_one_home_that_cannot_be_made_stops_no_other(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster = Cluster()
    cluster.refused = "home-u2"

    async def members() -> list[dict[str, Any]]:
        return [member("u1"), member("u2"), member("u3")]

    async def run() -> int:
        monkeypatch.setattr(homes, "shared_client", lambda _: cluster)
        monkeypatch.setattr(homes, "LOOK", 0.01)
        made: int = await homes.Homes(exchange(members), "c", SPAWNER, lambda: 0).make()
        return made

    assert asyncio.run(run()) == 2
    assert set(cluster.claims) == {"home-u1", "home-u3"}


def test_homes_are_made_one_at_a_time_when_nobody_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    cluster, queue, seen = Cluster(), [3, 2, 1, 0, 0, 0], []

    async def members() -> list[dict[str, Any]]:
        return [member("u1"), member("u2"), member("u3", "instructor")]

    def waiting() -> int:
        count = queue.pop(0) if queue else 0
        seen.append((count, len(cluster.claims)))
        return count

    async def run() -> list[int]:
        monkeypatch.setattr(homes, "shared_client", lambda _: cluster)
        monkeypatch.setattr(homes, "LOOK", 0.01)
        course = homes.Homes(exchange(members), "course-python-ws26", SPAWNER, waiting)
        return [await course.make(), await course.make()]

    assert asyncio.run(run()) == [3, 0]
    assert set(cluster.claims) == {"home-u1", "home-u2", "home-u3"}
    assert cluster.pods == []
    assert cluster.most_pods == 1
    assert seen[:4] == [(3, 0), (2, 0), (1, 0), (0, 0)]


def test_a_changed_roster_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who leaves while homes are made gets none."""
    cluster, roster = Cluster(), [member(f"u{n}") for n in range(1, 9)]

    async def members() -> list[dict[str, Any]]:
        return list(roster)

    async def run() -> None:
        monkeypatch.setattr(homes, "shared_client", lambda _: cluster)
        monkeypatch.setattr(homes, "LOOK", 0.01)
        course = homes.Homes(exchange(members), "course-python-ws26", SPAWNER, lambda: 0)
        course.make_soon()
        while not cluster.claims:
            await asyncio.sleep(0)
        roster[:] = [member("u1"), member("u8")]
        course.make_soon()
        while course._task and not course._task.done():
            await asyncio.sleep(0.01)

    asyncio.run(run())
    assert set(cluster.claims) == {"home-u1", "home-u8"}
