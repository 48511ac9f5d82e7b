"""The admission policies for hubs at a real API server: what hubs make passes, what they might make does not."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml
from campus_hubs_hub import homes, room, sandbox, spawner
from kubernetes import client, config

from tests.bench.control_plane import control_plane
from tests.unit.charts.hub_pods import CLAIM, CLAIMS, MESSAGE, NODE, REFUSED, HubsAccount, changed, volume
from tests.unit.images.hub.rendered import hub_settings, pod
from tests.unit.images.hub.test_sandbox import SETTINGS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.unit.charts.hub_pods import Manifest
    from tests.unit.helm import Template

TEMPLATES = Path(__file__).parents[3] / "roles/course_images/templates"
POLICIES = TEMPLATES / "hub-pods.yaml.j2"
CACHE = Path(os.environ.get("CAMPUS_HUBS_CACHE") or Path.home() / ".cache/campus-hubs")
NAMESPACE = "course-python-ws26"
OWN = {
    "KubeSpawner": {
        "volumes": [
            {"name": "data", "nfs": {"server": "192.0.2.7", "path": "/data"}},
            {"name": "scratch", "persistentVolumeClaim": {"claimName": "scratch-{username}"}},
            {"name": "licence", "secret": {"secretName": "licence"}},
        ],
        "image_pull_secrets": ["registry"],
    }
}
pytestmark = pytest.mark.skipif(
    not list(CACHE.glob("store/*/kube-apiserver")), reason="no API server here: tests/e2e asks the cluster's"
)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[client.ApiClient]:
    folder = tmp_path_factory.mktemp("plane")
    with control_plane(folder, []) as plane:
        (folder / "kubeconfig").write_text(plane.kubeconfig("admin"))
        api = config.new_client_from_config(str(folder / "kubeconfig"))  # type: ignore[no-untyped-call]
        policies: Any = client.AdmissionregistrationV1Api(api)
        make = {
            "ValidatingAdmissionPolicy": policies.create_validating_admission_policy,
            "ValidatingAdmissionPolicyBinding": policies.create_validating_admission_policy_binding,
        }
        scheduling: Any = client.SchedulingV1Api(api)
        for manifest in yaml.safe_load_all((TEMPLATES / "priority-classes.yaml.j2").read_text()):
            scheduling.create_priority_class(manifest)
        scheduling.create_priority_class({"metadata": {"name": "own"}, "value": 10})
        for manifest in yaml.safe_load_all(POLICIES.read_text()):
            make[manifest["kind"]](manifest)
        yield api


@pytest.fixture(scope="module")
def course(server: client.ApiClient) -> Callable[..., HubsAccount]:
    """Make namespaces with what the chart gives a hub; the policies count there."""
    core: Any = client.CoreV1Api(server)
    rbac: Any = client.RbacAuthorizationV1Api(server)

    def make(manifests: list[Manifest], namespace: str) -> HubsAccount:
        labels = {"campus.hubs/course": "python-ws26", "pod-security.kubernetes.io/enforce": "restricted"}
        core.create_namespace({"metadata": {"name": namespace, "labels": labels}})
        for manifest in manifests:
            kind, name = manifest["kind"], manifest["metadata"]["name"]
            if kind == "ServiceAccount":
                core.create_namespaced_service_account(namespace, manifest)
            elif (kind, name) == ("ConfigMap", "hub-pods"):
                core.create_namespaced_config_map(namespace, manifest)
            elif kind == "Role":
                rbac.create_namespaced_role(namespace, manifest)
            elif kind == "RoleBinding":
                manifest["subjects"][0]["namespace"] = namespace
                rbac.create_namespaced_role_binding(namespace, manifest)
        account = HubsAccount(server, namespace)
        # Accounts are made, and policies compiled, a moment later.
        deadline = time.monotonic() + 60
        while MESSAGE not in account.refusal(changed(CLAIM, CLAIMS["a claim of another name"]), "claim"):
            assert time.monotonic() < deadline, account.refusal(CLAIM, "claim")
            time.sleep(0.2)
        while "serviceaccount" in account.refusal({"metadata": {"name": "a"}, "spec": {"containers": []}}):
            assert time.monotonic() < deadline
            time.sleep(0.2)
        return account

    return make


@pytest.fixture(scope="module")
def manifests(template: Template) -> list[Manifest]:
    return [manifest for manifest in yaml.safe_load_all(template("full")) if manifest]


@pytest.fixture(scope="module")
def hub(course: Callable[..., HubsAccount], manifests: list[Manifest]) -> HubsAccount:
    return course(manifests, NAMESPACE)


def plain(name: str = "user-u1") -> Manifest:
    """Return a pod that is as small as it may be."""
    container = {
        "name": "notebook",
        "image": "registry.example.edu/x",
        "securityContext": spawner.RESTRICTED_CONTAINER,
    }
    return {"metadata": {"name": name}, "spec": {**spawner.RESTRICTED_POD, "containers": [container]}}


def server_of(template: Template, name: str, *arguments: str) -> Manifest:
    """Return the pod of a person's server, as KubeSpawner makes it."""
    spec = pod(hub_settings(template, name, *arguments))
    for container in [*spec["containers"], *spec.get("initContainers", [])]:
        # This client wants texts.
        container["resources"] = {
            kind: {resource: str(amount) for resource, amount in amounts.items()}
            for kind, amounts in container["resources"].items()
        }
    return {"metadata": {"name": "user-u1"}, "spec": spec}


def test_what_a_hub_makes(hub: HubsAccount, template: Template) -> None:
    assert hub.refusal(server_of(template, "full")) == ""
    assert hub.refusal(sandbox.sandbox_pod(SETTINGS, "sandbox-1", "u1", "token")) == ""
    traits = hub_settings(template, "full")["KubeSpawner"]
    assert hub.refusal(homes.claim_manifest("u1", traits), "claim") == ""
    assert hub.refusal(room.placeholder_pod({**SETTINGS, "priorityClassName": "campus-hubs-placeholder"}, "p")) == ""
    for teaches in (True, False):
        assert hub.refusal(homes.pod_manifest("u1", traits, ["w1"], teaches=teaches)) == ""


@pytest.mark.parametrize("role", ["instructor", "student"])
def test_classes_by_role(course: Callable[..., HubsAccount], template: Template, role: str) -> None:
    """Those of ours, and the course's own; no other, though the cluster has it."""
    config = json.dumps({"KubeSpawner": {"priority_class_name": "own"}} if role == "instructor" else {})
    arguments = ("--set=scheduling.podPriority.enabled=true", f"--set-json=hub.config={config}")
    found = [manifest for manifest in yaml.safe_load_all(template("minimal", *arguments)) if manifest]
    hub = course(found, f"{NAMESPACE}-{role}")

    def of(name: str, component: str = "singleuser-server", *, teaches: bool = False) -> str:
        pod = changed(plain(), lambda made: made["spec"].update(priorityClassName=name))
        pod["metadata"]["labels"] = {"component": component}
        if teaches:
            volume({"persistentVolumeClaim": {"claimName": "course"}})(pod)
        return hub.refusal(pod)

    assert of("campus-hubs-student") == ""
    assert of("campus-hubs-staff", teaches=True) == ""
    assert of("campus-hubs-staff", "sandbox") == ""
    assert of("campus-hubs-placeholder", "placeholder") == ""
    assert "found campus-hubs-staff" in of("campus-hubs-staff")
    assert "found campus-hubs-placeholder" in of("campus-hubs-placeholder", teaches=True)
    assert of("own") == "" if role == "instructor" else "found own" in of("own")


@pytest.mark.parametrize("what", [*REFUSED, *NODE])
def test_what_it_might_make(hub: HubsAccount, what: str) -> None:
    assert hub.refusal(plain()) == ""
    refusal = hub.refusal(changed(plain(), {**REFUSED, **NODE}[what]))
    assert (MESSAGE if what in REFUSED else "forbidden") in refusal, refusal


@pytest.mark.parametrize("container", ["containers", "initContainers"])
def test_the_deploy_key_is_for_the_fetch_container(hub: HubsAccount, template: Template, container: str) -> None:
    """Also one of that name that is no init container does not get it."""
    stolen = server_of(template, "full")
    taker = stolen["spec"][container][-1]
    taker["volumeMounts"].append({"name": "material-key", "mountPath": "/key"})
    assert "deploy key" in hub.refusal(stolen)
    if container == "containers":
        taker["name"] = "material-fetch"
        stolen["spec"]["initContainers"].pop(0)
        assert "deploy key" in hub.refusal(stolen)


@pytest.mark.parametrize("what", CLAIMS)
def test_claims_are_empty_homes(hub: HubsAccount, what: str) -> None:
    assert hub.refusal(CLAIM, "claim") == ""
    assert MESSAGE in hub.refusal(changed(CLAIM, CLAIMS[what]), "claim")


def test_what_the_course_is_configured_with(course: Callable[..., HubsAccount], template: Template) -> None:
    argument = f"--set-json=hub.config={json.dumps(OWN)}"
    found = [manifest for manifest in yaml.safe_load_all(template("minimal", argument)) if manifest]
    hub = course(found, f"{NAMESPACE}-own")
    allowed = {
        "the NFS folder": volume({"nfs": {"server": "192.0.2.7", "path": "/data"}}),
        "a claim of each person": volume({"persistentVolumeClaim": {"claimName": "scratch-u1"}}),
        "the named Secret": volume({"secret": {"secretName": "licence"}}),
        "the registry's password": lambda made: made["spec"].update(imagePullSecrets=[{"name": "registry"}]),
    }
    refused = {
        "another folder": volume({"nfs": {"server": "192.0.2.7", "path": "/data2"}}),
        "another Secret": volume({"secret": {"secretName": "licence2"}}),
        "the deploy key of another course": volume({"secret": {"secretName": "material-key"}}),
        "another password": lambda made: made["spec"].update(imagePullSecrets=[{"name": "registry2"}]),
    }
    # Pod Security leaves no NFS; a course that has it is not restricted in that.
    client.CoreV1Api(hub.core.api_client.__class__(hub.core.api_client.configuration)).patch_namespace(
        hub.namespace, {"metadata": {"labels": {"pod-security.kubernetes.io/enforce": "privileged"}}}
    )
    for name, change in allowed.items():
        assert hub.refusal(changed(plain(), change)) == "", name
    for name, change in refused.items():
        assert MESSAGE in hub.refusal(changed(plain(), change)), name
    node = hub.refusal(changed(plain(), NODE["a folder of the node"]))
    assert "found hostPath:/etc/kubernetes" in node
    assert MESSAGE in node


def test_shared_data_is_what_the_course_is_configured_with(
    course: Callable[..., HubsAccount], template: Template
) -> None:
    shared = [
        {"name": "a", "mountPath": "/a", "claim": "shared-a-1", "persistentVolume": True, "writableBy": []},
        {"name": "b", "mountPath": "/b", "claim": "b", "persistentVolume": False, "writableBy": ["instructor"]},
    ]
    argument = f"--set-json=singleuser.sharedVolumes={json.dumps(shared)}"
    hub = course([m for m in yaml.safe_load_all(template("minimal", argument)) if m], f"{NAMESPACE}-shared")

    def mounted(claim: str, *, read_only: bool) -> Manifest:
        made = changed(plain(), volume({"persistentVolumeClaim": {"claimName": claim}}))
        made["spec"]["containers"][0]["volumeMounts"][-1]["readOnly"] = read_only
        return made

    for claim, read_only in (("shared-a-1", True), ("b", True), ("b", False)):
        assert hub.refusal(mounted(claim, read_only=read_only)) == "", claim
    assert "nobody may change" in hub.refusal(mounted("shared-a-1", read_only=False))
    assert MESSAGE in hub.refusal(mounted("shared-c-1", read_only=True))


def test_a_release_of_before_still_starts_servers(
    course: Callable[..., HubsAccount], manifests: list[Manifest], template: Template
) -> None:
    """One without the ConfigMap, to which a course may have gone back."""
    before = [manifest for manifest in manifests if manifest["metadata"]["name"] != "hub-pods"]
    hub = course(before, f"{NAMESPACE}-before")
    assert hub.refusal(server_of(template, "full")) == ""


def test_nobody_else_is_limited(server: client.ApiClient, hub: HubsAccount) -> None:
    core: Any = client.CoreV1Api(server)
    pod = changed(plain("by-an-administrator"), REFUSED["a Secret"])
    core.create_namespaced_pod(hub.namespace, pod, dry_run="All")
