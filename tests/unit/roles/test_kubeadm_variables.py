"""What role kubeadm makes of its variables and of what kubeadm_info says of the nodes."""

from __future__ import annotations

from typing import Any

import pytest
import yaml

from tests.unit.roles.role_variables import ROOT, compute, render

KUBELET = {"cgroupDriver": "systemd", "podPidsLimit": 4096}
CLUSTER = {"configuration": {"clusterName": "lab"}, "kubelet_configuration": KUBELET, "nodes": {}, "outdated": []}


def node(**facts: object) -> dict[str, Any]:
    """Return what kubeadm_info says of a node that needs nothing."""
    usual = {
        "cluster": {},
        "expiring_certificates": [],
        "has_credentials": True,
        "is_compared": True,
        "is_member": True,
        "kubelet": {"configuration": KUBELET, "flags": [], "is_current": True},
        "lacks_server_name": False,
        "packages_are_current": True,
        "static_pods": [],
    }
    return usual | facts


def variables(host: str = "cp1", /, **nodes: dict[str, Any]) -> dict[str, Any]:
    """Return a host's variables in a play with these nodes; control planes' names begin with cp."""
    hosts = [*nodes]
    return {
        "ansible_facts": {"nodename": host.upper(), "default_ipv4": {"address": "192.0.2.11"}},
        "ansible_play_hosts": hosts,
        "ansible_play_hosts_all": hosts,
        "groups": {
            "control_plane": [name for name in hosts if name.startswith("cp")],
            "workers": [name for name in hosts if name.startswith("w")],
        },
        "hostvars": {
            name: {"inventory_hostname": name, "_kubeadm_node": found, "kubeadm_node_ip": "192.0.2.11"}
            for name, found in nodes.items()
        },
        "inventory_hostname": host,
        "kubeadm_version": "1.36.3",
        "_kubeadm_node": nodes[host],
    }


@pytest.mark.parametrize(
    ("server", "name"),
    [
        ("127.0.0.1:6443", "127.0.0.1"),
        ("[2001:db8::1]:443", "2001:db8::1"),
        ("api.example.edu:6443", "api.example.edu"),
        ("host1.lab2:6443", "host1.lab2"),
        ("", ""),
    ],
)
def test_the_server_that_the_certificate_names(server: str, name: str) -> None:
    assert compute("kubeadm", "_kubeadm_server_name", {"kubeadm_kubeconfig_server": server}) == name


def test_the_first_control_plane_with_credentials_speaks_for_the_cluster() -> None:
    bare, live = node(has_credentials=False, is_member=False), node(cluster=CLUSTER)
    for given, seed in (({"cp1": bare, "cp2": live, "cp3": live}, "cp2"), ({"cp1": bare, "cp2": bare}, "cp1")):
        assert compute("kubeadm", "_kubeadm_seed", variables(**given)) == seed
    found = variables(cp1=bare, cp2=live, cp3=live, w1=bare, w2=live)
    assert compute("kubeadm", "_kubeadm_joiners", found) == ["cp1", "w1"]
    assert compute("kubeadm", "_kubeadm_joining_control_planes", found) == ["cp1"]
    assert compute("kubeadm", "[_kubeadm_is_live, _kubeadm_must_init, _kubeadm_must_join]", found) == [
        True,
        False,
        True,
    ]


def test_bare_machines() -> None:
    bare = node(has_credentials=False, is_member=False, is_compared=False, packages_are_current=False)
    found = variables(cp1=bare, w1=bare)
    must = "[_kubeadm_must_init, _kubeadm_must_join, _kubeadm_joiners, _kubeadm_differs]"
    assert compute("kubeadm", must, found) == [True, False, ["w1"], False]


def test_packages() -> None:
    pins = dict.fromkeys(("kubeadm", "kubelet", "kubectl"), "1.36.3-*")
    assert compute("kubeadm", "_kubeadm_packages", variables(cp1=node())) == pins


@pytest.mark.parametrize(
    ("facts", "differs"),
    [
        ({}, False),
        ({"kubelet": {"configuration": KUBELET | {"podPidsLimit": 9}, "flags": [], "is_current": True}}, True),
        ({"kubelet": {"configuration": KUBELET, "flags": ["-x"], "is_current": True}}, True),
        ({"kubelet": {"configuration": KUBELET, "flags": [], "is_current": False}}, True),
        ({"lacks_server_name": True}, True),
        ({"expiring_certificates": ["apiserver"]}, True),
        ({"static_pods": [{"name": "etcd"}]}, True),
        ({"static_pods": [{"name": "etcd"}], "is_compared": False}, False),
    ],
)
def test_nodes_that_differ(facts: dict[str, Any], differs: bool) -> None:
    assert compute("kubeadm", "_kubeadm_differs", variables(cp1=node(cluster=CLUSTER, **facts))) is differs


def test_what_a_node_joins_with() -> None:
    found = variables("cp2", cp1=node(cluster=CLUSTER), cp2=node(is_member=False, has_credentials=False))
    credentials = {"token": "abcdef.0123456789abcdef", "authority_hash": "sha256:12", "certificate_key": "ab" * 32}
    found["hostvars"]["cp1"]["_kubeadm_join_credentials"] = credentials
    found["ansible_search_path"] = [str(ROOT / "roles/kubeadm")]
    document = yaml.safe_load(compute("kubeadm", "lookup('ansible.builtin.template', 'join.yaml.j2')", found))
    assert document["discovery"]["bootstrapToken"] == {
        "apiServerEndpoint": "192.0.2.11:6443",
        "token": "abcdef.0123456789abcdef",
        "caCertHashes": ["sha256:12"],
    }
    assert document["controlPlane"]["certificateKey"] == "ab" * 32
    assert document["nodeRegistration"]["name"] == "cp2"


@pytest.mark.parametrize("name", ["12", "0123", "null", "on"])
def test_names_and_addresses_stay_texts(name: str) -> None:
    facts = variables("cp1", cp1=node())
    facts["ansible_facts"] = {"nodename": name, "default_ipv4": {"address": "192.0.2.11"}}
    facts |= {"_kubeadm_endpoint": "[2001:db8::1]:6443", "kubeadm_cluster_name": "campus"}
    documents = {
        document["kind"]: document for document in yaml.safe_load_all(render("kubeadm", "kubeadm.yaml.j2", facts))
    }
    assert documents["InitConfiguration"]["nodeRegistration"]["name"] == name
    assert documents["ClusterConfiguration"]["controlPlaneEndpoint"] == "[2001:db8::1]:6443"
