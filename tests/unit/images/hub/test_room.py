"""Who gives way on a full cluster, who waits where, and the placeholders that keep room."""

from __future__ import annotations

import asyncio
import json
import logging
import math
from types import SimpleNamespace
from typing import Any

import pytest
from campus_hubs_hub import room
from jupyterhub import orm
from jupyterhub.app import JupyterHub
from tornado import web
from tornado.httpclient import HTTPClientError
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets

from tests.unit.images.hub.test_sandbox import SETTINGS, Api, Cluster

GIB = 2.0**30


@pytest.mark.parametrize(
    ("written", "amount"),
    [
        ("100m", 0.1),
        ("2", 2),
        (0.1, 0.1),
        ("512Mi", GIB / 2),
        ("1G", 1e9),
        (536870912, GIB / 2),
        ("1e3", 1000),
        ("x", 0),
    ],
)
def test_amounts(written: str | float, amount: float) -> None:
    assert room.quantity(written) == pytest.approx(amount)


def test_what_a_pod_requests() -> None:
    """Init containers run before the others, one after the other."""

    def container(cpu: str, memory: str) -> dict[str, Any]:
        return {"resources": {"requests": {"cpu": cpu, "memory": memory}}}

    spec = {
        "containers": [container("100m", "512Mi"), container("1", "512Mi")],
        "initContainers": [container("50m", "64Mi"), container("2", "1Mi")],
    }
    assert room.requests_of({"spec": spec}) == {"pods": 1, "cpu": 2, "memory": GIB}
    assert room.requests_of({}) == {"pods": 1}


def servers(*rows: tuple[str, str, float, float]) -> list[Any]:
    """Return servers of these names, nodes, idle seconds and GiB."""
    return [
        room.Server(name, node, idle, {"memory": memory * GIB, "pods": 1.0}, name) for name, node, idle, memory in rows
    ]


CLASS = (
    ("a", "w1", 100, 0.5),
    ("b", "w2", 900, 0.5),
    ("c", "w1", 500, 0.5),
    ("d", "w2", 50, 0.5),
    ("e", "w1", 400, 0.5),
)


@pytest.mark.parametrize(
    ("memory", "nodes", "gone"),
    [
        (0.5, None, ["b"]),
        (0.5, {"w1"}, ["c"]),
        # Not b, though it is the idlest: d, beside it, is in use sooner than e.
        (1.0, None, ["c", "e"]),
        (1.0, {"w2"}, ["b", "d"]),
        (1.5, None, ["c", "e", "a"]),
        # Nobody goes in vain.
        (2.0, None, []),
        (0.5, {"w3"}, []),
    ],
)
def test_the_idlest_go_first(memory: float, nodes: set[str] | None, gone: list[str]) -> None:
    chosen = room.who_gives_way(servers(*CLASS), {"memory": memory * GIB}, nodes)
    assert [server.name for server in chosen] == gone


def test_a_placeholder_goes_before_anybody() -> None:
    held = room.Server("placeholder-0", "w2", math.inf, {"memory": GIB / 2})
    chosen = room.who_gives_way([*servers(*CLASS), held], {"memory": GIB / 2})
    assert chosen == [held]


def test_what_is_not_there_makes_no_room() -> None:
    assert room.who_gives_way(servers(*CLASS), {"nvidia.com/gpu": 1.0}) == []
    assert room.who_gives_way([], {"memory": 1.0}) == []


@pytest.mark.parametrize(
    ("states", "busy"),
    [([], False), (["idle", "idle"], False), (["idle", "busy"], True), (["starting"], True), ([None], True)],
)
def test_a_cell_that_runs(states: list[str | None], busy: bool) -> None:
    assert room.is_busy([{"execution_state": state} for state in states]) is busy


@pytest.mark.parametrize(
    ("terminals", "stays"),
    [
        ([{"name": "1", "execution_state": "idle"}], False),
        ([{"name": "1", "execution_state": "idle"}, {"name": "2", "execution_state": "busy"}], True),
        # Of another image: with terminals that say nothing, without any, and with an answer that is none.
        ([{"name": "1"}], False),
        (404, False),
        (500, True),
        ({"message": "no"}, True),
        # Whose JSON is deeper than Python reads.
        ("[" * 100_000, True),
    ],
)
def test_a_server_is_asked_for_programs_in_terminals(
    monkeypatch: pytest.MonkeyPatch, terminals: object, stays: bool
) -> None:
    class Answer(web.RequestHandler):
        def get(self, what: str) -> None:
            assert self.request.headers["Authorization"] == "token asks"
            if what == "terminals" and isinstance(terminals, int):
                raise web.HTTPError(terminals)
            found = terminals if what == "terminals" else [{"execution_state": "idle"}]
            self.write(found if isinstance(found, str) else json.dumps(found))

    async def run() -> bool:
        server = HTTPServer(web.Application([(r"/user/u1/api/(kernels|terminals)", Answer)]))
        (socket,) = bind_sockets(0, "127.0.0.1")
        server.add_sockets([socket])
        url = f"http://127.0.0.1:{socket.getsockname()[1]}/user/u1/"
        spawner = SimpleNamespace(server=SimpleNamespace(url=url))
        user = SimpleNamespace(spawner=spawner, new_api_token=lambda **_: "asks")
        hub = SimpleNamespace(users={"u1": user}, db=None)
        monkeypatch.setattr(JupyterHub, "instance", lambda: hub)
        monkeypatch.setattr(orm.APIToken, "find", lambda *_: None)
        try:
            return bool(await room.cell_runs("u1"))
        finally:
            server.stop()

    assert asyncio.run(run()) is stays


def test_where_room_was_made_in_vain_nobody_gives_way_before_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """A node that is drained takes no server, and the hub does not see that."""
    there = servers(("a", "w1", 900, 0.5), ("b", "w1", 800, 0.5), ("c", "w2", 500, 0.5), ("d", "w2", 400, 0.5))
    monkeypatch.setattr(room, "SETTLE", 0)
    monkeypatch.setattr(room, "idle_servers", lambda _: list(there))
    monkeypatch.setattr(room, "cell_runs", lambda _: asyncio.sleep(0, result=False))
    monkeypatch.setattr(JupyterHub, "instance", lambda: SimpleNamespace(log=logging.getLogger("test")))
    stopped: list[str] = []

    async def stop(server: Any) -> None:  # noqa: ANN401
        there.remove(server)
        stopped.append(server.name)

    async def run() -> None:
        full = room.Room("http://127.0.0.1:9", "token")
        monkeypatch.setattr(full, "_stop", stop)
        full._waiting = [room.Waiting(staff=False, need={"memory": GIB / 2})]
        for _ in range(5):
            await full.make()

    asyncio.run(run())
    assert stopped == ["a", "c", "b", "d"]


@pytest.mark.parametrize("error", [HTTPClientError(599), ConnectionRefusedError(111, "refused")])
def test_a_server_that_does_not_give_way_keeps_no_other(monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    """Tornado raises for a time-out, whatever `raise_error` is."""
    there = servers(("stuck", "w1", 900, 0.5), ("b", "w1", 800, 0.5))
    monkeypatch.setattr(room, "idle_servers", lambda _: there)
    monkeypatch.setattr(room, "cell_runs", lambda _: asyncio.sleep(0, result=False))
    monkeypatch.setattr(JupyterHub, "instance", lambda: SimpleNamespace(log=logging.getLogger("test")))
    stopped: list[str] = []

    async def stop(server: Any) -> None:  # noqa: ANN401
        stopped.append(server.name)
        if server.name == "stuck":
            raise error

    async def run() -> room.Waiting:
        full = room.Room("http://127.0.0.1:9", "token")
        monkeypatch.setattr(full, "_stop", stop)
        full._waiting = [room.Waiting(staff=False, need={"memory": GIB})]
        await full.make()
        return full._waiting[0]

    waiting = asyncio.run(run())
    assert (sorted(stopped), waiting.tried) == (["b", "stuck"], {"w1"})


def test_staff_is_first_and_others_as_they_came() -> None:
    first, second, lecturer = (room.Waiting(staff=staff, need={}) for staff in (False, False, True))
    waiting = [first, second, lecturer]
    assert [room.place(waiting, who) for who in waiting] == [2, 3, 1]
    assert room.place(waiting, room.Waiting(staff=False, need={})) == 0


class Placeholders(Cluster):
    """The same with the selector of placeholders."""

    def answer(self, method: str, path: str, query: dict[str, list[str]], body: bytes) -> tuple[int, Any]:
        """Answer as the API server."""
        if method == "GET":
            assert query["labelSelector"] == ["component=placeholder"]
            return 200, {"items": list(self.pods.values())}
        return super().answer(method, path, query, body)


def test_the_reserve_is_filled_and_given_away() -> None:
    cluster = Placeholders()
    cluster.node = "w1"
    settings = {**SETTINGS, "priorityClassName": "campus-hubs-placeholder"}

    async def run() -> None:
        api = Api(cluster)
        try:
            reserve = room.Reserve(settings, "course-python-ws26", 2, api=lambda: api.core)
            await reserve.fill()
            await reserve.fill()
            assert sorted(cluster.pods) == ["placeholder-0", "placeholder-1"]
            held = await reserve.servers()
            assert {(server.node, server.idle, server.user) for server in held} == {("w1", math.inf, "")}
            assert held[0].requests == {"cpu": 0.1, "memory": GIB / 4, "pods": 1}
            await reserve.remove("placeholder-0")
            await reserve.remove("placeholder-0")
            assert sorted(cluster.pods) == ["placeholder-1"]
            cluster.pods["placeholder-1"]["status"] = {"phase": "Failed"}
            await reserve.fill()
            assert sorted(cluster.pods) == ["placeholder-0", "placeholder-1"]
            assert cluster.pods["placeholder-1"]["status"]["phase"] == "Running"
            # The setting is another one now.
            await room.Reserve(settings, "course-python-ws26", 0, api=lambda: api.core).fill()
            assert not cluster.pods
        finally:
            await api.close()

    asyncio.run(run())


def test_the_reserve_waits_for_who_needs_its_room_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not for students beyond the course's limit, for whom the nodes have room."""
    monkeypatch.setattr(room, "REFILL", 0.01)
    fills: list[None] = []

    async def fill() -> None:
        fills.append(None)

    async def run() -> None:
        reserve: Any = SimpleNamespace(fill=fill, names=["placeholder-0"])
        full = room.Room("http://127.0.0.1:9", "token", reserve)
        monkeypatch.setattr(full, "make", lambda: asyncio.sleep(0))
        keeping = asyncio.ensure_future(full.keep_reserve())
        full.join({}, {"pods"}, staff=False, seat=True)
        await asyncio.sleep(0.1)
        assert (full.on_nodes(), len(full)) == (0, 1)
        assert len(fills) > 1
        full.join({}, {"pods"}, staff=False)
        await asyncio.sleep(0.03)
        fills.clear()
        await asyncio.sleep(0.1)
        assert (full.on_nodes(), len(full), len(fills)) == (1, 2, 0)
        keeping.cancel()

    asyncio.run(run())


def test_a_placeholder_holds_as_much_as_a_server() -> None:
    pod = room.placeholder_pod({**SETTINGS, "nodeSelector": {"gpu": "yes"}}, "placeholder-0")
    assert room.requests_of(pod) == {"cpu": 0.1, "memory": GIB / 4, "pods": 1}
    assert pod["spec"]["nodeSelector"] == {"gpu": "yes"}
    assert pod["spec"]["automountServiceAccountToken"] is False
    assert "priorityClassName" not in pod["spec"]
