"""A repair writes what the release says, again where others write as well, and never recreates what holds data."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._course_state.assessment import Assessor
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import DesiredCourse
from ansible_collections.campus.hubs.plugins.module_utils._course_state.repair import planned_diff, repair
from ansible_collections.campus.hubs.plugins.module_utils._course_state.snapshot import Snapshot
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import ApiError

from tests.unit.plugins.courses import FewObjects, chart, container, live, secret


class Cluster(FewObjects):
    """Notes what is done to one course, and refuses patches that are not dry with these statuses, one after another."""

    def __init__(self, *refusals: int) -> None:
        """Take the statuses."""
        super().__init__(secret("a"))
        self.refusals, self.done = list(refusals), list[str]()

    def get(self, *_: object) -> dict[str, Any] | None:
        """See `Api`."""
        return self.deployments[0] if self.deployments else None

    def patch(self, *_: object, dry: bool) -> dict[str, Any]:
        """See `Api`."""
        if not dry:
            self.done.append("patch")
            if self.refusals:
                raise ApiError(self.refusals.pop(0), "said by the server")
        return live()

    def apply(self, *_: object) -> dict[str, Any]:
        """See `Api`."""
        self.done.append("apply")
        return live()

    def merge(self, *_: object) -> None:
        """See `Api`."""
        self.done.append("merge")

    def delete_wholly(self, _kind: object, _namespace: str, _name: str, uid: str) -> None:
        """See `Api`."""
        self.done.append(f"delete {uid}")


def repaired(tmp_path: Path, api: Cluster) -> tuple[dict[str, str], list[str], list[str]]:
    """Return the diff of a course's repair, what was done, and what failed."""
    snapshot = Snapshot.collect(api, chart(tmp_path), [])  # type: ignore[arg-type]
    found = Assessor(api, snapshot).assess("a", DesiredCourse("course-a"))  # type: ignore[arg-type]
    return planned_diff(found), *repair(api, snapshot, found)  # type: ignore[arg-type]


def test_a_course_in_sync_is_left_alone(tmp_path: Path) -> None:
    api = Cluster()
    assert repaired(tmp_path, api) == ({"before": "", "after": ""}, [], [])
    assert api.done == []


@pytest.mark.parametrize(
    ("refusals", "calls", "done", "failed"),
    [
        ([], ["patch", "apply"], ["repaired Deployment hub"], []),
        ([409, 409], ["patch"] * 3 + ["apply"], ["repaired Deployment hub"], []),
        ([422], ["patch", "delete u", "apply"], ["recreated Deployment hub, since it cannot be changed"], []),
        ([403], ["patch"], [], ["Deployment hub: said by the server"]),
        ([409] * 5, ["patch"] * 5, [], ["Deployment hub: said by the server"]),
    ],
)
def test_a_changed_object_is_repaired(
    tmp_path: Path, refusals: list[int], calls: list[str], done: list[str], failed: list[str]
) -> None:
    api = Cluster(*refusals)
    api.deployments[0]["metadata"]["uid"] = "u"
    container(api.deployments[0])["image"] = "evil:1"
    diff, *found = repaired(tmp_path, api)
    assert diff == {
        "before": "a: Deployment hub $.spec.template.spec.containers[?@.name=='hub'].image: evil:1\n",
        "after": "a: Deployment hub $.spec.template.spec.containers[?@.name=='hub'].image: hub:1\n",
    }
    assert (api.done, found) == (calls, [done, failed])


def test_what_is_missing_is_created_and_the_namespace_gets_its_labels(tmp_path: Path) -> None:
    api = Cluster()
    api.deployments.clear()
    api.others["Namespace"][0]["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] = "privileged"
    diff, *found = repaired(tmp_path, api)
    assert diff["before"].splitlines()[-1] == "a: Deployment hub: missing"
    assert found == [["repaired the labels of Namespace course-a", "created Deployment hub again"], []]
    assert api.done == ["merge", "apply"]
