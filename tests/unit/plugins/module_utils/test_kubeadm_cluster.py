"""What a live cluster says of itself: edits of its components show, and control planes have their marks."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm import cluster

from tests.unit.plugins.kubeadm_machine import CONFIG, CREDENTIALS, Machine, cluster_objects, node_object

LABEL, EXCLUDED = cluster.CONTROL_PLANE_LABEL, cluster.EXCLUSION_LABEL
ALL = cluster.Marks(is_labelled=True, is_excluded=True, is_tainted=True)
NONE = cluster.Marks(is_labelled=False, is_excluded=False, is_tainted=False)
LABELLED = cluster.Marks(is_labelled=True, is_excluded=False, is_tainted=False)
WITHOUT_TAINT = cluster.Marks(is_labelled=True, is_excluded=True, is_tainted=False)
WITHOUT_EXCLUSION = cluster.Marks(is_labelled=True, is_excluded=False, is_tainted=True)
NAMES = [component.name for component in cluster.COMPONENTS]


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr(cluster, "PAUSE_SECONDS", 0)
    found = Machine(tmp_path)
    found.write("etc/kubernetes/admin.conf", "")
    return found


def by_name(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return objects by kind and name."""
    return {f"{item['kind'].lower()}/{item['metadata']['name']}": item for item in document["items"]}


def applied(config: str = CONFIG) -> dict[str, dict[str, Any]]:
    """Return the objects of a cluster to which a configuration was applied."""
    objects = by_name(cluster_objects())
    hashes = {one.name: cluster.fingerprint(one, config, objects) for one in cluster.COMPONENTS}
    return by_name(cluster_objects(hashes))


def outdated(objects: dict[str, dict[str, Any]], config: str = CONFIG) -> list[str]:
    """Return the names of the components that are out of sync."""
    return [component.name for component in cluster.outdated(config, objects)]


def test_a_cluster_to_which_nothing_was_applied() -> None:
    assert outdated(by_name(cluster_objects())) == NAMES
    assert outdated(applied()) == []


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("configmap/kubeadm-config", ("configmap/kubeadm-config", "data", "ClusterConfiguration")),
        ("configmap/kubelet-config", ("configmap/kubelet-config", "data", "kubelet")),
        ("configmap/kube-proxy", ("configmap/kube-proxy", "data", "config.conf")),
        ("configmap/kube-proxy", ("daemonset/kube-proxy", "spec", "x")),
        ("deployment/coredns", ("deployment/coredns", "spec", "x")),
    ],
)
def test_edits_in_the_cluster(name: str, place: tuple[str, str, str]) -> None:
    found = applied()
    item, section, key = place
    found[item][section][key] = "by hand"
    assert outdated(found) == [name]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("configmap/kubeadm-config", 'clusterName: "lab"', 'clusterName: "other"'),
        ("configmap/kubelet-config", "podPidsLimit: 4096", "podPidsLimit: 9999"),
        ("configmap/kube-proxy", "kind: KubeProxyConfiguration", "kind: KubeProxyConfiguration\nmode: ipvs"),
    ],
)
def test_edits_in_the_inventory(name: str, old: str, new: str) -> None:
    assert old in CONFIG
    assert outdated(applied(), CONFIG.replace(old, new)) == [name]


def test_restarts_and_replicas_are_no_edits() -> None:
    found = applied()
    for name in ("deployment/coredns", "daemonset/kube-proxy"):
        template = found[name]["spec"]["template"]
        template["metadata"]["annotations"] = {"kubectl.kubernetes.io/restartedAt": "2026-11-30T14:36:41Z"}
    found["deployment/coredns"]["spec"]["replicas"] = 5
    found["configmap/kube-proxy"]["metadata"]["annotations"]["other"] = "x"
    assert outdated(found) == []
    # What a node registers with is no part of it.
    assert outdated(found, CONFIG.replace("kind: InitConfiguration", "kind: InitConfiguration\nx: 1")) == []


def test_the_documents_of_a_configuration_are_found_by_kind() -> None:
    kinds = ["InitConfiguration", "ClusterConfiguration", "KubeletConfiguration", "KubeProxyConfiguration"]
    assert list(cluster.documents(CONFIG)) == kinds
    assert cluster.documents("a: 1\n---\nkind: X\n") == {"X": "kind: X"}


def test_components_are_applied_by_kubeadm_and_noted(machine: Machine) -> None:
    objects = by_name(cluster_objects())
    for component in cluster.COMPONENTS:
        cluster.apply(machine.commands, component, CONFIG)
    cluster.annotate(machine.commands, cluster.COMPONENTS[0], CONFIG, objects)
    kubectl = f"kubectl --kubeconfig={machine.root}/etc/kubernetes/admin.conf --namespace=kube-system"
    note = f"campus.hubs/applied={cluster.fingerprint(cluster.COMPONENTS[0], CONFIG, objects)}"
    assert machine.ran == [
        "kubeadm init phase upload-config kubeadm --config /dev/stdin",
        "kubeadm init phase upload-config kubelet --config /dev/stdin",
        "kubeadm init phase addon kube-proxy --config /dev/stdin",
        f"{kubectl} rollout restart daemonset/kube-proxy",
        "kubeadm init phase addon coredns --config /dev/stdin",
        f"{kubectl} annotate --overwrite configmap/kubeadm-config {note}",
    ]


def test_a_machine_without_kubeconfig_has_no_cluster(tmp_path: Path) -> None:
    machine = Machine(tmp_path)
    assert cluster.describe(machine.commands, CONFIG) == {}
    assert machine.ran == []


def test_an_init_that_was_stopped_is_not_waited_for(machine: Machine) -> None:
    machine.answer("^kubectl", "", "connection refused", code=1)
    assert cluster.describe(machine.commands, CONFIG) == {}
    assert len(machine.ran) == 1
    # It came further: the API server answers, and what the last phases make is not there.
    machine.write("etc/kubernetes/kubelet.conf", CREDENTIALS)
    machine.answer("^kubectl", "", 'Error from server (NotFound): configmaps "kube-proxy" not found', code=1)
    assert cluster.describe(machine.commands, CONFIG) == {}
    assert len(machine.ran) == 3


def test_what_cannot_change_is_known_without_an_object_that_was_deleted(machine: Machine) -> None:
    machine.write("etc/kubernetes/kubelet.conf", CREDENTIALS)
    machine.answer("^kubectl", "", 'Error from server (NotFound): deployments.apps "coredns" not found', code=1)
    settings = {"data": {"ClusterConfiguration": "kubernetesVersion: v1.36.1\n"}}
    machine.answer("^kubectl .*--output=json configmap/kubeadm-config$", json.dumps(settings))
    assert cluster.describe(machine.commands, CONFIG) == {"initialised": "kubernetesVersion: v1.36.1\n"}


def test_an_api_server_that_does_not_answer_is_waited_for(machine: Machine) -> None:
    machine.write("etc/kubernetes/kubelet.conf", CREDENTIALS)
    machine.answer("^kubectl", "", "connection refused\n", code=1)
    with pytest.raises(cluster.NoAnswerError, match=r"^connection refused$"):
        cluster.describe(machine.commands, CONFIG)
    assert len(machine.ran) == cluster.TRIES


def test_a_live_cluster(machine: Machine) -> None:
    hashes = {
        name: item["metadata"]["annotations"][cluster.ANNOTATION] for name, item in applied().items() if name in NAMES
    }
    hashes["configmap/kube-proxy"] = "other"
    machine.answer("kubectl .*configmap/kubeadm-config", json.dumps(cluster_objects(hashes)))
    nodes = [node_object("cp1", LABEL, EXCLUDED, taints=(LABEL,)), node_object("w1", address="192.0.2.12")]
    machine.answer("kubectl .*get nodes", json.dumps({"items": nodes}))
    found = cluster.describe(machine.commands, CONFIG)
    assert found == {
        "configuration": "clusterName: lab\n",
        "kubelet_configuration": "containerRuntimeEndpoint: ''\npodPidsLimit: 4096\n",
        "nodes": {
            "cp1": {
                "address": "192.0.2.11",
                "labels": sorted(["kubernetes.io/hostname", LABEL, EXCLUDED]),
                "taints": [LABEL],
            },
            "w1": {"address": "192.0.2.12", "labels": ["kubernetes.io/hostname"], "taints": []},
        },
        "outdated": [
            {"name": "configmap/kube-proxy", "consequence": "kube-proxy restarts on all nodes, connections stay."}
        ],
    }
    assert cluster.describe(machine.commands, "")["outdated"] == []


@pytest.mark.parametrize(
    ("found", "desired"),
    [
        (ALL, ALL),
        (NONE, ALL),
        (LABELLED, ALL),
        (WITHOUT_TAINT, ALL),
        (WITHOUT_EXCLUSION, ALL),
    ],
)
def test_marks_with_workers(found: cluster.Marks, desired: cluster.Marks) -> None:
    assert cluster.desired_marks(found, takes_pods=False) == desired


@pytest.mark.parametrize("found", [ALL, NONE, LABELLED, WITHOUT_TAINT, WITHOUT_EXCLUSION])
def test_marks_without_workers(found: cluster.Marks) -> None:
    assert cluster.desired_marks(found, takes_pods=True) == LABELLED


def test_volumes_of_a_control_plane_are_not_cut_off_when_workers_come() -> None:
    # The label all the same: workers announce the addresses.
    for found in (LABELLED, WITHOUT_TAINT, NONE):
        assert cluster.desired_marks(found, takes_pods=False, has_volumes=True) == WITHOUT_TAINT
    assert cluster.desired_marks(ALL, takes_pods=False, has_volumes=True) == ALL


def test_nodes_with_volumes(machine: Machine) -> None:
    machine.answer("get persistentvolumes", "w1 cp10 w1")
    assert cluster.nodes_with_volumes(machine.commands) == {"w1", "cp10"}


@pytest.mark.parametrize(
    ("found", "desired", "commands"),
    [
        (ALL, ALL, []),
        (NONE, ALL, [f"label node cp1 {LABEL}= {EXCLUDED}=", f"taint node cp1 {LABEL}:NoSchedule"]),
        (LABELLED, WITHOUT_TAINT, [f"label node cp1 {EXCLUDED}="]),
        (ALL, LABELLED, [f"label node cp1 {EXCLUDED}-", f"taint node cp1 {LABEL}-"]),
        (WITHOUT_EXCLUSION, LABELLED, [f"taint node cp1 {LABEL}-"]),
        (NONE, LABELLED, [f"label node cp1 {LABEL}="]),
    ],
)
def test_labels_and_taints_are_set_by_the_fewest_commands(
    found: cluster.Marks, desired: cluster.Marks, commands: list[str]
) -> None:
    assert [" ".join(line) for line in cluster.marking_commands("cp1", found, desired)] == commands


@pytest.mark.parametrize(
    ("marks", "with_workers", "without_workers"),
    [
        (ALL, True, False),
        (NONE, False, False),
        (LABELLED, False, True),
        (WITHOUT_TAINT, False, False),
        (WITHOUT_EXCLUSION, False, False),
        # It has just joined: kubeadm has given it all of them.
        (None, True, False),
    ],
)
def test_a_node_in_sync(marks: cluster.Marks | None, with_workers: bool, without_workers: bool) -> None:
    nodes = {}
    if marks:
        labels = [name for name, is_there in ((LABEL, marks.is_labelled), (EXCLUDED, marks.is_excluded)) if is_there]
        document = {"items": [node_object("cp1", *labels, taints=(LABEL,) if marks.is_tainted else ())]}
        nodes = cluster.nodes(document)
        assert cluster.marks_of(nodes["cp1"]) == marks
    found = [cluster.is_marked({"nodes": nodes}, "cp1", takes_pods=takes_pods) for takes_pods in (False, True)]
    assert found == [with_workers, without_workers]
    assert cluster.is_marked({}, "cp1", takes_pods=False)
