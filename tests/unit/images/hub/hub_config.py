"""Configuration of the hub under test: everything real but proxy and spawner."""

from __future__ import annotations

import asyncio
import json
import os
from typing import Any

import campus_hubs_login as login
from campus_hubs_hub import settings as course
from jupyterhub import __version__
from jupyterhub.proxy import Proxy
from jupyterhub.spawner import Spawner
from tornado.httpclient import AsyncHTTPClient
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, HTTPError, RequestHandler

c = get_config()  # type: ignore[name-defined]  # noqa: F821
settings = json.loads(os.environ["HUB_UNDER_TEST"])


class NoProxy(Proxy):  # type: ignore[misc]
    """The hub is asked directly, so routes only need to be remembered."""

    should_start = False

    def __init__(self, **kwargs: Any) -> None:  # noqa: ANN401 - traitlets
        """Start with no routes."""
        super().__init__(**kwargs)
        self.table: dict[str, dict[str, Any]] = {}

    async def add_route(self, routespec: str, target: str, data: dict[str, Any]) -> None:
        """Remember."""
        self.table[routespec] = {"routespec": routespec, "target": target, "data": data}

    async def delete_route(self, routespec: str) -> None:
        """Forget."""
        self.table.pop(routespec, None)

    async def get_all_routes(self) -> dict[str, dict[str, Any]]:
        """Tell."""
        return self.table


class Server(RequestHandler):
    """Answers as a single-user server does while the hub waits for it."""

    async def get(self) -> None:
        """Answer anything; who asks for kernels has to be somebody whom the hub lets in, and reads `<user>.kernels`."""
        self.set_header("X-JupyterHub-Version", __version__)
        if self.request.path.endswith("/api/kernels"):
            user = self.request.path.split("/")[-3]
            found = await AsyncHTTPClient().fetch(
                f"{settings['hub_bind_url']}{settings['base_url']}hub/api/user",
                headers={"Authorization": self.request.headers.get("Authorization", "")},
            )
            scopes = json.loads(found.body)["scopes"]
            if f"access:servers!user={user}" not in scopes or not self.get_argument("no_track_activity", ""):
                raise HTTPError(403, f"{user} has {scopes}")
            with open(f"{user}.kernels") as file:  # noqa: PTH123 - the hub's working directory
                self.finish(file.read())
        if self.request.path.endswith("/api/terminals"):
            self.finish("[]")


class NearbySpawner(Spawner):  # type: ignore[misc]
    """A user's server inside the hub's process.

    It starts when there is no file `<user>.held`, and dies when the file `<user>.dead` appears.
    """

    nearby: HTTPServer | None = None

    @property
    def teaches(self) -> bool:
        """As CourseSpawner has it."""
        return any(group.name == "instructor" for group in self.user.groups)

    def _pod(self) -> dict[str, Any]:
        """Return the pod that it would be, as CourseSpawner has it."""
        container = {"resources": {"requests": {"memory": "512Mi", "cpu": "100m"}}}
        return {
            "metadata": {"name": f"user-{self.user.name}"},
            "spec": {"nodeName": "w1", "containers": [container]},
        }

    async def start(self) -> tuple[str, int]:
        """Listen, and leave the environment for the test to read."""
        while os.path.exists(f"{self.user.name}.held"):  # noqa: PTH110 - the hub's working directory
            await asyncio.sleep(0.1)
        sockets = bind_sockets(0, "127.0.0.1")
        self.nearby = HTTPServer(Application([(".*", Server)]))
        self.nearby.add_sockets(sockets)
        with open(f"{self.user.name}.env.json", "w") as file:  # noqa: PTH123 - the hub's working directory
            json.dump(self.get_env(), file)
        return "127.0.0.1", sockets[0].getsockname()[1]

    async def stop(self, now: bool = False) -> None:
        """Listen no more; with the file `<user>.slow`, as slowly as a pod ends."""
        if os.path.exists(f"{self.user.name}.slow"):  # noqa: PTH110
            await asyncio.sleep(3)
        if self.nearby:
            self.nearby.stop()
        self.nearby = None

    async def poll(self) -> int | None:
        """Tell whether it listens."""
        if os.path.exists(f"{self.user.name}.dead"):  # noqa: PTH110
            await self.stop()
        return None if self.nearby else 0


def environment_from_auth_state(spawner: Spawner, auth_state: dict[str, Any] | None) -> None:
    spawner.environment.update(login.spawn_environment(auth_state))


login.limit_requests()
c.JupyterHub.authenticator_class = login.CourseAuthenticator
c.CourseAuthenticator.update(settings["authenticator"])
c.JupyterHub.public_url = settings["public_url"]
c.JupyterHub.hub_bind_url = settings["hub_bind_url"]
c.JupyterHub.bind_url = settings["bind_url"]
c.JupyterHub.tornado_settings = login.tornado_settings(settings["public_url"], settings["lms_urls"])
c.JupyterHub.default_url = settings["base_url"] + "hub/spawn"
if settings["proxy"]:
    c.JupyterHub.proxy_class = "configurable-http-proxy"
    c.ConfigurableHTTPProxy.update({"should_start": False, **settings["proxy"]})
else:
    c.JupyterHub.proxy_class = NoProxy
c.JupyterHub.spawner_class = NearbySpawner
c.Spawner.auth_state_hook = environment_from_auth_state
c.JupyterHub.services = [{"name": "test", "api_token": settings["token"]}]
c.JupyterHub.load_roles = [
    {
        "name": "test",
        "services": ["test"],
        "scopes": ["admin:users", "admin:auth_state", "admin:servers", "admin:groups", "tokens"],
    },
    *course.people_settings()["JupyterHub"]["load_roles"],
]
c.JupyterHub.cleanup_servers = True
if leases := settings["leases"]:
    from campus_hubs_hub import leases as course_leases
    from campus_hubs_hub.exchange import Exchange

    course_leases.LOOK, course_leases.NOTICE, course_leases.RETRY = 1, leases["notice"], 1
    exchange = Exchange(leases["exchange"], settings["token"])
    c.Authenticator.post_auth_hook = exchange.after_login("")
    course_leases.LeaseHandler.leases = course_leases.Leases(
        exchange,
        f"{settings['hub_bind_url']}{settings['base_url']}hub/api",
        settings["token"],
        leases["seconds"] / 3600,
        roster=leases["roster"],
    )
    c.JupyterHub.extra_handlers = [("/api/lease", course_leases.LeaseHandler)]
    background = asyncio.get_running_loop().create_task(course_leases.LeaseHandler.leases.watch())
if settings["room"]:
    from campus_hubs_hub import room as course_room

    course_room.LOOK, course_room.SETTLE = 0.3, 5
    course_room.IDLE_FOR_STAFF, course_room.IDLE_FOR_STUDENTS = settings["room"]
    room = course_room.Room(f"{settings['hub_bind_url']}{settings['base_url']}hub/api", settings["token"])

    async def wait_for_room() -> None:
        """Wait while there is a file `waits.json`: pod, short, staff; write the sentence to `says`."""
        place: Any = None
        while True:
            await asyncio.sleep(0.2)
            waits = os.path.exists("waits.json")  # noqa: PTH110 - the hub's working directory
            if place is not None and not waits:
                room.leave(place)
                place = None
            elif place is None and waits:
                with open("waits.json") as file:  # noqa: PTH123
                    place = room.join(**json.load(file))
                with open("says", "w") as file:  # noqa: PTH123
                    file.write(room.says(place))

    waiters = asyncio.get_running_loop().create_task(wait_for_room())
values = {"config": {"CourseAuthenticator": settings["authenticator"]}}
probe_secret = {"probe-token": settings["token"][::-1]}
student = course.synthetic_student(values, probe_secret)
c.CourseAuthenticator.synthetic_student = student
for trait, items in course.probe_settings(probe_secret, student)["JupyterHub"].items():
    c.JupyterHub[trait].extend(items)
if settings["opened_for"]:
    from tests.unit.images.hub.opened_hub import open_hub

    open_hub(c, settings["opened_for"])
