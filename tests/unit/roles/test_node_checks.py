"""Which machines role node refuses, by which of its checks."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles.role_variables import compute

OPTIONS = yaml.safe_load((Path(__file__).resolve().parents[3] / "roles/node/meta/argument_specs.yml").read_text())
DOCKER = {"uri": "https://download.docker.com/linux/ubuntu", "suite": "noble"}
KUBERNETES = {"uri": "https://pkgs.k8s.io/core:/stable:/v1.36/deb", "suite": ""}
# A server as it should be.
MACHINE: dict[str, Any] = {
    "apt_sources": [
        {"file": "/etc/apt/sources.list.d/ubuntu.sources", "uri": "http://archive.ubuntu.com/ubuntu", "suite": "noble"},
        {"file": "/etc/apt/sources.list.d/containerd.sources", **DOCKER},
        {"file": "/etc/apt/sources.list.d/kubernetes.sources", **KUBERNETES},
    ],
    "cgroup_version": 2,
    "firewalls": [],
    "free_mb": 100_000,
    "interface": {"name": "eth1", "mtu": 1500},
    "is_interrupted": False,
    "is_node": False,
    "listeners": [{"port": 22, "program": "sshd"}, {"port": 6443, "program": "kube-apiserver"}],
    "loopback_name_servers": [],
    "name_servers": ["192.0.2.53"],
    "packages": ["conntrack"],
    "resolv_conf": "/etc/resolv.conf",
}
FACTS: dict[str, Any] = {
    "architecture": "x86_64",
    "date_time": {"epoch": "1000"},
    "default_ipv4": {"address": "198.51.100.11", "mtu": 9000},
    "distribution": "Ubuntu",
    "distribution_major_version": "24",
    "distribution_version": "24.04",
    "hostname": "s1",
    "machine_id": "a1",
    "memory_mb": {"nocache": {"free": 3000}},
    "memtotal_mb": 4000,
    "nodename": "s1",
    "processor_vcpus": 4,
    "service_mgr": "systemd",
    "swapfree_mb": 0,
    "swaptotal_mb": 0,
}


def refusals(machine: dict[str, Any], variables: dict[str, Any], peer: dict[str, Any] | None = None) -> dict[str, str]:
    """Return the name of each check that refuses the machine, with the rest of the sentence."""
    hosts = {"s1": {"ansible_facts": FACTS, "_node_machine": machine}}
    other = FACTS | {"hostname": "s2", "nodename": "s2", "machine_id": "a2"}
    hosts["s2"] = {"ansible_facts": other, "_node_machine": peer or MACHINE}
    known = hosts["s1"] | {
        "ansible_play_hosts": list(hosts),
        "containerd_apt_suite": "noble",
        "containerd_apt_url": "https://download.docker.com/linux/ubuntu",
        "groups": {"control_plane": ["s1"]},
        "hostvars": hosts,
        "inventory_hostname": "s1",
        "kubeadm_apt_url": "https://pkgs.k8s.io/core:/stable:/v1.36/deb/",
        "kubeadm_node_ip": "10.0.0.11",
    }
    checks = compute(
        "node", "_node_checks | rejectattr('ok') | rejectattr('name', 'in', node_ignore_checks)", known | variables
    )
    return {check["name"]: f"{check['found']} / {check['expected']} / {check['fix']}" for check in checks}


def test_a_good_machine() -> None:
    assert refusals(MACHINE, {}) == {}


@pytest.mark.parametrize(
    ("name", "machine", "words"),
    [
        ("address", {"interface": {}}, "10.0.0.11, which is on none of the machine's interfaces"),
        ("MTU", {"interface": {"name": "eth1", "mtu": 9000}}, "9000 on eth1 (10.0.0.11); all nodes: 9000, 1500"),
        (
            "name servers",
            {"name_servers": ["127.0.0.1"], "loopback_name_servers": ["127.0.0.1"]},
            "127.0.0.1 in /etc/re",
        ),
        ("name servers", {"name_servers": ["192.0.2.53", "::1"], "loopback_name_servers": ["::1"]}, "192.0.2.53, ::1"),
        ("name servers", {"name_servers": []}, "none in /etc/resolv.conf"),
        ("firewall", {"firewalls": ["ufw"]}, "ufw active"),
        ("firewall", {"firewalls": ["firewalld", "inet filter input"]}, "firewalld, inet filter input active"),
        ("other container runtimes", {"packages": ["conntrack", "docker.io", "runc"]}, "purge docker.io runc"),
        ("other container runtimes", {"packages": ["containerd"]}, "containerd installed"),
        (
            "package repositories",
            {"apt_sources": [{"file": "/etc/apt/sources.list.d/docker.list", **DOCKER}]},
            "docker.list",
        ),
        (
            "package repositories",
            {"apt_sources": [{"file": "/etc/apt/sources.list", **KUBERNETES}]},
            "/etc/apt/sources.list,",
        ),
        ("control groups", {"cgroup_version": 1}, "version 1"),
        ("ports", {"listeners": [{"port": 6443, "program": "k3s-server"}]}, "6443 taken by k3s-server"),
        ("disk", {"free_mb": 5000}, "4.9 GiB free"),
    ],
)
def test_a_machine_that_cannot_be_a_node(name: str, machine: dict[str, Any], words: str) -> None:
    found = refusals(copy.deepcopy(MACHINE) | machine, {})
    # An address that is nowhere has no MTU either.
    assert set(found) - ({"MTU"} if name == "address" else set()) == {name}
    assert words in found[name]
    assert refusals(MACHINE | machine, {"node_ignore_checks": [name, "MTU"]}) == {}


@pytest.mark.parametrize(
    ("machine", "variables"),
    [
        # The interface of the default route has 9000, which is nobody's business.
        ({"interface": {"name": "eth1", "mtu": 1500}}, {}),
        ({"cgroup_version": 1}, {"kubeadm_kubelet_config": {"failCgroupV1": False}}),
        ({"apt_sources": [{"file": "/etc/apt/sources.list.d/docker.list", **DOCKER, "suite": "jammy"}]}, {}),
        (
            {"apt_sources": [{"file": "/x.list", **KUBERNETES, "uri": "https://pkgs.k8s.io/core:/stable:/v1.35/deb"}]},
            {},
        ),
        ({"packages": ["docker-ce", "containerd.io"]}, {}),
        ({"free_mb": 5000, "is_node": True}, {}),
    ],
    ids=["default route", "cgroup v1 asked for", "another suite", "another minor", "docker-ce", "a node already"],
)
def test_what_is_no_reason(machine: dict[str, Any], variables: dict[str, Any]) -> None:
    assert refusals(MACHINE | machine, variables) == {}


def test_a_machine_without_a_default_route() -> None:
    facts = {key: value for key, value in FACTS.items() if key != "default_ipv4"}
    assert refusals(MACHINE, {"ansible_facts": facts}) == {}


def test_the_names_of_checks_are_the_option_s_choices() -> None:
    names = compute("node", "_node_checks | map(attribute='name')", {})
    assert list(names) == OPTIONS["argument_specs"]["main"]["options"]["node_ignore_checks"]["choices"]
