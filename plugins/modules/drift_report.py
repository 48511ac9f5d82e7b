#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is only the documentation; the work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: drift_report
short_description: Write what course_state has found as a report
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Writes C(drift.json), C(drift.html) and C(drift.prom), see C(docs/drift.md), also in check mode. Nothing else is
    changed, and a report that is written again is no change.
  - Looks when the certificates of the API server, of the kubeconfig and of the courses end.
extends_documentation_fragment: [campus.hubs.on_controller, campus.hubs.on_controller.api]
options:
  courses:
    description:
      - The courses as M(campus.hubs.course_state) returns them.
    type: list
    elements: dict
    required: true
  folder:
    description:
      - Folder of the report. It is created.
    type: path
    required: true
  mode:
    description:
      - What the report says is done about what was found. By default V(check) in check mode, else V(apply).
    type: str
    choices: [report, check, apply]
seealso:
  - module: campus.hubs.course_state
"""

EXAMPLES = r"""
- name: Compare all courses with their desired state
  campus.hubs.course_state:
  run_once: true
  register: course_states

- name: Write the drift report
  campus.hubs.drift_report:
    courses: "{{ course_states.courses }}"
    folder: /srv/drift
    mode: report
  run_once: true
"""

RETURN = r"""
lines:
  description: Which certificates end soon, and who renews them, for reading. Empty if none does.
  returned: success
  type: list
  elements: str
  sample: ["the certificate of API server ends in 20 days, 2026-12-14T09:12:00+00:00; playbooks/cluster.yml renews it"]
"""
