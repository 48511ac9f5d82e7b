# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compare all courses of the inventory with what is wanted and what lives, in one step on the control machine."""

from __future__ import annotations

import gc
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ansible.plugins.action import ActionBase
from ansible_collections.campus.hubs.plugins.module_utils._course_state.outcome import course_states
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import Chart, StateError
from ansible_collections.campus.hubs.plugins.module_utils._course_state.state import Survey
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
from ansible_collections.campus.hubs.plugins.plugin_utils.course_inputs import CHART, InventoryCourses


class ActionModule(ActionBase):  # type: ignore[misc]
    """Without `courses`, take all courses of the play with the values that the role course_hub would give them."""

    TRANSFERS_FILES = False
    _requires_connection = False
    _supports_check_mode = True
    _supports_async = False

    def run(self, tmp: str | None = None, task_vars: dict[str, Any] | None = None) -> dict[str, Any]:
        """See `ansible.plugins.action.ActionBase.run`."""
        result: dict[str, Any] = super().run(tmp, task_vars)
        variables = task_vars or {}
        if self._task.args.get("courses") is not None:
            return {**result, **self._execute_module(task_vars=variables)}
        # What is read are trees; to look for cycles among millions of objects takes a quarter of the time.
        gc.disable()
        try:
            return {**result, **self._inventory(variables)}
        except NoConnectionError as error:
            message = f"Courses: {error}"
            # A check may come before the cluster.
            first = isinstance(error, NoKubeconfigError) and self._task.check_mode
            if first and self._task.args.get("report_mode") != "report":
                nothing: dict[str, list[Any]] = {"courses": [], "work": [], "rosters": [], "lines": [], "room": []}
                summary = "The courses would come as soon as there is a cluster."
                return {**result, "changed": True, **nothing, "summary": summary, "msg": message}
            # It ends with an exit code of its own, since nobody knows whether there is drift.
            return {**result, "unreachable": True, "changed": False, "msg": message}
        except (KubernetesError, StateError) as error:
            return {**result, "failed": True, "changed": False, "msg": f"Courses: {error}"}
        finally:
            gc.enable()

    def _inventory(self, variables: Mapping[str, Any]) -> dict[str, Any]:
        hostvars, groups = variables["hostvars"], variables["groups"]
        api = task_api(self._task, self._templar)
        more = {"hostvars": hostvars, "groups": groups, "ansible_check_mode": self._task.check_mode}
        raw = {host: {**hostvars.raw_get(host), **more} for host in variables["ansible_play_hosts"]}
        wanted = InventoryCourses(raw, self._loader, api, check=self._task.check_mode)
        inventory = {host: wanted.course(host) for host in raw}
        survey = Survey(api, Chart.read(CHART), wanted.helm(next(iter(raw))))
        survey.look([f"course-{host}" for host in raw])
        courses = {host: {"values": course.values} for host, course in inventory.items()}
        known = [*groups.get("courses", []), *self._task.args.get("known", [])]
        params = {**self._task.args, "courses": courses, "known": known}
        found = course_states(survey, params, check_mode=self._task.check_mode)
        for course in found["courses"]:
            name = course["course"]
            wants = inventory.get(name)
            if wants and wants.values is None:
                course["deploy"] = True
                course["reasons"].append(f"its values are not known yet: {wants.why}")
            course["work"] = course["state"] != "orphaned" and bool(
                course["deploy"] or course["repair"] or course["unready"] or (wants and wants.needs_role)
            )
        said = [line for course in found["courses"] for line in lines(course)]
        if folder := self._task.args.get("report"):
            # Only here: the library for certificates takes its time to be imported.
            from ansible_collections.campus.hubs.plugins.plugin_utils.drift_report import (  # noqa: PLC0415
                write_report,
            )

            mode = self._task.args.get("report_mode") or ("check" if self._task.check_mode else "apply")
            said += write_report(Path(folder).expanduser(), mode, api, found["courses"], courses)
        work = [course["course"] for course in found["courses"] if course["work"]]
        return {
            **found,
            "work": work,
            "lines": said,
            "summary": in_sync(found["courses"], len(courses)),
            "room": room(api, courses),
            "rosters": [name for name, wants in inventory.items() if wants.lti13 and name not in work],
        }


def room(api: Api, courses: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """Say how full the cluster is and how many more servers fit; one that does not tell is no reason to stop."""
    try:
        nodes = api.objects(NODE)
        pods = api.objects(POD, fields="status.phase!=Succeeded,status.phase!=Failed")
    except ApiError as error:
        return [f"How full the cluster is, is not known: {error.message}"]
    servers = {host: server_of(course["values"]) for host, course in courses.items() if course["values"] is not None}
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
