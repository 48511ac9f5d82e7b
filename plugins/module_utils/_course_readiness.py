# Copyright (c) The campus.hubs developers
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Whether a course's programs run; and if not, which pods are to blame, and what Kubernetes warns of."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Manifest = Mapping[str, Any]
PROGRAMS = ("hub", "proxy", "exchange")
_REVISION = "deployment.kubernetes.io/revision"
# A program that waits for another one may end once or twice; who ends for the fourth time does so for ever.
_RESTARTS = 3


def ready(deployment: Manifest | None) -> bool:
    """Tell whether a Deployment runs as it is now, with all its pods."""
    if deployment is None:
        return False
    status = deployment.get("status") or {}
    wanted = (deployment.get("spec") or {}).get("replicas", 1)
    return (
        status.get("observedGeneration") == deployment["metadata"].get("generation")
        and status.get("updatedReplicas", 0) == status.get("readyReplicas", 0) == wanted
        and not status.get("unavailableReplicas")
    )


@dataclass(frozen=True)
class Crash:
    """A container that ends again and again.

    Attributes:
        pod: its pod's name.
        container: its name.
        restarts: how many times it was started again.
    """

    pod: str
    container: str
    restarts: int


@dataclass(frozen=True)
class Look:
    """What was seen of a course's namespace at one time: the manifests of all objects of these kinds."""

    deployments: Sequence[Manifest]
    replica_sets: Sequence[Manifest]
    pods: Sequence[Manifest]

    def unready(self) -> list[str]:
        """Return the programs that do not run as they are wanted now, with all their pods."""
        found = {deployment["metadata"]["name"]: dict(deployment) for deployment in self.deployments}
        return [name for name in PROGRAMS if not ready(found.get(name))]

    def newest(self, name: str) -> list[Manifest]:
        """Return a program's replica set and pods as they are wanted now; nothing until its controller has seen that.

        Args:
            name: of the Deployment.
        """
        deployment = next((item for item in self.deployments if item["metadata"]["name"] == name), None)
        if deployment is None:
            return []
        metadata = deployment["metadata"]
        if (deployment.get("status") or {}).get("observedGeneration") != metadata.get("generation"):
            return []
        revision = (metadata.get("annotations") or {}).get(_REVISION)
        sets = [
            item
            for item in owned(self.replica_sets, {metadata["uid"]})
            if revision and (item["metadata"].get("annotations") or {}).get(_REVISION) == revision
        ]
        pods = owned(self.pods, {item["metadata"]["uid"] for item in sets})
        return [*sets, *(pod for pod in pods if not pod["metadata"].get("deletionTimestamp"))]

    def crashes(self) -> list[Crash]:
        """Return the containers of programs that will not come up: they have ended again and again, and wait."""
        return [
            Crash(item["metadata"]["name"], status["name"], status["restartCount"])
            for name in self.unready()
            for item in self.newest(name)
            for kind in ("initContainerStatuses", "containerStatuses")
            for status in (item.get("status") or {}).get(kind) or []
            if status.get("restartCount", 0) >= _RESTARTS
            and ((status.get("state") or {}).get("waiting") or {}).get("reason") == "CrashLoopBackOff"
        ]

    def warnings(self, events: Iterable[Manifest]) -> list[str]:
        """Return what Kubernetes warns of: of the programs that do not run, as they are wanted now, and of volumes.

        Args:
            events: the namespace's events of type Warning.
        """
        concerned = {"PersistentVolumeClaim"}
        for name in self.unready():
            concerned |= {name, *(item["metadata"]["uid"] for item in self.newest(name))}
        found = []
        for event in events:
            about = event.get("involvedObject") or {}
            if concerned & {about.get("kind"), about.get("name"), about.get("uid")}:
                found.append(" ".join((event.get("message") or event.get("reason") or "").split()))
        return list(dict.fromkeys(found))


def owned(items: Iterable[Manifest], owners: set[str]) -> list[Manifest]:
    """Return the objects that one of these owns.

    Args:
        items: manifests.
        owners: uids.
    """
    return [
        item
        for item in items
        if any(reference["uid"] in owners for reference in item["metadata"].get("ownerReferences") or [])
    ]
