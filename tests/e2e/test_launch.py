"""From the LMS into a notebook that calculates, by LTI 1.1 and by LTI 1.3."""

from __future__ import annotations

import uuid

import pytest

from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI11_COURSE, LTI13_COURSE
from tests.e2e.lti import Lms

GROUPS = {"lecturer": "instructor", "teaching-assistant": "teaching_assistant", "student-1": "student"}


@pytest.mark.parametrize("person", ["lecturer", "student-1"])
def test_a_launch_ends_in_a_working_notebook(cluster: Cluster, lms: Lms, course: str, person: str) -> None:
    visitor = lms.enter(course, person)
    assert visitor.user_model()["groups"] == [GROUPS[person]]
    assert visitor.user_model().get("admin") is not True
    visitor.wait_for_server()
    visitor.open_lab()

    pod = cluster.user_pod(course, visitor.name)
    assert pod.spec.node_name in cluster.workers()
    assert visitor.run_cell("print(sum(n * n for n in range(100)))").strip() == "328350"
    assert "nbgrader version" in visitor.run_cell("!nbgrader --version")

    text = uuid.uuid4().hex
    visitor.put_file("kept.txt", text)
    cluster.delete_pod(pod)
    again = lms.enter_lab(course, person)
    assert cluster.user_pod(course, again.name).metadata.uid != pod.metadata.uid
    assert again.get_file("kept.txt") == text


def test_both_lti_versions_name_the_same_person(lms: Lms) -> None:
    names = {course: lms.enter(course, "student-1").name for course in (LTI13_COURSE, LTI11_COURSE)}
    assert len(set(names.values())) == 1, names
    assert lms.enter(LTI13_COURSE, "student-2").name not in names.values()


def test_the_teaching_assistant_is_one(lms: Lms, course: str) -> None:
    assert lms.enter(course, "teaching-assistant").user_model()["groups"] == [GROUPS["teaching-assistant"]]


def test_formgrader_is_for_those_who_teach(lms: Lms, course: str) -> None:
    """The lecturer's server has formgrader, the student's has not, however it is asked for."""
    status = {}
    for person in ("lecturer", "student-1"):
        visitor = lms.enter_lab(course, person)
        status[person] = visitor.session.get(f"{visitor.server}/formgrader", timeout=60).status_code
    assert status == {"lecturer": 200, "student-1": 404}
