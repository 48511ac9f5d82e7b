"""A KubeSpawner for classes: starts wait for their turn, hopeless ones end soon and say why, teachers share a volume.

KubeSpawner waits for the whole start time-out, whatever has happened, and then says "timeout". A start that only waits
for its turn (a volume, a free slot) deserves that long a time; one that has failed, or that Kubernetes warns of again
and again, does not.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from jupyterhub.spawner import SpawnException
from kubernetes_asyncio.client import ApiException
from kubespawner import KubeSpawner
from traitlets import Integer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

# Waiting reasons of a container that the kubelet retries for ever (its pkg/kubelet/images/types.go and kuberuntime).
# Nothing about these changes while somebody waits: images are on the nodes before a course is there.
HOPELESS = {"CreateContainerConfigError", "ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName"}
# These may pass.
STUCK = {"CreateContainerError", "ErrImagePull", "ImageInspectError", "RunContainerError"}
# Seconds between two looks at the watched pod; that costs no request.
LOOK = 0.25
TEACHERS = {"instructor", "teaching_assistant"}
GRADER = "campus.hubs/grader"
COURSE_CLAIM = "course"
COURSE_VOLUME = {"name": "course", "persistentVolumeClaim": {"claimName": COURSE_CLAIM}}
COURSE_MOUNT = {"name": "course", "mountPath": "/srv/course"}
# A volume that only one node can have at a time: teachers' servers meet where it is.
TOGETHER = {"labelSelector": {"matchLabels": {GRADER: "true"}}, "topologyKey": "kubernetes.io/hostname"}
# Pod Security "restricted", for pods that the hub makes without KubeSpawner.
RESTRICTED_POD: dict[str, Any] = {
    "automountServiceAccountToken": False,
    "enableServiceLinks": False,
    "restartPolicy": "Never",
    "terminationGracePeriodSeconds": 0,
    "securityContext": {
        "runAsNonRoot": True,
        "runAsUser": 1000,
        "runAsGroup": 1000,
        "fsGroup": 1000,
        "fsGroupChangePolicy": "OnRootMismatch",
        "seccompProfile": {"type": "RuntimeDefault"},
    },
}
RESTRICTED_CONTAINER: dict[str, Any] = {
    "allowPrivilegeEscalation": False,
    "readOnlyRootFilesystem": True,
    "capabilities": {"drop": ["ALL"]},
}
# Their volumes never leave the node that they were made on.
LOCAL_PROVISIONERS = {"rancher.io/local-path", "openebs.io/local", "local.csi.openebs.io", "topolvm.io"}
_NOT_FOUND = 404


class Turns:
    """Who may start now, first come, first served.

    Args:
        limit: how many starts may be under way at a time.

    """

    def __init__(self, limit: int) -> None:
        """Start with nobody."""
        self.limit = limit
        self._busy = 0
        self._waiting: list[asyncio.Future[None]] = []

    def __len__(self) -> int:
        """Count who waits."""
        return len(self._waiting)

    def place(self, ticket: asyncio.Future[None] | None) -> int:
        """Return the place in the queue, 1 for the next; 0 if it does not wait."""
        return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    def ticket(self) -> asyncio.Future[None]:
        """Take a place; it is done when its turn has come, and is given back by `leave`."""
        ticket = asyncio.get_running_loop().create_future()
        self._waiting.append(ticket)
        self._call()
        return ticket

    def leave(self, ticket: asyncio.Future[None]) -> None:
        """Give a turn back, or a place in the queue."""
        if ticket in self._waiting:
            self._waiting.remove(ticket)
        else:
            self._busy -= 1
        self._call()

    def _call(self) -> None:
        while self._waiting and self._busy < self.limit:
            ticket = self._waiting.pop(0)
            self._busy += 1
            if not ticket.done():
                ticket.set_result(None)


def node_of(claim: Mapping[str, Any] | None) -> str | None:
    """Return the node that a claim's volume can not leave, or None.

    Args:
        claim: the PersistentVolumeClaim as the API has it; the scheduler and the volume controller annotate it.

    """
    notes = ((claim or {}).get("metadata") or {}).get("annotations") or {}
    if notes.get("volume.kubernetes.io/storage-provisioner") not in LOCAL_PROVISIONERS:
        return None
    return notes.get("volume.kubernetes.io/selected-node")


def _sentence(event: Mapping[str, Any]) -> str:
    return f"{event.get('reason', 'Warning')}: {event.get('message', '')}".strip()


def _waits_for(status: Mapping[str, Any], reasons: set[str]) -> str | None:
    """Say what a container waits for, if it is one of the reasons."""
    for container in status.get("containerStatuses") or []:
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in reasons:
            return f"{waiting['reason']}: {waiting.get('message') or 'no details'}"
    return None


def _ended(status: Mapping[str, Any]) -> str | None:
    """Say why a pod has ended, or None if it has not."""
    for container in status.get("containerStatuses") or []:
        end = (container.get("state") or {}).get("terminated")
        if end:
            if end.get("reason") == "OOMKilled":
                return "It used more memory than this course allows."
            return f"It ended by itself with exit code {end.get('exitCode')}. {end.get('message') or ''}".strip()
    if status.get("phase") == "Failed":
        return f"{status.get('reason') or 'Its pod failed'}: {status.get('message') or 'no details'}"
    return None


def never_ran(pod: Mapping[str, Any]) -> bool:
    """Tell whether the node did not get a pod's program to run at all, as a busy one sometimes does not.

    Args:
        pod: the Pod as the API has it.

    """
    containers = (pod.get("status") or {}).get("containerStatuses") or []
    ends = [(container.get("state") or {}).get("terminated") or {} for container in containers]
    # What containerd says of it, and CRI-O.
    return any(end.get("reason") in {"StartError", "ContainerCannotRun"} for end in ends)


def _held_up(status: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str | None:
    """Say what keeps a pod from starting for longer than it should, or None if it just waits for its turn."""
    stuck = _waits_for(status, STUCK)
    if stuck:
        return stuck
    for condition in status.get("conditions") or []:
        if condition.get("reason") == "Unschedulable":
            return f"There is no room for it on the cluster: {condition.get('message')}"
    if events and events[-1].get("type") == "Warning":
        return _sentence(events[-1])
    return None


def why_not(
    pod: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]], waited: float, patience: float
) -> str | None:
    """Say why a server will not start, or None while it still may.

    Args:
        pod: the Pod as the API has it, None if it is not there (yet).
        events: the pod's events since the start, oldest first.
        waited: seconds since the start.
        patience: seconds for which warnings are taken for passing ones.

    """
    status = (pod or {}).get("status") or {}
    hopeless = _ended(status) or _waits_for(status, HOPELESS)
    return hopeless or (_held_up(status, events) if waited >= patience else None)


class CourseSpawner(KubeSpawner):  # type: ignore[misc]
    """One pod per person; a start that can not succeed ends soon, with the reason."""

    patience = Integer(40, config=True, help="Seconds for which warnings at a start may pass.")

    concurrent_starts = Integer(
        8, config=True, help="How many servers start at a time; the others wait for their turn."
    )

    extra_labels: Any
    volumes: Any
    volume_mounts: Any
    turns: ClassVar[Turns | None] = None

    _ticket: asyncio.Future[None] | None = None
    _note = ""
    _began = 0.0

    def _pod(self) -> dict[str, Any]:
        """Return the pod as the watch saw it last, empty if there is none."""
        pods = self.pod_reflector.pods if self.pod_reflector else {}
        return pods.get(f"{self.namespace}/{self.pod_name}") or {}

    def _check(self) -> None:
        reason = why_not(self._pod(), self.events, time.monotonic() - self._began, self.patience)
        if reason:
            message = f"Your server could not start. {reason}"
            error = SpawnException(message, reason="error")
            # What the pages show; the exception's own text has its class in front.
            error.jupyterhub_message = message
            raise error

    @property
    def teaches(self) -> bool:
        """Whether the person is a lecturer or tutor of the course, by their launch."""
        return bool(TEACHERS & {group.name for group in self.user.groups})

    async def _claim(self, name: str) -> dict[str, Any] | None:
        try:
            found = await self.api.read_namespaced_persistent_volume_claim(name, self.namespace)
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        claim: dict[str, Any] = self.api.api_client.sanitize_for_serialization(found)
        return claim

    async def _arrange(self) -> None:
        """Give teachers the course's volume, and a home on the same node.

        A student who becomes a tutor may have a home on another node, in a volume that can not move. Then they get a
        second home, and the first is theirs again when they are a student.
        """
        home = f"home-{self.user.name}"
        self._note = ""
        if self.teaches:
            places = [node_of(await self._claim(name)) for name in (home, COURSE_CLAIM)]
            if all(places) and places[0] != places[1]:
                self._note = (
                    f"Your home as a student ({home}) is on another server than the course's files. "
                    "It is kept; you work in a second home while you teach."
                )
                home = f"{home}-staff"
        labels: dict[str, str] = {key: value for key, value in self.extra_labels.items() if key != GRADER}
        volumes: list[Any] = [volume for volume in self.volumes if volume["name"] not in {"home", "course"}]
        mounts: list[Any] = [mount for mount in self.volume_mounts if mount["name"] != "course"]
        self.pvc_name = home
        self.extra_labels = {**labels, GRADER: "true"} if self.teaches else labels
        self.volumes = [
            *volumes,
            {"name": "home", "persistentVolumeClaim": {"claimName": home}},
            *([COURSE_VOLUME] if self.teaches else []),
        ]
        self.volume_mounts = [*mounts, *([COURSE_MOUNT] if self.teaches else [])]
        self.pod_affinity_required = [TOGETHER] if self.teaches else []

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        cls = type(self)
        if cls.turns is None:
            cls.turns = Turns(self.concurrent_starts)
        self._ticket = cls.turns.ticket()
        try:
            await self._ticket
            yield
        except asyncio.CancelledError:
            # Interrupted: the pod goes as well, and also one that nobody has seen yet, for which the hub would not ask.
            await asyncio.shield(self.stop(now=True))
            raise
        finally:
            cls.turns.leave(self._ticket)
            self._ticket = None

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say the place in the queue while there is one, then what Kubernetes does; see KubeSpawner.progress."""
        said = 0
        while self.turns and (place := self.turns.place(self._ticket)):
            if place != said:
                said = place
                message = (
                    f"Number {place} of {len(self.turns)} who wait: {self.turns.limit} servers start at a time, "
                    "so that each of them starts fast."
                )
                yield {"progress": 0, "message": message}
            await asyncio.sleep(LOOK)
        if self._note:
            yield {"progress": 0, "message": self._note}
        async for event in super().progress():
            yield event

    async def start(self) -> str:
        """Wait for a turn, start the pod and wait until its server accepts connections; return its URL.

        What a node did not even start gets a second pod, once.
        """
        async with self._turn():
            await self._arrange()
            try:
                return await self._start_pod()
            except SpawnException as error:
                if not never_ran(self._pod()):
                    raise
                self.log.warning("Starting the server of %s once more: %s", self.user.name, error)
                await self.stop(now=True)
                return await self._start_pod()

    async def _start_pod(self) -> str:
        """Start the pod. KubeSpawner looks at it in growing intervals of up to 5 seconds; this looks all the time."""
        self._began = time.monotonic()
        before = self._pod().get("metadata", {}).get("uid")
        starting = KubeSpawner.start(self)
        try:
            while not starting.done():
                await asyncio.wait({starting}, timeout=LOOK)
                pod = self._pod()
                uid = pod.get("metadata", {}).get("uid")
                if uid and uid != before and not starting.done():
                    self._check()
                    if self.is_pod_running(pod):
                        self.pod_id = uid
                        url: str = self._get_pod_url(pod)
                        break
            else:
                url = starting.result()
        finally:
            starting.cancel()
        await self._until_it_answers(url)
        return url

    async def _until_it_answers(self, url: str) -> None:
        """Wait until the port is open or the pod has ended. Running out of time is left to the hub."""
        address = urlsplit(url)
        end = time.monotonic() + self.http_timeout
        while time.monotonic() < end:
            self._check()
            try:
                _, writer = await asyncio.wait_for(asyncio.open_connection(address.hostname, address.port), 2)
            except OSError:
                await asyncio.sleep(LOOK)
            else:
                writer.close()
                return
