#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_node
short_description: Make a server a node of a cluster
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - With V(initialised), makes the server the first control plane of a new cluster, until all that init makes is there.
    Takes over certificates, manifests and data that an earlier try has left.
  - With V(joined), has it join a cluster, as O(config) says.
  - With V(reset), removes what an init or a join that was stopped has left. A node, and a machine that holds a
    cluster's data, are never reset.
extends_documentation_fragment: [campus.hubs.on_node.no_diff]
options:
  config:
    description:
      - The documents of kubeadm's configuration, YAML. kubeadm reads them from its standard input, so that a join token
        is neither on a disk nor in a list of processes. Not with V(reset).
    type: str
  control_plane:
    description: Whether the server is to be a control plane.
    type: bool
    required: true
  state:
    description: What to do.
    type: str
    choices: [initialised, joined, reset]
    required: true
"""

EXAMPLES = r"""
- name: Initialise the first control plane
  campus.hubs.kubeadm_node:
    config: "{{ lookup('ansible.builtin.template', 'kubeadm.yaml.j2') }}"
    control_plane: true
    state: initialised
"""

RETURN = r"""
rc:
  description: kubeadm's exit code.
  returned: always
  type: int
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import changes, cluster, node
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import CommandError, Commands

ROOT = Path("/")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "no_log": True},
            "control_plane": {"type": "bool", "required": True},
            "state": {"type": "str", "choices": ["initialised", "joined", "reset"], "required": True},
        },
        required_if=[("state", "initialised", ["config"]), ("state", "joined", ["config"])],
        supports_check_mode=True,
    )
    given = module.params
    commands = Commands(module.run_command, ROOT)
    if given["state"] == "reset":
        changed = changes.must_reset(ROOT, control_plane=given["control_plane"])
    elif given["state"] == "initialised":
        changed = not cluster.read_objects(commands).objects
    else:
        changed = not node.is_member(ROOT, control_plane=given["control_plane"])
    if changed and not module.check_mode:
        try:
            if given["state"] == "reset":
                commands.run(["kubeadm", "reset", "--force"])
            elif given["state"] == "initialised":
                changes.initialise(commands, given["config"])
            else:
                commands.kubeadm("join", config=given["config"])
        except CommandError as error:
            module.fail_json(msg=f"{error.stdout}{error}", rc=error.returncode)
    module.exit_json(changed=changed, rc=0)


if __name__ == "__main__":
    main()
