#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is only the documentation; the work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: check_inventory
short_description: Refuse a wrong inventory before anything is touched
version_added: 0.1.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Compares the variables of all hosts of the inventory, whatever C(--limit) says, with the argument specs of all roles
    of this collection, and with each other.
  - Finds unknown, misspelt, renamed and malformed variables, groups that cannot make a cluster, networks that overlap,
    courses that want the same address, limits under guarantees, LTI platforms that are not defined, and more.
  - Reports all mistakes at once, each with the host, the variable, what was found, what is expected and how to fix it.
    Secrets are not shown.
  - Values that depend on facts are left to the roles themselves.
extends_documentation_fragment: [campus.hubs.on_controller]
attributes:
  diff_mode:
    details:
      - It never changes anything.
notes:
  - It runs on the control machine and connects to no host. Run it once, with C(run_once).
seealso:
  - module: ansible.builtin.validate_argument_spec
"""

EXAMPLES = r"""
- name: Refuse a wrong inventory before anything is touched
  hosts: all
  gather_facts: false
  any_errors_fatal: true
  tasks:
    - name: Compare every host's variables with what the roles expect
      campus.hubs.check_inventory:
      run_once: true
"""

RETURN = r"""
msg:
  description: All mistakes, one a line, or that there are none.
  returned: always
  type: str
  sample: |-
    The inventory has 1 mistake:
    - cp1: kubeadm_version: found 1.36, expected three numbers without a v, such as "1.36.3". Fix: put it in quotes.
    Nothing was changed.
"""
