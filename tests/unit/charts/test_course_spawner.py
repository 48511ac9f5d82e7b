"""When a server's start is given up, what its user reads, and the pod that is asked for."""

from __future__ import annotations

import asyncio
import json
import time
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from jupyterhub.spawner import SpawnException
from kubernetes_asyncio.client import ApiClient, ApiException
from kubespawner import KubeSpawner
from traitlets.config import Config

from tests.unit.charts.conftest import chart_module

if TYPE_CHECKING:
    from types import ModuleType

    from tests.unit.charts.conftest import Template

PATIENCE = 45


@pytest.fixture(scope="module")
def spawner() -> ModuleType:
    return chart_module("course_spawner")


def pod(**status: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"metadata": {}, "status": {"phase": "Pending", **status}}


def waiting(reason: str) -> dict[str, Any]:
    return pod(containerStatuses=[{"state": {"waiting": {"reason": reason, "message": "details"}}}])


def terminated(**state: Any) -> dict[str, Any]:  # noqa: ANN401
    return pod(phase="Failed", containerStatuses=[{"state": {"terminated": state}}])


WARNING = {"type": "Warning", "reason": "FailedMount", "message": "no such volume"}
NORMAL = {"type": "Normal", "reason": "Pulling", "message": "pulling image"}
UNSCHEDULABLE = pod(conditions=[{"type": "PodScheduled", "reason": "Unschedulable", "message": "Insufficient memory"}])


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
def test_the_end_is_told_at_once(
    spawner: ModuleType, case: dict[str, Any], events: list[dict[str, str]], reason: str
) -> None:
    assert reason in spawner.why_not(case, events, 0, PATIENCE)


@pytest.mark.parametrize(
    ("case", "events", "reason"),
    [
        (waiting("ErrImagePull"), [], "ErrImagePull: details"),
        (UNSCHEDULABLE, [], "no room for it on the cluster: Insufficient memory"),
        (waiting("ContainerCreating"), [NORMAL, WARNING], "FailedMount: no such volume"),
        (None, [WARNING], "no such volume"),
    ],
)
def test_a_hold_up_has_its_time(
    spawner: ModuleType, case: dict[str, Any] | None, events: list[dict[str, str]], reason: str
) -> None:
    assert spawner.why_not(case, events, PATIENCE - 1, PATIENCE) is None
    assert reason in spawner.why_not(case, events, PATIENCE, PATIENCE)


@pytest.mark.parametrize(
    ("case", "events"),
    [
        (None, []),
        (pod(), []),
        (waiting("ContainerCreating"), [WARNING, NORMAL]),
        (pod(phase="Running", containerStatuses=[{"state": {"running": {}}}]), [NORMAL]),
    ],
)
def test_whoever_just_waits_goes_on(
    spawner: ModuleType, case: dict[str, Any] | None, events: list[dict[str, str]]
) -> None:
    assert spawner.why_not(case, events, 10 * PATIENCE, PATIENCE) is None


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
def course(spawner: ModuleType, template: Template, monkeypatch: pytest.MonkeyPatch) -> Any:  # noqa: ANN401
    """Return a CourseSpawner as the chart's defaults make it, without a cluster."""
    for function in ("load_config", "shared_client"):
        monkeypatch.setattr(f"kubespawner.spawner.{function}", lambda *_, **__: None)
    values = next(
        m
        for m in yaml.safe_load_all(template("minimal"))
        if m and (m["kind"], m["metadata"]["name"]) == ("ConfigMap", "hub")
    )["data"]
    secret = {"cookie-secret": "00", "crypt-key": "11", "proxy-token": "22", "exchange-token": "33"}
    config = Config(chart_module("jupyterhub_config").settings(json.loads(values["values.json"]), secret))
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
    monkeypatch.setattr(spawner.CourseSpawner, "turns", None)
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
NEVER_RAN = {**terminated(exitCode=128, reason="StartError", message="unable to freeze"), "metadata": {"uid": "1"}}


def test_a_running_pod_ends_the_wait(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    monkeypatch.setattr(type(course), "_until_it_answers", lambda _, url: asyncio.sleep(0))
    assert starting(course, monkeypatch, [{"metadata": {"uid": "2"}, **pod()}, RUNNING]) == "http://127.0.0.1:8888"
    assert course.pod_id == "2"


def removing(course: Any, monkeypatch: pytest.MonkeyPatch) -> list[str]:  # noqa: ANN401
    """Let pods be removed; return the uids of those that were."""
    removed: list[str] = []

    async def stop(self: Any, *, now: bool) -> None:  # noqa: ANN401
        assert now
        removed.append(self._pod()["metadata"]["uid"])
        self.pod_reflector.pods.clear()

    monkeypatch.setattr(KubeSpawner, "stop", stop)
    monkeypatch.setattr(type(course), "_until_it_answers", lambda _, url: asyncio.sleep(0))
    return removed


def test_what_a_node_did_not_start_gets_a_second_pod(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    removed = removing(course, monkeypatch)
    assert starting(course, monkeypatch, [pod(), NEVER_RAN, RUNNING]) == "http://127.0.0.1:8888"
    assert removed == ["1"]


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
    assert type(course).turns._busy == 0


def test_there_is_no_third_pod(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    removed = removing(course, monkeypatch)
    with pytest.raises(SpawnException, match=r"exit code 128\. unable to freeze"):
        starting(course, monkeypatch, [pod(), NEVER_RAN, {**NEVER_RAN, "metadata": {"uid": "2"}}, RUNNING])
    assert removed == ["1"]


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


def test_starts_wait_for_their_turn_in_the_order_they_came(spawner: ModuleType) -> None:
    async def run() -> None:
        turns = spawner.Turns(2)
        tickets = [turns.ticket() for _ in range(5)]
        assert [ticket.done() for ticket in tickets] == [True, True, False, False, False]
        assert [turns.place(ticket) for ticket in tickets] == [0, 0, 1, 2, 3]
        # Somebody gives up; who is behind moves up.
        turns.leave(tickets[2])
        assert turns.place(tickets[4]) == 2
        turns.leave(tickets[0])
        assert [ticket.done() for ticket in tickets[3:]] == [True, False]
        for ticket in (tickets[1], tickets[3]):
            turns.leave(ticket)
        assert tickets[4].done()
        turns.leave(tickets[4])
        # All turns are free again, not more.
        assert [turns.ticket().done() for _ in range(3)] == [True, True, False]

    asyncio.run(run())


def test_who_waits_reads_the_place(course: Any, spawner: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    async def nothing(_: Any) -> Any:  # noqa: ANN401
        for event in [{"message": "never"}][1:]:
            yield event

    async def run() -> list[str]:
        monkeypatch.setattr(KubeSpawner, "progress", nothing)
        turns = type(course).turns = spawner.Turns(1)
        first, second, course._ticket = turns.ticket(), turns.ticket(), turns.ticket()
        said = []

        async def read() -> None:
            async for event in course.progress():
                said.append(event["message"])

        reading = asyncio.ensure_future(read())
        await asyncio.sleep(0.3)
        turns.leave(first)
        await asyncio.sleep(0.4)
        turns.leave(second)
        await asyncio.wait_for(reading, 2)
        return said

    said = asyncio.run(run())
    assert [text.split(":")[0] for text in said] == ["Number 2 of 2 who wait", "Number 1 of 1 who wait"]


def test_a_failed_start_gives_its_turn_back(course: Any, monkeypatch: pytest.MonkeyPatch) -> None:  # noqa: ANN401
    ended = {**terminated(exitCode=1), "metadata": {"uid": "1"}}
    for _ in range(2):
        with pytest.raises(SpawnException):
            starting(course, monkeypatch, [{"metadata": {"uid": "1"}, **pod()}, ended])
        assert type(course).turns._busy == 0
