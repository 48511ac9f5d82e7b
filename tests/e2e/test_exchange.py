"""The exchange killed at random under a stream of submissions: what it has acknowledged is there, byte for byte."""

from __future__ import annotations

import json
import random
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI13_COURSE
from tests.e2e.lti import Lms
from tests.e2e.nodes import on_node
from tests.e2e.test_recovery import replaced
from tests.e2e.waiting import wait_for

COURSE = LTI13_COURSE
NAMESPACE = f"course-{COURSE}"
STUDENTS = ["student-621", "student-622"]
SECONDS_PER_KILL = 12
# Runs in people's kernels, in front of what each of them does.
CLIENT = """
import base64, hashlib, json, os, time, requests
session = requests.Session()
session.headers["Authorization"] = "token " + os.environ["JUPYTERHUB_API_TOKEN"]
def call(method, path, **options):
    return session.request(method, os.environ["NGSHARE_URL"] + path, timeout=20, **options).json()
def files(content):
    text = base64.b64encode(content).decode()
    return {"files": json.dumps([{"path": "work.bin", "content": text, "checksum": hashlib.md5(content).hexdigest()}])}
course, assignment = %r, %r
"""
RELEASE = 'print(call("POST", f"/assignment/{course}/{assignment}", data=files(b"task")))'
# Sends until the file `stop` is there; prints what was acknowledged.
SUBMIT = """
acknowledged, refused = [], 0
while not os.path.exists("stop-" + assignment):
    content = os.urandom(3000)
    try:
        answer = call("POST", f"/submission/{course}/{assignment}", data=files(content))
    except (requests.RequestException, ValueError):
        answer = {}
    if answer.get("success"):
        acknowledged.append([answer["timestamp"], hashlib.sha256(content).hexdigest()])
    else:
        refused += 1
    time.sleep(0.05)
print(json.dumps({"acknowledged": acknowledged, "refused": refused}))
"""
# Reads what was acknowledged; prints what is not as it was sent.
COMPARE = """
lost = []
for timestamp, digest in json.load(open("acknowledged-" + assignment)):
    path = f"/submission/{course}/{assignment}/{os.environ['JUPYTERHUB_USER']}"
    found = call("GET", path, params={"timestamp": timestamp})
    contents = [base64.b64decode(file["content"]) for file in found.get("files", [])]
    if [hashlib.sha256(content).hexdigest() for content in contents] != [digest]:
        lost.append([timestamp, str(found)[:200]])
print(json.dumps(lost))
"""


def kill_process(cluster: Cluster) -> None:
    """Kill the exchange's process as a power cut does, and have a new pod, so that restarts are not held back."""
    pod = wait_for("one exchange", lambda: cluster.pod(NAMESPACE, "exchange-"), 60)
    identifier = pod.status.container_statuses[0].container_id.removeprefix("containerd://")
    on_node(pod.spec.node_name, f"ctr --namespace k8s.io tasks kill --signal SIGKILL {identifier}")
    cluster.core.delete_namespaced_pod(pod.metadata.name, NAMESPACE, grace_period_seconds=0)
    wait_for("a new exchange", lambda: replaced(cluster, pod), 120)


@pytest.mark.parametrize("kills", [pytest.param(2, marks=pytest.mark.short), pytest.param(20, marks=pytest.mark.full)])
def test_what_is_acknowledged_is_there(cluster: Cluster, lms: Lms, kills: int) -> None:
    seed = random.randrange(100_000)  # noqa: S311
    print(f"\n{kills} kills, seed {seed}", flush=True)
    moments = random.Random(seed)  # noqa: S311
    assignment = f"kill-{uuid.uuid4().hex[:8]}"
    client = CLIENT % (COURSE, assignment)
    lecturer = lms.enter_lab(COURSE, "lecturer")
    released = wait_for("the release", lambda: lecturer.run_cell(client + RELEASE), 60)
    assert "'success': True" in released, released
    people = [lms.enter_lab(COURSE, key) for key in STUDENTS]
    timeout = 120 + kills * SECONDS_PER_KILL * 3
    with ThreadPoolExecutor(len(people)) as pool:
        streams = [pool.submit(person.run_cell, client + SUBMIT, timeout) for person in people]
        try:
            for _ in range(kills):
                time.sleep(moments.uniform(0.5, 4))
                kill_process(cluster)
            time.sleep(2)
        finally:
            for person in people:
                person.put_file(f"stop-{assignment}", "")
        results = [json.loads(stream.result()) for stream in streams]
    total = sum(len(result["acknowledged"]) for result in results)
    print(f"{total} submissions acknowledged, {sum(result['refused'] for result in results)} not", flush=True)
    assert all(len(result["acknowledged"]) > kills for result in results), "the stream was too thin to tell anything"
    assert any(result["refused"] for result in results), "no kill was noticed"
    for person, result in zip(people, results, strict=True):
        person.put_file(f"acknowledged-{assignment}", json.dumps(result["acknowledged"]))
        lost = json.loads(person.run_cell(client + COMPARE, 300))
        assert not lost, f"{len(lost)} of {len(result['acknowledged'])} are lost or changed: {lost[:3]}"
