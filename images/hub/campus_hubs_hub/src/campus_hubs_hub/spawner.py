"""A KubeSpawner for classes: starts wait for their turn, hopeless ones end soon and say why, teachers share a volume.

KubeSpawner waits for the whole start time-out, whatever has happened, and then says "timeout". A start that only waits
for its turn (a volume, a free slot) deserves that long a time, and so does one that a node did not manage: it is tried
again, on another node where there is one. One that the image or the course's settings make fail does not.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, ClassVar
from urllib.parse import urlsplit

from aiohttp import ClientError
from campus_hubs_membership.roles import TEACHERS
from jupyterhub.spawner import SpawnException
from kubernetes_asyncio.client import ApiException, V1Affinity, V1NodeAffinity
from kubespawner import KubeSpawner
from kubespawner.clients import load_config, shared_client
from traitlets import Dict, Integer, List

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

# Waiting reasons of a container that the kubelet retries for ever (its pkg/kubelet/images/types.go and kuberuntime).
# Nothing about these changes while somebody waits: images are on the nodes before a course is there.
HOPELESS = {"CreateContainerConfigError", "ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName"}
# These may pass.
STUCK = {"CreateContainerError", "ErrImagePull", "ImageInspectError", "RunContainerError"}
# How a container ends that has never run: by containerd and CRI-O; and one that the kubelet does not find any more.
NEVER_RAN = {"StartError", "ContainerCannotRun", "ContainerStatusUnknown"}
# Why the kubelet ends a pod that has done nothing wrong, whether it ran or not.
NODE_ENDS = {"Evicted", "NodeLost", "NodeShutdown", "Preempting", "Shutdown", "Terminated"}
# What runc and crun say of a command, working directory, user or memory limit that no node can start.
OF_THE_IMAGE = re.compile(
    r"""exec: "|exec /\S+: |executable file|exec format error|chdir to cwd|no command specified|OOM-killed"""
    r"""|unable to find user|no matching entries in passwd|error mounting .*(not a directory|read-only file system)"""
)
# Why a volume is not mounted anywhere.
OF_THE_SETTINGS = re.compile(
    r'(secret|configmap) "?\S+"? not found|references non-existent|hostPath type check|access denied'
)
# Why an image or a ConfigMap does not reach one node, or not now; any other reason is the image's or the settings' own.
PASSING = re.compile(
    r"time[d ]*out|deadline exceeded|connection (refused|reset)|no route to host|unreachable|no such host|\bEOF\b"
    r"|too many requests|server misbehaving|no space left|input/output error|\b50[0234]\b|failed to sync",
    re.IGNORECASE,
)
UNSCHEDULED = "FailedScheduling"
# Where room would not help.
_NO_NODE = {
    "volume node affinity": "The node that holds your home takes no servers now.",
    "(?i)persistentvolume": "The volume for your home is not there yet.",
    "affinity": "The cluster has no node of the kind that this course asks for.",
    "not-ready|unreachable|unschedulable": "The cluster's nodes take no servers now.",
}
# Seconds between two attempts at a start.
PAUSES = (1, 2, 5, 10, 20, 30)
# The part of the start's time that its attempts have; the rest is for cleaning up and saying so.
ATTEMPTS_SHARE = 0.95
ATTEMPT = "campus.hubs/attempt"
LOST = "The node that should run it has lost it."
# Seconds after which a pod that was to end, and has not, is lost with its node.
UNENDED = 60
# What a call of the cluster's API may raise.
API_ERRORS = (ApiException, ClientError, OSError)
# Seconds between two looks at the watched pod; that costs no request.
LOOK = 0.25
STUDENT = "student"
# Before the names of shared data's volumes.
SHARED = "shared-"
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
_SUFFIXES = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}
_NOT_FOUND, _TOO_MANY, _SERVER_ERROR = 404, 429, 500


class NodeError(Exception):
    """A node or the API server did not manage a start that may well succeed next time."""


class SpawnQueue:
    """Who may start now, first come, first served.

    Args:
        limit: how many starts may be under way at a time.

    """

    def __init__(self, limit: int) -> None:
        """Start with nobody."""
        self.limit = limit
        self._busy = 0
        self._waiting: list[asyncio.Future[None]] = []
        self._first: set[asyncio.Future[None]] = set()

    def __len__(self) -> int:
        """Count who waits."""
        return len(self._waiting)

    def place(self, ticket: asyncio.Future[None] | None) -> int:
        """Return the place in the queue, 1 for the next; 0 if it does not wait."""
        return self._waiting.index(ticket) + 1 if ticket in self._waiting else 0

    def ticket(self, *, first: bool = False) -> asyncio.Future[None]:
        """Take a place; it is done when its turn has come, and is given back by `leave`.

        Args:
            first: before all others, but for those who are first as well.

        """
        ticket = asyncio.get_running_loop().create_future()
        self._first &= set(self._waiting)
        self._waiting.insert(len(self._first) if first else len(self._waiting), ticket)
        if first:
            self._first.add(ticket)
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
    """Return the node that a claim's volume cannot leave, or None.

    Args:
        claim: the PersistentVolumeClaim as the API has it; the scheduler and the volume controller annotate it.

    """
    notes = ((claim or {}).get("metadata") or {}).get("annotations") or {}
    if notes.get("volume.kubernetes.io/storage-provisioner") not in LOCAL_PROVISIONERS:
        return None
    return notes.get("volume.kubernetes.io/selected-node")


def in_bytes(size: str | int) -> int:
    """Read a size of the chart's values: a number of bytes, or one with K, M, G or T (powers of 1024)."""
    text = str(size).strip()
    return int(float(text[:-1]) * _SUFFIXES[text[-1]]) if text[-1:] in _SUFFIXES else int(text)


def _sentence(event: Mapping[str, Any]) -> str:
    if event.get("reason") == UNSCHEDULED:
        return no_node(event.get("message") or "")
    return f"{event.get('reason', 'Warning')}: {event.get('message', '')}".strip()


def _containers(status: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]


def _waits_for(status: Mapping[str, Any], reasons: set[str]) -> str | None:
    """Say what a container waits for, if it is one of the reasons."""
    for container in _containers(status):
        waiting = (container.get("state") or {}).get("waiting") or {}
        if waiting.get("reason") in reasons:
            return f"{waiting['reason']}: {waiting.get('message') or 'no details'}"
    return None


def _end(status: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """Return how the pod's first container ended that should not have, or None."""
    before = len(status.get("initContainerStatuses") or [])
    for index, container in enumerate(_containers(status)):
        end: Mapping[str, Any] | None = (container.get("state") or {}).get("terminated")
        if end and (end.get("exitCode") or index >= before):
            return end
    return None


def _ended(status: Mapping[str, Any]) -> str | None:
    """Say why a pod has ended, or None if it has not."""
    end = _end(status)
    if end and status.get("reason") not in NODE_ENDS:
        if end.get("reason") == "OOMKilled":
            return "It used more memory than this course allows."
        return f"It ended by itself with exit code {end.get('exitCode')}. {end.get('message') or ''}".strip()
    if status.get("phase") == "Failed":
        return f"{status.get('reason') or 'Its pod failed'}: {status.get('message') or 'no details'}"
    return None


def nodes_fault(pod: Mapping[str, Any] | None, events: Sequence[Mapping[str, Any]]) -> bool:
    """Tell whether what `why_not` says lies with a node, so that another attempt may do better.

    Args:
        pod: the Pod as the API has it, None if it is not there (yet).
        events: the pod's events since the start, oldest first.

    """
    status = (pod or {}).get("status") or {}
    if status.get("reason") in NODE_ENDS:
        return True
    end = _end(status)
    if end:
        return end.get("reason") in NEVER_RAN and not OF_THE_IMAGE.search(end.get("message") or "")
    if status.get("phase") == "Failed":
        return status.get("reason") != "DeadlineExceeded"
    waits = _waits_for(status, HOPELESS | STUCK)
    if waits:
        # A node that cannot make a container says so in many ways; a wrong image or setting in these.
        return bool(PASSING.search(waits)) or (
            waits.startswith(("CreateContainerError", "RunContainerError")) and not OF_THE_IMAGE.search(waits)
        )
    if unschedulable(status):
        return False
    return not (events and events[-1].get("type") == "Warning" and OF_THE_SETTINGS.search(_sentence(events[-1])))


def passes(error: Exception) -> bool:
    """Tell whether what failed may succeed next time: all but what the API server refuses."""
    if isinstance(error, ApiException):
        return not error.status or error.status == _TOO_MANY or error.status >= _SERVER_ERROR
    return True


def in_words(error: Exception) -> str:
    """Return what an error says, the API server's own words if it has some."""
    try:
        return str(json.loads(error.body)["message"])  # type: ignore[attr-defined]
    except (AttributeError, KeyError, TypeError, ValueError):
        hangs = "The cluster's API does not answer." if isinstance(error, TimeoutError) else ""
        return str(getattr(error, "reason", "") or error) or hangs or type(error).__name__


def unschedulable(status: Mapping[str, Any]) -> str | None:
    """Return the scheduler's message if it finds no node for a pod, or None.

    Args:
        status: the Pod's.

    """
    for condition in status.get("conditions") or []:
        if condition.get("reason") == "Unschedulable":
            return str(condition.get("message"))
    return None


def short_of(message: str) -> set[str]:
    """Return the resources that nodes lack; empty if no node would take the pod however much room there was.

    Args:
        message: the scheduler's, "" for none.

    """
    found = {name.rstrip(".") for name in re.findall(r"Insufficient ([^\s,]+)", message)}
    return found | ({"pods"} if "Too many pods" in message else set())


def no_node(message: str) -> str:
    """Say to people why no node takes a pod.

    Args:
        message: the scheduler's.

    """
    short = short_of(message)
    special = sorted(short - {"cpu", "memory", "pods", "ephemeral-storage"})
    if special:
        return f"All that the cluster has of {', '.join(special)} is in use."
    if short:
        return "The cluster is full."
    for words, said in _NO_NODE.items():
        if re.search(words, message):
            return said
    return "No node of the cluster fits what this course asks for."


def _held_up(pod: Mapping[str, Any], events: Sequence[Mapping[str, Any]]) -> str | None:
    """Say what keeps a pod from starting for longer than it should, or None if it just waits for its turn."""
    status = pod.get("status") or {}
    stuck = _waits_for(status, STUCK)
    if stuck:
        return stuck
    message = unschedulable(status)
    if message:
        return no_node(message)
    if events and events[-1].get("type") == "Warning":
        return _sentence(events[-1])
    node = (pod.get("spec") or {}).get("nodeName")
    # The kubelet writes this as soon as it knows of a pod.
    if node and status.get("phase") == "Pending" and not status.get("startTime"):
        return f"The node {node} does not answer."
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
    return hopeless or (_held_up(pod or {}, events) if waited >= patience else None)


def refused(reason: str) -> SpawnException:
    """Return the error that ends a start, in words for the person."""
    message = f"Your server could not start. {reason}"
    error = SpawnException(message, reason="error")
    # What the pages show; the exception's own text has its class in front.
    error.jupyterhub_message = message
    return error


def avoiding(nodes: Sequence[str]) -> list[dict[str, Any]]:
    """Return preferences of a node affinity: the fewer failures, the better.

    Args:
        nodes: the node of each failure.

    """
    return [
        {
            "weight": 100,
            "preference": {"matchFields": [{"key": "metadata.name", "operator": "NotIn", "values": [node]}]},
        }
        for node in nodes
    ]


def core_api() -> Any:  # noqa: ANN401 - a CoreV1Api
    """Return the client of the cluster's API that KubeSpawner uses."""
    load_config()
    return shared_client("CoreV1Api")


class CourseSpawner(KubeSpawner):  # type: ignore[misc]
    """One pod per person; a start that cannot succeed ends soon, with the reason."""

    patience = Integer(40, config=True, help="Seconds for which warnings at a start may pass.")

    concurrent_starts = Integer(
        8, config=True, help="How many servers start at a time; the others wait for their turn."
    )

    max_servers = Integer(
        0,
        config=True,
        help="How many servers run at a time, 0 for any; students wait then, and idle ones of students make room.",
    )

    shared_volumes = List(
        Dict(),
        config=True,
        help="Data that all have: name, mountPath, claim, and writableBy, the groups that may change it.",
    )

    priority_classes = Dict(
        config=True, help="PriorityClasses of the servers of `staff` (lecturers, tutors) and of each `student`."
    )

    extra_labels: Any
    pod_affinity_required: Any
    priority_class_name: Any
    volumes: Any
    volume_mounts: Any
    spawn_queue: ClassVar[SpawnQueue | None] = None
    # Who makes room for those who wait for it; see room.py.
    room: ClassVar[Any] = None

    # Whether the start that is under way has one of the course's `max_servers`, or needs none.
    seated = False
    _ticket: asyncio.Future[None] | None = None
    _note = ""
    _began = 0.0
    # Of the start that is under way: the number of its attempt, why the last one failed, where they failed, and what
    # the person reads between two of them.
    _attempt = 1
    _fault = ""
    _failed_on: Sequence[str] = ()
    _pause = ""
    _classless = False
    # Of the attempt: the pod that it has made, and where; while there is no room for it, why, and its place.
    _uid = ""
    _node = ""
    _full = ""
    _place: Any = None

    def _pod(self) -> dict[str, Any]:
        """Return the pod as the watch saw it last, empty if there is none."""
        pods = self.pod_reflector.pods if self.pod_reflector else {}
        return pods.get(f"{self.namespace}/{self.pod_name}") or {}

    async def poll(self) -> int | None:
        """Return None while the server runs, see KubeSpawner.poll; one on a node that does not answer has ended."""
        status: int | None = await super().poll()
        due = (self._pod().get("metadata") or {}).get("deletionTimestamp")
        if due and (datetime.now(UTC) - datetime.fromisoformat(due)).total_seconds() > UNENDED:
            return 1
        return status

    def _check(self) -> None:
        """Raise NodeError or SpawnException if the attempt will not succeed."""
        pod = self._pod()
        notes = pod.get("metadata") or {}
        if self._uid and (notes.get("uid") != self._uid or notes.get("deletionTimestamp")):
            raise NodeError(LOST)
        self._node = (pod.get("spec") or {}).get("nodeName") or self._node
        waited = 0 if self._full else time.monotonic() - self._began
        reason = why_not(pod, self.events, waited, self.patience)
        if reason:
            raise NodeError(reason) if nodes_fault(pod, self.events) else refused(reason)

    async def get_pod_manifest(self) -> Any:  # noqa: ANN401 - a V1Pod
        """Return KubeSpawner's, away from the nodes that did not manage the start."""
        pod = await super().get_pod_manifest()
        pod.metadata.annotations = {**(pod.metadata.annotations or {}), ATTEMPT: str(self._attempt)}
        if self._failed_on:
            # Spreading would count as much.
            pod.spec.topology_spread_constraints = None
            pod.spec.affinity = pod.spec.affinity or V1Affinity()
            affinity = pod.spec.affinity.node_affinity = pod.spec.affinity.node_affinity or V1NodeAffinity()
            affinity.preferred_during_scheduling_ignored_during_execution = [
                *(affinity.preferred_during_scheduling_ignored_during_execution or []),
                *avoiding(self._failed_on),
            ]
        return pod

    @property
    def teaches(self) -> bool:
        """Whether the person is a lecturer or tutor of the course, by their launch."""
        return bool(TEACHERS & {group.name for group in self.user.groups})

    async def _claim(self, name: str) -> dict[str, Any] | None:
        asked = self.api.read_namespaced_persistent_volume_claim(name, self.namespace)
        try:
            found = await asyncio.wait_for(asked, self.k8s_api_request_timeout)
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        claim: dict[str, Any] = self.api.api_client.sanitize_for_serialization(found)
        return claim

    async def load_user_options(self) -> None:
        """Apply what the user has chosen, then what their role gives them: see KubeSpawner.load_user_options."""
        await super().load_user_options()
        await self._arrange()

    async def _arrange(self) -> None:
        """Give everybody the shared data, and teachers the course's volume, and a home on the same node.

        A student who becomes a tutor may have a home on another node, in a volume that cannot move. Then they get a
        second home, and the first is theirs again when they are a student.
        """
        home = f"home-{self.user.name}"
        roles = {group.name for group in self.user.groups} or {STUDENT}
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
        together: list[Any] = [term for term in self.pod_affinity_required if term != TOGETHER]
        ours = {"home", "course", *(f"{SHARED}{shared['name']}" for shared in self.shared_volumes)}
        volumes: list[Any] = [volume for volume in self.volumes if volume["name"] not in ours]
        mounts: list[Any] = [mount for mount in self.volume_mounts if mount["name"] not in ours - {"home"}]
        self.pvc_name = home
        # One that a profile says counts.
        if self.priority_classes and (self.priority_class_name or "") in {"", *self.priority_classes.values()}:
            self.priority_class_name = (
                "" if self._classless else self.priority_classes["staff" if self.teaches else "student"]
            )
        self.extra_labels = {**labels, GRADER: "true"} if self.teaches else labels
        self.volumes = [
            *volumes,
            {"name": "home", "persistentVolumeClaim": {"claimName": home}},
            *([COURSE_VOLUME] if self.teaches else []),
            *(
                {"name": f"{SHARED}{shared['name']}", "persistentVolumeClaim": {"claimName": shared["claim"]}}
                for shared in self.shared_volumes
            ),
        ]
        self.volume_mounts = [
            *mounts,
            *([COURSE_MOUNT] if self.teaches else []),
            *(
                {
                    "name": f"{SHARED}{shared['name']}",
                    "mountPath": shared["mountPath"],
                    "readOnly": not roles & set(shared["writableBy"]),
                }
                for shared in self.shared_volumes
            ),
        ]
        self.pod_affinity_required = [*together, *([TOGETHER] if self.teaches else [])]

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        cls = type(self)
        if cls.spawn_queue is None:
            cls.spawn_queue = SpawnQueue(self.concurrent_starts)
        self._ticket = cls.spawn_queue.ticket(first=self.teaches)
        try:
            await self._ticket
            yield
        except asyncio.CancelledError:
            # Interrupted: the pod goes as well, and also one that nobody has seen yet, for which the hub would not ask.
            await asyncio.shield(self._remove())
            raise
        finally:
            self._give_turn_back()

    def _give_turn_back(self) -> None:
        if self._ticket and self.spawn_queue is not None:
            self.spawn_queue.leave(self._ticket)
        self._ticket = None

    async def _look_for_room(self) -> None:
        """Wait with others for room while the scheduler finds none, without holding up who needs none."""
        message = unschedulable(self._pod().get("status") or {})
        short = short_of(message or "")
        if message and short and not self._full:
            self._full = no_node(message)
            self._give_turn_back()
            if self.room is not None:
                self._place = self.room.join(self._pod(), short, staff=self.teaches, nodes=await self._only_nodes())
        elif self._full and not short:
            self._full = ""
            self._leave_room()
            self._began = time.monotonic()

    async def _wait_for_a_seat(self) -> None:
        """Wait with others while as many servers run as may. Lecturers, tutors and a run's own check do not wait."""
        exempt = self.teaches or self.user.name == getattr(self.authenticator, "synthetic_student", "")
        if self.max_servers and not exempt and self.room is not None and not self.room.has_seat(self.max_servers):
            self._full = f"{self.max_servers} servers of the course run, which is as many as may."
            self._place = self.room.join({}, {"pods"}, staff=False, seat=True)
            try:
                while not self.room.has_seat(self.max_servers, self._place):
                    await asyncio.sleep(LOOK)
            finally:
                self._leave_room()
            self._full = ""
        self.seated = True

    def _leave_room(self) -> None:
        if self._place is not None:
            self.room.leave(self._place)
        self._place = None

    async def _only_nodes(self) -> set[str] | None:
        """Return the nodes that the pod cannot leave: those of its volumes, and of teachers' other servers."""
        try:
            claims = [await self._claim(name) for name in (self.pvc_name, *([COURSE_CLAIM] if self.teaches else []))]
        except API_ERRORS:
            return None
        nodes = {node for claim in claims if (node := node_of(claim))}
        if self.teaches and not nodes:
            pods = self.pod_reflector.pods.values() if self.pod_reflector else []
            graders = [pod for pod in pods if (pod["metadata"].get("labels") or {}).get(GRADER) == "true"]
            nodes = {node for pod in graders if (node := (pod.get("spec") or {}).get("nodeName"))}
        return nodes or None

    async def progress(self) -> AsyncIterator[dict[str, Any]]:
        """Say the place in the queue while there is one, then what Kubernetes does; see KubeSpawner.progress."""
        said = ""
        while waits := self._says():
            if waits != said:
                said = waits
                yield {"progress": 0, "message": waits}
            await asyncio.sleep(LOOK)
        if self._note:
            yield {"progress": 0, "message": self._note}
        # KubeSpawner's ends with each attempt.
        attempt = 0
        while attempt < self._attempt:
            attempt = self._attempt
            async for event in self._progress_of_attempt():
                yield event
            await asyncio.sleep(LOOK)
            if self._pause:
                yield {"progress": 0, "message": self._pause}
            while self._pause:
                await asyncio.sleep(LOOK)

    def _says(self) -> str:
        """Say what the start waits for, a turn, a seat or room; '' if for nothing of that."""
        queue = self.spawn_queue
        if queue and (place := queue.place(self._ticket)):
            return (
                f"Number {place} of {len(queue)} who wait: {queue.limit} servers start at a time, so that each of them "
                "starts fast."
            )
        return (self.room.says(self._place) if self._place is not None else "") or self._full

    async def _progress_of_attempt(self) -> AsyncIterator[dict[str, Any]]:
        """Say what Kubernetes does, and the place among those who wait for room instead of the scheduler's words."""
        events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()

        async def read() -> None:
            async for event in KubeSpawner.progress(self):
                events.put_nowait(event)

        reading, said = asyncio.ensure_future(read()), ""
        try:
            while not (reading.done() and events.empty()):
                waits = self._says()
                if waits and waits != said:
                    yield {"progress": 0, "message": waits}
                said = waits
                try:
                    event = await asyncio.wait_for(events.get(), LOOK)
                except TimeoutError:
                    continue
                raw = event.get("raw_event") or {}
                if raw.get("reason") != UNSCHEDULED:
                    yield event
                elif not short_of(raw.get("message") or ""):
                    yield {"progress": event["progress"], "message": no_node(raw.get("message") or "")}
        finally:
            reading.cancel()

    async def start(self) -> str:
        """Wait for a seat and a turn, start the pod and wait until its server accepts connections; return its URL.

        What a node did not manage is tried again, with growing pauses, while the start's time lasts.
        """
        self._attempt, self._fault, self._failed_on = 1, "", []
        self._full, self._classless, self.seated = "", False, False
        self._start_future = None
        try:
            async with asyncio.timeout(self.start_timeout * ATTEMPTS_SHARE):
                # In this order: seats that become free at once start by turns, and nobody holds a turn without one.
                await self._wait_for_a_seat()
                async with self._turn():
                    return await self._attempts()
        except TimeoutError:
            reason = f"It was not ready within {self.start_timeout} seconds."
            if self._full:
                reason = (
                    f"{self._full} There was no room within {self.start_timeout} seconds. Try again in some minutes."
                )
            elif self._fault:
                reason += f" {self._attempt - 1} attempts failed, the last one so: {self._fault}"
            raise refused(reason) from None
        finally:
            self._pause = ""

    async def _attempts(self) -> str:
        while True:
            self._pause = ""
            try:
                await self._arrange()
                return await self._start_pod()
            except (NodeError, *API_ERRORS) as error:
                if not self._classless and "no PriorityClass" in in_words(error):
                    # Rather without one than not at all: the cluster's part is another run's.
                    self.log.warning("The server of %s starts without a class: %s", self.user.name, error)
                    self._classless = True
                    continue
                if not passes(error):
                    raise refused(f"The cluster refuses it: {in_words(error)}") from error
                await self._try_again(in_words(error))

    async def _try_again(self, reason: str) -> None:
        """Remove what an attempt has left, and wait before the next one."""
        pause = PAUSES[min(self._attempt, len(PAUSES)) - 1]
        self.log.warning(
            "Attempt %s to start the server of %s failed on %s, the next one follows in %s s: %s",
            self._attempt,
            self.user.name,
            self._node or "no node",
            pause,
            reason,
        )
        self._fault = reason
        if self._node:
            self._failed_on = [*self._failed_on, self._node]
        self._attempt += 1
        self._start_future = None
        self._pause = (
            f"The cluster did not manage to start your server. Attempt {self._attempt} follows in {pause} s, "
            "on another node if there is one. You need not do anything."
        )
        await self._remove()
        await asyncio.sleep(pause)

    async def _remove(self) -> None:
        """Remove the pod of an attempt; the next one, or the hub, sees to what is still there."""
        try:
            await self.stop(now=True)
        except API_ERRORS as error:
            self.log.warning("The pod of %s was not removed: %s", self.user.name, in_words(error))

    async def _start_pod(self) -> str:
        """Start the pod. KubeSpawner looks at it in growing intervals of up to 5 seconds; this looks all the time."""
        self._began = time.monotonic()
        self._uid = self._node = self._full = ""
        before = self._pod().get("metadata", {}).get("uid")
        starting = KubeSpawner.start(self)
        try:
            while not starting.done():
                await asyncio.wait({starting}, timeout=LOOK)
                pod = self._pod()
                uid = pod.get("metadata", {}).get("uid")
                if uid != before and not self._uid:
                    self._uid = uid or ""
                if self._uid and not starting.done():
                    await self._look_for_room()
                    self._check()
                    if self.is_pod_running(pod):
                        self.pod_id = uid
                        url: str = self._get_pod_url(pod)
                        break
            else:
                url = starting.result()
        finally:
            starting.cancel()
            self._leave_room()
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
