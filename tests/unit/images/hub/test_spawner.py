"""When a server's start is given up, what its user reads, and the pod that is asked for."""

from __future__ import annotations

import asyncio
import json
import logging
import re
import time
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, ClassVar

import pytest
from campus_hubs_hub import room as hubs_room
from campus_hubs_hub import settings, spawner
from jupyterhub.app import JupyterHub
from jupyterhub.spawner import SpawnException
from kubernetes_asyncio.client import ApiClient, ApiException
from kubespawner import KubeSpawner
from traitlets.config import Config

from tests.unit.images.hub.rendered import hub_settings

if TYPE_CHECKING:
    from tests.unit.helm import Template

PATIENCE = 45


def pod(**status: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"metadata": {}, "status": {"phase": "Pending", **status}}


def waiting(reason: str) -> dict[str, Any]:
    return pod(containerStatuses=[{"state": {"waiting": {"reason": reason, "message": "details"}}}])


def terminated(**state: Any) -> dict[str, Any]:  # noqa: ANN401
    return pod(phase="Failed", containerStatuses=[{"state": {"terminated": state}}])


WARNING = {"type": "Warning", "reason": "FailedMount", "message": "no such volume"}
NORMAL = {"type": "Normal", "reason": "Pulling", "message": "pulling image"}
FULL = "0/3 nodes are available: 1 node(s) had untolerated taint(s), 2 Insufficient cpu. No preemption victims found."


def no_node(message: str) -> dict[str, Any]:
    return pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": message}])


UNSCHEDULABLE = no_node(FULL)


@pytest.mark.parametrize(
    ("case", "events", "reason"),
    [
        (terminated(exitCode=1, reason="Error"), [], "exit code 1"),
        (terminated(exitCode=137, reason="OOMKilled"), [], "more memory than this course allows"),
        (pod(phase="Failed", reason="Evicted", message="low on disk"), [], "Evicted: low on disk"),
        (waiting("ImagePullBackOff"), [], "ImagePullBackOff: details"),
        (waiting("CreateContainerConfigError"), [], "CreateContainerConfigError"),
    ],
)
def test_the_end_is_told_at_once(case: dict[str, Any], events: list[dict[str, str]], reason: str) -> None:
    assert reason in str(spawner.why_not(case, events, 0, PATIENCE))


@pytest.mark.parametrize(
    ("case", "events", "reason"),
    [
        (waiting("ErrImagePull"), [], "ErrImagePull: details"),
        (UNSCHEDULABLE, [], "The cluster is full."),
        (None, [{"type": "Warning", "reason": "FailedScheduling", "message": FULL}], "The cluster is full."),
        (waiting("ContainerCreating"), [NORMAL, WARNING], "FailedMount: no such volume"),
        (None, [WARNING], "no such volume"),
    ],
)
def test_a_hold_up_has_its_time(case: dict[str, Any] | None, events: list[dict[str, str]], reason: str) -> None:
    assert spawner.why_not(case, events, PATIENCE - 1, PATIENCE) is None
    assert reason in str(spawner.why_not(case, events, PATIENCE, PATIENCE))


@pytest.mark.parametrize(
    ("case", "events"),
    [
        (None, []),
        (pod(), []),
        (waiting("ContainerCreating"), [WARNING, NORMAL]),
        (pod(phase="Running", containerStatuses=[{"state": {"running": {}}}]), [NORMAL]),
    ],
)
def test_whoever_just_waits_goes_on(case: dict[str, Any] | None, events: list[dict[str, str]]) -> None:
    assert spawner.why_not(case, events, 10 * PATIENCE, PATIENCE) is None


CRI = "failed to create containerd task: failed to create shim task: OCI runtime create failed: runc create failed: "
FREEZE = terminated(exitCode=128, reason="StartError", message=CRI + "unable to freeze")
NO_COMMAND = (
    CRI + 'unable to start container process: exec: "jupyterhub-singleuser": executable file not found in $PATH'
)
REGISTRY = "failed to pull image: dial tcp 10.0.0.5:5000: "


def event(reason: str, message: str) -> dict[str, str]:
    return {"type": "Warning", "reason": reason, "message": message}


def stuck(reason: str, message: str, kind: str = "containerStatuses") -> dict[str, Any]:
    return pod(**{kind: [{"state": {"waiting": {"reason": reason, "message": message}}}]})


@pytest.mark.parametrize(
    ("case", "events"),
    [
        (FREEZE, []),
        (pod(phase="Failed", initContainerStatuses=FREEZE["status"]["containerStatuses"]), []),
        (terminated(exitCode=128, reason="StartError", message="cgroup: device or resource busy"), []),
        (terminated(exitCode=128, reason="ContainerCannotRun", message="context deadline exceeded"), []),
        (terminated(exitCode=137, reason="ContainerStatusUnknown", message="could not be located"), []),
        (pod(phase="Failed", reason="UnexpectedAdmissionError", message="Allocate failed"), []),
        (pod(phase="Failed", reason="OutOfcpu", message="Node didn't have enough resource"), []),
        (pod(phase="Failed", reason="Evicted", message="low on disk"), []),
        ({"status": {**terminated(exitCode=137, reason="Error")["status"], "reason": "Evicted"}}, []),
        (stuck("ErrImagePull", REGISTRY + "i/o timeout"), []),
        (stuck("ImagePullBackOff", REGISTRY + "connect: connection refused"), []),
        (stuck("ErrImagePull", "write /var/lib/containerd: no space left on device", "initContainerStatuses"), []),
        (stuck("CreateContainerConfigError", "failed to sync secret cache: timed out waiting for the condition"), []),
        (stuck("CreateContainerError", "context deadline exceeded"), []),
        (stuck("CreateContainerError", 'failed to reserve container name "x": name is reserved'), []),
        (waiting("ContainerCreating"), [event("FailedCreatePodSandBox", "Failed to create pod sandbox: cni")]),
        (waiting("ContainerCreating"), [event("FailedMount", "mount failed: Connection timed out")]),
        (waiting("ContainerCreating"), [event("NodeNotReady", "Node is not ready")]),
        ({**pod(), "spec": {"nodeName": "w1"}}, [NORMAL]),
    ],
)
def test_what_a_node_did_not_manage(case: dict[str, Any], events: list[dict[str, str]]) -> None:
    assert spawner.why_not(case, events, PATIENCE, PATIENCE)
    assert spawner.nodes_fault(case, events)


@pytest.mark.parametrize(
    ("case", "events"),
    [
        (terminated(exitCode=1, reason="Error"), []),
        (terminated(exitCode=0, reason="Completed"), []),
        (terminated(exitCode=137, reason="OOMKilled"), []),
        (pod(initContainerStatuses=[{"state": {"terminated": {"exitCode": 137, "reason": "OOMKilled"}}}]), []),
        (terminated(exitCode=128, reason="StartError", message=NO_COMMAND), []),
        (terminated(exitCode=128, reason="StartError", message=CRI + 'exec: "/x": permission denied'), []),
        (terminated(exitCode=128, reason="StartError", message=CRI + "exec /x: exec format error"), []),
        (terminated(exitCode=128, reason="StartError", message='chdir to cwd ("/x") set in config.json failed'), []),
        (terminated(exitCode=128, reason="StartError", message="container init was OOM-killed (limit too low?)"), []),
        (stuck("CreateContainerError", "unable to find user jovyan: no matching entries in passwd file"), []),
        (stuck("CreateContainerConfigError", 'secret "licence" not found'), []),
        (stuck("InvalidImageName", "couldn't parse image name"), []),
        (stuck("ImagePullBackOff", "registry/x:1: not found"), []),
        (stuck("ErrImagePull", "pull access denied, repository does not exist or may require authorization"), []),
        (stuck("ErrImagePull", "no match for platform in manifest", "initContainerStatuses"), []),
        (waiting("ContainerCreating"), [event("FailedMount", 'MountVolume.SetUp failed: secret "a" not found')]),
        (waiting("ContainerCreating"), [event("FailedMount", "hostPath type check failed: /data is no directory")]),
        (UNSCHEDULABLE, []),
    ],
)
def test_what_no_other_node_would_manage(case: dict[str, Any], events: list[dict[str, str]]) -> None:
    assert spawner.why_not(case, events, PATIENCE, PATIENCE)
    assert not spawner.nodes_fault(case, events)


def test_a_finished_init_container_is_no_end() -> None:
    done = pod(initContainerStatuses=[{"state": {"terminated": {"exitCode": 0, "reason": "Completed"}}}])
    assert spawner.why_not(done, [], 10 * PATIENCE, PATIENCE) is None


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (ApiException(status=500), True),
        (ApiException(status=429), True),
        (ApiException(status=503), True),
        (ApiException(status=403), False),
        (ApiException(status=422), False),
        (TimeoutError("Could not create PVC home-x"), True),
        (ConnectionRefusedError(), True),
    ],
)
def test_what_the_api_server_may_answer_next_time(error: Exception, passing: bool) -> None:
    assert spawner.passes(error) is passing


@pytest.mark.parametrize(
    ("message", "short", "said"),
    [
        (FULL, {"cpu"}, "The cluster is full."),
        (
            "0/2 nodes are available: 1 Insufficient memory, 1 Too many pods.",
            {"memory", "pods"},
            "The cluster is full.",
        ),
        (
            "0/2 nodes are available: 1 Insufficient cpu, 2 Insufficient nvidia.com/gpu.",
            {"cpu", "nvidia.com/gpu"},
            "All that the cluster has of nvidia.com/gpu is in use.",
        ),
        ("0/2 nodes are available: 2 node(s) didn't match Pod's node affinity/selector.", set(), "no node of the kind"),
        ("0/2 nodes are available: 2 node(s) had volume node affinity conflict.", set(), "node that holds your home"),
        ("0/2 nodes are available: pod has unbound immediate PersistentVolumeClaims.", set(), "volume for your home"),
        ("0/2 nodes are available: 2 node(s) were unschedulable.", set(), "take no servers now"),
        ("0/1 nodes are available: 1 node(s) had untolerated taint(s).", set(), "No node of the cluster fits"),
    ],
)
def test_the_scheduler_in_words(message: str, short: set[str], said: str) -> None:
    assert spawner.short_of(message) == short
    assert said in spawner.no_node(message)
    assert "nodes are available" not in spawner.no_node(message)


class Claims:
    """The part of the API that knows claims."""

    def __init__(self, claims: dict[str, dict[str, Any]]) -> None:
        """Take name -> annotations."""
        self.claims = claims
        self.api_client = self

    async def read_namespaced_persistent_volume_claim(self, name: str, _namespace: str) -> dict[str, Any]:
        """Return the claim, or say that there is none."""
        if name not in self.claims:
            raise ApiException(status=404)
        return {"metadata": {"annotations": self.claims[name]}}

    def sanitize_for_serialization(self, found: dict[str, Any]) -> dict[str, Any]:
        """Return what it got."""
        return found


def on(node: str, provisioner: str = "rancher.io/local-path") -> dict[str, str]:
    return {
        "volume.kubernetes.io/selected-node": node,
        "volume.kubernetes.io/storage-provisioner": provisioner,
    }


@pytest.fixture
def course(template: Template, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    """Return a CourseSpawner as the chart's defaults make it, without a cluster."""
    for function in ("load_config", "shared_client"):
        monkeypatch.setattr(f"kubespawner.spawner.{function}", lambda *_, **__: None)
    config = Config(hub_settings(template, "minimal"))
    user = SimpleNamespace(name="uabcdefgh23456777", groups=[SimpleNamespace(name="instructor")], id=1, url="/user/x/")
    hub = SimpleNamespace(
        public_host="", api_url="http://hub:8081/hub/api", base_url="/hub/", url="http://hub:8081/hub/"
    )
    orm = SimpleNamespace(name="", server=None, user_options=None, state=None)
    made = spawner.CourseSpawner(
        config=config, _mock=True, user=user, hub=hub, orm_spawner=orm, namespace="course-python-ws26"
    )
    made.api_token = "token"
    made.oauth_client_id = "client"
    made.api = Claims({})
    monkeypatch.setattr(spawner.CourseSpawner, "spawn_queue", None)
    return made


def manifest(course: Any) -> dict[str, Any]:  # noqa: ANN401
    async def get() -> dict[str, Any]:
        made = await course.get_pod_manifest()
        async with ApiClient() as client:
            result: dict[str, Any] = client.sanitize_for_serialization(made)
        return result

    return asyncio.run(get())


def test_user_pod_is_restricted(course: Any) -> None:  # noqa: ANN401
    spec = manifest(course)["spec"]
    assert spec["automountServiceAccountToken"] is False
    assert spec["enableServiceLinks"] is False
    assert spec["restartPolicy"] == "Never"
    assert spec["securityContext"]["runAsNonRoot"] is True
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    (container,) = spec["containers"]
    security = container["securityContext"]
    assert security["runAsUser"] == 1000
    assert security["allowPrivilegeEscalation"] is False
    assert security["readOnlyRootFilesystem"] is True
    assert security["capabilities"] == {"drop": ["ALL"]}
    assert container["resources"]["limits"] == {"cpu": 2, "memory": 2 * 1024**3}
    assert container["resources"]["requests"] == {"cpu": 0.1, "memory": 512 * 1024**2}
    assert {volume["name"] for volume in spec["volumes"]} == {"home", "tmp"}


def test_user_pod_knows_its_course(course: Any) -> None:  # noqa: ANN401
    made = manifest(course)
    environment = {item["name"]: item.get("value") for item in made["spec"]["containers"][0]["env"]}
    assert environment["COURSE_ID"] == "python-ws26"
    assert environment["NGSHARE_URL"] == "http://exchange.course-python-ws26.svc.cluster.local:8080/ngshare"
    assert made["metadata"]["labels"]["component"] == "singleuser-server"
    assert made["metadata"]["name"] == "user-uabcdefgh23456777"
    assert made["spec"]["volumes"][0]["persistentVolumeClaim"]["claimName"] == "home-uabcdefgh23456777"


def watching(course: Any, monkeypatch: pytest.MonkeyPatch, state: dict[str, Any]) -> dict[str, Any]:  # noqa: ANN401
    """Let the spawner see this pod; return the watched pods."""
    pods = {f"course-python-ws26/{course.pod_name}": state}
    monkeypatch.setattr(type(course), "pod_reflector", SimpleNamespace(pods=pods))
    monkeypatch.setattr(type(course), "events", [])
    course._began = time.monotonic()
    return pods


def starting(course: Any, monkeypatch: pytest.MonkeyPatch, states: list[dict[str, Any]]) -> str:  # noqa: ANN401
    """Start while KubeSpawner itself does not come back and the pod goes through these states."""
    pods = watching(course, monkeypatch, {})

    async def forever() -> str:
        await asyncio.sleep(60)
        return "http://late"

    async def run() -> str:
        monkeypatch.setattr(KubeSpawner, "start", lambda _: asyncio.ensure_future(forever()))
        task = asyncio.ensure_future(course.start())
        for state in states:
            pods[f"course-python-ws26/{course.pod_name}"] = state
            await asyncio.sleep(0.4)
        return str(await asyncio.wait_for(task, 5))

    return asyncio.run(run())


def test_a_failed_start_is_told_at_once_and_in_plain_words(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    ended = {**terminated(exitCode=1), "metadata": {"uid": "1"}}
    with pytest.raises(SpawnException) as refused:
        starting(course, monkeypatch, [{"metadata": {"uid": "1"}, **pod()}, ended])
    assert refused.value.jupyterhub_message == "Your server could not start. It ended by itself with exit code 1."


RUNNING = {
    "metadata": {"uid": "2", "name": "x", "annotations": {}},
    "spec": {"containers": [{"name": "notebook", "ports": [{"name": "notebook-port", "containerPort": 8888}]}]},
    "status": {"phase": "Running", "podIP": "127.0.0.1", "containerStatuses": [{"ready": True, "state": {}}]},
}


def test_a_running_pod_ends_the_wait(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    monkeypatch.setattr(type(course), "_until_it_answers", lambda _, url: asyncio.sleep(0))
    assert starting(course, monkeypatch, [{"metadata": {"uid": "2"}, **pod()}, RUNNING]) == "http://127.0.0.1:8888"
    assert course.pod_id == "2"


def removing(course: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: ANN401
    """Let pods be removed; return the uids of those that were."""
    removed: list[str] = []

    async def stop(self: Any, *, now: bool) -> None:  # noqa: ANN401
        assert now
        removed.append(self._pod().get("metadata", {}).get("uid", ""))
        self.pod_reflector.pods.clear()

    monkeypatch.setattr(KubeSpawner, "stop", stop)
    monkeypatch.setattr(type(course), "_until_it_answers", lambda _, url: asyncio.sleep(0))
    return removed


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spawner, "PAUSES", (0.05, 0.1))


def on_node(uid: str, node: str, state: dict[str, Any]) -> dict[str, Any]:
    return {**state, "metadata": {"uid": uid}, "spec": {"nodeName": node}}


def attempts(course: Any, monkeypatch: pytest.MonkeyPatch, pods: list[list[dict[str, Any]]]) -> str:  # noqa: ANN401
    """Start while each pod that KubeSpawner makes goes through its states; the last one is made again and again."""
    key = f"course-python-ws26/{course.pod_name}"
    watched = watching(course, monkeypatch, {})

    async def forever(states: list[dict[str, Any]]) -> str:
        for state in states:
            watched[key] = state
            await asyncio.sleep(0.6)
        await asyncio.sleep(60)
        return "http://late"

    def start(_: Any) -> asyncio.Future[str]:  # noqa: ANN401
        return asyncio.ensure_future(forever(pods.pop(0) if len(pods) > 1 else pods[0]))

    async def run() -> str:
        monkeypatch.setattr(KubeSpawner, "start", start)
        return str(await asyncio.wait_for(course.start(), 20))

    return asyncio.run(run())


@pytest.mark.usefixtures("impatient")
def test_what_nodes_did_not_manage_is_tried_elsewhere(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    removed = removing(course, monkeypatch)
    pods = [[pod(), on_node("1", "w1", FREEZE)], [on_node("3", "w2", FREEZE)], [RUNNING]]
    assert attempts(course, monkeypatch, pods) == "http://127.0.0.1:8888"
    assert removed == ["1", "3"]
    made = manifest(course)
    affinity = made["spec"]["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    avoided = [term["preference"]["matchFields"] for term in affinity]
    assert avoided == [[{"key": "metadata.name", "operator": "NotIn", "values": [node]}] for node in ("w1", "w2")]
    assert "topologySpreadConstraints" not in made["spec"]
    assert made["metadata"]["annotations"]["campus.hubs/attempt"] == "3"


def test_a_first_attempt_goes_anywhere(course: Any) -> None:  # noqa: ANN401
    made = manifest(course)
    assert "nodeAffinity" not in made["spec"].get("affinity", {})
    assert made["spec"]["topologySpreadConstraints"]
    assert made["metadata"]["annotations"]["campus.hubs/attempt"] == "1"


@pytest.mark.usefixtures("impatient")
def test_a_pod_that_a_node_has_lost_is_made_again(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    removing(course, monkeypatch)
    ending = on_node("3", "w2", pod())
    ending["metadata"]["deletionTimestamp"] = "2026-11-29T08:00:00Z"
    replaced = [on_node("1", "w1", pod()), on_node("2", "w1", pod())]
    pods = [replaced, [on_node("3", "w2", pod()), ending], [RUNNING]]
    assert attempts(course, monkeypatch, pods) == "http://127.0.0.1:8888"
    assert course._failed_on == ["w1", "w2"]


@pytest.mark.usefixtures("impatient")
def test_the_starts_own_time_ends_the_attempts(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    """In words, and before the hub's own time-out, which has none."""
    removing(course, monkeypatch)
    course.start_timeout = 2
    with pytest.raises(SpawnException) as error:
        attempts(course, monkeypatch, [[on_node("1", "w1", FREEZE)]])
    said = error.value.jupyterhub_message
    assert said.startswith("Your server could not start. It was not ready within 2 seconds. ")
    assert re.search(r" \d+ attempts failed, the last one so: .*unable to freeze", said)
    assert type(course).spawn_queue._busy == 0


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("status", [503, 403])
def test_an_api_server_that_is_away_is_asked_again(
    course: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    status: int,
) -> None:
    """And one that refuses is not."""
    removing(course, monkeypatch)
    watching(course, monkeypatch, {"metadata": {"uid": "0"}})
    body = json.dumps({"message": "exceeded quota: homes"})
    answers: list[Exception] = [TimeoutError("Could not create PVC home-x"), ApiException(status=status)]
    answers[1].body = body  # type: ignore[attr-defined]

    async def answer() -> str:
        if answers:
            raise answers.pop(0)
        return "http://127.0.0.1:8888"

    async def stop(_: Any, *, now: bool) -> None:  # noqa: ANN401
        raise ConnectionRefusedError

    monkeypatch.setattr(KubeSpawner, "start", lambda _: asyncio.ensure_future(answer()))
    monkeypatch.setattr(KubeSpawner, "stop", stop)
    if status == 503:
        assert asyncio.run(course.start()) == "http://127.0.0.1:8888"
        return
    with pytest.raises(SpawnException, match="The cluster refuses it: exceeded quota: homes"):
        asyncio.run(course.start())


def test_who_waits_for_the_next_attempt_reads_it(
    course: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    removing(course, monkeypatch)
    monkeypatch.setattr(spawner, "PAUSES", (1,))
    watching(course, monkeypatch, {})
    pods = course.pod_reflector.pods
    futures: list[asyncio.Future[str]] = []

    def start(one: Any) -> asyncio.Future[str]:  # noqa: ANN401
        future = one._start_future = asyncio.get_running_loop().create_future()
        futures.append(future)
        uid = len(futures)
        state = FREEZE if uid == 1 else pod()
        pods[f"course-python-ws26/{course.pod_name}"] = on_node(str(uid), "w1", state)
        if uid == 2:
            asyncio.get_running_loop().call_later(0.5, future.set_result, "http://127.0.0.1:8888")
        return future

    async def run() -> list[str]:
        monkeypatch.setattr(KubeSpawner, "start", start)
        monkeypatch.setattr(course, "events_enabled", False)
        task = asyncio.ensure_future(course.start())
        await asyncio.sleep(0.1)
        said = [event["message"] async for event in course.progress()]
        await task
        return said

    (sentence,) = asyncio.run(run())
    assert sentence == (
        "The cluster did not manage to start your server. Attempt 2 follows in 1 s, on another node if there is one. "
        "You need not do anything."
    )


def test_an_interrupted_start_leaves_no_pod(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    """Nor one that has just been asked for: its owner may come in another role, or not at all any more."""
    watching(course, monkeypatch, {})
    removed: list[bool] = []

    async def forever() -> str:
        await asyncio.sleep(60)
        return "http://late"

    async def stop(_: Any, *, now: bool) -> None:  # noqa: ANN401
        removed.append(now)

    async def run() -> None:
        monkeypatch.setattr(KubeSpawner, "start", lambda _: asyncio.ensure_future(forever()))
        monkeypatch.setattr(KubeSpawner, "stop", stop)
        task = asyncio.ensure_future(course.start())
        await asyncio.sleep(0.4)
        task.cancel()
        await asyncio.wait({task})
        assert task.cancelled()

    asyncio.run(run())
    assert removed == [True]
    assert type(course).spawn_queue._busy == 0


@pytest.mark.parametrize(("seconds", "ended"), [(None, None), (-10, None), (30, None), (90, 1)])
def test_a_pod_that_its_node_does_not_end_has_ended(
    course: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    seconds: float | None,
    ended: int | None,
) -> None:
    """The cluster removes the pods of a node that is off, and waits for it to say so; its people start elsewhere."""
    due = datetime.now(UTC) - timedelta(seconds=seconds or 0)
    watching(course, monkeypatch, {"metadata": {"deletionTimestamp": f"{due:%FT%TZ}"} if seconds else {}})
    monkeypatch.setattr(KubeSpawner, "poll", lambda _: asyncio.sleep(0))
    assert asyncio.run(course.poll()) == ended


def test_a_server_that_dies_before_it_answers_is_told(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    watching(course, monkeypatch, terminated(exitCode=1))
    with pytest.raises(SpawnException, match="exit code 1"):
        asyncio.run(course._until_it_answers("http://127.0.0.1:9"))


def test_an_open_port_ends_the_wait(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    watching(course, monkeypatch, pod(phase="Running"))

    async def run() -> float:
        server = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        begin = time.monotonic()
        async with server:
            await course._until_it_answers(f"http://127.0.0.1:{port}")
        return time.monotonic() - begin

    assert asyncio.run(run()) < 2


@pytest.mark.parametrize("role", ["instructor", "teaching_assistant"])
def test_teachers_share_the_courses_volume(course: Any, role: str) -> None:  # noqa: ANN401
    course.user.groups = [SimpleNamespace(name=role)]
    asyncio.run(course._arrange())
    made = manifest(course)
    assert made["metadata"]["labels"]["campus.hubs/grader"] == "true"
    assert {v["name"] for v in made["spec"]["volumes"]} == {"home", "tmp", "course"}
    mounts = {m["name"]: m["mountPath"] for m in made["spec"]["containers"][0]["volumeMounts"]}
    assert mounts == {"home": "/home/jovyan", "tmp": "/tmp", "course": "/srv/course"}  # noqa: S108
    (together,) = made["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    assert together["labelSelector"]["matchLabels"] == {"campus.hubs/grader": "true"}


def test_a_tutor_who_is_a_student_again_has_nothing_of_it(course: Any) -> None:  # noqa: ANN401
    asyncio.run(course._arrange())
    course.user.groups = [SimpleNamespace(name="student")]
    asyncio.run(course._arrange())
    made = manifest(course)
    assert "campus.hubs/grader" not in made["metadata"]["labels"]
    assert {v["name"] for v in made["spec"]["volumes"]} == {"home", "tmp"}
    assert "podAffinity" not in made["spec"].get("affinity", {})


@pytest.mark.parametrize(
    ("home", "shared", "wanted"),
    [
        (on("w1"), on("w1"), "home-uabcdefgh23456777"),
        (on("w1"), on("w2"), "home-uabcdefgh23456777-staff"),
        (on("w1", "ceph"), on("w2", "ceph"), "home-uabcdefgh23456777"),
        (None, on("w2"), "home-uabcdefgh23456777"),
        (on("w1"), None, "home-uabcdefgh23456777"),
    ],
)
def test_a_home_that_cannot_move_is_kept_beside_a_second_one(
    course: Any,  # noqa: ANN401
    home: dict[str, str] | None,
    shared: dict[str, str] | None,
    wanted: str,
) -> None:
    claims = {"home-uabcdefgh23456777": home, "course": shared}
    course.api = Claims({name: notes for name, notes in claims.items() if notes is not None})
    asyncio.run(course._arrange())
    assert course.pvc_name == wanted
    volumes = {v["name"]: v for v in manifest(course)["spec"]["volumes"]}
    assert volumes["home"]["persistentVolumeClaim"]["claimName"] == wanted
    assert bool(course._note) == wanted.endswith("-staff")


def test_starts_wait_for_their_turn_in_the_order_they_came() -> None:
    async def run() -> None:
        spawn_queue = spawner.SpawnQueue(2)
        tickets = [spawn_queue.ticket() for _ in range(5)]
        assert [ticket.done() for ticket in tickets] == [True, True, False, False, False]
        assert [spawn_queue.place(ticket) for ticket in tickets] == [0, 0, 1, 2, 3]
        # Somebody gives up; who is behind moves up.
        spawn_queue.leave(tickets[2])
        assert spawn_queue.place(tickets[4]) == 2
        spawn_queue.leave(tickets[0])
        assert [ticket.done() for ticket in tickets[3:]] == [True, False]
        for ticket in (tickets[1], tickets[3]):
            spawn_queue.leave(ticket)
        assert tickets[4].done()
        # Lecturers and tutors are before students who came earlier, and not before each other.
        held, student, lecturer, tutor = (spawn_queue.ticket(first=first) for first in (False, False, True, True))
        assert [spawn_queue.place(ticket) for ticket in (held, lecturer, tutor, student)] == [0, 1, 2, 3]
        for ticket in (lecturer, tutor, student, held):
            spawn_queue.leave(ticket)
        spawn_queue.leave(tickets[4])
        # All turns are free again, not more.
        assert [spawn_queue.ticket().done() for _ in range(3)] == [True, True, False]

    asyncio.run(run())


def test_who_waits_reads_the_place(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    async def nothing(_: Any) -> Any:  # noqa: ANN401
        for event in [{"message": "never"}][1:]:
            yield event

    async def run() -> list[str]:
        monkeypatch.setattr(KubeSpawner, "progress", nothing)
        spawn_queue = type(course).spawn_queue = spawner.SpawnQueue(1)
        first, second, course._ticket = spawn_queue.ticket(), spawn_queue.ticket(), spawn_queue.ticket()
        said = []

        async def read() -> None:
            async for event in course.progress():
                said.append(event["message"])

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0.3)
        spawn_queue.leave(first)
        await asyncio.sleep(0.4)
        spawn_queue.leave(second)
        await asyncio.wait_for(reading, 2)
        return said

    said = asyncio.run(run())
    assert [text.split(":")[0] for text in said] == ["Number 2 of 2 who wait", "Number 1 of 1 who wait"]


@pytest.fixture
def room(course: Any, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    """Let the course have a room whose makers do nothing."""
    made = hubs_room.Room("http://127.0.0.1:9", "token")

    async def nothing() -> None:
        pass

    monkeypatch.setattr(made, "make", nothing)
    monkeypatch.setattr(type(course), "room", made)
    return made


def test_who_finds_no_room_waits_without_holding_up_others(
    course: Any,  # noqa: ANN401
    room: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With their place, not the scheduler's words, and for longer than warnings may last."""
    course.patience = 1
    pods = watching(course, monkeypatch, {})
    key = f"course-python-ws26/{course.pod_name}"
    full = {**UNSCHEDULABLE, "metadata": {"uid": "1"}}
    full["spec"] = {"containers": [{"resources": {"requests": {"cpu": "100m", "memory": "512Mi"}}}]}
    event = {"reason": "FailedScheduling", "message": FULL, "type": "Warning"}

    async def progress(_: Any) -> Any:  # noqa: ANN401
        yield {"progress": 30, "raw_event": event, "message": f"now [Warning] {FULL}"}
        await asyncio.sleep(30)

    async def forever() -> str:
        pods[key] = full
        await asyncio.sleep(60)
        return "http://late"

    async def run() -> list[str]:
        monkeypatch.setattr(KubeSpawner, "progress", progress)
        monkeypatch.setattr(KubeSpawner, "start", lambda _: asyncio.ensure_future(forever()))
        monkeypatch.setattr(type(course), "_until_it_answers", lambda _, url: asyncio.sleep(0))
        before = room.join(full, {"cpu"}, staff=True)
        student = room.join(full, {"cpu"}, staff=False)
        task = asyncio.ensure_future(course.start())
        said = []

        async def read() -> None:
            async for event in course.progress():
                said.append(event["message"])

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(2)
        assert type(course).spawn_queue._busy == 0
        assert room.says(student).startswith("The cluster is full. You are number 3 of 3 who wait")
        assert course._place.need == {"cpu": 0.1}
        room.leave(before)
        await asyncio.sleep(0.6)
        pods[key] = {**RUNNING, "metadata": {"uid": "1", "name": "x", "annotations": {}}}
        assert await asyncio.wait_for(task, 5) == "http://127.0.0.1:8888"
        assert len(room) == 1
        reading.cancel()
        return said

    said = asyncio.run(run())
    assert [text.split(". ")[1] for text in said] == [
        "You are number 2 of 3 who wait for room",
        "You are number 1 of 2 who wait for room",
    ]


def test_who_gets_no_room_in_time_reads_so(course: Any, room: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    removing(course, monkeypatch)
    course.start_timeout = 1
    with pytest.raises(SpawnException) as error:
        attempts(course, monkeypatch, [[{**UNSCHEDULABLE, "metadata": {"uid": "1"}, "spec": {}}]])
    assert error.value.jupyterhub_message == (
        "Your server could not start. The cluster is full. There was no room within 1 seconds. "
        "Try again in some minutes."
    )
    assert len(room) == 0


def test_beyond_the_courses_limit_students_wait_and_staff_does_not(
    course: Any,  # noqa: ANN401
    room: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course.max_servers, course.user.groups = 2, []
    others = [SimpleNamespace(active=True, seated=False, pending=None) for _ in range(9)]
    others.append(SimpleNamespace(active=True, seated=False, pending="spawn"))
    spawners: dict[int, Any] = {0: course, 1: others[0], 9: others[9]}
    hub = SimpleNamespace(users={"all": SimpleNamespace(spawners=spawners)})
    monkeypatch.setattr(JupyterHub, "instance", lambda: hub)
    monkeypatch.setattr(type(course), "active", True)
    monkeypatch.setattr(type(course), "pending", "spawn")
    removing(course, monkeypatch)
    url = "http://127.0.0.1:8888"

    async def started(_: Any) -> str:  # noqa: ANN401
        return url

    async def run() -> None:
        monkeypatch.setattr(type(course), "_start_pod", started)
        # Neither this one's own start counts, nor one that has not come so far.
        assert await asyncio.wait_for(course.start(), 5) == url
        assert course.seated
        spawners[2] = others[2]
        waits = [asyncio.ensure_future(course.start())]
        await asyncio.sleep(0.5)
        (place,) = room._waiting
        assert place.need == {"pods": 1}
        assert room.says(place).startswith("As many servers of the course run as may. You are number 1 of 1")
        assert type(course).spawn_queue._busy == 0
        assert room.on_nodes() == 0
        # A server ends: whoever comes next stands behind this one.
        del spawners[1]
        assert not room.has_seat(2)
        assert room.has_seat(3)
        assert await asyncio.wait_for(waits[0], 5) == url
        assert len(room) == 0
        spawners.update(enumerate(others[:9], 1))
        course.user.groups.append(SimpleNamespace(name="instructor"))
        assert await asyncio.wait_for(course.start(), 5) == url

    asyncio.run(run())


class Start:
    """A student's start as the real one is, but for the pod."""

    spawn_queue: Any = None
    room: Any = None
    concurrent_starts, start_timeout, max_servers = 3, 300, 0
    teaches, seated, active = False, False, True
    priority_classes: ClassVar[dict[str, str]] = {}
    authenticator, log = None, logging.getLogger("test")
    _note = _pause = _full = ""
    _place = _ticket = None

    def __init__(self, name: str, begun: list[Start]) -> None:
        """Have clicked, as far as the hub knows."""
        self.user = SimpleNamespace(name=name)
        self.pending: str | None = "spawn"
        self.begun = begun
        self.goes_on = asyncio.Event()

    async def _arrange(self) -> None:
        pass

    async def _remove(self) -> None:
        pass

    async def _start_pod(self) -> str:
        self.begun.append(self)
        await self.goes_on.wait()
        self.begun.remove(self)
        self.pending = None
        return "url"


@pytest.mark.parametrize(
    ("clicks", "idle", "give_way"), [(9, 0, 0), (11, 0, 0), (25, 0, 0), (11, 5, 5), (7, 4, 1), (5, 5, 0)]
)
def test_a_class_beyond_the_limit_starts_in_turns(
    monkeypatch: pytest.MonkeyPatch, clicks: int, idle: int, give_way: int
) -> None:
    """Ten may run. Who waits for a turn has a seat, so no idle server gives way but for who is beyond the limit."""
    real = spawner.CourseSpawner
    for name in ("start", "_attempts", "_turn", "_wait_for_a_seat", "_give_turn_back", "_leave_room"):
        monkeypatch.setattr(Start, name, getattr(real, name), raising=False)
    monkeypatch.setattr(Start, "spawn_queue", None)
    monkeypatch.setattr(Start, "max_servers", 10)
    monkeypatch.setattr(spawner, "LOOK", 0.01)
    monkeypatch.setattr(hubs_room, "LOOK", 0.01)
    begun: list[Start] = []

    async def run() -> None:
        starts = [Start(f"u{n}", begun) for n in range(clicks)]
        unused = {f"old{n}": SimpleNamespace(active=True, seated=False, pending=None) for n in range(idle)}
        everybody = {start.user.name: start for start in starts} | unused
        users = SimpleNamespace(values=lambda: [SimpleNamespace(spawners=everybody)])
        hub = SimpleNamespace(users=users, log=logging.getLogger("test"))
        monkeypatch.setattr(JupyterHub, "instance", lambda: hub)
        monkeypatch.setattr(
            hubs_room,
            "idle_servers",
            lambda _: [hubs_room.Server(f"user-{n}", "w1", 900.0, {"pods": 1.0}, n) for n in everybody if n in unused],
        )
        monkeypatch.setattr(hubs_room, "cell_runs", lambda _: asyncio.sleep(0, result=False))
        room = hubs_room.Room("http://127.0.0.1:9", "token")
        monkeypatch.setattr(Start, "room", room)
        stopped: list[str] = []

        async def stop(server: Any) -> None:  # noqa: ANN401
            stopped.append(server.user)
            del everybody[server.user]

        monkeypatch.setattr(room, "_stop", stop)
        at_last = min(clicks, 10 - idle + give_way)
        tasks = [asyncio.ensure_future(Start.start(start)) for start in starts]  # type: ignore[attr-defined]
        done, most, quiet = 0, 0, 0
        while quiet < 10:
            await asyncio.sleep(0.01)
            most = max(most, len(begun))
            assert len(begun) <= Start.concurrent_starts
            assert hubs_room.seats_taken() <= 10
            quiet = 0 if begun else quiet + 1
            for start in list(begun):
                start.goes_on.set()
                done += 1
            await asyncio.sleep(0)
        assert (done, most, len(stopped)) == (at_last, min(3, clicks), give_way)
        assert len(room) == clicks - at_last
        # Seats that become free at once start by turns as well.
        for start in [start for start in starts if start.pending is None]:
            start.active = False
        await asyncio.sleep(0.05)
        assert len(begun) == min(3, clicks - at_last)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(run())


def test_who_has_a_seat_reads_the_place_for_a_turn(
    course: Any,  # noqa: ANN401
    room: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    course.max_servers, course.user.groups = 1, []
    free: list[bool] = []
    monkeypatch.setattr(room, "has_seat", lambda *_: bool(free))
    removing(course, monkeypatch)

    async def progress(_: Any) -> Any:  # noqa: ANN401
        for event in [{"message": "never"}][1:]:
            yield event
        await asyncio.sleep(30)

    async def run() -> list[str]:
        monkeypatch.setattr(KubeSpawner, "progress", progress)
        spawn_queue = type(course).spawn_queue = spawner.SpawnQueue(1)
        spawn_queue.ticket()
        said: list[str] = []

        async def read() -> None:
            async for event in course.progress():
                said.append(event["message"])

        tasks = [asyncio.ensure_future(course.start()), asyncio.ensure_future(read())]
        await asyncio.sleep(0.6)
        free.append(True)
        await asyncio.sleep(0.9)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        return said

    said = asyncio.run(run())
    assert [text.split(". ")[0].split(":")[0] for text in said] == [
        "As many servers of the course run as may",
        "Number 1 of 1 who wait",
    ]


@pytest.mark.parametrize(
    ("claims", "grader", "nodes"),
    [
        ([on("w1"), on("w1")], "", {"w1"}),
        ([None, on("w2")], "", {"w2"}),
        ([on("w1", "ceph"), None], "w3", {"w3"}),
        ([None, None], "", None),
    ],
)
def test_room_has_to_be_where_the_volumes_are(
    course: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
    claims: list[dict[str, str] | None],
    grader: str,
    nodes: set[str] | None,
) -> None:
    pods = watching(course, monkeypatch, {"metadata": {}})
    if grader:
        labels = {"campus.hubs/grader": "true"}
        pods["other"] = {"metadata": {"labels": labels}, "spec": {"nodeName": grader}}
    named = zip(("home-uabcdefgh23456777", "course"), claims, strict=True)
    course.api = Claims({name: notes for name, notes in named if notes is not None})
    asyncio.run(course._arrange())
    assert asyncio.run(course._only_nodes()) == nodes


CLASSES = {"staff": "campus-hubs-staff", "student": "campus-hubs-student"}


@pytest.mark.parametrize(("role", "name"), [("instructor", "staff"), ("teaching_assistant", "staff"), ("x", "student")])
def test_the_class_is_the_roles(course: Any, role: str, name: str) -> None:  # noqa: ANN401
    course.priority_classes = CLASSES
    for _ in range(2):
        course.user.groups = [SimpleNamespace(name=role)]
        asyncio.run(course._arrange())
        assert manifest(course)["spec"]["priorityClassName"] == CLASSES[name]
    # A profile's own.
    course.priority_class_name = "own"
    asyncio.run(course._arrange())
    assert manifest(course)["spec"]["priorityClassName"] == "own"


def test_a_cluster_without_the_classes_starts_servers_all_the_same(
    course: Any,  # noqa: ANN401
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    removing(course, monkeypatch)
    watching(course, monkeypatch, {"metadata": {"uid": "0"}})
    course.priority_classes = CLASSES
    asked: list[str] = []

    async def answer() -> str:
        asked.append(course.priority_class_name)
        if course.priority_class_name:
            error = ApiException(status=403)
            error.body = b'{"message": "no PriorityClass with name campus-hubs-staff was found"}'
            raise error
        return "http://127.0.0.1:8888"

    monkeypatch.setattr(KubeSpawner, "start", lambda _: asyncio.ensure_future(answer()))
    assert asyncio.run(course.start()) == "http://127.0.0.1:8888"
    assert asked == ["campus-hubs-staff", ""]


def test_a_failed_start_gives_its_turn_back(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    ended = {**terminated(exitCode=1), "metadata": {"uid": "1"}}
    for _ in range(2):
        with pytest.raises(SpawnException):
            starting(course, monkeypatch, [{"metadata": {"uid": "1"}, **pod()}, ended])
        assert type(course).spawn_queue._busy == 0


SHARED_DATA = [
    {"name": "images", "mountPath": "/data", "claim": "shared-images-1", "writableBy": []},
    {"name": "tools", "mountPath": "/tools", "claim": "tools", "writableBy": ["instructor", "teaching_assistant"]},
    {"name": "board", "mountPath": "/board", "claim": "board", "writableBy": ["student"]},
]


@pytest.mark.parametrize(
    ("role", "writable"),
    [("instructor", {"/tools"}), ("teaching_assistant", {"/tools"}), ("student", {"/board"}), ("", {"/board"})],
)
def test_shared_data_is_writable_by_role(course: Any, role: str, writable: set[str]) -> None:  # noqa: ANN401
    course.shared_volumes = SHARED_DATA
    # A start in another role before leaves nothing of it.
    asyncio.run(course.load_user_options())
    course.user.groups = [SimpleNamespace(name=role)] if role else []
    asyncio.run(course.load_user_options())
    spec = manifest(course)["spec"]
    claims = {v["name"]: v["persistentVolumeClaim"]["claimName"] for v in spec["volumes"] if v["name"] != "tmp"}
    course_volume = {"course": "course"} if role and role != "student" else {}
    assert claims == {
        "home": "home-uabcdefgh23456777",
        **course_volume,
        **{f"shared-{shared['name']}": shared["claim"] for shared in SHARED_DATA},
    }
    mounts = spec["containers"][0]["volumeMounts"]
    assert len({mount["mountPath"] for mount in mounts}) == len(mounts)
    shared = {
        mount["mountPath"]: mount.get("readOnly", False)
        for mount in mounts
        if mount["name"] in {*claims} - {"home", "course"}
    }
    assert shared == {path: path not in writable for path in ("/data", "/tools", "/board")}


def test_a_profile_takes_away_neither_home_nor_course(course: Any) -> None:  # noqa: ANN401
    """KubeSpawner applies a profile during the start, after what the role gave."""
    override = {"volume_mounts": [{"name": "d", "mountPath": "/d"}], "volumes": [{"name": "d", "emptyDir": {}}]}
    ours = settings.with_ours(
        [{"display_name": "A", "kubespawner_override": override}], {t: getattr(course, t) for t in override}
    )
    course.profile_list = ours
    asyncio.run(course._arrange())
    asyncio.run(course.load_user_options())
    spec = manifest(course)["spec"]
    assert {volume["name"] for volume in spec["volumes"]} == {"home", "tmp", "course", "d"}
    mounts = {mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]}
    assert mounts == {"/home/jovyan", "/tmp", "/srv/course", "/d"}  # noqa: S108


def test_an_affinity_of_one_s_own_stays(course: Any) -> None:  # noqa: ANN401
    mine = {"labelSelector": {"matchLabels": {"a": "b"}}, "topologyKey": "zone"}
    course.pod_affinity_required = [mine]
    for groups, count in ((["instructor"], 2), (["student"], 1), (["instructor"], 2)):
        course.user.groups = [SimpleNamespace(name=name) for name in groups]
        asyncio.run(course._arrange())
        terms = manifest(course)["spec"]["affinity"]["podAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
        assert len(terms) == count
        assert terms[0]["topologyKey"] == "zone"
