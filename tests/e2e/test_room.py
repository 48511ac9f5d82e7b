"""A full cluster: idle students' servers give way to a lecturer, none in which a cell runs, and who waits knows where.

The room is taken by pods beside the courses, so no class of thirty is needed.
"""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlencode

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI13_COURSE
from tests.e2e.lti import Lms, Person
from tests.e2e.waiting import wait_for

COURSE = LTI13_COURSE
NAMESPACE = "room-filler"
# Less than any server asks for.
LEFT = 0.05
COUNT = "import time\nfor i in range(600):\n    open('ticks', 'a').write('x'); time.sleep(0.5)"


def cores(written: str | None) -> float:
    """Read a number of cores."""
    text = written or "0"
    return float(text[:-1]) / 1000 if text.endswith("m") else float(text)


def free(cluster: Cluster, node: str) -> float:
    """Return the cores of a node that nobody requests."""
    there = cores(cluster.core.read_node(node).status.allocatable["cpu"])
    pods = cluster.core.list_pod_for_all_namespaces(
        field_selector=f"spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
    ).items
    asked = [container.resources.requests or {} for pod in pods for container in pod.spec.containers]
    return there - sum(cores(requests.get("cpu")) for requests in asked)


@pytest.fixture
def fill(cluster: Cluster, lms: Lms) -> Iterator[Any]:
    """Take all room that is left on the workers; give it back at the end. Servers are stopped before and after."""
    assert lms
    cluster.stop_servers(COURSE)
    image = cluster.core.read_namespaced_config_map("course-images", "campus-hubs").data["singleuser"]
    cluster.core.create_namespace({"metadata": {"name": NAMESPACE}})

    def take() -> None:
        for node in cluster.workers():
            requests = {"cpu": f"{int((free(cluster, node) - LEFT) * 1000)}m"}
            container = {"name": "filler", "image": image, "command": ["sleep", "3600"]}
            container |= {"resources": {"requests": requests}}
            spec = {"nodeName": node, "terminationGracePeriodSeconds": 0, "containers": [container]}
            cluster.core.create_namespaced_pod(NAMESPACE, {"metadata": {"name": f"filler-{node}"}, "spec": spec})
        running = "status.phase=Running"
        count = len(cluster.workers())
        wait_for(
            "the cluster to be full",
            lambda: len(cluster.core.list_namespaced_pod(NAMESPACE, field_selector=running).items) == count,
            60,
        )

    yield take
    cluster.core.delete_namespace(NAMESPACE)
    cluster.stop_servers(COURSE)
    wait_for(
        "the room to be free again",
        lambda: NAMESPACE not in {item.metadata.name for item in cluster.core.list_namespace().items},
        90,
    )


def messages(person: Person, *, until: str = "", timeout: float = 240) -> list[str]:
    """Read the progress of a start until it is ready, or says something; it must not fail."""
    path = f"/hub/api/users/{person.name}/server/progress?{urlencode({'_xsrf': person._xsrf('/hub/')})}"
    said: list[str] = []
    end = time.monotonic() + timeout
    with person._request("GET", path, stream=True, timeout=timeout) as stream:
        for line in stream.iter_lines():
            if line.startswith(b"data:"):
                event = json.loads(line[5:])
                said.append(event.get("message", ""))
                assert not event.get("failed"), said
                assert "nodes are available" not in json.dumps(event), event
                if event.get("ready") or (until and until in said[-1]):
                    return said
            assert time.monotonic() < end, said
    raise AssertionError(f"the progress ended: {said}")


@pytest.mark.full
def test_idle_students_give_way_and_who_waits_knows_where(cluster: Cluster, lms: Lms, fill: Any) -> None:  # noqa: ANN401
    """Once there is a course's volume, whose node lecturers cannot leave."""
    lms.enter_lab(COURSE, "lecturer")
    pod = next(
        pod for pod in cluster.pods(f"course-{COURSE}", "user-") if pod.metadata.labels.get("campus.hubs/grader")
    )
    node = pod.spec.node_name
    cluster.stop_servers(COURSE)
    time.sleep(10)  # the hub looks for ended servers every few seconds
    people = [f"student-{number}" for number in range(61, 67)]
    with ThreadPoolExecutor(3) as pool:
        students = list(pool.map(lambda person: lms.enter_lab(COURSE, person), people))
    beside = [student for student in students if cluster.user_pod(COURSE, student.name).spec.node_name == node]
    assert len(beside) >= 2, f"want two servers on {node}, where the course's volume is"
    busy, idle = beside[0], beside[1:]
    with ThreadPoolExecutor(1) as pool:
        cell = pool.submit(lambda: busy.run_cell(COUNT, 420))
        fill()
        lecturer = lms.enter(COURSE, "lecturer")
        said = messages(lecturer)
        assert any("You are number 1 of 1 who wait for room" in text for text in said), said
        lecturer.open_lab()
        there = {
            pod.metadata.annotations["hub.jupyter.org/username"] for pod in cluster.pods(f"course-{COURSE}", "user-")
        }
        assert len([student for student in idle if student.name not in there]) == 1
        assert {student.name for student in students} - there <= {student.name for student in idle}
        before = len(busy.get_file("ticks"))
        wait_for("the cell to go on", lambda: len(busy.get_file("ticks")) > before, 10)
        # Nobody is idle for long enough that a student would give way to another: they wait, in the order they came.
        waiting = [lms.enter(COURSE, person) for person in ("student-68", "student-69")]
        read = [messages(person, until="You are number", timeout=60)[-1] for person in waiting]
        places = [re.search(r"number (\d) of (\d)", text) for text in read]
        assert [place[1] for place in places if place] == ["1", "2"], read
        for person in waiting:
            # Whose pod is only deleted gets another one.
            person._request("DELETE", f"/hub/api/users/{person.name}/server")
        for kernel in busy._request("GET", f"/user/{busy.name}/api/kernels").json():
            busy._request("DELETE", f"/user/{busy.name}/api/kernels/{kernel['id']}")
        cell.exception(30)
