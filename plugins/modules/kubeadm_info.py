#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: kubeadm_info
short_description: Gather what kubeadm has made of a server and of the cluster
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Returns what a server is (nothing yet, left half-way by a run that was stopped, or a node), and what on a node
    differs from what kubeadm would write with O(config). On a control plane, also what the cluster says of itself.
  - A kubeadm that a stopped run has left behind is waited for, five minutes at most.
  - On a control plane with a node's credentials, fails if the API server does not answer for about 90 seconds.
  - Changes nothing. YAML is read on the control machine, so a node needs Python's own library only.
extends_documentation_fragment: [campus.hubs.on_node.no_diff]
options:
  config:
    description:
      - The documents of kubeadm's configuration (C(InitConfiguration), C(ClusterConfiguration),
        C(KubeletConfiguration), C(KubeProxyConfiguration)), YAML. It holds no secret.
      - Without it nothing is compared.
    type: str
    default: ""
  control_plane:
    description: Whether the server is a control plane, or will be one.
    type: bool
    default: false
  node_name:
    description: The name with which it is, or will be, registered.
    type: str
    required: true
  packages:
    description:
      - Versions of Debian packages by name, as of M(campus.hubs.pinned_packages).
      - Nothing is compared without C(kubeadm) among them, in the version that O(config) is for.
    type: dict
    default: {}
  renew_certificates_days:
    description: Certificates of kubeadm's with fewer days left are RV(expiring_certificates).
    type: int
    default: 0
  server_name:
    description:
      - Host name or address, without port and brackets, that the API server's certificate has to be for besides the
        usual ones.
    type: str
    default: ""
  takes_pods:
    description: Whether a control plane runs the pods and announces addresses, as there are no workers.
    type: bool
    default: false
"""

EXAMPLES = r"""
- name: Gather node and cluster state
  campus.hubs.kubeadm_info:
    config: "{{ lookup('ansible.builtin.template', 'kubeadm.yaml.j2') }}"
    control_plane: true
    node_name: cp1
    packages: {kubeadm: 1.36.3-*, kubelet: 1.36.3-*}
  register: node
"""

RETURN = r"""
cluster:
  description:
    - What the cluster says of itself. Empty on workers, and where there is no cluster yet.
  returned: success
  type: dict
  contains:
    configuration:
      description: kubeadm's C(ClusterConfiguration).
      type: dict
    initialised:
      description: >-
        The same of a cluster that lacks an object which kubeadm init makes, because init was stopped or somebody has
        deleted it. Nothing else is returned of the cluster then.
      returned: when the cluster lacks such an object
      type: dict
    kubelet_configuration:
      description: The cluster's C(KubeletConfiguration), without fields that differ from node to node.
      type: dict
    nodes:
      description: The nodes by name, each with its C(address), and the keys of its C(labels) and C(taints).
      type: dict
    outdated:
      description: >-
        Objects that are not what was applied last, or of which O(config) says something else, each with C(name) and the
        C(consequence) of applying it.
      type: list
      elements: dict
expiring_certificates:
  description: Names of kubeadm's certificates that have to be renewed.
  returned: success
  type: list
  elements: str
  sample: [apiserver, scheduler.conf]
has_credentials:
  description: Whether the server has a node's credentials, which init and join write last.
  returned: success
  type: bool
has_etcd_data:
  description: Whether the server holds a cluster's data.
  returned: success
  type: bool
is_compared:
  description: Whether the node's files were compared with what kubeadm would write.
  returned: success
  type: bool
is_marked:
  description: Whether labels and taint of a control plane are as they should be. True for workers.
  returned: success
  type: bool
is_member:
  description: Whether the server is a node as a whole.
  returned: success
  type: bool
kubelet:
  description: The kubelet of a node that was compared.
  returned: success
  type: dict
  contains:
    configuration:
      description: What is in its file, without fields that differ from node to node.
      type: dict
    flags:
      description: Lines of its flags that differ, as diff has them.
      type: list
      elements: str
    is_current:
      description: Whether it runs, will after a boot, and has started after its file was written.
      type: bool
lacks_server_name:
  description: Whether the API server's certificate has to be issued for O(server_name).
  returned: success
  type: bool
leftovers:
  description: Files of kubeadm and etcd on the server.
  returned: success
  type: list
  elements: str
packages_are_current:
  description: Whether all of O(packages) are installed in their version, and held.
  returned: success
  type: bool
static_pods:
  description: >-
    Static pods that have to restart, in this order, each with its C(name), the C(reason), and the C(lines) of its
    manifest that differ, as diff has them.
  returned: success
  type: list
  elements: dict
  sample: [{name: etcd, reason: its manifest is not as kubeadm writes it, lines: ["-    - --max-wals=6"]}]
"""

import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import cluster, node
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import CommandError, Commands
from ansible_collections.campus.hubs.plugins.module_utils._refusals import refusal

ROOT = Path("/")
WAIT_SECONDS = 300
PAUSE_SECONDS = 2


def wait_for_kubeadm(module: AnsibleModule) -> None:
    """Wait until no other kubeadm is at work, whose files would be half written."""
    end = time.monotonic() + WAIT_SECONDS
    while running := [process.pid for process in node.processes(ROOT, "kubeadm")]:
        if time.monotonic() > end:
            found = f"process {', '.join(map(str, running))} at work for {WAIT_SECONDS} s"
            module.fail_json(msg=refusal("kubeadm", found, "none", "see what it waits for, or end it"))
        time.sleep(PAUSE_SECONDS)


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "config": {"type": "str", "default": ""},
            "control_plane": {"type": "bool", "default": False},
            "node_name": {"type": "str", "required": True},
            "packages": {"type": "dict", "default": {}},
            "renew_certificates_days": {"type": "int", "default": 0},
            "server_name": {"type": "str", "default": ""},
            "takes_pods": {"type": "bool", "default": False},
        },
        supports_check_mode=True,
    )
    given = module.params
    commands = Commands(module.run_command, ROOT)
    request = node.Request(
        config=given["config"],
        control_plane=given["control_plane"],
        packages=given["packages"],
        renew_certificates_days=given["renew_certificates_days"],
        server_name=given["server_name"],
    )
    wait_for_kubeadm(module)
    try:
        facts = node.describe(commands, request)
        found = cluster.describe(commands, given["config"]) if given["control_plane"] else {}
    except CommandError as error:
        module.fail_json(msg=str(error))
    except cluster.NoAnswerError as error:
        module.fail_json(
            msg=f"{given['node_name']} is a control plane of a cluster, but its API server does not answer: {error} "
            "Look at journalctl --unit=kubelet and at the containers of kube-apiserver and etcd there. "
            "Nothing was changed."
        )
    marked = cluster.is_marked(found, given["node_name"], takes_pods=given["takes_pods"])
    module.exit_json(cluster=found, is_marked=not given["control_plane"] or marked, **facts)


if __name__ == "__main__":
    main()
