#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_certificates
short_description: Renew kubeadm's certificates before they end, and issue the API server's for one more name
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - If one of kubeadm's certificates on a control plane has fewer days left than asked for, kubeadm renews all of them.
    A certificate that it has no authority's key for is somebody else's to renew.
  - If the API server's certificate is not for O(server_name), it is issued again for the names that O(config) has,
    which is one of them.
  - Programs that have read the old ones do not restart (M(campus.hubs.kubeadm_static_pods)).
extends_documentation_fragment: [campus.hubs.on_node, campus.hubs.kubeadm]
attributes:
  diff_mode:
    details: Names of certificates and what is done with them, never their content.
options:
  renew_certificates_days:
    description: How many days the certificates may have left.
    type: int
    default: 0
  server_name:
    description: Host name or address, without port and brackets. Empty means the usual ones only.
    type: str
    default: ""
"""

EXAMPLES = r"""
- name: Renew certificates that end within 90 days
  campus.hubs.kubeadm_certificates:
    config: "{{ lookup('ansible.builtin.template', 'kubeadm.yaml.j2') }}"
    renew_certificates_days: 90
"""

RETURN = r"""
expiring:
  description: Names of the certificates for whose sake all were renewed; in check mode, would be.
  returned: success
  type: list
  elements: str
  sample: [apiserver, scheduler.conf]
issued:
  description: Whether the API server's certificate was issued for O(server_name); in check mode, would be.
  returned: success
  type: bool
"""

from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import changes, node
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import CommandError, Commands

ROOT = Path("/")


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "required": True},
            "renew_certificates_days": {"type": "int", "default": 0},
            "server_name": {"type": "str", "default": ""},
        },
        supports_check_mode=True,
    )
    config, name = module.params["config"], module.params["server_name"]
    commands = Commands(module.run_command, ROOT)
    try:
        expiring = node.expiring(commands, config, module.params["renew_certificates_days"])
        unnamed = node.lacks_server_name(commands, name)
        if expiring and not module.check_mode:
            changes.renew_certificates(commands, config)
        if unnamed and not module.check_mode:
            changes.issue_server_certificate(commands, config)
    except (CommandError, changes.ChangeError, OSError) as error:
        module.fail_json(msg=str(error))
    lines = [f"{certificate}: ends soon\n" for certificate in expiring]
    after = [f"{certificate}: renewed\n" for certificate in expiring]
    if unnamed:
        lines.append(f"apiserver: not for {name}\n")
        after.append(f"apiserver: for {name}\n")
    diff = {"before": "".join(lines), "after": "".join(after)}
    module.exit_json(changed=bool(expiring or unnamed), expiring=expiring, issued=unnamed, diff=diff)


if __name__ == "__main__":
    main()
