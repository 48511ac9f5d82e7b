#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_join_credentials
short_description: Make, and delete, what servers need to join a cluster
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - With V(present), creates a join token that is good for 15 minutes, and uploads the control plane's certificates,
    encrypted, if control planes join. What it returns is secret, so the task needs C(no_log).
  - With V(absent), deletes the token and the uploaded certificates.
  - Runs on a control plane.
extends_documentation_fragment: [campus.hubs.on_node.no_diff]
attributes:
  check_mode:
    details: What would be created is empty.
options:
  config:
    description: The documents of kubeadm's configuration, YAML. Needed with O(upload_certificates).
    type: str
    default: ""
  state:
    description: Whether they should be there.
    type: str
    choices: [present, absent]
    default: present
  token:
    description: The token to delete, whole or only what precedes its dot.
    type: str
    default: ""
  upload_certificates:
    description: Whether control planes join.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Create join credentials
  campus.hubs.kubeadm_join_credentials:
  register: credentials
  no_log: true

- name: Delete the join credentials
  campus.hubs.kubeadm_join_credentials:
    state: absent
    token: "{{ credentials.token }}"
"""

RETURN = r"""
authority_hash:
  description: The hash by which joining servers know the cluster's authority.
  returned: state is present
  type: str
  sample: sha256:0123...
certificate_key:
  description: The key of the uploaded certificates, secret; empty if there are none.
  returned: state is present
  type: str
token:
  description: The join token, secret.
  returned: state is present
  type: str
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import credentials
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import CommandError, Commands

ROOT = Path("/")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "default": ""},
            "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
            "token": {"type": "str", "default": "", "no_log": True},
            "upload_certificates": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    commands = Commands(module.run_command, ROOT)
    made = {}
    try:
        if given["state"] == "present":
            made = dict.fromkeys(("authority_hash", "certificate_key", "token"), "")
            if not module.check_mode:
                made["authority_hash"] = credentials.authority_hash(commands)
                made["token"] = credentials.create_token(commands)
                if given["upload_certificates"]:
                    made["certificate_key"] = credentials.upload_certificates(commands, given["config"])
        elif not module.check_mode:
            credentials.delete(commands, given["token"])
    except CommandError as error:
        module.fail_json(msg=str(error))
    module.exit_json(changed=True, **made)


if __name__ == "__main__":
    main()
