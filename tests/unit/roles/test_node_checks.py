"""Which machines role node refuses, by which of its checks."""

from __future__ import annotations

import copy
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.unit.roles.role_variables import ROOT, compute

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
    "cni_files": [],
    # From now, see refusals.
    "epoch": 0,
    "firewalls": [],
    "free_mb": 100_000,
    "interface": {"name": "eth1", "mtu": 1500},
    "is_interrupted": False,
    "is_node": False,
    "listeners": [{"port": 22, "program": "sshd"}, {"port": 6443, "program": "kube-apiserver"}],
    "loopback_name_servers": [],
    "name_servers": ["192.0.2.53"],
    "noexec": [],
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
    "env": {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin"},
    "hostname": "s1",
    "machine_id": "a1" * 16,
    "memory_mb": {"nocache": {"free": 3000}},
    "memtotal_mb": 4000,
    "nodename": "s1",
    "processor_vcpus": 4,
    "service_mgr": "systemd",
    "swapfree_mb": 0,
    "swaptotal_mb": 0,
}
PEER_FACTS = FACTS | {"hostname": "s2", "nodename": "s2", "machine_id": "a2" * 16}


def refusals(
    machine: dict[str, Any],
    variables: dict[str, Any],
    peer: dict[str, Any] | None = None,
    facts: dict[str, Any] = FACTS,
    peer_facts: dict[str, Any] = PEER_FACTS,
) -> dict[str, str]:
    """Return the name of each check that refuses the machine, with the rest of the sentence."""
    machine = machine | {"epoch": int(time.time()) + machine["epoch"]}
    hosts = {"s1": {"ansible_facts": facts, "_node_machine": machine}}
    hosts["s2"] = {"ansible_facts": peer_facts, "_node_machine": peer or MACHINE}
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
        ("name servers", {"name_servers": ["fe80::1%eth0", "2001:db8::53"]}, "2001:db8::53 in /etc/resolv.conf"),
        ("mount options", {"noexec": ["/var/lib"]}, "noexec on /var/lib"),
        ("network configuration", {"cni_files": ["87-podman-bridge.conflist"]}, "/etc/cni/net.d/87-podman"),
        ("network configuration", {"cni_files": ["05-x.conf", "99-y.conf"], "is_node": True}, "net.d/05-x.conf / none"),
        ("clock", {"epoch": -86400}, "0 s between the nodes' clocks, 86"),
        ("clock", {"epoch": 450}, "0 s between the nodes' clocks, 4"),
        ("ports", {"listeners": [{"port": 5000, "program": "registry"}]}, "5000 taken by registry"),
        ("ports", {"listeners": [{"port": 5001, "program": "python3"}]}, "5001 taken by python3"),
        ("firewall", {"firewalls": ["ufw"]}, "ufw /"),
        ("firewall", {"firewalls": ["firewalld", "inet filter input"]}, "firewalld, inet filter input /"),
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
        ({"name_servers": ["fe80::1%eth0", "192.0.2.53"]}, {}),
        ({"cni_files": ["87-podman-bridge.conflist"], "is_node": True}, {}),
        ({"listeners": [{"port": 5000, "program": "x"}]}, {"course_images_registry": "registry.example.edu/x"}),
        ({"listeners": [{"port": 5000, "program": "x"}]}, {"groups": {"control_plane": ["s0", "s1"]}}),
        ({"listeners": [{"port": 5001, "program": "docker-registry"}]}, {}),
        ({"epoch": -100}, {}),
    ],
    ids=[
        "default route",
        "cgroup v1 asked for",
        "another suite",
        "another minor",
        "docker-ce",
        "a node already",
        "one name server of IPv4",
        "podman beside Calico",
        "a registry of the campus",
        "not the builder",
        "our registry",
        "a clock of the campus",
    ],
)
def test_what_is_no_reason(machine: dict[str, Any], variables: dict[str, Any]) -> None:
    assert refusals(MACHINE | machine, variables) == {}


@pytest.mark.parametrize(
    ("name", "low", "high", "check"),
    [
        ("node_min_memory_mb", "4000", "4001", "memory"),
        ("node_min_disk_gb", "97", "98", "disk"),
        ("node_max_clock_skew_seconds", "5", "4", "clock"),
    ],
)
def test_a_number_that_is_text_as_on_the_command_line(name: str, low: str, high: str, check: str) -> None:
    peer = PEER_FACTS | {"date_time": {"epoch": "1005"}}
    assert set(refusals(MACHINE, {name: low}, peer_facts=peer)) == set()
    assert set(refusals(MACHINE, {name: high}, peer_facts=peer)) == {check}


def test_a_root_without_its_programs() -> None:
    """As su leaves it on Debian, without -l."""
    found = refusals(MACHINE, {"ansible_facts": FACTS | {"env": {"PATH": "/usr/local/bin:/usr/bin:/bin"}}})
    assert set(found) == {"PATH"}
    assert "ansible_become_flags to -l" in found["PATH"]


def test_a_machine_without_a_default_route() -> None:
    facts = {key: value for key, value in FACTS.items() if key != "default_ipv4"}
    assert refusals(MACHINE, {"ansible_facts": facts}) == {}


def test_the_names_of_checks_are_the_option_s_choices() -> None:
    names = compute("node", "_node_checks | map(attribute='name')", {})
    # The last one is looked at before there are facts, by playbooks/tasks/become.yml.
    assert [*names, "become"] == OPTIONS["argument_specs"]["main"]["options"]["node_ignore_checks"]["choices"]


@pytest.mark.parametrize(
    ("facts", "name"),
    [
        ({"nodename": "localhost"}, "host name"),
        ({"nodename": "localhost.localdomain"}, "host name"),
        ({"nodename": "s_1"}, "host name"),
        ({"nodename": "-s1"}, "host name"),
        ({"nodename": "s1-.example.edu"}, "host name"),
        ({"nodename": "s1..example.edu"}, "host name"),
        ({"nodename": "s1" * 32}, "host name"),
        ({"nodename": "S2"}, "host name"),
        ({"machine_id": ""}, "machine id"),
        ({"machine_id": "uninitialized"}, "machine id"),
        ({"machine_id": "a2" * 16}, "machine id"),
        ({"nodename": "S1.Example.EDU"}, None),
        ({"nodename": "1"}, None),
        ({"nodename": "s" * 63}, None),
    ],
)
def test_names_and_ids(facts: dict[str, str], name: str | None) -> None:
    assert set(refusals(MACHINE, {"ansible_facts": FACTS | facts}, facts=FACTS | facts)) == ({name} if name else set())


def test_what_is_asked_of_a_machine() -> None:
    """A fact that is looked for, and not asked for, would never be found."""
    tasks = yaml.safe_load((ROOT / "roles/node/tasks/preflight.yml").read_text())
    asked = compute("node", tasks[0]["campus.hubs.node_info"]["packages"].strip("{} "), {})
    main = (ROOT / "roles/node/tasks/main.yml").read_text()
    assert set(re.findall(r"'([\w.-]+)' in _node_machine.packages", main)) == {"network-manager"}
    assert {"network-manager", "docker.io", "conntrack"} <= set(asked)
