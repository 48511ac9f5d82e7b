#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_marks
short_description: Have labels and taint of a control plane
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Gives a node the label of control planes. Where there are workers, also the taint that keeps pods away and the label
    that keeps load balancers from announcing addresses there; where there are none, removes these two.
  - A node that holds volumes gets no taint, as a volume that is a folder of the node cannot follow its pod.
  - Runs on the control plane itself.
extends_documentation_fragment: [campus.hubs.on_node]
options:
  node_name:
    description: The name with which the node is registered.
    type: str
    required: true
  takes_pods:
    description: Whether there are no workers.
    type: bool
    required: true
"""

EXAMPLES = r"""
- name: Keep pods off a control plane
  campus.hubs.kubeadm_marks:
    node_name: cp1
    takes_pods: false
"""

RETURN = r"""
has_volumes:
  description: Whether the node gets no taint because of volumes on it.
  returned: success
  type: bool
"""

from dataclasses import asdict
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import cluster
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import (
    ADMIN_KUBECONFIG,
    CommandError,
    Commands,
)
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

ROOT = Path("/")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "node_name": {"type": "str", "required": True},
            "takes_pods": {"type": "bool", "required": True},
        },
        supports_check_mode=True,
    )
    name, takes_pods = module.params["node_name"], module.params["takes_pods"]
    commands = Commands(module.run_command, ROOT)
    if module.check_mode and not (ROOT / ADMIN_KUBECONFIG).exists():
        # It has not joined yet.
        module.exit_json(changed=takes_pods, has_volumes=False)
    has_volumes = False
    try:
        nodes = cluster.read_nodes(commands)
        if name not in nodes:
            module.fail_json(msg=refusal("node_name", name, f"one of {', '.join(nodes)}"))
        found = cluster.marks_of(nodes[name])
        desired = cluster.desired_marks(found, takes_pods=takes_pods)
        if desired.is_tainted and not found.is_tainted:
            has_volumes = name in cluster.nodes_with_volumes(commands)
            desired = cluster.desired_marks(found, takes_pods=takes_pods, has_volumes=has_volumes)
        if not module.check_mode:
            for arguments in cluster.marking_commands(name, found, desired):
                commands.kubectl(*arguments)
    except CommandError as error:
        module.fail_json(msg=str(error))
    diff = {"before": asdict(found), "after": asdict(desired)}
    module.exit_json(changed=found != desired, has_volumes=has_volumes, diff=diff)


if __name__ == "__main__":
    main()
