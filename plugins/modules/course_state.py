#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is only the documentation; the work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: course_state
short_description: Compare all courses with their desired state
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Takes all hosts of the play, which has to be one of courses, with the values that the role
    P(campus.hubs.course_hub#role) computes for them, and changes nothing.
  - Reads Helm's release Secrets and what lives in the courses' namespaces with as many calls as there are kinds of
    objects, however many courses there are, and says of each course whether it is in sync.
  - A release is compared with the desired values and the chart's files; the release's manifest is compared with the
    live objects, field by field. What the release does not set but somebody else has set is found by field ownership
    (C(managedFields)). What looks wrong is proven by a dry run on the API server, so defaults, other ways to write a
    quantity, and what controllers write are no drift.
  - Of each change it says who wrote it last and when, as far as the API server knows. The API server notes the program
    (C(kubectl-edit)), not the person; of a field or object that was removed it notes nothing.
  - Values that sound like secrets are not returned.
  - In check mode and without a kubeconfig there is no cluster yet. Then the task is changed and RV(courses) is empty.
extends_documentation_fragment: [campus.hubs.on_controller, campus.hubs.on_controller.api]
notes:
  - Run it once, with C(run_once).
  - Needs Kubernetes 1.30 or newer (aggregated discovery), and may read all kinds of objects in all namespaces.
seealso:
  - module: campus.hubs.course_repair
  - module: campus.hubs.drift_report
  - module: kubernetes.core.helm
  - name: Server-side apply and field management
    description: What C(managedFields) mean.
    link: https://kubernetes.io/docs/reference/using-api/server-side-apply/
"""

EXAMPLES = r"""
- name: Compare all courses with their desired state
  campus.hubs.course_state:
  run_once: true
  register: course_states
"""

RETURN = r"""
courses:
  description: The courses of the play, then orphans.
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
      returned: always
    tls_secret:
      description: Name of the Secret with the certificate that the course presents; empty if it presents none.
      type: str
      returned: always
    repair:
      description: Whether M(campus.hubs.course_repair) finds something to do.
      type: bool
      returned: always
work:
  description: Ids of the courses that need a deployment, a repair or a look.
  returned: success
  type: list
  elements: str
lines:
  description: What is to be done, why, and what that does to people, for reading. Empty if there is nothing to say.
  returned: success
  type: list
  elements: str
summary:
  description: How many courses are in sync, for reading.
  returned: success
  type: str
  sample: 98 of 100 courses are in sync.
room:
  description: How full the nodes are that take servers, and how many more servers of each size fit, for reading.
  returned: success
  type: list
  elements: str
  sample: ["2 nodes take servers; requested there: 3.2 of 8.0 cores, 5.1 of 15.6 GiB of memory.",
    "20 more servers fit, of 0.1 cores, 512 MiB of memory each (python-ws26)."]
rosters:
  description: Ids of the courses that get no work and have an LTI 1.3 platform, whose roster can be read.
  returned: success
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
