# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What bringing a course in sync does to people: which of its components restart."""

from __future__ import annotations

import json
import subprocess

from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import Assessment, DesiredCourse
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import Chart, Manifest, parse_manifest
from ansible_collections.campus.hubs.plugins.module_utils._course_state.snapshot import Snapshot, key_of

_WORKLOADS = frozenset({"Deployment", "DaemonSet", "StatefulSet"})
_RESTARTS = {
    "hub": "restarts the hub of {course}: {users} online, their servers keep running",
    "proxy": "restarts the proxy of {course}: {users} online, their connections break and come back within seconds",
    "exchange": "restarts the exchange of {course}: nothing is handed out or in for some seconds",
}


def impact(assessment: Assessment, desired: DesiredCourse, snapshot: Snapshot, helm: str = "") -> list[str]:
    """Say what bringing a course in sync does to people, one sentence each.

    Args:
        assessment: of the course.
        desired: what the inventory says of it.
        snapshot: that it was assessed by.
        helm: the helm program; without it, new values may restart everything.
    """
    course = assessment.course
    if (assessment.namespace, course) not in snapshot.manifests:
        return [f"installs {course}"]
    repairable = assessment.repairable()
    restarted = {
        finding.name
        for finding in repairable
        if finding.kind in _WORKLOADS and (finding.what == "missing" or finding.path.startswith("$.spec.template"))
    }
    if assessment.needs_deployment():
        restarted |= restarted_by_values(assessment, desired, snapshot, helm)
    if not restarted:
        return [f"restarts nothing of {course}"] if assessment.needs_deployment() or repairable else []
    count = assessment.users_online
    people = "nobody" if not count else "1 user" if count == 1 else f"{count} users"
    texts = {name: _RESTARTS.get(name, "restarts {name} of {course}") for name in sorted(restarted)}
    return [text.format(course=course, users=people, name=name) for name, text in texts.items()]


def restarted_by_values(assessment: Assessment, desired: DesiredCourse, snapshot: Snapshot, helm: str) -> set[str]:
    """Return the names of the workloads whose pods the desired values change; all, if that is not known."""
    now = {key_of(manifest): manifest for manifest in snapshot.manifests[assessment.namespace, assessment.course]}
    known = helm and desired.values is not None
    then = render(helm, snapshot.chart, assessment.course, desired) if known else None
    if then is None:
        return {key[2] for key in now if key[1] in _WORKLOADS}
    return {
        manifest["metadata"]["name"]
        for manifest in then
        if manifest["kind"] in _WORKLOADS
        and manifest["spec"]["template"] != now.get(key_of(manifest), {}).get("spec", {}).get("template")
    }


def render(helm: str, chart: Chart, course: str, desired: DesiredCourse) -> list[Manifest] | None:
    """Render what would be deployed; None if the chart refuses the values (the deployment will say why)."""
    command = [helm, "template", course, str(chart.folder), f"--namespace={desired.namespace}", "--values=-"]
    # Which is YAML, too; but helm's reader takes no pairs of escapes for a letter beyond U+FFFF.
    values = json.dumps(desired.values, ensure_ascii=False)
    # Not a module's run_command: this is the action plugin's process.
    done = subprocess.run(  # noqa: S603 pylint: disable=ansible-bad-function
        command, input=values, capture_output=True, encoding="utf-8", check=False
    )
    return parse_manifest(done.stdout) if done.returncode == 0 else None
