# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What a live cluster says of itself, and what of it differs from kubeadm's configuration."""

from __future__ import annotations

import copy
import hashlib
import json
import re
import time
from dataclasses import dataclass
from typing import Any

from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.commands import ADMIN_KUBECONFIG, Commands
from ansible_collections.campus.hubs.plugins.module_utils._kubeadm.node import has_credentials

# All of them exist once init has come to its end.
OBJECTS = (
    "configmap/kubeadm-config",
    "configmap/kubelet-config",
    "configmap/kube-proxy",
    "deployment/coredns",
    "daemonset/kube-proxy",
)
# It holds a hash of what the configuration said and of what the cluster made of it: an edit on either side shows.
ANNOTATION = "campus.hubs/applied"
CONTROL_PLANE_LABEL = CONTROL_PLANE_TAINT = "node-role.kubernetes.io/control-plane"
EXCLUSION_LABEL = "node.kubernetes.io/exclude-from-external-load-balancers"
# A cluster that once worked may just be starting.
TRIES, PAUSE_SECONDS = 45, 2
_SYSTEM = "--namespace=kube-system"


class NoAnswerError(Exception):
    """The API server of a cluster that exists does not answer; the message is kubectl's."""


@dataclass(frozen=True)
class Component:
    """What can be changed in a live cluster.

    Attributes:
        name: the object that bears the annotation.
        phase: of ``kubeadm init``, which applies it.
        kind: the document of kubeadm's configuration that it follows; empty for none.
        consequence: what applying it does to what runs.
    """

    name: str
    phase: tuple[str, ...]
    kind: str
    consequence: str = ""


COMPONENTS = (
    Component("configmap/kubeadm-config", ("upload-config", "kubeadm"), "ClusterConfiguration"),
    Component("configmap/kubelet-config", ("upload-config", "kubelet"), "KubeletConfiguration"),
    Component(
        "configmap/kube-proxy",
        ("addon", "kube-proxy"),
        "KubeProxyConfiguration",
        "kube-proxy restarts on all nodes, connections stay.",
    ),
    # Its Corefile and its replicas are the operator's: kubeadm, too, leaves them alone.
    Component("deployment/coredns", ("addon", "coredns"), "", "CoreDNS restarts, one pod after another."),
)


@dataclass(frozen=True)
class Reading:
    """What the API server answered.

    Attributes:
        objects: those of `OBJECTS` by kind and name; empty if init has not made them all.
        error: why it did not answer; empty if it did.
    """

    objects: dict[str, dict[str, Any]]
    error: str = ""


def read_objects(commands: Commands) -> Reading:
    """Read the cluster's configuration; wait for an API server that this node has credentials for."""
    if not (commands.root / ADMIN_KUBECONFIG).exists():
        return Reading({})
    tries = TRIES if has_credentials(commands.root) else 1
    command = commands.kubectl_command(_SYSTEM, "get", "--output=json", *OBJECTS)
    for left in range(tries, 0, -1):
        code, out, err = commands.try_run(command)
        if code == 0:
            items = json.loads(out)["items"]
            return Reading({f"{item['kind'].lower()}/{item['metadata']['name']}": item for item in items})
        if "NotFound" in err:
            return Reading({})
        if left > 1:
            time.sleep(PAUSE_SECONDS)
    return Reading({}, err.strip())


def documents(config: str) -> dict[str, str]:
    """Return the documents of kubeadm's configuration by kind, as texts."""
    parts = re.split(r"^---\s*$", config, flags=re.MULTILINE)
    kinds = ((re.search(r"^kind: *(\S+)$", part, re.MULTILINE), part) for part in parts)
    return {kind[1]: part.strip() for kind, part in kinds if kind}


def content(name: str, objects: dict[str, dict[str, Any]]) -> str:
    """Return what an edit by hand of a component changes.

    Of pod templates without the annotation that a restart leaves.
    """
    if name == "configmap/kubeadm-config":
        return str(objects[name]["data"]["ClusterConfiguration"])
    if name == "configmap/kubelet-config":
        return str(objects[name]["data"]["kubelet"])
    if name == "configmap/kube-proxy":
        return str(objects[name]["data"]["config.conf"]) + _specification(objects["daemonset/kube-proxy"])
    return _specification(objects[name])


def _specification(workload: dict[str, Any]) -> str:
    spec = copy.deepcopy(workload["spec"])
    spec["template"].get("metadata", {}).pop("annotations", None)
    spec.pop("replicas", None)
    return json.dumps(spec, sort_keys=True)


def fingerprint(component: Component, config: str, objects: dict[str, dict[str, Any]]) -> str:
    """Return the hash of what the configuration says of a component and of what the cluster made of it."""
    both = [documents(config).get(component.kind, ""), content(component.name, objects)]
    return hashlib.sha256(json.dumps(both).encode()).hexdigest()


def outdated(config: str, objects: dict[str, dict[str, Any]]) -> list[Component]:
    """Return the components that are not what was applied last, or of which the configuration says something else."""
    return [
        component
        for component in COMPONENTS
        if (objects[component.name]["metadata"].get("annotations") or {}).get(ANNOTATION)
        != fingerprint(component, config, objects)
    ]


def apply(commands: Commands, component: Component, config: str) -> None:
    """Let kubeadm apply a component.

    Raises:
        CommandError: kubeadm or kubectl fails.
    """
    commands.kubeadm("init", "phase", *component.phase, config=config)
    if component.name == "configmap/kube-proxy":
        commands.kubectl(_SYSTEM, "rollout", "restart", "daemonset/kube-proxy")


def annotate(commands: Commands, component: Component, config: str, objects: dict[str, dict[str, Any]]) -> None:
    """Note on a component that it is applied.

    Raises:
        CommandError: kubectl fails.
    """
    value = f"{ANNOTATION}={fingerprint(component, config, objects)}"
    commands.kubectl(_SYSTEM, "annotate", "--overwrite", component.name, value)


@dataclass(frozen=True)
class Marks:
    """Labels and taint that make a node a control plane.

    Attributes:
        is_labelled: it has the label of control planes.
        is_excluded: it has the label that keeps load balancers from announcing addresses there.
        is_tainted: it has the taint that keeps pods away.
    """

    is_labelled: bool
    is_excluded: bool
    is_tainted: bool


def nodes(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return the nodes of a list by name, each with its ``address``, and the keys of its ``labels`` and ``taints``."""
    return {
        item["metadata"]["name"]: {
            "address": next(
                (one["address"] for one in item["status"].get("addresses", ()) if one["type"] == "InternalIP"), ""
            ),
            "labels": sorted(item["metadata"].get("labels", {})),
            "taints": sorted({taint["key"] for taint in item["spec"].get("taints", ())}),
        }
        for item in document["items"]
    }


def marks_of(node: dict[str, Any]) -> Marks:
    """Return the marks of one of `nodes`."""
    labels = node["labels"]
    return Marks(CONTROL_PLANE_LABEL in labels, EXCLUSION_LABEL in labels, CONTROL_PLANE_TAINT in node["taints"])


def desired_marks(found: Marks, *, takes_pods: bool, has_volumes: bool = False) -> Marks:
    """Return the marks that a control plane should have.

    Args:
        found: those that it has.
        takes_pods: whether there are no workers: it runs their pods and announces addresses.
        has_volumes: whether it holds volumes, which cannot follow a pod that the taint would keep away.
    """
    if takes_pods:
        return Marks(is_labelled=True, is_excluded=False, is_tainted=False)
    return Marks(is_labelled=True, is_excluded=True, is_tainted=found.is_tainted or not has_volumes)


def is_marked(cluster: dict[str, Any], name: str, *, takes_pods: bool) -> bool:
    """Tell whether a control plane has its marks, or will have when it joins: kubeadm gives it all of them.

    Args:
        cluster: of `describe`.
        name: the node's.
        takes_pods: see `desired_marks`.
    """
    node = cluster.get("nodes", {}).get(name)
    if node is None:
        return not takes_pods
    found = marks_of(node)
    return found == desired_marks(found, takes_pods=takes_pods)


def nodes_with_volumes(commands: Commands) -> set[str]:
    """Return the names of the nodes that bound volumes are tied to.

    Raises:
        CommandError: kubectl fails.
    """
    path = '{.items[?(@.status.phase=="Bound")].spec.nodeAffinity.required..values[*]}'
    return set(commands.kubectl("get", "persistentvolumes", f"--output=jsonpath={path}").split())


def read_nodes(commands: Commands) -> dict[str, dict[str, Any]]:
    """Return the cluster's nodes, as `nodes`.

    Raises:
        CommandError: kubectl fails.
    """
    return nodes(json.loads(commands.kubectl("get", "nodes", "--output=json")))


def marking_commands(name: str, found: Marks, desired: Marks) -> list[list[str]]:
    """Return the arguments of kubectl that give a node the marks that it should have."""
    labels = [
        key + ("=" if wanted else "-")
        for key, is_there, wanted in (
            (CONTROL_PLANE_LABEL, found.is_labelled, desired.is_labelled),
            (EXCLUSION_LABEL, found.is_excluded, desired.is_excluded),
        )
        if is_there != wanted
    ]
    taint = CONTROL_PLANE_TAINT + (":NoSchedule" if desired.is_tainted else "-")
    commands = [["label", "node", name, *labels]] if labels else []
    return commands + ([["taint", "node", name, taint]] if found.is_tainted != desired.is_tainted else [])


def _initialised(commands: Commands) -> dict[str, Any]:
    """Return what cannot be changed in a cluster that lacks one of `OBJECTS`; nothing where there is no cluster.

    An init was stopped late, or somebody has deleted an object: init has to make it, of the same cluster.
    """
    if not (commands.root / ADMIN_KUBECONFIG).exists():
        return {}
    name = "configmap/kubeadm-config"
    code, out, _err = commands.try_run(commands.kubectl_command(_SYSTEM, "get", "--output=json", name))
    return {"initialised": content(name, {name: json.loads(out)})} if code == 0 else {}


def describe(commands: Commands, config: str) -> dict[str, Any]:
    """Return what the module kubeadm_info says of the cluster; nothing where there is none.

    Args:
        commands: run on a control plane.
        config: kubeadm's configuration; without it nothing is compared.

    Raises:
        NoAnswerError: the API server does not answer.
        CommandError: kubectl fails.
    """
    reading = read_objects(commands)
    # An init that was stopped early is done again, and has no API server.
    if reading.error and has_credentials(commands.root):
        raise NoAnswerError(reading.error)
    if not reading.objects:
        return {} if reading.error else _initialised(commands)
    return {
        "configuration": reading.objects["configmap/kubeadm-config"]["data"]["ClusterConfiguration"],
        "kubelet_configuration": reading.objects["configmap/kubelet-config"]["data"]["kubelet"],
        "nodes": read_nodes(commands),
        "outdated": [
            {"name": component.name, "consequence": component.consequence}
            for component in (outdated(config, reading.objects) if config else ())
        ],
    }
