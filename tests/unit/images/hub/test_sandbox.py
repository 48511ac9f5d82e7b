"""Sandboxes: what a pod is, who may have one, how many, and what becomes of those left over."""

from __future__ import annotations

import asyncio
import itertools
import json
import re
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import kubernetes_asyncio.client
import pytest
from campus_hubs_hub import sandbox
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.testing import bind_unused_port

ROOT = Path(__file__).parents[4]
Manifest = dict[str, Any]
SETTINGS: dict[str, Any] = {
    "course": "python-ws26",
    "image": "registry/singleuser@sha256:1",
    "pullPolicy": "IfNotPresent",
    "memory": {"guarantee": "256M", "limit": "1G"},
    "cpu": {"guarantee": 0.1, "limit": 1},
    "home": "256M",
    "tmp": "64M",
    "deadlineSeconds": 900,
    "perCourse": 3,
    "perUser": 2,
}

HANGS = -1


class Cluster:
    """An API server with pods: they become what `next_status` says."""

    def __init__(self) -> None:
        """Start with no pods."""
        self.pods: dict[str, Manifest] = {}
        self.next_status: list[Manifest] = []
        self.node = ""
        self.now = datetime.now(UTC)
        self.addresses = itertools.count(1)

    def ready(self) -> Manifest:
        """Return the status of a pod that answers."""
        address = f"10.0.0.{next(self.addresses)}"
        return {"phase": "Running", "podIP": address, "conditions": [{"type": "Ready", "status": "True"}]}

    def add(self, pod: Manifest, status: Manifest | None = None, age: float = 0) -> str:
        """Put a pod in; return its name."""
        created = (datetime.now(UTC) - timedelta(seconds=age)).strftime("%Y-%m-%dT%H:%M:%SZ")
        name: str = pod["metadata"]["name"]
        self.pods[name] = {
            **pod,
            "metadata": {**pod["metadata"], "creationTimestamp": created},
            "spec": {**pod.get("spec", {}), **({"nodeName": self.node} if self.node else {})},
            "status": status or (self.next_status.pop(0) if self.next_status else self.ready()),
        }
        return name

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Answer as the API server."""
        name = path.partition("/pods/")[2]
        if name and name not in self.pods:
            return 404, {"message": "not found"}
        if method == "POST":
            pod = json.loads(body)
            self.add(pod)
            return 201, pod
        if method == "DELETE":
            return 200, self.pods.pop(name)
        if name:
            return 200, self.pods[name]
        assert query["labelSelector"] == ["component=sandbox"]
        found = [p for p in self.pods.values() if p["metadata"]["labels"].get("component") == "sandbox"]
        return 200, {"items": found}


class Api:
    """kubernetes_asyncio's client on a loopback API server."""

    def __init__(self, cluster: Cluster) -> None:
        """Start the server; call it in a running loop."""

        class Handler(web.RequestHandler):
            async def _any(self) -> None:
                query = parse_qs(self.request.query)
                status, document = cluster.answer(
                    self.request.method or "", self.request.path, query, self.request.body
                )
                if status == HANGS:
                    await asyncio.sleep(60)
                if not status:
                    self.request.connection.stream.close()  # type: ignore[union-attr]
                    return
                self.set_status(status)
                self.set_header("Content-Type", "application/json")
                self.finish(json.dumps(document))

            get = post = delete = _any

        socket, port = bind_unused_port()
        self.server = HTTPServer(web.Application([(".*", Handler)]))
        self.server.add_socket(socket)
        self.client = kubernetes_asyncio.client.ApiClient(
            kubernetes_asyncio.client.Configuration(host=f"http://127.0.0.1:{port}")
        )
        self.core = kubernetes_asyncio.client.CoreV1Api(self.client)

    async def close(self) -> None:
        """Stop it."""
        await self.client.close()
        self.server.stop()


def run(cluster: Cluster, test: Any, **settings: Any) -> Any:  # noqa: ANN401
    """Run `test(sandboxes)` with the cluster behind it."""

    async def body() -> Any:  # noqa: ANN401
        api = Api(cluster)
        sandboxes = sandbox.Sandboxes({**SETTINGS, **settings}, "course-python-ws26", api=lambda: api.core)
        try:
            return await test(sandboxes)
        finally:
            await api.close()

    return asyncio.run(body())


def pod_of(name: str = "sandbox-a", user: str = "ulecturer") -> Manifest:
    pod: Manifest = sandbox.sandbox_pod(SETTINGS, name, user, "secret")
    return pod


def test_the_pod_is_restricted_and_knows_nothing() -> None:
    pod = pod_of()
    spec = pod["spec"]
    (container,) = spec["containers"]
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["runAsUser"] == 1000
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["activeDeadlineSeconds"] == 900
    assert not {"serviceAccountName", "hostNetwork", "hostPID", "initContainers"} & set(spec)
    assert {e["name"] for e in container["env"]} == {"SANDBOX_TOKEN", "SANDBOX_MEMORY_BYTES", "HOME"}
    assert pod["metadata"]["labels"] == {
        "component": "sandbox",
        "campus.hubs/course": "python-ws26",
        "campus.hubs/user": "ulecturer",
    }


def test_the_pod_is_limited() -> None:
    spec = pod_of()["spec"]
    (container,) = spec["containers"]
    assert container["resources"] == {
        "requests": {"memory": str(256 * 2**20), "cpu": "0.1"},
        "limits": {"memory": str(2**30), "cpu": "1"},
    }
    (memory,) = [int(e["value"]) for e in container["env"] if e["name"] == "SANDBOX_MEMORY_BYTES"]
    # The agent and the files need some, too.
    assert 2**29 < memory < 2**30
    assert {v["name"]: v["emptyDir"] for v in spec["volumes"]} == {
        "home": {"medium": "Memory", "sizeLimit": str(256 * 2**20)},
        "tmp": {"medium": "Memory", "sizeLimit": str(64 * 2**20)},
    }


def test_the_manifest_is_what_kubernetes_knows() -> None:
    """Nothing is lost when the client's own classes read it, so no field is misspelt."""
    pod = pod_of()

    async def there_and_back() -> Any:  # noqa: ANN401
        async with kubernetes_asyncio.client.ApiClient() as client:
            read = client.deserialize(SimpleNamespace(data=json.dumps(pod)), "V1Pod")
            return client.sanitize_for_serialization(read)

    back = asyncio.run(there_and_back())
    del pod["spec"]["nodeSelector"], pod["spec"]["tolerations"]
    back["spec"].pop("nodeSelector", None)
    back["spec"].pop("tolerations", None)
    assert back == pod


def test_a_sandbox_is_made_and_removed() -> None:
    cluster = Cluster()

    async def body(sandboxes: Any) -> None:  # noqa: ANN401
        made = await sandboxes.make("ulecturer")
        assert made["url"] == "http://10.0.0.1:8889"
        assert set(cluster.pods) == {made["name"]}
        env = cluster.pods[made["name"]]["spec"]["containers"][0]["env"]
        assert {"name": "SANDBOX_TOKEN", "value": made["token"]} in env
        await sandboxes.remove(made["name"])
        await sandboxes.remove(made["name"])

    run(cluster, body)
    assert not cluster.pods


def test_there_are_not_more_than_there_may_be() -> None:
    cluster = Cluster()

    async def body(sandboxes: Any) -> list[Any]:  # noqa: ANN401
        asked = [sandboxes.make(user) for user in ("u1", "u1", "u1", "u2", "u2")]
        return await asyncio.gather(*asked, return_exceptions=True)

    answers = run(cluster, body)
    refused = [a for a in answers if isinstance(a, web.HTTPError)]
    assert len(cluster.pods) == 3
    assert {r.status_code for r in refused} == {429}
    assert "there may be 3 and 2 at once" in str(refused[0].log_message)
    users = [p["metadata"]["labels"]["campus.hubs/user"] for p in cluster.pods.values()]
    assert sorted(users) == ["u1", "u1", "u2"]


def test_what_has_ended_does_not_count() -> None:
    cluster = Cluster()
    for index in range(3):
        cluster.add(pod_of(f"sandbox-{index}", "u1"), {"phase": "Succeeded"})
    run(cluster, lambda sandboxes: sandboxes.make("u1"))
    assert len(cluster.pods) == 4


def test_a_pod_that_can_not_start_says_why_and_goes() -> None:
    cluster = Cluster()
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    cluster.next_status = [{"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}]
    with pytest.raises(web.HTTPError) as error:
        run(cluster, lambda sandboxes: sandboxes.make("u1"))
    assert error.value.status_code == 503
    assert "no such image" in str(error.value.log_message)
    assert not cluster.pods


@pytest.mark.parametrize("failures", [2, 50])
def test_what_a_node_did_not_manage_is_made_anew_elsewhere(monkeypatch: pytest.MonkeyPatch, failures: int) -> None:
    """While there is time."""
    monkeypatch.setattr(sandbox, "PAUSES", (0.05, 0.2))
    monkeypatch.setattr(sandbox, "READY", 3)
    cluster = Cluster()
    cluster.node = "w1"
    end = {"reason": "StartError", "exitCode": 128, "message": "unable to freeze"}
    never_ran = {"phase": "Failed", "containerStatuses": [{"state": {"terminated": end}}]}
    cluster.next_status = [never_ran] * failures
    if failures == 2:
        made = run(cluster, lambda sandboxes: sandboxes.make("u1"))
        assert set(cluster.pods) == {made["name"]}
        affinity = cluster.pods[made["name"]]["spec"]["affinity"]["nodeAffinity"]
        terms = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
        assert [term["preference"]["matchFields"][0]["values"] for term in terms] == [["w1"], ["w1"]]
        return
    with pytest.raises(web.HTTPError, match="unable to freeze") as error:
        run(cluster, lambda sandboxes: sandboxes.make("u1"))
    assert error.value.status_code == 503
    assert not cluster.pods


def test_what_no_node_can_start_is_not_made_anew() -> None:
    cluster = Cluster()
    end = {"reason": "StartError", "exitCode": 128, "message": 'exec: "python": executable file not found in $PATH'}
    cluster.next_status = [{"phase": "Failed", "containerStatuses": [{"state": {"terminated": end}}]}]
    with pytest.raises(web.HTTPError, match="executable file not found"):
        run(cluster, lambda sandboxes: sandboxes.make("u1"))
    assert not cluster.pods


FULL = {
    "phase": "Pending",
    "conditions": [
        {
            "type": "PodScheduled",
            "status": "False",
            "reason": "Unschedulable",
            "message": "0/3 nodes are available: 2 Insufficient cpu.",
        }
    ],
}


def test_a_sandbox_waits_for_room_before_students(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PATIENCE", 0.5)
    monkeypatch.setattr(sandbox, "READY", 2)
    cluster = Cluster()
    cluster.next_status = [FULL]
    rooms: list[Any] = []

    class Room:
        """Notes who waits."""

        def join(self, pod: Manifest, short: set[str], *, staff: bool) -> str:
            """Let the pod be scheduled a second later."""
            rooms.append((short, staff))
            asyncio.get_running_loop().call_later(1, cluster.pods[pod["metadata"]["name"]].update, ready)
            return "place"

        def leave(self, place: str) -> None:
            """Wait no more."""
            rooms.append(place)

    ready = {"status": cluster.ready()}

    async def with_room(sandboxes: Any) -> Any:  # noqa: ANN401
        sandboxes._room = Room()
        return await sandboxes.make("u1")

    made = run(cluster, with_room)
    assert rooms == [({"cpu"}, True), "place"]
    assert set(cluster.pods) == {made["name"]}


def test_a_sandbox_without_room_is_waited_for_as_for_a_free_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "READY", 1)
    cluster = Cluster()
    cluster.next_status = [FULL]
    with pytest.raises(web.HTTPError) as error:
        run(cluster, lambda sandboxes: sandboxes.make("u1"))
    assert error.value.status_code == 429
    assert error.value.log_message == "The cluster is full. No sandbox got room within 1 seconds."
    assert not cluster.pods


def test_a_pod_that_does_not_start_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "READY", 0.5)
    cluster = Cluster()
    cluster.next_status = [{"phase": "Pending"}]
    with pytest.raises(web.HTTPError) as error:
        run(cluster, lambda sandboxes: sandboxes.make("u1"))
    assert error.value.status_code == 503
    assert "Pending" in str(error.value.log_message)
    assert not cluster.pods


def test_the_sweep_removes_pods_that_are_over_or_that_nobody_waits_for() -> None:
    cluster = Cluster()
    cluster.add(pod_of("sandbox-new"))
    cluster.add(pod_of("sandbox-old"), age=2000)
    cluster.add(pod_of("sandbox-over"), {"phase": "Failed"}, age=100)
    cluster.add(pod_of("sandbox-just-over"), {"phase": "Succeeded"})
    cluster.add(pod_of("sandbox-waits"), {"phase": "Pending"}, age=60)
    # The hub that would have removed it has ended meanwhile.
    cluster.add(pod_of("sandbox-of-nobody"), {"phase": "Pending"}, age=100)
    other = pod_of("user-ada")
    other["metadata"]["labels"] = {"component": "singleuser-server"}
    cluster.add(other, age=10**6)
    removed = run(cluster, lambda sandboxes: sandboxes.sweep())
    assert set(removed) == {"sandbox-old", "sandbox-over", "sandbox-of-nobody"}
    assert set(cluster.pods) == {"sandbox-new", "sandbox-just-over", "sandbox-waits", "user-ada"}


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        ({"phase": "Running"}, ""),
        ({"phase": "Failed", "reason": "DeadlineExceeded"}, "It ran longer"),
        ({"phase": "Failed", "reason": "Evicted", "message": "Usage exceeds"}, "Usage exceeds"),
        (
            {"containerStatuses": [{"state": {"terminated": {"reason": "OOMKilled", "exitCode": 137}}}]},
            "It used more memory",
        ),
        ({"containerStatuses": [{"state": {"terminated": {"reason": "Error", "exitCode": 1}}}]}, "exit code 1"),
    ],
)
def test_why_it_has_ended(status: Manifest, sentence: str) -> None:
    said = sandbox.why_ended({"metadata": {}, "status": status})
    assert sentence in said
    assert bool(said) is bool(sentence)


def test_only_sandboxes_are_found() -> None:
    cluster = Cluster()
    cluster.add({"metadata": {"name": "user-ada", "labels": {"component": "singleuser-server"}}})

    async def body(sandboxes: Any) -> None:  # noqa: ANN401
        assert await sandboxes.find("user-ada") is None
        assert await sandboxes.find("no-such-pod") is None

    run(cluster, body)


class Faulty(Cluster):
    """An API server that does not manage some calls: the first GET of a pod, for example."""

    def __init__(self, status: int, method: str, *, calls: int = 1, done: bool = False) -> None:
        """Manage nothing of a method, so many times.

        Args:
            status: what it answers; 0 closes the connection, HANGS does not answer.
            method: POST, DELETE, GET (of one pod) or LIST; or several of them.
            calls: how many.
            done: whether it does what it was asked for all the same.

        """
        super().__init__()
        self.status, self.method, self.calls, self.done = status, method, calls, done
        self.seen: list[str] = []

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Answer as the API server."""
        kind = "LIST" if method == "GET" and "/pods/" not in path else method
        self.seen.append(kind)
        if kind not in self.method.split() or not self.calls:
            return super().answer(method, path, query, body)
        self.calls -= 1
        if self.done:
            super().answer(method, path, query, body)
        return self.status, {"message": f"{kind} did not do"}


@pytest.fixture
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "PAUSES", (0.05, 0.1))
    monkeypatch.setattr(sandbox, "LOOK", 0.05)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("done", [False, True])
@pytest.mark.parametrize("method", ["LIST", "POST", "GET"])
@pytest.mark.parametrize("status", [500, 429, 0])
def test_what_the_api_server_did_not_manage_is_asked_again(status: int, method: str, done: bool) -> None:
    """Nothing is left of what it has done without an answer: there may be one for each."""
    cluster = Faulty(status, method, done=done)
    made = run(cluster, lambda sandboxes: sandboxes.make("u1"), perUser=1)
    assert set(cluster.pods) == {made["name"]}
    # One whose state was not told only is not made anew.
    assert cluster.seen.count("POST") == (2 if method == "POST" else 1)


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("method", ["LIST", "POST", "GET"])
def test_what_the_api_server_refuses_is_said_at_once(method: str) -> None:
    cluster = Faulty(403, method)
    with pytest.raises(web.HTTPError) as error:
        run(cluster, lambda sandboxes: sandboxes.make("u1"))
    assert error.value.status_code == 503
    assert error.value.log_message == f"The cluster refuses the sandbox: {method} did not do"
    assert cluster.seen.count(method) == 1
    assert not cluster.pods


@pytest.mark.usefixtures("soon")
def test_a_pod_that_was_removed_meanwhile_is_made_anew() -> None:
    """As when its node is drained."""
    cluster = Faulty(404, "GET")
    made = run(cluster, lambda sandboxes: sandboxes.make("u1"), perUser=1)
    assert set(cluster.pods) == {made["name"]}
    assert cluster.seen.count("POST") == 2


@pytest.mark.usefixtures("soon")
def test_a_removal_that_fails_does_not_hide_the_reason() -> None:
    cluster = Faulty(500, "DELETE")
    waiting = {"reason": "ImagePullBackOff", "message": "no such image"}
    cluster.next_status = [{"phase": "Pending", "containerStatuses": [{"state": {"waiting": waiting}}]}]
    with pytest.raises(web.HTTPError, match="no such image"):
        run(cluster, lambda sandboxes: sandboxes.make("u1"))


@pytest.mark.usefixtures("soon")
def test_an_api_that_fails_is_not_taken_for_an_empty_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sandbox, "READY", 0.4)
    cluster = Faulty(500, "LIST", calls=1000)
    with pytest.raises(web.HTTPError) as error:
        run(cluster, lambda sandboxes: sandboxes.make("u1"))
    assert error.value.status_code == 503
    assert error.value.log_message == "The sandbox did not start. LIST did not do"
    assert len(cluster.seen) > 2
    assert set(cluster.seen) == {"LIST"}


@pytest.mark.usefixtures("soon")
@pytest.mark.parametrize("methods", ["LIST", "POST DELETE", "GET DELETE"])
def test_an_api_that_hangs_is_said_in_time(monkeypatch: pytest.MonkeyPatch, methods: str) -> None:
    """While the graders still listen, also if several wait for each other."""
    for name, seconds in (("READY", 1.3), ("LAST", 0.1), ("CALL", 0.6)):
        monkeypatch.setattr(sandbox, name, seconds)
    cluster = Faulty(HANGS, methods, calls=1000)

    async def body(sandboxes: Any) -> list[Any]:  # noqa: ANN401
        return await asyncio.gather(*(sandboxes.make(f"u{i}") for i in range(3)), return_exceptions=True)

    began = time.monotonic()
    answers = run(cluster, body)
    assert time.monotonic() - began < 3
    said = "The sandbox did not start. The cluster's API does not answer."
    assert [answer.log_message for answer in answers] == [said] * 3


def test_graders_listen_longer_than_a_start_takes() -> None:
    source = (ROOT / "images/singleuser/campus_hubs_lab/src/campus_hubs_lab/execute.py").read_text()
    (start,) = re.findall(r"^START: Final = (\d+)$", source, re.MULTILINE)
    assert int(start) > sandbox.READY + sandbox.LAST + sandbox.CALL
