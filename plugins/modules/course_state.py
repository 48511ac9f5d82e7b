#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: course_state
short_description: Compare all courses with what is wanted, and repair what was changed by hand
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Reads Helm's release Secrets and what lives in the courses' namespaces with as many calls as there are kinds of
    objects, however many courses there are, and says of each course whether it is in sync.
  - A release is compared with the wanted values and the chart's files; the release's manifest is compared with the live
    objects, field by field. What the release does not set but somebody else has set is found by field ownership
    (C(managedFields)). What looks wrong is proven by a dry run on the API server, so defaults, other ways to write a
    quantity, and what controllers write are no drift.
  - Of each change it says who wrote it last and when, as far as the API server knows. The API server notes the program
    (C(kubectl-edit)), not the person; of a field or object that was removed it notes nothing.
  - Values that sound like secrets are not returned.
extends_documentation_fragment:
  - kubernetes.core.k8s_auth_options
options:
  courses:
    description:
      - The courses to look at, id to options. An id is the name of a release.
      - V(namespace) is where the course is, by default C(course-ID). V(values) are the release's wanted values; without
        them they are not compared.
      - Without it all hosts of the play are looked at, which has to be one of courses, with the values that the role
        P(campus.hubs.course_hub#role) computes for them. That is done on the control machine, in one step for all.
    type: dict
  known:
    description:
      - Ids of all courses of the inventory. What is deployed and neither here nor in O(courses) is V(orphaned).
    type: list
    elements: str
    default: []
  chart:
    description:
      - Folder of the courses' chart. Releases of other charts are left alone.
      - Needed with O(courses). Else it is the one of this collection.
    type: path
  helm:
    description:
      - The helm program. With it RV(courses[].consequences) says which programs new values restart; without it, that
        all are.
    type: path
  report:
    description:
      - Folder on the control machine for the drift report, C(drift.json), C(drift.html) and C(drift.prom), see
        C(docs/drift.md). Written in check mode, too. Only without O(courses).
    type: path
  report_mode:
    description:
      - What the report says is done about what was found. By default V(check) in check mode, else V(apply).
    type: str
    choices: [report, check, apply]
  repair:
    description:
      - Whether objects of courses in state V(drifted) are repaired. Fields get the release's values, what was added to
        objects goes, objects that were deleted are made again.
      - Courses in other states are for M(kubernetes.core.helm). Additional objects and orphans are never removed.
    type: bool
    default: false
attributes:
  action:
    description: Indicates this has a corresponding action plugin, so that it is executed on the controller.
    support: partial
    details:
      - Without O(courses). With them, the action plugin runs the module.
  async:
    description: Supports being used with the C(async) keyword.
    support: none
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or needs changing in C(check_mode)), when in diff mode.
    support: full
    details:
      - With O(repair), the fields that are repaired.
notes:
  - Without O(courses), run it once, with C(run_once). Of the options for the connection only O(kubeconfig) and
    O(context) count then.
  - Needs Kubernetes 1.30 or newer (aggregated discovery), and may read all kinds of objects in all namespaces.
seealso:
  - module: kubernetes.core.helm
  - name: Server-side apply and field management
    description: What C(managedFields) mean.
    link: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

EXAMPLES = r"""
- name: Know the state of two courses
  campus.hubs.course_state:
    chart: charts/course-hub
    courses:
      python-ws26: {values: "{{ python_values }}"}
      stats-ws26: {}
    known: "{{ groups['courses'] }}"
  register: state

- name: Put right what was changed by hand
  campus.hubs.course_state:
    chart: charts/course-hub
    courses:
      python-ws26: {}
    repair: true
"""

RETURN = r"""
courses:
  description: The courses in the order of O(courses), then orphans.
  returned: success
  type: list
  elements: dict
  contains:
    course:
      description: Its id.
      type: str
      returned: always
    namespace:
      description: Where it is.
      type: str
      returned: always
    state:
      description:
        - V(in_sync), or the first of these that is true.
        - V(absent), there is no release.
        - V(stuck), Helm was interrupted or failed.
        - V(outdated), values or files of the chart are not the release's.
        - V(drifted), objects are not what the release says.
        - V(orphaned), it is deployed and not in the inventory.
      type: str
      returned: always
    reasons:
      description: Why it is not in sync.
      type: list
      elements: str
      returned: always
      sample:
        - "Deployment hub: $.spec.replicas: found 0, expected 1 (kubectl-edit, 2026-11-24T17:04:51Z)"
    consequences:
      description: What bringing it in sync does to people.
      type: list
      elements: str
      returned: always
      sample: ["restarts the hub of python-ws26: 14 users online, their servers keep running"]
    outdated:
      description:
        - Values that are not the release's, each with C(path) (JSONPath), C(wanted) and C(found); of Secrets that
          somebody has changed also C(manager) and C(time).
      type: list
      elements: dict
      returned: always
    chart_files:
      description: Files of the chart that are not the release's.
      type: list
      elements: str
      returned: always
    drifted:
      description:
        - What is not as the release says, each with C(kind), C(name), C(what) (V(changed), V(missing), V(additional) or
          V(leaving)), C(path) (JSONPath), C(wanted), C(found), C(manager), C(operation), C(time), and C(obstacle), why
          it cannot be repaired.
      type: list
      elements: dict
      returned: always
    users_online:
      description: How many servers of people run.
      type: int
      returned: always
    revision:
      description: Revision of the release; V(0) if there is none.
      type: int
      returned: always
    deployed:
      description: When that was, RFC 3339.
      type: str
      returned: always
    deploy:
      description: Whether helm has to run.
      type: bool
      returned: always
    unready:
      description: Deployments that should run and do not, or not yet.
      type: list
      elements: str
      returned: always
    work:
      description: Whether the role has something to do, wait for or say.
      type: bool
      returned: without O(courses)
    repair:
      description: Whether O(repair) finds something to do.
      type: bool
      returned: always
    repaired:
      description: What was done.
      type: list
      elements: str
      returned: always
    failed:
      description: What could not be repaired, and why.
      type: list
      elements: str
      returned: always
work:
  description: Ids of the courses that need a deployment, a repair or a look.
  returned: without O(courses)
  type: list
  elements: str
lines:
  description: What is to be done, why, and what that does to people, for reading. Empty if there is nothing to say.
  returned: without O(courses)
  type: list
  elements: str
summary:
  description: How many courses are in sync, for reading.
  returned: without O(courses)
  type: str
  sample: 98 of 100 courses are in sync.
room:
  description: How full the nodes are that take servers, and how many more servers of each size fit, for reading.
  returned: without O(courses)
  type: list
  elements: str
  sample: ["2 nodes take servers; requested there: 3.2 of 8.0 cores, 5.1 of 15.6 GiB of memory.",
    "20 more servers fit, of 0.1 cores, 512 MiB of memory each (python-ws26)."]
rosters:
  description: Ids of the courses that get no work and have an LTI 1.3 platform, whose roster can be read.
  returned: without O(courses)
  type: list
  elements: str
unreadable:
  description: Kinds of objects that could not be listed, and why. Additional objects of these are not seen.
  returned: success
  type: list
  elements: str
api_calls:
  description: How many requests it took.
  returned: success
  type: int
"""

from pathlib import Path

from ansible_collections.campus.hubs.plugins.module_utils._course_state.outcome import course_states, read_wanted
from ansible_collections.campus.hubs.plugins.module_utils._course_state.release import Chart, StateError
from ansible_collections.campus.hubs.plugins.module_utils._course_state.state import Survey
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.client import connect
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.errors import KubernetesError
from ansible_collections.campus.hubs.plugins.module_utils._kubernetes.module import fail, new_module


def main() -> None:
    arguments = {
        "courses": {"type": "dict"},
        "known": {"type": "list", "elements": "str", "default": []},
        "chart": {"type": "path"},
        "helm": {"type": "path"},
        "report": {"type": "path"},
        "report_mode": {"type": "str", "choices": ["report", "check", "apply"]},
        "repair": {"type": "bool", "default": False},
    }
    module = new_module(
        arguments,
        required_together=[("courses", "chart")],
        mutually_exclusive=[("courses", "report")],
    )
    try:
        survey = Survey(connect(module.params), Chart.read(Path(module.params["chart"])), module.params["helm"] or "")
        survey.look(course.namespace for course in read_wanted(module.params["courses"]).values())
        result = course_states(survey, module.params, check_mode=module.check_mode)
    except (KubernetesError, StateError) as error:
        fail(module, f"Courses: {error}")
    broken = [f"{course['course']}: {sentence}" for course in result["courses"] for sentence in course["failed"]]
    if broken:
        module.fail_json(msg="Not repaired: " + "; ".join(broken), **result)
    module.exit_json(**result)


if __name__ == "__main__":
    main()
