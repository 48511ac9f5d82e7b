# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What all modules have in common that are done by an action plugin and change nothing."""

from __future__ import annotations


class ModuleDocFragment:
    """Documentation fragment `campus.hubs.on_controller`."""

    DOCUMENTATION = r"""
options: {}
attributes:
  action:
    description: Indicates this has a corresponding action plugin, so that it is executed on the controller.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: none
  check_mode:
    description: Can run in C(check_mode) and return changed status prediction without modifying target.
    support: full
  diff_mode:
    description: Will return details on what has changed (or needs changing in C(check_mode)), when in diff mode.
    support: none
"""

    # Of those that ask the Kubernetes API, as `campus.hubs.on_controller.api`.
    API = r"""
options:
  kubeconfig:
    description:
      - The cluster's kubeconfig. By default E(K8S_AUTH_KUBECONFIG), of the task or of C(ansible-playbook).
    type: path
  context:
    description:
      - The context in the kubeconfig, if not its current one.
    type: str
notes:
  - It runs on the control machine and connects to no host.
"""
