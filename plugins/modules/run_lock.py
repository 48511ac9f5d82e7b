#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

# This is only the documentation; the work is done by the action plugin of the same name.

from __future__ import annotations

DOCUMENTATION = r"""
module: run_lock
short_description: Keep out other runs until this one has ended
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Takes a lock that is freed when C(ansible-playbook) has ended, however it ended. Fails if another run has it, and
    says who that is.
  - A lock on a file in the user's cache keeps out the user's runs of the same inventory on this machine, even while
    there is no cluster.
  - The Lease C(campus-hubs-run) in the namespace C(kube-system) keeps out all others. It is renewed every 10 seconds;
    one that has not been renewed for 30 seconds is taken over.
extends_documentation_fragment: [campus.hubs.on_controller]
options:
  kubeconfig:
    description:
      - The cluster's kubeconfig. It need not be there yet.
      - By default the one that the lookup P(campus.hubs.kubeconfig#lookup) names.
    type: path
attributes:
  check_mode:
    details:
      - A check changes nothing, and takes no lock.
notes:
  - It runs on the control machine and connects to no host. Run it once, with C(run_once).
"""

EXAMPLES = r"""
- name: Take the lock
  campus.hubs.run_lock:
  run_once: true
"""

RETURN = r"""
msg:
  description: Who is kept out, or who has the lock.
  returned: always
  type: str
  sample: |-
    Another run is under way: anna@desk (process 4711), since 2026-11-25T17:04:51Z.
    Wait for its end, then run again; a check (--check) is possible at any time. ...
    Nothing was changed.
"""
