# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare all courses of the play with their desired state, in one step on the control machine."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.module_utils._course_state.assessment import assess_all
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import DesiredCourse
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import Chart, StateError
from ansible_collections.campus.hubs.plugins.module_utils._course_state.snapshot import Snapshot
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import Api
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import (
    ApiError,
    KubernetesError,
    NoConnectionError,
    NoKubeconfigError,
)
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.kinds import NODE, POD
from ansible_collections.campus.hubs.plugins.plugin_utils.api_connection import task_api
from ansible_collections.campus.hubs.plugins.plugin_utils.cluster_room import nodes_of, report, server_of
from ansible_collections.campus.hubs.plugins.plugin_utils.course_inputs import CHART, InventoryCourse, InventoryCourses

# What is returned where there is no cluster yet.
NO_CLUSTER: dict[str, Any] = {
    "changed": True,
    "courses": [],
    "work": [],
    "lines": [],
    "summary": "The courses would come as soon as there is a cluster.",
    "room": [],
    "rosters": [],
    "unreadable": [],
    "api_calls": 0,
}


class ActionModule(ActionBase):  # type: ignore[misc]
    """Compute and compare in this process, where the variables of all courses are."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False
    _VALID_ARGS = frozenset({"kubeconfig", "context"})

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        result["changed"] = False
        # What is read are trees; to look for cycles among millions of objects takes a quarter of the time.
        gc.disable()
        try:
            api = task_api(self._task, self._templar)
            return {**result, **self._compare(api, task_vars or {})}
        except NoKubeconfigError as error:
            if self._task.check_mode:  # it may come before the cluster
                return {**result, **NO_CLUSTER, "msg": f"Courses: {error}"}
            return {**result, "unreachable": True, "msg": f"Courses: {error}"}
        except NoConnectionError as error:
            # It ends with an exit code of its own, since nobody knows whether there is drift.
            return {**result, "unreachable": True, "msg": f"Courses: {error}"}
        except (KubernetesError, StateError) as error:
            return {**result, "failed": True, "msg": f"Courses: {error}"}
        finally:
            gc.enable()

    def _compare(self, api: Api, variables: Mapping[str, Any]) -> dict[str, Any]:
        hostvars, groups = variables["hostvars"], variables["groups"]
        more = {"hostvars": hostvars, "groups": groups, "ansible_check_mode": self._task.check_mode}
        raw = {host: {**hostvars.raw_get(host), **more} for host in variables["ansible_play_hosts"]}
        reader = InventoryCourses(raw, self._loader, api, check=self._task.check_mode)
        inventory = {host: reader.course(host) for host in raw}
        desired = {host: DesiredCourse(f"course-{host}", course.values) for host, course in inventory.items()}
        snapshot = Snapshot.collect(api, Chart.read(CHART), [course.namespace for course in desired.values()])
        assessed = assess_all(api, snapshot, desired, groups.get("courses", []), reader.helm(next(iter(raw))))
        courses = [result_of(assessment.document(), inventory.get(assessment.course)) for assessment in assessed]
        work = [course["course"] for course in courses if course["work"]]
        return {
            "courses": courses,
            "work": work,
            "lines": [line for course in courses for line in lines(course)],
            "summary": in_sync(courses, len(inventory)),
            "room": room(api, {host: course.values for host, course in inventory.items()}),
            "rosters": [host for host, course in inventory.items() if course.lti13 and host not in work],
            "unreadable": snapshot.unreadable,
            "api_calls": api.calls,
        }


def result_of(course: dict[str, Any], inventory: InventoryCourse | None) -> dict[str, Any]:
    """Complete what is returned of a course by what only the inventory says.

    Args:
        course: its assessment.
        inventory: None if it is not in the play.
    """
    if inventory is None:
        return {**course, "work": False, "tls_secret": ""}
    if inventory.values is None:
        reasons = [*course["reasons"], f"its values are not known yet: {inventory.why}"]
        course = {**course, "deploy": True, "reasons": reasons}
    work = course["deploy"] or course["repair"] or bool(course["unready"]) or inventory.needs_role
    https = ((inventory.values or {}).get("proxy") or {}).get("https") or {}
    return {**course, "work": work, "tls_secret": https.get("secretName") or ""}


def room(api: Api, values: Mapping[str, Mapping[str, Any] | None]) -> list[str]:
    """Say how full the cluster is and how many more servers fit; one that does not tell is no reason to stop.

    Args:
        api: the API server.
        values: of the courses' releases, by course; None where they are not known.
    """
    try:
        nodes = api.objects(NODE)
        pods = api.objects(POD, fields="status.phase!=Succeeded,status.phase!=Failed")
    except ApiError as error:
        return [f"How full the cluster is, is not known: {error.message}"]
    servers = {host: server_of(known) for host, known in values.items() if known is not None}
    return report(nodes_of(nodes, pods), servers)


def in_sync(courses: Sequence[Mapping[str, Any]], count: int) -> str:
    """Say how many courses are in sync."""
    good = sum(course["state"] == "in_sync" for course in courses)
    return f"{good} of {count} courses are in sync."


def lines(course: Mapping[str, Any]) -> list[str]:
    """Say what is to be done for a course, why, and what that does to people; nothing if there is nothing to say."""
    reasons = [*course["reasons"], *(f"{name} does not run, or not yet" for name in course["unready"])]
    if not reasons:
        return []
    done = course["consequences"] if course["deploy"] or course["repair"] else []
    return [
        f"{course['course']}: {course['state']}",
        *(f"  {text}" for text in reasons),
        *(f"  -> {text}" for text in done),
    ]
