"""A class that starts: everybody clicks within ten seconds, with homes that the roster has had made ahead.

Printed beside it: the same number of bare pods with the same image and server program, created within the same ten
seconds, without a hub and without homes. Whoever does not come into Lab is a failure of the whole benchmark.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.launches import CLUSTER, COURSE, NAMESPACE, click, plain_pod, stop_servers
from tests.e2e import playbook
from tests.e2e.lms import Course, user_name
from tests.e2e.test_roster import STAFF, synced
from tests.e2e.waiting import seconds_until

CLASS_SIZE = 30
WINDOW = 10.0  # seconds within which all have clicked
HOMES_TIMEOUT = 900.0  # seconds
FIRST = 500  # number of the first student


def homes_of(people: list[str]) -> int:
    """Count the people whose home's volume is there."""
    claims = CLUSTER.core.list_namespaced_persistent_volume_claim(f"course-{COURSE}").items
    bound = {claim.metadata.name for claim in claims if claim.status.phase == "Bound"}
    return sum(f"home-{user_name(person)}" in bound for person in people)


def spread_over(window: float, do: Callable[[str], float], what: list[str]) -> list[float]:
    """Do something for each of a list, evenly begun over so many seconds; return how long each took."""

    def later(index: int) -> float:
        time.sleep(window * index / len(what))
        return do(what[index])

    with ThreadPoolExecutor(len(what)) as pool:
        return list(pool.map(later, range(len(what))))


def show(what: str, seconds: list[float]) -> None:
    """Print one line: median, 95th percentile and slowest."""
    p95 = statistics.quantiles(seconds, n=20)[-1]
    median = statistics.median(seconds)
    print(f"{what:<52} p50 {median:6.1f} s   p95 {p95:6.1f} s   slowest {max(seconds):6.1f} s", flush=True)


def retried() -> int:
    """Count the attempts at the servers that run now, beyond the first of each: what nodes did not manage."""
    pods = CLUSTER.core.list_namespaced_pod(f"course-{COURSE}", label_selector="component=singleuser-server").items
    return sum(int(pod.metadata.annotations["campus.hubs/attempt"]) - 1 for pod in pods)


def main() -> None:
    """Make the class known, wait for its homes, then start it, beside bare pods."""
    people = [f"student-{FIRST + index}" for index in range(CLASS_SIZE)]
    course = Course(COURSE)
    course.reset()
    try:
        # Somebody has to have come once: the first launch says where the roster is.
        click("lecturer")
        course.set_roster(STAFF | dict.fromkeys(people, "student"))
        print(f"roster: {synced(COURSE)['members']} members", flush=True)
        seconds = seconds_until("homes of the roster", lambda: homes_of(people) == CLASS_SIZE, HOMES_TIMEOUT, 2)
        print(f"{CLASS_SIZE} homes made ahead in {seconds:.0f} s, paced, nobody waits for them", flush=True)
        stop_servers()
        CLUSTER.core.create_namespace({"metadata": {"name": NAMESPACE}})
        image = CLUSTER.core.read_namespaced_config_map("course-images", "campus-hubs").data["singleuser"]
        show(
            f"{CLASS_SIZE} pods within {WINDOW:.0f} s, no hub, no home",
            spread_over(WINDOW, plain_pod, [image] * CLASS_SIZE),
        )
        CLUSTER.core.delete_namespace(NAMESPACE)
        time.sleep(15)
        show(f"{CLASS_SIZE} people within {WINDOW:.0f} s, homes made ahead", spread_over(WINDOW, click, people))
        print(f"starts that were tried again: {retried()}", flush=True)
    finally:
        course.reset()
        stop_servers()


if __name__ == "__main__":
    playbook.run("lab/lms.yml").assert_good()
    main()
