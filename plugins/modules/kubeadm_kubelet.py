#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_kubelet
short_description: Have the kubelet run with the cluster's configuration and kubeadm's flags
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Has kubeadm write the flags of the node's kubelet, if they are not as it would write them, and the cluster's
    C(KubeletConfiguration), if the node has another one. Then restarts the kubelet; its pods go on running meanwhile.
  - Also restarts a kubelet that has started before its configuration was written, so that a run that was stopped in
    between is finished by the next one.
  - Fails if the kubelet does not stay up, so that the next node keeps its own.
extends_documentation_fragment: [campus.hubs.on_node, campus.hubs.kubeadm]
attributes:
  diff_mode:
    support: partial
    details: Of the flags. Of the configuration only when it was written.
options:
  outdated:
    description:
      - Whether the node's configuration is another than the cluster's, as M(campus.hubs.kubeadm_info) has read them.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Configure the kubelet
  campus.hubs.kubeadm_kubelet:
    config: "{{ lookup('ansible.builtin.template', 'kubeadm.yaml.j2') }}"
    outdated: "{{ node.kubelet.configuration != seed.cluster.kubelet_configuration }}"
  throttle: 1
"""

RETURN = r"""
written_files:
  description: What kubeadm has written; in check mode, would write.
  returned: success
  type: list
  elements: str
  sample: [/var/lib/kubelet/config.yaml]
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
            "outdated": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    config = module.params["config"]
    commands = Commands(module.run_command, ROOT)
    flags, configuration = ROOT / node.FLAGS, ROOT / node.KUBELET_CONFIG
    before = {path: read(path) for path in (flags, configuration)}
    try:
        rendered = node.render(commands, config, control_plane=False)[flags.name]
        has_other_flags = bool(node.changed_lines(before[flags], rendered))
        writes = has_other_flags or module.params["outdated"]
        changed = writes or not node.kubelet_is_current(commands)
        if changed and not module.check_mode:
            if writes:
                changes.write_kubelet_files(commands, config, flags=has_other_flags)
            changes.restart_kubelet(commands)
    except (CommandError, changes.ChangeError) as error:
        module.fail_json(msg=str(error))
    after = before if module.check_mode else {path: read(path) for path in before}
    if has_other_flags and module.check_mode:
        after = {**before, flags: rendered}
    paths = [flags] * has_other_flags + [configuration] * writes
    diff = [
        {"before_header": str(path), "after_header": str(path), "before": before[path], "after": after[path]}
        for path in paths
        if before[path] != after[path]
    ]
    module.exit_json(changed=changed, written_files=[str(path) for path in paths], diff=diff)


if __name__ == "__main__":
    main()
