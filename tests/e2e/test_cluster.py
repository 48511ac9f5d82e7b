"""Three bare nodes have become a cluster that runs courses."""

from __future__ import annotations

import subprocess
import uuid

import requests

from tests.e2e import playbook
from tests.e2e.cluster import Cluster, hub_answers
from tests.e2e.waiting import wait_for

VOLUME = "e2e-volume"
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "spec": {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "terminationGracePeriodSeconds": 0,
        "volumes": [{"name": "data", "persistentVolumeClaim": {"claimName": VOLUME}}],
    },
}


def test_three_nodes_are_ready(cluster: Cluster) -> None:
    nodes = cluster.core.list_node().items
    ready = {
        node.metadata.name: condition.status
        for node in nodes
        for condition in node.status.conditions
        if condition.type == "Ready"
    }
    assert len(ready) == 3, ready
    assert set(ready.values()) == {"True"}, ready
    assert len(cluster.workers()) == 2


def test_calico_runs_on_every_node(cluster: Cluster) -> None:
    nodes = {node.metadata.name for node in cluster.core.list_node().items}
    pods = cluster.pods("calico-system", "calico-node")
    assert {pod.spec.node_name for pod in pods} == nodes
    assert cluster.ready("calico-system", "calico-node")


def test_exactly_one_storage_class_is_the_default(cluster: Cluster) -> None:
    key = "storageclass.kubernetes.io/is-default-class"
    default = [
        item.metadata.name
        for item in cluster.storage.list_storage_class().items
        if (item.metadata.annotations or {}).get(key) == "true"
    ]
    assert len(default) == 1, default


def test_data_on_the_default_storage_class_outlives_its_pod(cluster: Cluster) -> None:
    namespace, text = "default", uuid.uuid4().hex
    image = cluster.core.read_namespaced_config_map("course-images", "campus-hubs").data["singleuser"]
    claim = {
        "metadata": {"name": VOLUME},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Mi"}}},
    }

    def run(name: str, script: str) -> str:
        container = {"name": "main", "image": image, "command": ["sh", "-c", script]}
        container |= {"volumeMounts": [{"name": "data", "mountPath": "/data"}], "securityContext": {"runAsUser": 0}}
        body = POD | {"metadata": {"name": name}, "spec": POD["spec"] | {"containers": [container]}}  # type: ignore[operator]
        cluster.core.create_namespaced_pod(namespace, body)
        try:
            wait_for(
                f"end of pod {name}",
                lambda: cluster.core.read_namespaced_pod(name, namespace).status.phase == "Succeeded",
                90,
            )
            log: str = cluster.core.read_namespaced_pod_log(name, namespace)
            return log
        finally:
            cluster.delete_pod(cluster.core.read_namespaced_pod(name, namespace))

    cluster.core.create_namespaced_persistent_volume_claim(namespace, claim)
    volume = ""
    try:
        run("e2e-writer", f"echo {text} > /data/file")
        bound = cluster.core.read_namespaced_persistent_volume_claim(VOLUME, namespace)
        assert bound.status.phase == "Bound"
        volume = bound.spec.volume_name
        assert run("e2e-reader", "cat /data/file").strip() == text
    finally:
        cluster.core.delete_namespaced_persistent_volume_claim(VOLUME, namespace)
        if volume:  # the class keeps volumes of deleted claims: this one is ours to remove
            wait_for(
                f"release of volume {volume}",
                lambda: all(
                    item.metadata.name != volume or item.status.phase == "Released"
                    for item in cluster.core.list_persistent_volume().items
                ),
                60,
            )
            if any(item.metadata.name == volume for item in cluster.core.list_persistent_volume().items):
                cluster.core.patch_persistent_volume(volume, {"spec": {"persistentVolumeReclaimPolicy": "Delete"}})


def test_load_balancer_address_answers(cluster: Cluster, course: str) -> None:
    assert hub_answers(cluster.course_url(course))


def test_direct_visit_is_pointed_to_the_lms(cluster: Cluster, course: str) -> None:
    answer = requests.get(cluster.course_url(course), timeout=10)
    assert answer.status_code == 403
    assert "LMS" in answer.text


def test_every_part_of_a_course_is_ready(cluster: Cluster, course: str) -> None:
    for part in ("hub", "proxy", "exchange"):
        assert cluster.ready(f"course-{course}", f"{part}-"), part


def test_helm_test_reaches_the_hub_and_leaves_nothing(cluster: Cluster, course: str) -> None:
    done = subprocess.run(playbook.helm(course, "test"), capture_output=True, text=True, check=False)  # noqa: S603
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Phase:          Succeeded" in done.stdout
    assert cluster.pods(f"course-{course}", "test") == []


def test_no_node_is_left_behind_the_api_server(cluster: Cluster) -> None:
    server = cluster.version.get_code().git_version
    kubelets = {node.metadata.name: node.status.node_info.kubelet_version for node in cluster.core.list_node().items}
    assert set(kubelets.values()) == {server}, kubelets
