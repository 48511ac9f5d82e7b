#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_static_pods
short_description: Restart static pods of a control plane, one after another, as kubeadm writes them
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - For each of the pods, in the order etcd, API server, controller manager, scheduler. Has kubeadm write the manifest,
    if it is not as kubeadm would write it, and otherwise ends the program, which the kubelet then starts again. Waits
    until there is a new container that is ready, six minutes at most, before it goes on with the next.
  - Other static pods stay as they are.
extends_documentation_fragment: [campus.hubs.on_node, campus.hubs.kubeadm]
options:
  node_name:
    description: The name with which the node is registered.
    type: str
    required: true
  pods:
    description: Those to restart, without the node's name, as M(campus.hubs.kubeadm_info) names them.
    type: list
    elements: str
    choices: [etcd, kube-apiserver, kube-controller-manager, kube-scheduler]
    required: true
"""

EXAMPLES = r"""
- name: Have the scheduler read its renewed certificate
  campus.hubs.kubeadm_static_pods:
    config: "{{ lookup('ansible.builtin.template', 'kubeadm.yaml.j2') }}"
    node_name: cp1
    pods: [kube-scheduler]
"""

RETURN = r"""
restarted:
  description: The pods that have restarted; in check mode, would.
  returned: success
  type: list
  elements: str
  sample: [kube-scheduler]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import changes, node
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import CommandError, Commands, read

ROOT = Path("/")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "required": True},
            "node_name": {"type": "str", "required": True},
            "pods": {"type": "list", "elements": "str", "choices": list(node.STATIC_PODS), "required": True},
        },
        supports_check_mode=True,
    )
    config = module.params["config"]
    commands = Commands(module.run_command, ROOT)
    pods = [pod for pod in node.STATIC_PODS if pod in module.params["pods"]]
    diff = []
    try:
        rendered = node.render(commands, config, control_plane=True) if pods else {}
        for pod in pods:
            path, expected = node.manifest(ROOT, pod), rendered[f"{pod}.yaml"]
            before = read(path)
            if node.changed_lines(before, expected):
                header = str(path)
                diff.append({"before_header": header, "after_header": header, "before": before, "after": expected})
            if not module.check_mode:
                changes.restart_static_pod(commands, pod, module.params["node_name"], config, expected)
    except (CommandError, changes.ChangeError) as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(pods), restarted=pods, diff=diff)


if __name__ == "__main__":
    main()
