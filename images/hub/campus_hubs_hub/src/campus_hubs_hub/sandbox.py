"""Sandboxes: short-lived pods in which submissions are run for grading, apart from everybody and everything.

`POST /hub/api/sandboxes` makes one and answers when it is ready; `DELETE /hub/api/sandboxes/<name>` removes it and says
why it has ended, if it has. For the course's lecturers and tutors, by the token of their servers.

What there is now is read from the cluster each time, so a hub that restarts forgets nothing. A sandbox that nobody uses
ends by itself, at its deadline at the latest (the pod's own), and what has ended is swept away.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import secrets
import string
import time
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from campus_hubs_membership.roles import TEACHERS
from jupyterhub.apihandlers.base import APIHandler
from kubernetes_asyncio.client.exceptions import ApiException
from tornado import web

from .spawner import (
    API_ERRORS,
    LOST,
    PAUSES,
    RESTRICTED_CONTAINER,
    RESTRICTED_POD,
    NodeError,
    avoiding,
    core_api,
    in_bytes,
    in_words,
    no_node,
    nodes_fault,
    passes,
    short_of,
    unschedulable,
    why_not,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping, Sequence

Manifest = dict[str, Any]

PORT = 8889
SELECTOR = "component=sandbox"
USER = "campus.hubs/user"
# Seconds: to become ready; for a last look at it; for a call of the API; for warnings to pass; between two looks;
# between two sweeps. Graders wait for an answer longer than the first three together (campus_hubs_lab.execute).
READY = 80
LAST = 5
CALL = 10
PATIENCE = 20
LOOK = 0.3
SWEEP = 60
_NOT_FOUND = 404
_NAME = string.ascii_lowercase + string.digits


def sandbox_pod(
    settings: Mapping[str, Any], name: str, user: str, token: str, failed_on: Sequence[str] = ()
) -> Manifest:
    """Write the manifest of a sandbox. Its files are in memory, so that a full one is an error in the notebook at once.

    Args:
        settings: see `sandbox_handlers`.
        name: the pod's name.
        user: whose it is, a hub user name (a label's value).
        token: what its agent asks for.
        failed_on: the nodes that did not manage it before.

    """
    memory, cpu = settings["memory"], settings["cpu"]
    limit = in_bytes(memory["limit"])
    home, tmp = in_bytes(settings["home"]), in_bytes(settings["tmp"])
    container = {
        "name": "sandbox",
        "image": settings["image"],
        "imagePullPolicy": settings["pullPolicy"],
        "command": ["python", "-m", "campus_hubs_lab.sandbox"],
        # The memory that the notebook may ask for, so that it gets an error before the whole pod is killed.
        "env": [
            {"name": "SANDBOX_TOKEN", "value": token},
            {"name": "SANDBOX_MEMORY_BYTES", "value": str(limit * 3 // 4)},
            {"name": "HOME", "value": "/home/jovyan"},
        ],
        "ports": [{"name": "sandbox", "containerPort": PORT}],
        "readinessProbe": {
            "httpGet": {"path": "/healthz", "port": PORT},
            "periodSeconds": 1,
            "failureThreshold": READY,
        },
        "resources": {
            "requests": {"memory": str(in_bytes(memory["guarantee"])), "cpu": str(cpu["guarantee"])},
            "limits": {"memory": str(limit), "cpu": str(cpu["limit"])},
        },
        "securityContext": RESTRICTED_CONTAINER,
        "volumeMounts": [{"name": "home", "mountPath": "/home/jovyan"}, {"name": "tmp", "mountPath": "/tmp"}],  # noqa: S108
    }
    spec = {
        **RESTRICTED_POD,
        "containers": [container],
        "volumes": [
            {"name": "home", "emptyDir": {"medium": "Memory", "sizeLimit": str(home)}},
            {"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": str(tmp)}},
        ],
        "activeDeadlineSeconds": settings["deadlineSeconds"],
        # Nothing is resolved in there, so no name server is named.
        "dnsPolicy": "None",
        "dnsConfig": {"nameservers": ["127.0.0.1"]},
        "nodeSelector": dict(settings.get("nodeSelector") or {}),
        "tolerations": list(settings.get("tolerations") or []),
        "imagePullSecrets": list(settings.get("imagePullSecrets") or []),
    }
    if settings.get("priorityClassName"):
        spec["priorityClassName"] = settings["priorityClassName"]
    if failed_on:
        spec["affinity"] = {"nodeAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": avoiding(failed_on)}}
    labels = {"component": "sandbox", "campus.hubs/course": settings["course"], USER: user}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": labels},
        "spec": spec,
    }


def is_ready(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod answers."""
    conditions = pod.get("status", {}).get("conditions") or []
    return any(c.get("type") == "Ready" and c.get("status") == "True" for c in conditions)


def is_over(pod: Mapping[str, Any]) -> bool:
    """Tell whether a pod has ended or is being removed."""
    gone = pod["metadata"].get("deletionTimestamp") is not None
    return gone or pod.get("status", {}).get("phase") in {"Succeeded", "Failed"}


def why_ended(pod: Mapping[str, Any]) -> str:
    """Say why a sandbox has ended, for a lecturer; '' if it runs."""
    status = pod.get("status", {})
    if status.get("reason") == "DeadlineExceeded":
        return "It ran longer than a submission may."
    if status.get("reason") == "Evicted":
        return f"The cluster has removed its sandbox: {status.get('message') or 'no details'}"
    for container in status.get("containerStatuses") or []:
        end = (container.get("state") or {}).get("terminated")
        if end and end.get("reason") == "OOMKilled":
            return "It used more memory than a submission may."
        if end:
            return f"Its sandbox ended with exit code {end.get('exitCode')}."
    return "Its sandbox failed." if status.get("phase") == "Failed" else ""


def age(pod: Mapping[str, Any], now: datetime) -> float:
    """Return a pod's age in seconds."""
    return (now - datetime.fromisoformat(pod["metadata"]["creationTimestamp"])).total_seconds()


class Sandboxes:
    """The course's sandboxes in the cluster.

    Args:
        settings: see `sandbox_handlers`.
        namespace: the course's.
        api: returns a CoreV1Api.
        room: makes room for a sandbox that no node takes (`room.Room`), if anybody does.

    """

    def __init__(
        self,
        settings: Mapping[str, Any],
        namespace: str,
        api: Callable[[], Any] | None = None,
        room: Any = None,  # noqa: ANN401
    ) -> None:
        """Nothing is asked for yet."""
        self.settings, self.namespace, self._api, self._room = settings, namespace, api or core_api, room
        self._one_at_a_time = asyncio.Lock()

    async def _json(self, call: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - JSON
        """Call the API; the answer as the cluster has written it."""
        response = await getattr(self._api(), call)(
            *arguments, _preload_content=False, _request_timeout=CALL, **options
        )
        content = await response.read()
        if response.status >= 400:
            error = ApiException(status=response.status, reason=content.decode(errors="replace")[:500])
            error.body = content
            raise error
        return json.loads(content)

    async def pods(self) -> list[Manifest]:
        """List the sandboxes that there are."""
        listed = await self._json("list_namespaced_pod", self.namespace, label_selector=SELECTOR)
        return list(listed["items"])

    async def make(self, user: str) -> dict[str, str]:
        """Make a sandbox and wait until it answers. What a node or the API did not manage is tried again, in time.

        Args:
            user: whose it is.

        Returns:
            name, url, token.

        Raises:
            HTTPError: 429, there are as many as there may be; 503, it does not start.

        """
        end = time.monotonic() + READY
        failed_on: list[str] = []
        for pause in itertools.chain(PAUSES, itertools.repeat(PAUSES[-1])):
            try:
                # A call that hangs, and others that wait for it, have an end together.
                async with asyncio.timeout_at(end + LAST):
                    return await self._make(user, end, failed_on)
            except (NodeError, *API_ERRORS) as error:
                if not passes(error):
                    raise web.HTTPError(503, f"The cluster refuses the sandbox: {in_words(error)}") from error
                if time.monotonic() + pause >= end:
                    raise web.HTTPError(503, f"The sandbox did not start. {in_words(error)}") from error
            await asyncio.sleep(pause)
        raise AssertionError

    async def _make(self, user: str, end: float, failed_on: list[str]) -> dict[str, str]:
        name = "sandbox-" + "".join(secrets.choice(_NAME) for _ in range(10))
        token = secrets.token_urlsafe(32)
        # Counted and made in one step, else two at once would both be the last.
        async with self._one_at_a_time:
            running = [pod for pod in await self.pods() if not is_over(pod)]
            mine = sum(pod["metadata"]["labels"].get(USER) == user for pod in running)
            if mine >= self.settings["perUser"] or len(running) >= self.settings["perCourse"]:
                raise web.HTTPError(
                    429,
                    f"{len(running)} submissions are being run in this course, {mine} of them for you; there may be "
                    f"{self.settings['perCourse']} and {self.settings['perUser']} at once.",
                )
            manifest = sandbox_pod(self.settings, name, user, token, failed_on)
            async with self._removed_on_error(name):
                await self._create(manifest)
        async with self._removed_on_error(name):
            address = await self._until_ready(name, end, failed_on)
        return {"name": name, "url": f"http://{address}:{PORT}", "token": token}

    async def _create(self, manifest: Manifest) -> None:
        try:
            await self._json("create_namespaced_pod", self.namespace, manifest)
        except ApiException as error:
            # Rather without one than not at all: the cluster's part is another run's.
            if "PriorityClass" not in str(error.reason) or not manifest["spec"].pop("priorityClassName", ""):
                raise
            await self._json("create_namespaced_pod", self.namespace, manifest)

    @asynccontextmanager
    async def _removed_on_error(self, name: str) -> AsyncIterator[None]:
        """Leave no pod behind, also when the caller has gone, or the answer to making it was lost."""
        try:
            yield
        except BaseException:
            # What stays all the same ends at its deadline.
            with suppress(*API_ERRORS):
                await asyncio.shield(self.remove(name))
            raise

    async def _until_ready(self, name: str, end: float, failed_on: list[str]) -> str:
        began = time.monotonic()
        pod: Manifest = {}
        place: Any = None
        message = ""
        try:
            # Once at least, so that what has become of it is said however little time was left.
            while True:
                pod = await self._look(name, end)
                if is_ready(pod):
                    return str(pod["status"]["podIP"])
                message = unschedulable(pod.get("status", {})) or ""
                short = short_of(message)
                if short:
                    began = time.monotonic()
                    if self._room is not None and place is None:
                        place = self._room.join(pod, short, staff=True)
                reason = why_not(pod, [], time.monotonic() - began, PATIENCE)
                if reason and nodes_fault(pod, []):
                    failed_on.extend([node] if (node := pod["spec"].get("nodeName")) else [])
                    raise NodeError(reason)
                if reason:
                    raise web.HTTPError(503, f"The sandbox did not start. {reason}")
                if time.monotonic() >= end:
                    break
                await asyncio.sleep(LOOK)
        finally:
            if place is not None:
                self._room.leave(place)
        if short_of(message):
            # Whoever asks waits as for a free one.
            raise web.HTTPError(429, f"{no_node(message)} No sandbox got room within {READY} seconds.")
        phase = pod.get("status", {}).get("phase", "unknown")
        raise web.HTTPError(503, f"The sandbox did not start within {READY} seconds; it is {phase}.")

    async def _look(self, name: str, end: float) -> Manifest:
        while True:
            try:
                pod: Manifest = await self._json("read_namespaced_pod", name, self.namespace)
            except API_ERRORS as error:
                if getattr(error, "status", 0) == _NOT_FOUND:
                    raise NodeError(LOST) from error
                if not passes(error) or time.monotonic() >= end:
                    raise
            else:
                return pod
            await asyncio.sleep(LOOK)

    async def find(self, name: str) -> Manifest | None:
        """Return a sandbox's pod, or None; never another pod."""
        try:
            pod: Manifest = await self._json("read_namespaced_pod", name, self.namespace)
        except ApiException as error:
            if error.status == _NOT_FOUND:
                return None
            raise
        return pod if pod["metadata"].get("labels", {}).get("component") == "sandbox" else None

    async def remove(self, name: str) -> None:
        """Remove a pod; it is no error if it is not there."""
        try:
            await self._json("delete_namespaced_pod", name, self.namespace, grace_period_seconds=0)
        except ApiException as error:
            if error.status != _NOT_FOUND:
                raise

    async def sweep(self) -> list[str]:
        """Remove what has ended or should have; return the names."""
        now = datetime.now(UTC)

        def lasts(pod: Manifest) -> float:
            if is_over(pod):
                # Its user may want to know why it has ended.
                return SWEEP
            # One that has not started by then waits for a hub that is no more, and counts among those that run.
            pending = pod.get("status", {}).get("phase") == "Pending"
            return READY + (0 if pending else float(self.settings["deadlineSeconds"]))

        old = [pod["metadata"]["name"] for pod in await self.pods() if age(pod, now) > lasts(pod)]
        for name in old:
            await self.remove(name)
        return old

    async def sweep_for_ever(self, log: Any) -> None:  # noqa: ANN401 - a Logger
        """Sweep now and then. Run it as a task when the hub starts."""
        while True:
            try:
                removed = await self.sweep()
                if removed:
                    log.info("Removed sandboxes that were left over: %s", ", ".join(removed))
            except Exception as error:
                log.warning("The sandboxes were not swept: %s", error)
            await asyncio.sleep(SWEEP)


class _Handler(APIHandler):  # type: ignore[misc] # JupyterHub has no type information
    def initialize(self, sandboxes: Sandboxes) -> None:
        self.sandboxes = sandboxes

    @property
    def teacher(self) -> str:
        """The lecturer or tutor who asks, by a token. A browser's cookie is not enough, so nobody can be tricked."""
        user = self.current_user
        groups = {group.name for group in getattr(user, "groups", [])}
        if user is None or not getattr(self, "_token_authenticated", False) or not groups & TEACHERS:
            raise web.HTTPError(403, "Only the course's lecturers and tutors run submissions.")
        return str(user.name)


class SandboxesHandler(_Handler):
    """`/api/sandboxes`."""

    async def post(self) -> None:
        """Make a sandbox."""
        made = await self.sandboxes.make(self.teacher)
        self.set_status(201)
        self.finish(json.dumps(made))


class SandboxHandler(_Handler):
    """`/api/sandboxes/<name>`."""

    async def delete(self, name: str) -> None:
        """Remove one's own sandbox, and say why it has ended."""
        teacher = self.teacher
        pod = await self.sandboxes.find(name)
        if pod is None or pod["metadata"]["labels"].get(USER) != teacher:
            raise web.HTTPError(404, f"There is no sandbox {name!r} of yours.")
        reason = why_ended(pod)
        await self.sandboxes.remove(name)
        self.finish(json.dumps({"reason": reason}))


def sandbox_handlers(sandboxes: Sandboxes) -> list[tuple[str, type[APIHandler], dict[str, Any]]]:
    """Return what goes into JupyterHub.extra_handlers.

    The settings of `sandboxes`: course; image, pullPolicy; memory and cpu, each with guarantee and limit; home and tmp
    (sizes); deadlineSeconds; perCourse and perUser (how many at once); nodeSelector, tolerations and imagePullSecrets,
    if any.
    """
    options = {"sandboxes": sandboxes}
    return [
        (r"/api/sandboxes", SandboxesHandler, options),
        (r"/api/sandboxes/([a-z0-9-]+)", SandboxHandler, options),
    ]
