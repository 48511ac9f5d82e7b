"""A run over the courses that is killed at any moment is completed by the next one, and then nothing is left to do.

What the run has to do differs from round to round: a course that is not there, another value that restarts its hub,
what somebody has edited by hand.
"""

from __future__ import annotations

import random
import shutil
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest

from tests.e2e import playbook
from tests.e2e.cluster import Cluster, hub_answers
from tests.e2e.interrupt import kill_tree
from tests.e2e.nodes import kubectl
from tests.e2e.waiting import wait_for

COURSE = "killed-demo"
NAMESPACE = f"course-{COURSE}"
LIMIT = f"--limit={COURSE}"
# Two of each kind; each run chooses other moments.
KILLS = 6
SEED = random.SystemRandom().randrange(10**6)


@pytest.fixture
def folder(cluster: Cluster, tmp_path: Path) -> Iterator[Path]:
    """Have a folder for the inventory; afterwards the lab has the courses that it had before."""
    del cluster  # there is one
    yield tmp_path
    playbook.remove_course(COURSE, inventory(tmp_path, 0)).assert_good()


def inventory(folder: Path, value: int) -> Path:
    """Write the lab's inventory with the course; another value is another environment of its servers and hub."""
    shutil.rmtree(folder / "inventory", ignore_errors=True)
    return playbook.inventory_with(folder, COURSE, {"course_hub_environment": {"ROUND": str(value)}})


def work(number: int, folder: Path) -> tuple[str, Path]:
    """Make something to do and return what, with the inventory that wants it."""
    kind = ("a new course", "another value", "edits by hand")[number % 3]
    if kind == "a new course":
        playbook.remove_course(COURSE, inventory(folder, number)).assert_good()
    if kind == "edits by hand":
        kubectl("kubectl delete networkpolicy --all && kubectl set env deployment/hub BY_HAND=1", NAMESPACE)
        return kind, inventory(folder, number - 1)
    return kind, inventory(folder, number)


@pytest.mark.full
def test_killed_runs_are_completed(cluster: Cluster, folder: Path) -> None:
    chance = random.Random(SEED)  # noqa: S311  moments, not secrets
    lasts = playbook.run("playbooks/courses.yml", LIMIT, inventory=inventory(folder, -1)).assert_good().seconds
    killed = number = 0
    while killed < KILLS:
        kind, where = work(number, folder)
        moment = chance.uniform(0.5, lasts)
        run = playbook.start("playbooks/courses.yml", LIMIT, inventory=where, start_new_session=True)
        time.sleep(moment)
        killed += run.poll() is None  # with less to do it may have ended
        kill_tree(run.pid)
        run.wait()

        completed = playbook.run("playbooks/courses.yml", LIMIT, inventory=where).assert_good()
        changed = len(completed.changed_tasks())
        print(f"seed {SEED}, {kind}: killed after {moment:.1f} s, the next run changed {changed} tasks", flush=True)
        again = playbook.run("playbooks/courses.yml", LIMIT, inventory=where).assert_good()
        assert not again.changed, again.changed_tasks()
        wait_for(f"answer of {COURSE}", partial(hub_answers, cluster.course_url(COURSE)), 60)
        number += 1
        assert number < 3 * KILLS, f"only {killed} runs were still at work after up to {lasts:.0f} s"
