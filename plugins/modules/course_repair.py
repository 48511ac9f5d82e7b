#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: course_repair
short_description: Repair the objects of one course that have drifted from its release
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Compares the course's objects with its Helm release as M(campus.hubs.course_state) does. Fields get the release's
    values, what was added to objects goes, objects that were deleted are created again.
  - A release that is not there, or that Helm was interrupted at, is for M(kubernetes.core.helm). Additional objects are
    never removed.
  - An object that cannot be changed is deleted and created again, unless it holds data.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  course:
    description:
      - Id of the course, which is the name of its release.
    type: str
    required: true
  namespace:
    description:
      - Namespace of the course. By default C(course-ID).
    type: str
  chart:
    description:
      - Folder of the courses' chart. Releases of other charts are left alone.
    type: path
    required: true
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or needs changing in C(check_mode)), when in diff mode.
    support: full
    details:
      - The fields and objects that are repaired. Values that sound like secrets are hidden.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
notes:
  - Needs Kubernetes 1.30 or newer (aggregated discovery), and may read all kinds of objects in all namespaces.
seealso:
  - module: campus.hubs.course_state
  - module: kubernetes.core.helm
"""

EXAMPLES = r"""
- name: Repair what was changed by hand
  campus.hubs.course_repair:
    course: python-ws26
    chart: charts/course-hub
"""

RETURN = r"""
state:
  description: State of the course before the repair, as RV(campus.hubs.course_state#module:courses[].state).
  type: str
  returned: always
revision:
  description: Revision of its release; V(0) if there is none.
  type: int
  returned: always
reasons:
  description: Why it is not in sync.
  type: list
  elements: str
  returned: always
  sample:
    - "Deployment hub: $.spec.replicas: found 0, expected 1 (kubectl-edit, 2026-11-24T17:04:51Z)"
repaired:
  description: What was done. Empty in check mode.
  type: list
  elements: str
  returned: always
  sample: [repaired Deployment hub]
failed_repairs:
  description: What could not be repaired, and why.
  type: list
  elements: str
  returned: always
"""

from pathlib import Path

from ansible_collections.campus.hubs.plugins.module_utils._course_state.assessment import Assessor
from ansible_collections.campus.hubs.plugins.module_utils._course_state.findings import DesiredCourse
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import Chart, StateError
from ansible_collections.campus.hubs.plugins.module_utils._course_state.repair import planned_diff, repair
from ansible_collections.campus.hubs.plugins.module_utils._course_state.snapshot import Snapshot
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import connect
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import KubernetesError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.module import fail, new_module


def main() -> None:
    arguments = {
        "course": {"type": "str", "required": True},
        "namespace": {"type": "str"},
        "chart": {"type": "path", "required": True},
    }
    module = new_module(arguments)
    course, chart = module.params["course"], Path(module.params["chart"])
    namespace = module.params["namespace"] or f"course-{course}"
    done: list[str] = []
    failed: list[str] = []
    try:
        api = connect(module.params)
        snapshot = Snapshot.collect(api, Chart.read(chart), [namespace])
        found = Assessor(api, snapshot).assess(course, DesiredCourse(namespace))
        changed = found.state in ("drifted", "outdated") and bool(found.repairable())
        if changed and not module.check_mode:
            done, failed = repair(api, snapshot, found)
    except (KubernetesError, StateError) as error:
        fail(module, f"Course {course}: {error}")
    result = {
        "changed": changed,
        "state": found.state,
        "revision": found.revision,
        "reasons": found.reasons,
        "repaired": done,
        "failed_repairs": failed,
        "diff": planned_diff(found) if changed else {},
    }
    if failed:
        module.fail_json(msg=f"Not repaired: {'; '.join(f'{course}: {sentence}' for sentence in failed)}", **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
