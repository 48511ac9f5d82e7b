#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is only the documentation; the work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: release_values
short_description: Compute the values of a course's release
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Makes the values of the chart C(course-hub) of the variables of the role P(campus.hubs.course_hub#role), of what the
    cluster is like, and of the course's Secrets and address.
  - The course is the host; its variables and the role's defaults have to be known, as they are inside of the role.
  - M(campus.hubs.course_state) compares courses with the same values.
extends_documentation_fragment: [campus.hubs.on_controller, campus.hubs.on_controller.api]
options: {}
seealso:
  - module: campus.hubs.course_state
"""

EXAMPLES = r"""
- name: Compute the values of the course's release
  campus.hubs.release_values:
  no_log: true
  register: computed
"""

RETURN = r"""
release_values:
  description: Values of the chart. They hold what the inventory's variables do, secrets among them.
  returned: success
  type: dict
  sample: {"hub": {"publicUrl": "http://192.0.2.200/"}}
values_file:
  description:
    - Path of a file of the control machine with these values as Helm reads them, each text in quotes.
    - Only the account that Ansible runs as may read it, and it is gone at the end of the run.
  returned: success
  type: str
  sample: /home/admin/.ansible/tmp/ansible-local-1/values-python-ws26-a.yml
public_url:
  description: Where people find the hub, with a slash at the end. It is empty as long as the course has no address.
  returned: success
  type: str
  sample: http://192.0.2.200/
"""
