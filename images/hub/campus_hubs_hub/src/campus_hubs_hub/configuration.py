"""The configuration of a course's hub, which its jupyterhub_config.py asks for: files in, services and settings out."""

from __future__ import annotations

import asyncio
import json
import logging
import os
from pathlib import Path
from typing import Any

import campus_hubs_login as login

from .exchange import Exchange
from .homes import Homes, HomesHandler
from .leases import LeaseHandler, Leases
from .room import Reserve, Room
from .sandbox import Sandboxes, sandbox_handlers
from .settings import (
    direct,
    exchange_url,
    priority_classes,
    reserve_settings,
    sandbox_settings,
    settings,
    synthetic_student,
)
from .spawner import CourseSpawner

VALUES = Path("/etc/campus-hubs/config/values.json")
SECRETS = Path("/etc/campus-hubs/secrets")
NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")

# The loop itself holds tasks weakly.
BACKGROUND: list[asyncio.Task[None]] = []


def read_secret(folder: Path) -> dict[str, str]:
    """Return the fields of a mounted Secret."""
    return {path.name: path.read_text().strip() for path in folder.iterdir() if path.is_file()}


def configure(config: Any) -> None:  # noqa: ANN401 - a traitlets Config
    """Fill the configuration that JupyterHub hands in, and start what runs beside the hub.

    It takes `course-hub.config` of the chart from VALUES and the Secret course-secrets from SECRETS.

    Args:
        config: JupyterHub's own, in whose running loop this is called.

    Raises:
        OSError: a file is not mounted.

    """
    values = json.loads(VALUES.read_text())
    # The API server is no more behind a proxy than the course's own pods, whatever hub.extraEnv says.
    own = [*values["hosts"].values(), os.environ.get("KUBERNETES_SERVICE_HOST", "kubernetes.default.svc")]
    os.environ.update(direct(own, dict(os.environ)))
    secret = read_secret(SECRETS)
    student = synthetic_student(values, secret)
    exchange = Exchange(f"{exchange_url(values)}/api", secret["exchange-token"])

    def before_start(spawner: Any, state: dict[str, Any] | None) -> None:  # noqa: ANN401 - a Spawner
        spawner.environment.update(login.spawn_environment(state))
        binding = getattr(spawner.authenticator, "binding", None)
        if state and spawner.user.name != student and (binding is None or binding.covers(state)):
            exchange.enrol_soon(spawner.user.name, state)

    login.limit_requests()
    course = values["config"].get("CourseAuthenticator", {})
    lms = [url for url in (course.get("lms_url"), course.get("issuer")) if url]
    config.JupyterHub.authenticator_class = login.CourseAuthenticator
    config.JupyterHub.spawner_class = CourseSpawner
    config.JupyterHub.tornado_settings = login.tornado_settings(values["publicUrl"], lms)
    config.Authenticator.post_auth_hook = exchange.after_login(student)
    config.Spawner.auth_state_hook = before_start
    made = settings(values, secret, student)
    namespace = NAMESPACE.read_text().strip()
    hub_url = f"http://127.0.0.1:8081{values['baseUrl']}hub/api"
    placeholders = values["scheduling"]["userPlaceholder"]["replicas"]
    reserve = Reserve(reserve_settings(values, made["KubeSpawner"]), namespace, placeholders)
    room = CourseSpawner.room = Room(hub_url, secret["exchange-token"], reserve)
    if values["singleuser"]["homesAhead"]:
        makers = {"priority_class_name": priority_classes(values).get("student", ""), **made["KubeSpawner"]}
        HomesHandler.homes = Homes(
            exchange, namespace, makers, lambda: len(CourseSpawner.spawn_queue or ()) + room.on_nodes()
        )
    LeaseHandler.leases = Leases(
        exchange,
        hub_url,
        secret["exchange-token"],
        values["membershipHours"],
        roster=bool(course.get("lti13_platform")),
    )
    sandboxes = Sandboxes(sandbox_settings(values, made["KubeSpawner"]), namespace, room=room)
    for work in (
        sandboxes.sweep_for_ever(logging.getLogger("jupyterhub")),
        LeaseHandler.leases.watch(),
        room.keep_reserve(),
    ):
        BACKGROUND.append(asyncio.get_running_loop().create_task(work))
    config.JupyterHub.extra_handlers = [
        (r"/api/homes", HomesHandler),
        (r"/api/lease", LeaseHandler),
        *sandbox_handlers(sandboxes),
    ]
    for name, traits in made.items():
        for trait, value in traits.items():
            old = config[name].get(trait)
            config[name][trait] = {**old, **value} if isinstance(old, dict) else value
