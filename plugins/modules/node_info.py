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
extends_documentation_fragment: [campus.hubs.on_node.no_diff]
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
  services:
    description: Names of systemd's services to look for.
    type: list
    elements: str
    default: []
  ports:
    description: TCP ports that only a node's components may listen on.
    type: list
    elements: int
    default: []
  repositories:
    description: Package repositories that only files of their own may name.
    type: list
    elements: dict
    default: []
    suboptions:
      uri:
        description: The repository's URL.
        type: str
        required: true
      suite:
        description: The suite in it; none for a flat repository.
        type: str
        default: ""
      file:
        description: The file below C(/etc/apt) that may name it.
        type: path
        required: true
  time:
    description: The time where it is asked from, in seconds since 1970.
    type: float
"""

EXAMPLES = r"""
- name: Gather facts of the machine
  campus.hubs.node_info:
    address: "{{ ansible_facts.default_ipv4.address }}"
    packages: [conntrack, docker.io]
    ports: [6443, 10250]
  register: machine
"""

RETURN = r"""
cgroup_version:
  description: The version of the control groups that the system uses, 1 or 2.
  returned: success
  type: int
  sample: 2
clock_offset_seconds:
  description: How far the system's time is ahead of O(time); 0 without it.
  returned: success
  type: int
cni_files:
  description: Names of the files in C(/etc/cni/net.d) that containerd would take instead of Calico's.
  returned: success
  type: list
  elements: str
  sample: [87-podman-bridge.conflist]
firewalls:
  description:
    - Packet filters that drop what no rule of theirs accepts, V(ufw), V(firewalld), chains of nftables, or the chain
      C(INPUT) of old iptables; also those that will at the next boot.
  returned: success
  type: list
  elements: str
foreign_listeners:
  description:
    - What listens on O(ports) and is no component of a node, each with C(port) and C(program) (15 characters at most).
  returned: success
  type: list
  elements: dict
foreign_sources:
  description: Other files of apt that name one of O(repositories).
  returned: success
  type: list
  elements: str
  sample: [/etc/apt/sources.list.d/docker.list]
free_mb:
  description: Free space below C(/var/lib), in MiB.
  returned: success
  type: int
host_name:
  description: The host name, as the system has it.
  returned: success
  type: str
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
is_machine_id_valid:
  description: Whether RV(machine_id) has the form of one.
  returned: success
  type: bool
is_node_name_valid:
  description: Whether Kubernetes takes RV(node_name), and it is not C(localhost).
  returned: success
  type: bool
ipv4_name_servers:
  description: Those of RV(name_servers) that pods, which have IPv4 addresses only, can reach.
  returned: success
  type: list
  elements: str
loopback_name_servers:
  description: Those of RV(name_servers) that only the machine itself can reach.
  returned: success
  type: list
  elements: str
machine_id:
  description: The system's id; empty if it has none.
  returned: success
  type: str
name_servers:
  description: The name servers that pods get.
  returned: success
  type: list
  elements: str
node_name:
  description: RV(host_name) in small letters, as kubeadm registers it.
  returned: success
  type: str
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
services:
  description: Those of O(services) that are active.
  returned: success
  type: list
  elements: str
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
            "services": {"type": "list", "elements": "str", "default": []},
            "ports": {"type": "list", "elements": "int", "default": []},
            "repositories": {
                "type": "list",
                "elements": "dict",
                "default": [],
                "options": {
                    "uri": {"type": "str", "required": True},
                    "suite": {"type": "str", "default": ""},
                    "file": {"type": "path", "required": True},
                },
            },
            "time": {"type": "float"},
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

    params = module.params
    packages, repositories = params["packages"], params["repositories"]
    states = (
        output("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *packages) if packages else ""
    )
    resolv_conf = params["resolv_conf"] or (RESOLVED if is_active("systemd-resolved") else "/etc/resolv.conf")
    servers = _node_machine.name_servers(read(resolv_conf))
    sources = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    apt_sources = [
        source
        for path in sources
        if path.suffix in (".list", ".sources")
        for source in _node_machine.apt_sources(str(path), read(path))
    ]
    listeners = _node_machine.listeners(
        output("ss", "--no-header", "--numeric", "--listening", "--tcp", "--processes", needed=True)
    )
    ip_address = output("ip", "-json", "address", needed=True)
    is_node = Path("/etc/kubernetes/kubelet.conf").exists()
    disk = os.statvfs("/var/lib")
    host_name, machine_id = os.uname().nodename, read("/etc/machine-id").strip()
    module.exit_json(
        cgroup_version=2 if Path("/sys/fs/cgroup/cgroup.controllers").exists() else 1,
        clock_offset_seconds=0 if params["time"] is None else round(time.time() - params["time"]),
        cni_files=_node_machine.foreign_cni_files([path.name for path in Path("/etc/cni/net.d").glob("*")], is_node),
        firewalls=firewalls(),
        foreign_listeners=_node_machine.foreign_listeners(listeners, params["ports"]),
        foreign_sources=_node_machine.foreign_sources(
            apt_sources, repositories, [repository["file"] for repository in repositories]
        ),
        free_mb=disk.f_bavail * disk.f_frsize // 2**20,
        host_name=host_name,
        interface=_node_machine.interface_of(ip_address, params["address"]) or {},
        is_interrupted=any(Path("/var/lib/dpkg/updates").glob("*")),
        is_machine_id_valid=_node_machine.is_machine_id(machine_id),
        is_node=is_node,
        is_node_name_valid=_node_machine.is_node_name(host_name.lower()),
        ipv4_name_servers=[server for server in servers if _node_machine.is_ipv4(server)],
        loopback_name_servers=[server for server in servers if _node_machine.is_loopback(server)],
        machine_id=machine_id,
        name_servers=servers,
        node_name=host_name.lower(),
        noexec=[path for path in PROGRAMS if Path(path).exists() and os.statvfs(path).f_flag & os.ST_NOEXEC],
        packages=[line.split()[0] for line in states.splitlines() if line.endswith(" installed")],
        resolv_conf=resolv_conf,
        services=[name for name in params["services"] if is_active(name)],
    )


if __name__ == "__main__":
    main()
