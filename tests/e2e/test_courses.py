"""A course comes with its line in the inventory and goes without its data, which only goes when that is asked for."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import playbook
from tests.e2e.cluster import Cluster
from tests.e2e.conftest import LTI13_COURSE
from tests.e2e.lti import Lms, Person
from tests.e2e.test_roster import synced

EXTRA = "extra-demo"
NAMESPACE = f"course-{EXTRA}"
REMOVE = ("playbooks/remove_course.yml", f"--limit={EXTRA}")


@pytest.fixture
def inventory(cluster: Cluster, lms: Lms, tmp_path: Path) -> Iterator[Path]:
    """Copy the lab's inventory and add a course of one line; afterwards the lab has the courses that it had before."""
    del lms  # it must have been started
    copy = playbook.inventory_with(tmp_path, EXTRA)
    yield copy
    if exists(cluster):  # the test did not come to its end
        playbook.remove_course(EXTRA, copy)
    playbook.run("lab/lms.yml").assert_good()


def exists(cluster: Cluster) -> bool:
    """Tell whether the course's namespace is there."""
    return any(item.metadata.name == NAMESPACE for item in cluster.core.list_namespace().items)


def enter(lms: Lms, inventory: Path) -> Person:
    """Tell the LMS of the new course and enter it as a student."""
    playbook.run("lab/lms.yml", inventory=inventory).assert_good()
    return lms.enter_lab(EXTRA, "student-1")


def data(cluster: Cluster) -> dict[str, object]:
    """Return what outlives the release: namespace and claims by their identity, Secrets by their content."""
    claims = cluster.core.list_namespaced_persistent_volume_claim(NAMESPACE).items
    return {
        "namespace": cluster.core.read_namespace(NAMESPACE).metadata.uid,
        "claims": {item.metadata.name: (item.metadata.uid, item.spec.volume_name) for item in claims},
        "secrets": {name: cluster.secret(NAMESPACE, name) for name in ("course-secrets", "lti11-consumer")},
    }


def volumes(cluster: Cluster) -> set[str]:
    """Return the names of the volumes that belong to the course."""
    return {
        item.metadata.name
        for item in cluster.core.list_persistent_volume().items
        if item.spec.claim_ref and item.spec.claim_ref.namespace == NAMESPACE
    }


def programs(cluster: Cluster) -> set[str]:
    """Return the names of what runs for the course, and of helm's records of it."""
    secrets = cluster.core.list_namespaced_secret(NAMESPACE, label_selector="owner=helm").items
    services = cluster.core.list_namespaced_service(NAMESPACE).items
    return {item.metadata.name for item in [*cluster.pods(NAMESPACE), *services, *secrets]}


def test_a_course_comes_and_goes_and_finds_its_data_again(cluster: Cluster, lms: Lms, inventory: Path) -> None:
    # Who has joined at the LMS since its roster was read last would be news for site.yml.
    synced(LTI13_COURSE)
    added = playbook.run("site.yml", inventory=inventory).assert_good()
    assert set(added.changed) == {EXTRA}, added.changed_tasks()

    text = uuid.uuid4().hex
    person = enter(lms, inventory)
    person.put_file("kept.txt", text)
    before = data(cluster)

    refused = playbook.run(*REMOVE, "--extra-vars=course_hub_delete_data=python-demo", inventory=inventory)
    assert refused.returncode != 0
    assert f'course_hub_delete_data: found "python-demo", expected "{EXTRA}"' in refused.output
    assert not refused.changed, refused.changed_tasks()
    assert cluster.user_pod(EXTRA, person.name)

    removed = playbook.run(*REMOVE, inventory=inventory).assert_good()
    assert set(removed.changed) == {EXTRA}, removed.changed_tasks()
    assert not programs(cluster)
    assert data(cluster) == before

    playbook.run("playbooks/courses.yml", f"--limit={EXTRA}", inventory=inventory).assert_good()
    assert data(cluster) == before
    again = enter(lms, inventory)
    assert again.name == person.name
    assert again.get_file("kept.txt") == text

    assert volumes(cluster)
    playbook.remove_course(EXTRA, inventory).assert_good()
    assert not exists(cluster)
    assert not volumes(cluster)
