"""Make the volumes of homes ahead of a class: a first click then waits for a pod, not for a volume.

Many storage classes make a volume only when a pod wants it, one after the other. So each member of the roster without a
volume gets a pod that does nothing but mount it, one at a time, and only while nobody waits for a server.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from typing import TYPE_CHECKING, Any, ClassVar

from campus_hubs_membership.roles import TEACHERS
from jupyterhub.apihandlers import APIHandler
from jupyterhub.scopes import needs_scope
from kubernetes_asyncio.client import ApiException
from kubespawner.clients import shared_client
from tornado.httpclient import HTTPClientError

from .spawner import (
    API_ERRORS,
    COURSE_MOUNT,
    COURSE_VOLUME,
    GRADER,
    RESTRICTED_CONTAINER,
    RESTRICTED_POD,
    TOGETHER,
    node_of,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from .exchange import Exchange

log = logging.getLogger("jupyterhub.homes")

# Seconds.
WAIT = 120
LOOK = 0.5
_CONFLICT = 409


def missing(members: Iterable[Mapping[str, Any]], claims: Iterable[Mapping[str, Any]]) -> list[tuple[str, bool]]:
    """Return who has no home yet, with whether they teach; teachers come first, for their homes follow the course's.

    Args:
        members: user, role and active of each, as the exchange has them.
        claims: the namespace's PersistentVolumeClaims; only bound ones count.

    """
    there = {claim["metadata"]["name"] for claim in claims if (claim.get("status") or {}).get("phase") == "Bound"}
    wanted = [(m["user"], m["role"] in TEACHERS) for m in members if m["active"] and f"home-{m['user']}" not in there]
    return sorted(wanted, key=lambda person: (not person[1], person[0]))


def crowded(claims: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the nodes that should not get the next home, so that homes spread over all nodes."""
    homes = (claim for claim in claims if claim["metadata"]["name"].startswith("home-"))
    counts = Counter(node for node in map(node_of, homes) if node)
    least = min(counts.values(), default=0)
    return sorted(node for node, count in counts.items() if count > least) or sorted(counts)


def claim_manifest(user: str, spawner: Mapping[str, Any]) -> dict[str, Any]:
    """Return the claim of a home, as the spawner would make it.

    Args:
        user: the hub's user name.
        spawner: traits of KubeSpawner.

    """
    spec: dict[str, Any] = {
        "accessModes": spawner["storage_access_modes"],
        "resources": {"requests": {"storage": spawner["storage_capacity"]}},
    }
    # None stands for the default class, and the API takes an empty one for none at all.
    if spawner["storage_class"]:
        spec["storageClassName"] = spawner["storage_class"]
    return {"metadata": {"name": f"home-{user}", "labels": spawner["storage_extra_labels"]}, "spec": spec}


def pod_manifest(user: str, spawner: Mapping[str, Any], avoid: list[str], *, teaches: bool) -> dict[str, Any]:
    """Return the pod that makes a home's volume by mounting it.

    Args:
        user: the hub's user name.
        spawner: traits of KubeSpawner.
        avoid: names of nodes that have more homes than others.
        teaches: whether it has to be where the course's volume is.

    """
    labels = {**spawner["extra_labels"], "component": "home-maker"}
    volumes = [{"name": "home", "persistentVolumeClaim": {"claimName": f"home-{user}"}}]
    mounts = [{"name": "home", "mountPath": "/home/jovyan"}]
    if teaches:
        labels = {**labels, GRADER: "true"}
        volumes, mounts = [*volumes, COURSE_VOLUME], [*mounts, COURSE_MOUNT]
    elsewhere = {"matchExpressions": [{"key": "kubernetes.io/hostname", "operator": "NotIn", "values": avoid}]}
    affinity: dict[str, Any] = {}
    if avoid:
        preferred = [{"weight": 100, "preference": elsewhere}]
        affinity["nodeAffinity"] = {"preferredDuringSchedulingIgnoredDuringExecution": preferred}
    if teaches:
        affinity["podAffinity"] = {"requiredDuringSchedulingIgnoredDuringExecution": [TOGETHER]}
    return {
        "metadata": {
            "name": f"make-home-{user}",
            "labels": labels,
        },
        "spec": {
            **RESTRICTED_POD,
            "activeDeadlineSeconds": WAIT,
            **({"priorityClassName": name} if (name := spawner.get("priority_class_name")) else {}),
            "affinity": affinity,
            "nodeSelector": spawner["node_selector"],
            "tolerations": spawner["tolerations"],
            "imagePullSecrets": spawner.get("image_pull_secrets") or [],
            "containers": [
                {
                    "name": "home",
                    "image": spawner["image"],
                    "command": ["/bin/true"],
                    "securityContext": RESTRICTED_CONTAINER,
                    "resources": {"requests": {"cpu": "10m", "memory": "16Mi"}, "limits": {"memory": "32Mi"}},
                    "volumeMounts": mounts,
                }
            ],
            "volumes": volumes,
        },
    }


class Homes:
    """The homes of one course.

    Args:
        exchange: who knows the members.
        namespace: the course's namespace.
        spawner: the traits of KubeSpawner that say what a home and a user's pod are.
        waiting: how many people wait for a server now.

    """

    def __init__(
        self, exchange: Exchange, namespace: str, spawner: Mapping[str, Any], waiting: Callable[[], int]
    ) -> None:
        """Remember; nothing is made yet."""
        self._exchange, self._namespace, self._spawner, self._waiting = exchange, namespace, spawner, waiting
        self._task: asyncio.Task[None] | None = None
        self._again = False

    def make_soon(self) -> None:
        """Make what is missing, in the background; asked during a run, look once more afterwards."""
        self._again = True
        if self._task is None or self._task.done():
            self._task = asyncio.ensure_future(self._run())

    async def _run(self) -> None:
        while self._again:
            self._again = False
            try:
                await self.make()
            except (HTTPClientError, *API_ERRORS) as error:
                log.warning("Homes could not be made ahead: %s", error)

    async def make(self) -> int:
        """Make the missing homes; return how many."""
        api = shared_client("CoreV1Api")
        members = await self._exchange.members()
        made = 0
        for user, teaches in missing(members, await self._claims(api)):
            while self._waiting():
                await asyncio.sleep(LOOK)
            if self._again:  # the roster is another one now
                break
            try:
                made += await self._make_one(api, user, teaches=teaches)
            except ApiException as error:
                # A claim that a quota refuses, say, is no reason to leave out all others.
                log.warning("The home of %s could not be made ahead: %s", user, error)
        if made:
            log.info("Made %s homes ahead", made)
        return made

    async def _claims(self, api: Any) -> list[dict[str, Any]]:  # noqa: ANN401
        found = await api.list_namespaced_persistent_volume_claim(self._namespace)
        claims: list[dict[str, Any]] = api.api_client.sanitize_for_serialization(found.items)
        return claims

    async def _make_one(self, api: Any, user: str, *, teaches: bool) -> int:  # noqa: ANN401
        claims = await self._claims(api)
        pod = pod_manifest(user, self._spawner, crowded(claims), teaches=teaches)
        for create, body in (
            (api.create_namespaced_persistent_volume_claim, claim_manifest(user, self._spawner)),
            (api.create_namespaced_pod, pod),
        ):
            try:
                await create(self._namespace, body)
            except ApiException as error:
                if error.status != _CONFLICT:
                    raise
        try:
            return int(await self._finished(api, pod["metadata"]["name"]))
        finally:
            await api.delete_namespaced_pod(pod["metadata"]["name"], self._namespace)

    async def _finished(self, api: Any, name: str) -> bool:  # noqa: ANN401
        for _ in range(int(WAIT / LOOK)):
            await asyncio.sleep(LOOK)
            pod = await api.read_namespaced_pod(name, self._namespace)
            if pod.status.phase in {"Succeeded", "Failed"}:
                return bool(pod.status.phase == "Succeeded")
        log.warning("The volume of %s is not there after %s s", name, WAIT)
        return False


class HomesHandler(APIHandler):  # type: ignore[misc]
    """`POST /hub/api/homes`: the roster may have changed, make the homes that are missing."""

    homes: ClassVar[Homes | None] = None

    # For who keeps the roster.
    @needs_scope("delete:users")  # type: ignore[untyped-decorator]
    async def post(self) -> None:
        """Start it; 202."""
        if self.homes:
            self.homes.make_soon()
        self.set_status(202)
        self.write({})
