# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Lookup `kubeconfig`."""

from __future__ import annotations

DOCUMENTATION = r"""
name: kubeconfig
short_description: Path of the cluster's kubeconfig on the control machine
version_added: 0.2.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Returns C(kubeadm_kubeconfig) of the first host of the group C(control_plane), and
    C(~/.kube/campus-hubs/PATH/kubeconfig) if that is not set, with the path of the folder of this host's inventory.
  - The role P(campus.hubs.kubeadm#role) writes the file there. It need not be there yet.
options: {}
"""

EXAMPLES = r"""
- name: Read the nodes
  kubernetes.core.k8s_info:
    kind: Node
    kubeconfig: "{{ lookup('campus.hubs.kubeconfig') }}"
"""

RETURN = r"""
_raw:
  description: The path, in a list of one.
  type: list
  elements: str
  sample: [/home/anna/.kube/campus-hubs/home/anna/my-campus/kubeconfig]
"""

from typing import Any

from ansible.plugins.lookup import LookupBase
from ansible_collections.campus.hubs.plugins.plugin_utils.kubeconfig_path import kubeconfig_path


class LookupModule(LookupBase):  # type: ignore[misc] # ansible-core has no types
    """See Ansible's lookup plugins."""

    def run(self, terms: list[Any], variables: dict[str, Any] | None = None, **kwargs: object) -> list[str]:
        """Return the path."""
        return [kubeconfig_path(variables or {})]
