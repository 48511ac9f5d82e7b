"""Which machines role node refuses, by which of its checks."""

from __future__ import annotations

import copy
import re
from typing import Any

import pytest
import yaml
from ansible_collections.campus.hubs.plugins.module_utils import _node_machine

from tests.unit.roles.role_variables import ROOT, compute

OPTIONS = yaml.safe_load((ROOT / "roles/node/meta/argument_specs.yml").read_text())
TASKS = yaml.safe_load((ROOT / "roles/node/tasks/preflight.yml").read_text())
DOCKER = {"uri": "https://download.docker.com/linux/ubuntu", "suite": "noble"}
KUBERNETES = {"uri": "https://pkgs.k8s.io/core:/stable:/v1.36/deb", "suite": ""}
# A server as it should be, as its programs and files say it.
MACHINE: dict[str, Any] = {
    "apt_sources": [
        {"file": "/etc/apt/sources.list.d/ubuntu.sources", "uri": "http://archive.ubuntu.com/ubuntu", "suite": "noble"},
        {"file": "/etc/apt/sources.list.d/containerd.sources", **DOCKER},
        {"file": "/etc/apt/sources.list.d/kubernetes.sources", **KUBERNETES},
    ],
    "cgroup_version": 2,
    "clock_offset_seconds": 0,
    "cni_files": [],
    "firewalls": [],
    "free_mb": 100_000,
    "host_name": "s1",
    "interface": {"name": "eth1", "mtu": 1500},
    "is_interrupted": False,
    "is_node": False,
    "listeners": [{"port": 22, "program": "sshd"}, {"port": 6443, "program": "kube-apiserver"}],
    "machine_id": "a1" * 16,
    "name_servers": ["192.0.2.53"],
    "noexec": [],
    "packages": ["conntrack"],
    "resolv_conf": "/etc/resolv.conf",
}
FACTS: dict[str, Any] = {
    "architecture": "x86_64",
    "default_ipv4": {"address": "198.51.100.11", "mtu": 9000},
    "distribution": "Ubuntu",
    "distribution_major_version": "24",
    "distribution_version": "24.04",
    "env": {"PATH": "/usr/local/bin:/usr/sbin:/usr/bin"},
    "memory_mb": {"nocache": {"free": 3000}},
    "memtotal_mb": 4000,
    "processor_vcpus": 4,
    "service_mgr": "systemd",
    "swapfree_mb": 0,
    "swaptotal_mb": 0,
}
PEER = MACHINE | {"host_name": "s2", "machine_id": "a2" * 16}


def gathered(machine: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """Return what module node_info makes of a server."""
    name, servers, repositories = machine["host_name"].lower(), machine["name_servers"], asked["repositories"]
    return machine | {
        "cni_files": _node_machine.foreign_cni_files(machine["cni_files"], machine["is_node"]),
        "foreign_listeners": _node_machine.foreign_listeners(machine["listeners"], asked["ports"]),
        "foreign_sources": _node_machine.foreign_sources(
            machine["apt_sources"], repositories, [repository["file"] for repository in repositories]
        ),
        "ipv4_name_servers": [server for server in servers if _node_machine.is_ipv4(server)],
        "is_machine_id_valid": _node_machine.is_machine_id(machine["machine_id"]),
        "is_node_name_valid": _node_machine.is_node_name(name),
        "loopback_name_servers": [server for server in servers if _node_machine.is_loopback(server)],
        "node_name": name,
        "packages": [package for package in machine["packages"] if package in asked["packages"]],
    }


def refusals(
    machine: dict[str, Any],
    variables: dict[str, Any],
    peer: dict[str, Any] = PEER,
) -> dict[str, str]:
    """Return the name of each check that refuses the machine, with the rest of the sentence."""
    hosts: dict[str, dict[str, Any]] = {"s1": {}, "s2": {}}
    known = {
        "ansible_facts": FACTS,
        "ansible_play_hosts": list(hosts),
        "containerd_apt_suite": "noble",
        "containerd_apt_url": "https://download.docker.com/linux/ubuntu",
        "groups": {"control_plane": ["s1"]},
        "hostvars": hosts,
        "inventory_hostname": "s1",
        "kubeadm_apt_url": "https://pkgs.k8s.io/core:/stable:/v1.36/deb/",
        "kubeadm_node_ip": "10.0.0.11",
    } | variables
    (gather,) = [task for task in TASKS if "campus.hubs.node_info" in task]
    asked = {
        name: compute("node", gather["campus.hubs.node_info"][name].strip("{} "), known)
        for name in ("packages", "ports", "repositories")
    }
    for name, raw in (("s1", machine), ("s2", peer)):
        hosts[name]["_node_machine"] = gathered(raw, asked)
    checks = compute(
        "node", "_node_checks | rejectattr('ok') | rejectattr('name', 'in', node_ignore_checks)", known | hosts["s1"]
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
            {"name_servers": ["127.0.0.1"]},
            "127.0.0.1 in /etc/re",
        ),
        ("name servers", {"name_servers": ["192.0.2.53", "::1"]}, "192.0.2.53, ::1"),
        ("name servers", {"name_servers": []}, "none in /etc/resolv.conf"),
        ("name servers", {"name_servers": ["fe80::1%eth0", "2001:db8::53"]}, "2001:db8::53 in /etc/resolv.conf"),
        ("mount options", {"noexec": ["/var/lib"]}, "noexec on /var/lib"),
        ("network configuration", {"cni_files": ["87-podman-bridge.conflist"]}, "/etc/cni/net.d/87-podman"),
        ("network configuration", {"cni_files": ["05-x.conf", "99-y.conf"], "is_node": True}, "net.d/05-x.conf / none"),
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
    ],
)
def test_what_is_no_reason(machine: dict[str, Any], variables: dict[str, Any]) -> None:
    assert refusals(MACHINE | machine, variables) == {}


@pytest.mark.parametrize(
    ("own", "others", "words"),
    [
        (-86400, -86400, "0 s between the nodes' clocks, 86400 s between this node's and"),
        (450, 450, "0 s between the nodes' clocks, 450 s between this node's and"),
        (0, 31, "31 s between the nodes' clocks, 0 s between this node's and"),
        (-16, 15, "31 s between the nodes' clocks, 16 s between this node's and"),
        (-15, 15, ""),
        # A clock of the campus.
        (-100, -100, ""),
    ],
)
def test_clocks(own: int, others: int, words: str) -> None:
    machine, peer = MACHINE | {"clock_offset_seconds": own}, PEER | {"clock_offset_seconds": others}
    found = refusals(machine, {}, peer)
    assert set(found) == ({"clock"} if words else set())
    assert words in found.get("clock", "")
    assert refusals(machine, {"node_ignore_checks": ["clock"]}, peer) == {}


@pytest.mark.parametrize(
    ("name", "low", "high", "check"),
    [
        ("node_min_memory_mb", "4000", "4001", "memory"),
        ("node_min_disk_gb", "97", "98", "disk"),
        ("node_max_clock_skew_seconds", "5", "4", "clock"),
    ],
)
def test_a_number_that_is_text_as_on_the_command_line(name: str, low: str, high: str, check: str) -> None:
    peer = PEER | {"clock_offset_seconds": 5}
    assert set(refusals(MACHINE, {name: low}, peer)) == set()
    assert set(refusals(MACHINE, {name: high}, peer)) == {check}


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
    ("machine", "name"),
    [
        ({"host_name": "localhost"}, "host name"),
        ({"host_name": "localhost.localdomain"}, "host name"),
        ({"host_name": "s_1"}, "host name"),
        ({"host_name": "-s1"}, "host name"),
        ({"host_name": "s1-.example.edu"}, "host name"),
        ({"host_name": "s1..example.edu"}, "host name"),
        ({"host_name": "s1" * 32}, "host name"),
        ({"host_name": "S2"}, "host name"),
        ({"machine_id": ""}, "machine id"),
        ({"machine_id": "uninitialized"}, "machine id"),
        ({"machine_id": "a2" * 16}, "machine id"),
        ({"host_name": "S1.Example.EDU"}, None),
        ({"host_name": "1"}, None),
        ({"host_name": "s" * 63}, None),
    ],
)
def test_names_and_ids(machine: dict[str, str], name: str | None) -> None:
    assert set(refusals(MACHINE | machine, {})) == ({name} if name else set())


def test_what_is_asked_of_a_machine() -> None:
    """A fact that is looked for, and not asked for, would never be found."""
    asked = TASKS[0]["campus.hubs.node_info"]
    packages = compute("node", asked["packages"].strip("{} "), {})
    written = (ROOT / "roles/node/tasks/configuration.yml").read_text()
    assert set(re.findall(r"'([\w.-]+)' in _node_machine.packages", written)) == {"network-manager"}
    assert {"network-manager", "docker.io", "conntrack"} <= set(packages)
    assert set(re.findall(r"'([\w.-]+)' in _node_machine.services", written)) == set(asked["services"])
    assert {repository["file"] for repository in compute("node", "_node_repositories", {})} == {
        f"/etc/apt/sources.list.d/{role}.sources" for role in ("containerd", "kubernetes")
    }
