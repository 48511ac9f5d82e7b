"""From a click in the LMS to a usable JupyterLab, beside the bare start of the same image in a pod.

A new person (new home), the same person again (existing home), ten new people at once, ten returning people at once;
each number is what a person waits: click, launch, spawn, first page of Lab. The comparison is a pod with the same image
and the same server program, without a hub and without a home, from its creation to its first answer.
"""

from __future__ import annotations

import statistics
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.lti import Lms
from tests.e2e.waiting import seconds_until

CLUSTER = Cluster(playbook.KUBECONFIG)
LMS = Lms("http://10.89.7.6")
COURSE = "python-demo"
NAMESPACE = "bench-plain-pods"
CLASS_SIZE = 10


def click(person: str) -> float:
    """Enter the course as this person and return the seconds until Lab's page has come."""
    begin = time.monotonic()
    LMS.enter_lab(COURSE, person)
    return time.monotonic() - begin


def stop_servers() -> None:
    """End all servers of the course, the homes stay."""
    CLUSTER.stop_servers(COURSE)
    time.sleep(12)  # the hub looks for ended servers every few seconds


def plain_pod(image: str) -> float:
    """Start the image's server program in a pod of its own and return the seconds until it answers."""
    name = f"plain-{uuid.uuid4().hex[:8]}"
    command = ["jupyter", "lab", "--ip=0.0.0.0", "--ServerApp.token=", "--ServerApp.allow_remote_access=True"]
    env = [{"name": "HOME", "value": "/tmp"}]  # noqa: S108
    container = {"name": "notebook", "image": image, "command": command, "env": env}
    pod = {
        "metadata": {"name": name},
        "spec": {
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
        },
    }
    begin = time.monotonic()
    CLUSTER.core.create_namespaced_pod(NAMESPACE, pod)

    def answers() -> bool:
        address = CLUSTER.core.read_namespaced_pod(name, NAMESPACE).status.pod_ip
        # The API server's proxy: pods' addresses are not reachable from outside of the cluster.
        path = f"http:{name}:8888"
        return bool(address) and "{" in CLUSTER.core.connect_get_namespaced_pod_proxy_with_path(path, NAMESPACE, "api")

    seconds_until(f"answer of {name}", answers, 180, 0.3)
    return time.monotonic() - begin


def show(what: str, seconds: list[float]) -> None:
    """Print one line: median and slowest."""
    print(f"{what:<52} median {statistics.median(seconds):6.1f} s   slowest {max(seconds):6.1f} s", flush=True)


def main() -> None:
    """Run all rows."""
    run = uuid.uuid4().int % 70
    people = [f"student-{10 + run * 12 + index}" for index in range(CLASS_SIZE + 1)]
    image = CLUSTER.core.read_namespaced_config_map("course-images", "campus-hubs").data["singleuser"]
    CLUSTER.core.create_namespace({"metadata": {"name": NAMESPACE}})
    try:
        with ThreadPoolExecutor(CLASS_SIZE) as pool:
            show("one pod, same image, no hub, no home", [plain_pod(image)])
            show("one person, new home", [click(people[0])])
            stop_servers()
            show("the same person, existing home", [click(people[0])])
            stop_servers()
            show(
                f"{CLASS_SIZE} pods at once, same image, no hub, no home",
                list(pool.map(plain_pod, [image] * CLASS_SIZE)),
            )
            CLUSTER.core.delete_collection_namespaced_pod(NAMESPACE, grace_period_seconds=0)
            time.sleep(10)
            show(f"{CLASS_SIZE} people at once, new homes", list(pool.map(click, people[1:])))
            stop_servers()
            show(f"{CLASS_SIZE} people at once, existing homes", list(pool.map(click, people[1:])))
            stop_servers()
    finally:
        CLUSTER.core.delete_namespace(NAMESPACE)


if __name__ == "__main__":
    playbook.run("lab/lms.yml").assert_good()
    main()
