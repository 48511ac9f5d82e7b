"""Make room on a full cluster: who waits for it has a place, and idle students' servers give way, the idlest first.

The scheduler's own preemption would end servers in which a cell runs, so no class of ours preempts (role
course_images). The hub knows who is idle, asks each of them first, and stops their servers as anybody else would. It
has rights in its own namespace alone, so servers of other courses do not give way.
"""

from __future__ import annotations

import asyncio
import json
import logging
import math
import re
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from jupyterhub import orm
from jupyterhub.app import JupyterHub
from kubernetes_asyncio.client import ApiException
from tornado.httpclient import AsyncHTTPClient, HTTPClientError

from .spawner import API_ERRORS, RESTRICTED_CONTAINER, RESTRICTED_POD, core_api, in_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

log = logging.getLogger("jupyterhub.room")

# Seconds: between two looks at the reserve; between two at who waits; for the scheduler to use the room that was made;
# that a server is asked.
REFILL = 30.0
LOOK = 2.0
SETTLE = 20.0
ASK = 5
# Seconds without activity after which a server gives way, to a lecturer, tutor or sandbox, and to another student. Who
# has Lab in a visible tab is active.
IDLE_FOR_STAFF = 60.0
IDLE_FOR_STUDENTS = 300.0
# Bytes of a server's answer that are read: it says what its owner likes.
ANSWER = 2**20
PLACEHOLDER = "placeholder"
_NOT_FOUND = 404
QUIET = {"idle", "dead"}
_SUFFIXES = {"": 1.0, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12}
_BINARY = {"Ki": 2.0**10, "Mi": 2.0**20, "Gi": 2.0**30, "Ti": 2.0**40}

Resources = dict[str, float]


# ---- who gives way ----
def quantity(text: str | float) -> float:
    """Read an amount as Kubernetes writes it: a number with m, k, M, G, T, Ki, Mi, Gi, Ti or nothing."""
    match = re.fullmatch(r"([\d.]+(?:[eE][-+]?\d+)?)([A-Za-z]{0,2})", str(text).strip())
    if not match:
        return 0.0
    return float(match[1]) * {**_SUFFIXES, **_BINARY}.get(match[2], 1.0)


def requests_of(pod: Mapping[str, Any]) -> Resources:
    """Return what a pod requests, by resource; one pod itself is among it.

    Args:
        pod: the Pod as the API has it.

    """
    spec = pod.get("spec") or {}

    def of(container: Mapping[str, Any]) -> Resources:
        asked = (container.get("resources") or {}).get("requests") or {}
        return {name: quantity(amount) for name, amount in asked.items()}

    total: Resources = {"pods": 1.0}
    for container in spec.get("containers") or []:
        for name, amount in of(container).items():
            total[name] = total.get(name, 0.0) + amount
    for container in spec.get("initContainers") or []:
        for name, amount in of(container).items():
            total[name] = max(total.get(name, 0.0), amount)
    return total


@dataclass(frozen=True)
class Server:
    """A server, or a placeholder, that may give way.

    Attributes:
        name: its pod's name.
        node: where it runs.
        idle: seconds without activity; infinite for a placeholder.
        requests: by resource, see `requests_of`.
        user: the hub's name of its owner, empty for a placeholder.

    """

    name: str
    node: str
    idle: float
    requests: Resources = field(default_factory=dict, hash=False)
    user: str = ""


def who_gives_way(
    servers: Iterable[Server], need: Mapping[str, float], nodes: Collection[str] | None = None
) -> list[Server]:
    """Choose the servers on one node that make room, in the order of idleness; none if all of them would not.

    On each node the idlest go first until what is needed is covered; of the nodes, the one is taken on which the least
    idle of them is the idlest.

    Args:
        servers: those that may give way.
        need: amounts by resource.
        nodes: where the room has to be, None for anywhere.

    """
    by_node: dict[str, list[Server]] = {}
    if not need:
        return []
    for server in sorted(servers, key=lambda server: (-server.idle, server.name)):
        if nodes is None or server.node in nodes:
            by_node.setdefault(server.node, []).append(server)
    choices = []
    for on_node in by_node.values():
        for count in range(1, len(on_node) + 1):
            given = on_node[:count]
            if all(sum(s.requests.get(name, 0.0) for s in given) >= amount for name, amount in need.items()):
                choices.append(given)
                break
    return max(choices, key=lambda given: (given[-1].idle, -len(given), given[0].node), default=[])


def is_busy(kernels: Sequence[Mapping[str, Any]], terminals: Sequence[Mapping[str, Any]] = ()) -> bool:
    """Tell whether a cell runs or may run, or a program in a terminal, by a server's `/api/kernels` and so on."""
    # Servers of other images do not say it of terminals.
    states = [terminal.get("execution_state", "idle") for terminal in terminals]
    return any(state not in QUIET for state in [*(kernel.get("execution_state") for kernel in kernels), *states])


# ---- who waits ----
@dataclass(eq=False)
class Waiting:
    """Somebody who waits for room.

    Attributes:
        staff: whether it is a lecturer's, tutor's or sandbox's pod.
        need: what it lacks, amounts by resource.
        nodes: where it has to be, None for anywhere.
        seat: whether it is not the nodes that have no room, but the course's `max_servers`.
        helped: when room was made for it last, by the monotonic clock.
        tried: the nodes on which that was.

    """

    staff: bool
    need: Resources
    nodes: frozenset[str] | None = None
    seat: bool = False
    helped: float = -math.inf
    tried: set[str] = field(default_factory=set)


def place(waiting: Sequence[Waiting], who: Waiting) -> int:
    """Return somebody's place among those who wait, 1 for the next: staff first, else as they came; 0 if not there."""
    order = sorted(waiting, key=lambda one: not one.staff)
    return order.index(who) + 1 if who in order else 0


def sentence(number: int, count: int, what: str) -> str:
    """Say to somebody who waits where they are, and why."""
    return (
        f"{what} You are number {number} of {count} who wait for room. Servers that nobody uses make "
        "room, and yours starts by itself then."
    )


def placeholder_pod(settings: Mapping[str, Any], name: str) -> dict[str, Any]:
    """Write the manifest of a placeholder: it takes as much room as a person's server, and does nothing.

    Args:
        settings: image, pullPolicy, memory and cpu (each with guarantee and limit, as KubeSpawner has them),
            nodeSelector, tolerations, imagePullSecrets, course, priorityClassName.
        name: the pod's.

    """
    requests = {"cpu": str(settings["cpu"]["guarantee"]), "memory": str(in_bytes(settings["memory"]["guarantee"]))}
    container = {
        "name": "placeholder",
        "image": settings["image"],
        "imagePullPolicy": settings["pullPolicy"],
        "command": ["sleep", "infinity"],
        "securityContext": RESTRICTED_CONTAINER,
        "resources": {"requests": requests, "limits": {"memory": requests["memory"]}},
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name, "labels": {"component": PLACEHOLDER, "campus.hubs/course": settings["course"]}},
        "spec": {
            **RESTRICTED_POD,
            **({"priorityClassName": settings["priorityClassName"]} if settings.get("priorityClassName") else {}),
            "nodeSelector": dict(settings.get("nodeSelector") or {}),
            "tolerations": list(settings.get("tolerations") or []),
            "imagePullSecrets": list(settings.get("imagePullSecrets") or []),
            "containers": [container],
        },
    }


class Reserve:
    """Placeholders that hold room for lecturers, tutors and sandboxes until one of them needs it.

    Args:
        settings: see `placeholder_pod`.
        namespace: the course's.
        count: how many servers' room.
        api: returns a CoreV1Api.

    """

    def __init__(
        self, settings: Mapping[str, Any], namespace: str, count: int, api: Callable[[], Any] | None = None
    ) -> None:
        """Nothing is held yet."""
        self._settings, self.namespace = settings, namespace
        self.names = [f"{PLACEHOLDER}-{index}" for index in range(count)]
        self._api = api or core_api

    async def _pods(self) -> list[dict[str, Any]]:
        api = self._api()
        found = await api.list_namespaced_pod(self.namespace, label_selector=f"component={PLACEHOLDER}")
        pods: list[dict[str, Any]] = api.api_client.sanitize_for_serialization(found.items)
        return pods

    async def fill(self) -> None:
        """Make the placeholders that are missing; remove those that have ended or are too many."""
        there = set()
        for pod in await self._pods():
            name, over = pod["metadata"]["name"], (pod.get("status") or {}).get("phase") in {"Succeeded", "Failed"}
            if over or name not in self.names:
                await self.remove(name)
            else:
                there.add(name)
        for name in self.names:
            if name not in there:
                await self._api().create_namespaced_pod(self.namespace, placeholder_pod(self._settings, name))

    async def servers(self) -> list[Server]:
        """Return the placeholders that hold room now; they give way before anybody."""
        return [
            Server(pod["metadata"]["name"], pod["spec"]["nodeName"], math.inf, requests_of(pod))
            for pod in await self._pods()
            if pod["spec"].get("nodeName") and not pod["metadata"].get("deletionTimestamp")
        ]

    async def remove(self, name: str) -> None:
        """Remove a placeholder; it is no error if it is not there."""
        try:
            await self._api().delete_namespaced_pod(name, self.namespace, grace_period_seconds=0)
        except ApiException as error:
            if error.status != _NOT_FOUND:
                raise


class Room:
    """Who waits for room in a course, and who makes it.

    Args:
        hub_url: base of the hub's API, without a trailing slash.
        token: of a service that may stop servers.
        reserve: the room that is kept for lecturers, tutors and sandboxes, if any.

    """

    def __init__(self, hub_url: str, token: str, reserve: Reserve | None = None) -> None:
        """Nobody waits yet."""
        self._hub_url, self._token, self._reserve = hub_url, token, reserve
        self._waiting: list[Waiting] = []
        self._task: asyncio.Task[None] | None = None

    def __len__(self) -> int:
        """Count who waits."""
        return len(self._waiting)

    def join(
        self,
        pod: Mapping[str, Any],
        short: Collection[str],
        *,
        staff: bool,
        nodes: Collection[str] | None = None,
        seat: bool = False,
    ) -> Waiting:
        """Wait for room; return what `says` and `leave` want.

        Args:
            pod: the Pod that no node takes.
            short: the resources that nodes lack.
            staff: whether it is a lecturer's, tutor's or sandbox's.
            nodes: where it has to be, None for anywhere.
            seat: see `Waiting`.

        """
        need = {name: amount for name, amount in requests_of(pod).items() if name in short}
        waiting = Waiting(staff, need, frozenset(nodes) if nodes else None, seat)
        self._waiting.append(waiting)
        if self._task is None or self._task.done():
            # The loop itself holds tasks weakly.
            self._task = asyncio.ensure_future(self._make())
        return waiting

    def on_nodes(self) -> int:
        """Count who waits for room on the nodes, of which who waits for a seat takes none."""
        return sum(not one.seat for one in self._waiting)

    def has_seat(self, limit: int, waiting: Waiting | None = None) -> bool:
        """Tell whether one more server may run; who waits longer comes first.

        Args:
            limit: how many may.
            waiting: who asks, if they wait already.

        """
        seats = [one for one in self._waiting if one.seat]
        ahead = seats.index(waiting) if waiting else len(seats)
        return seats_taken() + ahead < limit

    def leave(self, waiting: Waiting) -> None:
        """Wait no more."""
        if waiting in self._waiting:
            self._waiting.remove(waiting)

    def says(self, waiting: Waiting) -> str:
        """Return the sentence for somebody who waits, '' for others."""
        number = place(self._waiting, waiting)
        what = "As many servers of the course run as may." if waiting.seat else "The cluster is full."
        return sentence(number, len(self._waiting), what) if number else ""

    async def keep_reserve(self) -> None:
        """Fill the reserve now and then, while nobody waits for its room. Run it as a task when the hub starts."""
        while self._reserve:
            try:
                if not self.on_nodes():
                    await self._reserve.fill()
                    if not self._reserve.names:
                        return
            except Exception as error:
                log.warning("The reserve was not looked at: %s", error)
            await asyncio.sleep(REFILL)

    async def _make(self) -> None:
        while self._waiting:
            try:
                await self.make()
            except Exception:
                # A bug must not keep people waiting who could have room.
                log.exception("No room was made")
            await asyncio.sleep(LOOK)

    async def make(self) -> None:
        """Make room for those who wait, in their order."""
        gone: set[str] = set()
        for waiting in sorted(self._waiting, key=lambda one: not one.staff):
            if time.monotonic() - waiting.helped < SETTLE:
                continue
            least = IDLE_FOR_STAFF if waiting.staff else IDLE_FOR_STUDENTS
            servers = idle_servers(least)
            if waiting.staff and self._reserve:
                servers += await self._reserve.servers()
            servers = [server for server in servers if server.name not in gone]
            # A node on which room was made in vain may take no servers now: the others are next.
            chosen = await self._choose(waiting, [server for server in servers if server.node not in waiting.tried])
            if not chosen and waiting.tried:
                waiting.tried.clear()
                chosen = await self._choose(waiting, servers)
            for server in chosen:
                gone.add(server.name)
                # The hub's own log, which shows this level.
                JupyterHub.instance().log.info(
                    "%s gives way on %s to %s, idle for %s s",
                    server.name,
                    server.node,
                    "a lecturer, tutor or sandbox" if waiting.staff else "a student",
                    round(server.idle) if server.user else "ever",
                )
                try:
                    await self._stop(server)
                except (HTTPClientError, *API_ERRORS) as error:
                    # Tornado raises for a time-out, whatever `raise_error` is: the others give way all the same.
                    log.warning("%s does not give way: %s", server.name, error)
            if chosen:
                waiting.helped = time.monotonic()
                waiting.tried.add(chosen[0].node)

    async def _choose(self, waiting: Waiting, servers: list[Server]) -> list[Server]:
        """Choose who gives way, after asking each of them whether a cell runs."""
        asked: set[str] = set()
        while chosen := who_gives_way(servers, waiting.need, waiting.nodes):
            doubtful = [server for server in chosen if server.name not in asked]
            busy = {server.name for server in doubtful if server.user and await cell_runs(server.user)}
            asked |= {server.name for server in doubtful}
            if not busy:
                break
            servers = [server for server in servers if server.name not in busy]
        return chosen

    async def _stop(self, server: Server) -> None:
        if self._reserve and not server.user:
            await self._reserve.remove(server.name)
            return
        answer = await AsyncHTTPClient().fetch(
            f"{self._hub_url}/users/{quote(server.user, safe='')}/server",
            method="DELETE",
            headers={"Authorization": f"token {self._token}"},
            request_timeout=60,
            raise_error=False,
        )
        if answer.code not in {202, 204}:
            log.warning("The server of %s does not give way, the hub answered %s", server.user, answer.code)


def seats_taken() -> int:
    """Count the servers that run, stop, or start and have a seat; those that have not asked for one yet come later."""
    return sum(
        spawner.active and (spawner.seated or spawner.pending != "spawn")
        for user in JupyterHub.instance().users.values()
        for spawner in user.spawners.values()
    )


def idle_servers(least: float) -> list[Server]:
    """Return the students' servers that nobody has used for so many seconds, by what the hub knows."""
    hub, found = JupyterHub.instance(), []
    now = datetime.now(UTC).replace(tzinfo=None)
    for row in hub.db.query(orm.Spawner).filter(orm.Spawner.server_id.isnot(None)):
        user = hub.users[row.user_id]
        spawner = user.spawners[row.name]
        # It has no activity before it is first used.
        last = max(moment for moment in (row.last_activity, row.started, datetime.min) if moment)
        idle = (now - last).total_seconds()
        pod = spawner._pod() if spawner.ready and not spawner.teaches and not row.name else {}
        node = (pod.get("spec") or {}).get("nodeName")
        if node and idle >= least:
            found.append(Server(pod["metadata"]["name"], node, idle, requests_of(pod), user.name))
    return found


async def cell_runs(user_name: str) -> bool:
    """Ask somebody's server whether a cell runs, or a program in a terminal; without an answer it may well be busy.

    Args:
        user_name: the hub's.

    """
    hub = JupyterHub.instance()
    user = hub.users[user_name]
    token = user.new_api_token(note="asks whether a cell runs", expires_in=60, scopes=["access:servers!user"])
    client = AsyncHTTPClient(force_instance=True, max_body_size=ANSWER)

    async def answer(what: str) -> Any:  # noqa: ANN401 - JSON
        found = await client.fetch(
            # Being asked is no activity.
            f"{user.spawner.server.url}api/{what}?no_track_activity=1",
            headers={"Authorization": f"token {token}"},
            request_timeout=ASK,
            follow_redirects=False,
            # A server may have no terminals.
            raise_error=what != "terminals",
        )
        return json.loads(found.body) if found.code != _NOT_FOUND else []

    try:
        return is_busy(await answer("kernels"), await answer("terminals"))
    except (HTTPClientError, OSError, ValueError, AttributeError, TypeError, RecursionError) as error:
        log.warning("The server of %s does not say whether a cell runs, and stays: %s", user_name, error)
        return True
    finally:
        client.close()
        found = orm.APIToken.find(hub.db, token)
        if found:
            hub.db.delete(found)
            hub.db.commit()
