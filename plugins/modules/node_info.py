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
cni_files:
  description: Names of the network configurations in C(/etc/cni/net.d) that are not Calico's.
  returned: success
  type: list
  elements: str
  sample: [87-podman-bridge.conflist]
epoch:
  description: The system's time when it was asked, in seconds since 1970.
  returned: success
  type: int
firewalls:
  description:
    - Packet filters that drop what no rule of theirs accepts, V(ufw), V(firewalld), chains of nftables, or the chain
      C(INPUT) of old iptables; also those that will at the next boot.
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
noexec:
  description: Folders whose programs containers and nodes run, and which are mounted with C(noexec).
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
import time
from pathlib import Path

from ansible.module_utils.basic import AnsibleModule
from ansible_collections.campus.hubs.plugins.module_utils import _node_machine

# Where containerd unpacks images, Calico puts its programs, and packages put theirs.
PROGRAMS = ("/var/lib", "/var/lib/containerd", "/opt", "/opt/cni/bin", "/usr/bin")
# Service to the files that it loads at boot.
FILTERS = {
    "nftables": ("/etc/nftables.conf",),
    "netfilter-persistent": ("/etc/iptables/rules.v4", "/etc/iptables/rules.v6"),
}
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

    def is_enabled(unit: str) -> bool:
        return output("systemctl", "is-enabled", unit).strip() == "enabled"

    def firewalls() -> list[str]:
        found = []
        # Its configuration stays when its package is removed.
        if module.get_bin_path("ufw") and _node_machine.ufw_is_enabled(read("/etc/ufw/ufw.conf")):
            found.append("ufw")
        if is_active("firewalld") or is_enabled("firewalld"):
            found.append("firewalld")
        for chain in _node_machine.base_chains(output("nft", "--json", "list", "chains")):
            found += _node_machine.dropping_chains(output("nft", "--json", "list", "chain", *chain))
        for names, program in (("ip", "iptables-legacy"), ("ip6", "ip6tables-legacy")):
            # Asking where there are no such tables makes them.
            if "filter" in read(f"/proc/net/{names}_tables_names").split():
                found += [program] if _node_machine.dropping_rules(output(program, "-S", "INPUT")) else []
        for unit, files in FILTERS.items():
            if any(_node_machine.dropping_rules(read(path)) for path in files) and is_enabled(unit):
                found.append(f"{unit}.service at boot")
        return found

    wanted = module.params["packages"]
    states = output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *wanted) if wanted else ""
    resolv_conf = module.params["resolv_conf"] or (RESOLVED if is_active("systemd-resolved") else "/etc/resolv.conf")
    servers = _node_machine.name_servers(read(resolv_conf))
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    disk = os.statvfs("/var/lib")
    module.exit_json(
        apt_sources=[
            source
            for path in sources
            if path.suffix in (".list", ".sources")
            for source in _node_machine.apt_sources(str(path), read(path))
        ],
        cgroup_version=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        cni_files=sorted(
            path.name
            for path in Path("/etc/cni/net.d").glob("*")
            if path.suffix in (".conf", ".conflist", ".json") and "calico" not in path.name
        ),
        epoch=int(time.time()),
        firewalls=firewalls(),
        free_mb=disk.f_bavail * disk.f_frsize // 2**20,
        interface=_node_machine.interface_of(output("ip", "-json", "address", needed=True), module.params["address"])
        or {},
        is_node=Path("/etc/kubernetes/kubelet.conf").exists(),
        is_interrupted=any(Path("/var/lib/dpkg/updates").glob("*")),
        listeners=_node_machine.listeners(
            output("ss", "--no-header", "--numeric", "--listening", "--tcp", "--processes", needed=True)
        ),
        loopback_name_servers=[server for server in servers if _node_machine.is_loopback(server)],
        name_servers=servers,
        noexec=[path for path in PROGRAMS if Path(path).exists() and os.statvfs(path).f_flag & os.ST_NOEXEC],
        packages=[line.split()[0] for line in states.splitlines() if line.endswith(" installed")],
        resolv_conf=resolv_conf,
    )


if __name__ == "__main__":
    main()
