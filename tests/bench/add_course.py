"""One course is added to a hundred on the lab's cluster: what is touched, and the seconds to the first answered launch.

Beside it: `helm install` of the same chart with the same values, in a namespace that has its Secrets already, until its
hub answers. The hundred have all their objects and no pods. Between deployment and launch somebody enters the new hub
in the LMS; that time is not counted. All of it is removed afterwards.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.bench.control_plane import programs
from tests.bench.fleet import SECRETS, Fleet
from tests.e2e import playbook
from tests.e2e.cluster import Cluster, hub_answers
from tests.e2e.lti import Lms
from tests.e2e.waiting import wait_for

COURSE, PLAIN = "bench-demo", "bench-plain"
KUBECONFIG = playbook.KUBECONFIG
LMS = "http://10.89.7.6/"
VARIABLES: dict[str, Any] = {"course_hub_lms_url": LMS, "course_hub_service_type": "LoadBalancer"}


class Lab:
    """The lab's API server; nobody counts."""

    def kubeconfig(self, user: str) -> str:
        """Return the operator's."""
        del user
        return KUBECONFIG.read_text()

    def calls(self) -> Counter[str]:
        """Return nothing."""
        return Counter()


def add(fleet: Fleet, folder: Path) -> tuple[float, float, list[str]]:
    """Add a course, and return the seconds of the run, those of the launch, and the hosts that it changed."""
    fleet.write_inventory({COURSE: VARIABLES})
    cost = fleet.run_courses()
    run = playbook.Run(cost.output, 0, cost.wall).assert_good()
    playbook.run("lab/lms.yml", inventory=playbook.inventory_with(folder, COURSE)).assert_good()
    begin = time.monotonic()
    Lms(LMS.rstrip("/")).enter(COURSE, "student-1")
    return cost.wall, time.monotonic() - begin, [*run.changed]


def install_plain(fleet: Fleet, cluster: Cluster) -> float:
    """Install the chart by hand, and return the seconds until the hub answers."""
    fleet.prepare(PLAIN)
    for name in SECRETS:
        data = cluster.core.read_namespaced_secret(name, f"course-{COURSE}").data
        cluster.core.patch_namespaced_secret(name, f"course-{PLAIN}", {"data": data})
    fleet.write_values({PLAIN: VARIABLES})
    begin = time.monotonic()
    fleet.install(PLAIN)
    wait_for("the plain hub", lambda: hub_answers(cluster.course_url(PLAIN)), 300, pause=0.1)
    return time.monotonic() - begin


def remove(fleet: Fleet) -> None:
    """Take all of it away."""
    for course in (COURSE, PLAIN):
        options = (f"--extra-vars=course={course}", f"--extra-vars=course_hub_delete_data={course}")
        playbook.run("playbooks/remove_course.yml", *options).assert_good()
    namespaces = [f"course-{course}" for course in fleet.courses]
    delete = [programs()["kubectl"], f"--kubeconfig={KUBECONFIG}", "delete", "namespace", "--ignore-not-found"]
    subprocess.run([*delete, *namespaces], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    playbook.run("lab/lms.yml").assert_good()


def main() -> None:
    """Print the two times."""
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 100
    with tempfile.TemporaryDirectory(prefix="fleet-") as name:
        fleet = Fleet(Path(name), Lab())
        try:
            fleet.grow(count)
            deployed, launched, changed = add(fleet, Path(name) / "lms")
            plain = install_plain(fleet, Cluster(KUBECONFIG))
        finally:
            remove(fleet)
    print(
        f"one course added to {count}: courses.yml {deployed:.0f} s, changed {', '.join(changed)},"
        f" launch answered after {deployed + launched:.1f} s; helm install, hub answers after {plain:.1f} s"
    )
    assert changed == [COURSE], changed


if __name__ == "__main__":
    main()
