"""What a hub that was taken over would make of its account's rights: pods and claims beside those that it really makes.

Asked of an API server as a dry run, so nothing is made; in a cluster as well as of a server by itself.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from kubernetes import client

Manifest = dict[str, Any]
MESSAGE = "ValidatingAdmissionPolicy 'campus-hubs-"


def volume(source: Manifest, *, name: str = "extra", into: str = "containers") -> Callable[[Manifest], None]:
    """Mount something in the first container of a kind."""

    def change(pod: Manifest) -> None:
        pod["spec"]["volumes"] = [*pod["spec"].get("volumes", []), {"name": name, **source}]
        container = pod["spec"][into][0]
        container["volumeMounts"] = [*container.get("volumeMounts", []), {"name": name, "mountPath": "/extra"}]

    return change


def environment(variable: Manifest, into: str = "containers") -> Callable[[Manifest], None]:
    """Give the first container of a kind a variable or a source of them."""

    def change(pod: Manifest) -> None:
        container = pod["spec"][into][0]
        field = "env" if "name" in variable else "envFrom"
        container[field] = [*container.get(field, []), variable]

    return change


def init(change: Callable[[Manifest], None], name: str = "first") -> Callable[[Manifest], None]:
    """Do it in an init container of its own."""

    def both(pod: Manifest) -> None:
        one = copy.deepcopy({**pod["spec"]["containers"][0], "name": name})
        pod["spec"]["initContainers"] = [one, *pod["spec"].get("initContainers", [])]
        change(pod)

    return both


def spec(**fields: object) -> Callable[[Manifest], None]:
    """Set fields of the pod."""
    return lambda pod: pod["spec"].update(fields)


SECRET = {"secret": {"secretName": "course-secrets"}}
KEY_REF = {"name": "T", "valueFrom": {"secretKeyRef": {"name": "course-secrets", "key": "proxy-token"}}}
REFUSED: dict[str, Callable[[Manifest], None]] = {
    "a Secret": volume(SECRET),
    "the LTI key": volume({"secret": {"secretName": "lti13-key"}}),
    "a Secret in an init container": init(volume(SECRET, into="initContainers")),
    "a Secret for the fetch container": init(volume(SECRET, into="initContainers"), "material-fetch"),
    "a Secret that need not be there": volume({"secret": {"secretName": "course-secrets", "optional": True}}),
    "a Secret among others": volume({"projected": {"sources": [{"secret": {"name": "course-secrets"}}]}}),
    "a token of the API": volume({"projected": {"sources": [{"serviceAccountToken": {"path": "token"}}]}}),
    "a Secret in the environment": environment(KEY_REF),
    "a Secret in an init container's environment": init(environment(KEY_REF, "initContainers")),
    "all of a Secret in the environment": environment({"secretRef": {"name": "course-secrets"}}),
    "a Secret in a CSI driver's request": volume(
        {"csi": {"driver": "csi.example.edu", "nodePublishSecretRef": {"name": "course-secrets"}}}
    ),
    "the hub's database": volume({"persistentVolumeClaim": {"claimName": "hub-db"}}),
    "the exchange's files": volume({"persistentVolumeClaim": {"claimName": "exchange"}}),
    "the hub's ConfigMap": volume({"configMap": {"name": "hub"}}),
    "an image as a volume": volume({"image": {"reference": "registry.example.edu/x"}}),
    "a volume of its own": volume(
        {
            "ephemeral": {
                "volumeClaimTemplate": {
                    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}}
                }
            }
        }
    ),
    "the hub's account": spec(serviceAccountName="hub"),
    "an account's token": spec(automountServiceAccountToken=True),
    "an account's token by default": lambda pod: pod["spec"].pop("automountServiceAccountToken"),
    "another registry's password": spec(imagePullSecrets=[{"name": "course-secrets"}]),
    "a place before the system's pods": spec(priorityClassName="system-node-critical"),
    "the lecturers' place for a student": spec(priorityClassName="campus-hubs-staff"),
    "the placeholders' place for a server": spec(priorityClassName="campus-hubs-placeholder"),
}
# Here Pod Security says no as well, and is asked first.
NODE: dict[str, Callable[[Manifest], None]] = {
    "a server of files": volume({"nfs": {"server": "192.0.2.1", "path": "/"}}),
    "a folder of the node": volume({"hostPath": {"path": "/etc/kubernetes"}}),
    "the node's network": spec(hostNetwork=True),
    "the node's processes": spec(hostPID=True),
}
CLAIM: Manifest = {
    "metadata": {"name": "home-ustudent"},
    "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}},
}
CLAIMS: dict[str, Callable[[Manifest], None]] = {
    "a claim of another name": lambda claim: claim["metadata"].update(name="hub-db2"),
    "another course's volume": lambda claim: claim["spec"].update(volumeName="pvc-of-another-course"),
    "any volume that fits": lambda claim: claim["spec"].update(selector={"matchLabels": {"a": "b"}}),
    "a copy of another home": lambda claim: claim["spec"].update(
        dataSource={"kind": "PersistentVolumeClaim", "name": "home-uother"}
    ),
}


class HubsAccount:
    """The account of a course's hub, as the API server knows it.

    Args:
        api: of an administrator, who may act as others; it is not changed.
        namespace: the course's.

    """

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        """Act as the hub's account."""
        as_hub: Any = client.ApiClient(api.configuration)
        as_hub.set_default_header("Impersonate-User", f"system:serviceaccount:{namespace}:hub")
        self.core: Any = client.CoreV1Api(as_hub)
        self.namespace = namespace

    def refusal(self, manifest: Manifest, kind: str = "pod") -> str:
        """Return what the API server says against making something; '' if nothing."""
        kinds = {"pod": self.core.create_namespaced_pod, "claim": self.core.create_namespaced_persistent_volume_claim}
        try:
            kinds[kind](self.namespace, manifest, dry_run="All")
        except client.ApiException as error:
            return str(error.body)
        return ""


def changed(manifest: Manifest, change: Callable[[Manifest], object]) -> Manifest:
    """Return a changed copy."""
    copied = copy.deepcopy(manifest)
    change(copied)
    return copied
