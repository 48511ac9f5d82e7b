#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_components
short_description: Apply kubeadm's configuration, kube-proxy and CoreDNS to a live cluster
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Has kubeadm apply those of C(kubeadm-config), C(kubelet-config), C(kube-proxy) and CoreDNS' Deployment that are not
    what was applied last, or of which O(config) says something else. kube-proxy and CoreDNS then roll.
  - An annotation on each of them holds a hash of both, so that an edit on either side shows.
  - CoreDNS' Corefile and its replicas are left alone, as kubeadm does.
  - Runs on a control plane.
extends_documentation_fragment: [campus.hubs.on_node.no_diff, campus.hubs.kubeadm]
options:
  annotate_only:
    description: Whether C(kubeadm init) has just applied all of them, which is only noted then.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Apply changed kubeadm components
  campus.hubs.kubeadm_components:
    config: "{{ lookup('ansible.builtin.template', 'kubeadm.yaml.j2') }}"
"""

RETURN = r"""
applied:
  description: Objects of the components that were applied, or noted; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [configmap/kubelet-config]
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import cluster
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import CommandError, Commands
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

ROOT = Path("/")


def read_objects(module: AnsibleModule, commands: Commands) -> dict[str, dict[str, object]]:
    """Return what is applied; that there is none is the module's failure."""
    reading = cluster.read_objects(commands)
    if not reading.objects:
        module.fail_json(msg=refusal("cluster", reading.error or "none", "one that answers"))
    return reading.objects


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "required": True},
            "annotate_only": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    config = module.params["config"]
    commands = Commands(module.run_command, ROOT)
    try:
        objects = read_objects(module, commands)
        outdated = cluster.outdated(config, objects)
        if outdated and not module.check_mode:
            if not module.params["annotate_only"]:
                for component in outdated:
                    cluster.apply(commands, component, config)
                objects = read_objects(module, commands)
            for component in outdated:
                cluster.annotate(commands, component, config, objects)
    except CommandError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=bool(outdated), applied=[component.name for component in outdated])


if __name__ == "__main__":
    main()
