"""A KubeSpawner that gives up early on a server that can not start, and tells its user why.

KubeSpawner waits for the whole start time-out, whatever has happened, and then says "timeout". A start that only waits
for its turn (a volume, a free slot) deserves that long a time; one that has failed, or that Kubernetes warns of again
and again, does not.
"""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from jupyterhub.spawner import SpawnException
from kubespawner import KubeSpawner
from traitlets import Integer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Waiting reasons of a container that the kubelet retries for ever (its pkg/kubelet/images/types.go and kuberuntime).
# Nothing about these changes while somebody waits: images are on the nodes before a course is there.
HOPELESS = {"CreateContainerConfigError", "ErrImageNeverPull", "ImagePullBackOff", "InvalidImageName"}
# These may pass.
STUCK = {"CreateContainerError", "ErrImagePull", "ImageInspectError", "RunContainerError"}
# Seconds between two looks at the watched pod; that costs no request.
LOOK = 0.25


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

    async def start(self) -> str:
        """Start the pod and wait until its server accepts connections; return its URL.

        KubeSpawner looks at the pod in growing intervals of up to 5 seconds; this looks all the time.
        """
        self._began = time.monotonic()
        before = self._pod().get("metadata", {}).get("uid")
        starting = super().start()
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
