#!/usr/bin/python
# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

from __future__ import annotations

DOCUMENTATION = r"""
module: node_info
short_description: Gather what decides whether a server can be a Kubernetes node
version_added: 0.3.0
author:
  - The campus.hubs developers (@campus-hubs)
description:
  - Returns, as data and in one step, what Ansible's own facts do not have of a Debian or Ubuntu server.
  - Changes nothing.
extends_documentation_fragment: [ansible.builtin.action_common_attributes]
attributes:
  check_mode:
    support: full
  diff_mode:
    support: none
  platform:
    platforms: debian
options:
  address:
    description: The server's address in the cluster, whose interface is looked for.
    type: str
    required: true
  resolv_conf:
    description:
      - The file with the name servers that pods get. By default the one that kubeadm tells the kubelet, which is
        C(/run/systemd/resolve/resolv.conf) if systemd-resolved runs, otherwise C(/etc/resolv.conf).
    type: path
  packages:
    description: Names of Debian packages to look for.
    type: list
    elements: str
    default: []
"""

EXAMPLES = r"""
- name: Gather facts of the machine
  campus.hubs.node_info:
    address: "{{ ansible_facts.default_ipv4.address }}"
    packages: [conntrack, docker.io]
  register: machine
"""

RETURN = r"""
apt_sources:
  description: Package repositories that apt knows, each with C(file), C(uri) and C(suite).
  returned: success
  type: list
  elements: dict
cgroup_version:
  description: The version of the control groups that the system uses, 1 or 2.
  returned: success
  type: int
  sample: 2
firewalls:
  description: Packet filters that drop what no rule of theirs accepts, V(ufw), V(firewalld), or chains of nftables.
  returned: success
  type: list
  elements: str
free_mb:
  description: Free space below C(/var/lib), in MiB.
  returned: success
  type: int
interface:
  description: C(name) and C(mtu) of the interface that has O(address); empty if none has it.
  returned: success
  type: dict
  sample: {name: eth0, mtu: 1500}
is_node:
  description: Whether the server has been made a node.
  returned: success
  type: bool
is_interrupted:
  description: Whether an installation of packages was interrupted.
  returned: success
  type: bool
listeners:
  description: What listens on TCP ports, each with C(port) and C(program) (15 characters at most).
  returned: success
  type: list
  elements: dict
loopback_name_servers:
  description: Those of RV(name_servers) that only the machine itself can reach.
  returned: success
  type: list
  elements: str
name_servers:
  description: The name servers that pods get.
  returned: success
  type: list
  elements: str
packages:
  description: Those of O(packages) that are installed.
  returned: success
  type: list
  elements: str
resolv_conf:
  description: The file that names them.
  returned: success
  type: str
"""

import os
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils import node_machine

RESOLVED = "/run/systemd/resolve/resolv.conf"


def read(path: str | Path) -> str:
    """Return a file's text; nothing if there is none."""
    try:
        return Path(path).read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def main() -> None:
    module = AnsibleModule(
        argument_spec={
            "address": {"type": "str", "required": True},
            "resolv_conf": {"type": "path"},
            "packages": {"type": "list", "elements": "str", "default": []},
        },
        supports_check_mode=True,
    )
    module.run_command_environ_update = {"LC_ALL": "C"}

    def output(*command: str, needed: bool = False) -> str:
        # What is not installed says nothing.
        program = module.get_bin_path(command[0], required=needed)
        return module.run_command([program, *command[1:]])[1] if program else ""

    def is_active(unit: str) -> bool:
        return output("systemctl", "is-active", unit).strip() == "active"

    wanted = module.params["packages"]
    states = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted) if wanted else ""
    resolv_conf = module.params["resolv_conf"] or (RESOLVED if is_active("systemd-resolved") else "/etc/resolv.conf")
    servers = node_machine.name_servers(read(resolv_conf))
    firewalls = node_machine.dropping_chains(output("nft", "--json", "list", "chains"))
    if is_active("firewalld"):
        firewalls.insert(0, "firewalld")
    if node_machine.ufw_is_enabled(read("/etc/ufw/ufw.conf")):
        firewalls.insert(0, "ufw")
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    disk = os.statvfs("/var/lib")
    module.exit_json(
        apt_sources=[
            source
            for path in sources
            if path.suffix in (".list", ".sources")
            for source in node_machine.apt_sources(str(path), read(path))
        ],
        cgroup_version=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        firewalls=firewalls,
        free_mb=disk.f_bavail * disk.f_frsize // 2**20,
        interface=node_machine.interface_of(output("ip", "-json", "address", needed=True), module.params["address"])
        or {},
        is_node=Path("/etc/kubernetes/kubelet.conf").exists(),
        is_interrupted=any(Path("/var/lib/dpkg/updates").glob("*")),
        listeners=node_machine.listeners(
            output("ss", "--no-header", "--numeric", "--listening", "--tcp", "--processes", needed=True)
        ),
        loopback_name_servers=[server for server in servers if node_machine.is_loopback(server)],
        name_servers=servers,
        packages=[line.split()[0] for line in states.splitlines() if line.endswith(" installed")],
        resolv_conf=resolv_conf,
    )


if __name__ == "__main__":
    main()
