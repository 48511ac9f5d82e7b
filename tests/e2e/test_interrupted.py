"""A run that is killed in the middle is completed by the next one, wherever it was.

CI kills one run before it brings the lab up (molecule's side effect). Here one more is tried on bare nodes, at another
place in each run; what follows finds the lab that the next run has completed.
"""

from __future__ import annotations

import random
import subprocess
from functools import partial

import pytest

from tests.e2e import playbook
from tests.e2e.cluster import Cluster, hub_answers
from tests.e2e.interrupt import ROLES, interrupt
from tests.e2e.waiting import wait_for

SEED = random.SystemRandom().randrange(10**6)
ROLE = random.Random(SEED).choice(ROLES)  # noqa: S311


@pytest.mark.full
def test_the_next_run_completes_what_a_killed_one_left() -> None:
    for command in ("destroy-nodes", "nodes"):
        subprocess.run([playbook.ROOT / "lab/lab", command], check=True)  # noqa: S603
    place = interrupt(ROLE, random.Random(SEED))  # noqa: S311
    print(f"seed {SEED}, killed at: {place}", flush=True)

    playbook.run("site.yml").assert_good()

    again = playbook.run("site.yml").assert_good()
    assert not again.changed, again.changed_tasks()
    cluster = Cluster(playbook.INVENTORY / "kubeconfig")
    for course in ("python-demo", "stats-demo"):
        url = cluster.course_url(course)
        wait_for(f"answer of {course}", partial(hub_answers, url), 60)
