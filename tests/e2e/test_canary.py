"""A change that breaks the hub reaches the canary only and is taken back there; people at work notice nothing."""

from __future__ import annotations

import hashlib
import shutil
import time
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI11_COURSE, LTI13_COURSE
from tests.e2e.lms import hub_name
from tests.e2e.lti import Lms, Person
from tests.e2e.waiting import wait_for

CANARY, OTHER = LTI13_COURSE, LTI11_COURSE
COURSES = (CANARY, OTHER)
PLAYBOOK = "playbooks/courses.yml"
# The hub ends with an ImportError.
BROKEN = {"JupyterHub": {"authenticator_class": "nowhere.Nobody"}}
MENDED = {"JupyterHub": {"active_user_window": 1200}}
FILE = "counted.txt"
# Seconds between two counts; the longest pause that a busy machine may make.
BEAT, PAUSE = 0.5, 5.0
COUNT = f"""
import threading, time
def count():
    with open({FILE!r}, "w") as file:
        while True:
            print(time.time(), file=file, flush=True)
            time.sleep({BEAT})
threading.Thread(target=count, daemon=True).start()
"""


class Worker:
    """A person whose kernel counts for as long as it lives."""

    def __init__(self, cluster: Cluster, lms: Lms, course: str) -> None:
        """Launch, and begin."""
        self.cluster, self.course = cluster, course
        self.person: Person = lms.enter_lab(course, "student-41")
        self.person.run_in_kernel(self.person.start_kernel(), COUNT)
        self.pod = self.uid()
        self.begin = time.time()

    def uid(self) -> str:
        """Return the identity of the server's pod."""
        return str(self.cluster.user_pod(self.course, self.person.name).metadata.uid)

    def assert_undisturbed(self) -> None:
        """Raise unless the same kernel has counted until now without a pause."""
        end = time.time()
        assert self.uid() == self.pod
        counts = [float(line) for line in self.person.get_file(FILE).splitlines()]
        assert counts[0] < self.begin + PAUSE
        assert counts[-1] > end - PAUSE
        longest = max(after - before for before, after in pairwise(counts))
        print(f"kernel in {self.course}: {len(counts)} counts in {counts[-1] - counts[0]:.0f} s, pause {longest:.1f} s")
        assert longest < PAUSE


@pytest.fixture
def inventory(tmp_path: Path) -> Iterator[Path]:
    """Copy the lab's inventory; afterwards the courses are as it says."""
    copy = tmp_path / "inventory"
    shutil.copytree(playbook.INVENTORY, copy)
    yield copy
    playbook.run(PLAYBOOK).assert_good()


def set_for_all(inventory: Path, config: dict[str, Any]) -> None:
    """Give all courses a configuration, with a canary."""
    hosts = yaml.safe_load((inventory / "hosts.yml").read_text())
    variables = {"course_hub_canary": [CANARY], "course_hub_config": config, "course_hub_wait_seconds": 120}
    hosts["all"]["children"]["courses"]["vars"] = variables
    (inventory / "hosts.yml").write_text(yaml.safe_dump(hosts))


def hubs(cluster: Cluster) -> dict[str, str]:
    """Return the identity of each course's hub pod."""
    return {course: cluster.pod(f"course-{course}", "hub-").metadata.uid for course in COURSES}


def students_home(cluster: Cluster) -> str:
    """Return the claim of the student who does not exist, at the canary."""
    token = cluster.secret(f"course-{CANARY}", "course-secrets")["probe-token"]
    return f"home-{hub_name(hashlib.sha256(f'synthetic student\n{token}'.encode()).hexdigest())}"


def claims(cluster: Cluster) -> set[str]:
    """Return the canary's claims."""
    return {
        claim.metadata.name for claim in cluster.core.list_namespaced_persistent_volume_claim(f"course-{CANARY}").items
    }


@pytest.mark.full
def test_a_broken_change_reaches_the_canary_only(cluster: Cluster, lms: Lms, inventory: Path) -> None:
    for course in COURSES:
        cluster.stop_servers(course)  # a kernel of before would write into the same file
    workers = [Worker(cluster, lms, course) for course in COURSES]
    before = hubs(cluster)

    set_for_all(inventory, BROKEN)
    broken = playbook.run(PLAYBOOK, inventory=inventory)
    said = " ".join(broken.output.split())
    assert broken.returncode != 0
    assert {host for host, line in broken.recap.items() if line.failed} == {CANARY}, said[-3000:]
    assert f"First {CANARY} (course_hub_canary)." in said
    assert "It was rolled back to revision" in said
    assert f"{CANARY} failed, so these are left as they are: {OTHER}." in said
    assert OTHER not in broken.changed, broken.changed_tasks()
    assert hubs(cluster)[OTHER] == before[OTHER]
    for course in COURSES:
        lms.enter_lab(course, "student-42")
    for worker in workers:
        worker.assert_undisturbed()

    set_for_all(inventory, MENDED)
    repaired = playbook.run(PLAYBOOK, inventory=inventory).assert_good()
    assert "Probe the course with a synthetic student" in repaired.output
    wait_for("end of that student's home", lambda: students_home(cluster) not in claims(cluster), 90)
    assert set(repaired.changed) == set(COURSES), repaired.changed_tasks()
    again = playbook.run(PLAYBOOK, inventory=inventory).assert_good()
    assert not again.changed, again.changed_tasks()
    for course in COURSES:
        lms.enter_lab(course, "student-42")
    for worker in workers:
        worker.assert_undisturbed()
