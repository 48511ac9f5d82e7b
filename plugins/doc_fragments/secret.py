# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules that keep a Secret have in common."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment `campus.hubs.secret`."""

    DOCUMENTATION = r"""
options:
  namespace:
    description:
      - Namespace of the Secret. It has to exist, except in check mode.
    type: str
    required: true
  name:
    description:
      - Name of the Secret.
    type: str
    required: true
  state:
    description:
      - V(present) adopts a Secret that holds the fields, completes or creates it otherwise. Adopting adds the label
        C(app.kubernetes.io/managed-by=campus.hubs) unless somebody else has put his name there.
      - V(absent) deletes the Secret, if it carries that label.
    type: str
    choices: [present, absent]
    default: present
attributes:
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or needs changing in C(check_mode)), when in diff mode.
    support: full
    details:
      - The diff shows field names, key ids and times, and never a secret.
  idempotent:
    description:
      - When run twice in a row outside check mode, with the same arguments, the second invocation indicates no change.
    support: full
requirements:
  - kubernetes >= 24.2.0 (Python)
notes:
  - A Secret that holds something else (another type, a missing or unreadable field) is an error and is left as it is.
  - Two runs at once do not overwrite each other. The one that comes second reads and decides again.
  - The module runs where its task runs, and needs to reach the API server from there.
"""
