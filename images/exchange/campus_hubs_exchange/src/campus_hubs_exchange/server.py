"""The running service: opened, served, closed."""

from __future__ import annotations

import asyncio
import logging
import signal
import sqlite3
from collections import Counter
from contextlib import suppress
from typing import Any

from sqlalchemy import text
from tornado import web
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream
from tornado.netutil import bind_sockets

from . import api, ngshare
from .coursework import Coursework
from .database import Database, is_empty, open_database, upgrade
from .files import FileStore
from .hub import Hub
from .lms import Http, Lms13, Registration
from .members import follow_binding
from .outbox import Outbox
from .outcomes import Consumer
from .roster import Roster
from .settings import Settings
from .web import Handler, NotFound, Services, log_request

log = logging.getLogger("exchange")

# Of requests that are read into memory before it is known whose they are; those of files and grades are not.
MAX_BODY_BYTES = 64 * 1024
BODY_TIMEOUT_SECONDS = 600
# Of one address at the same time: a server has a few.
MAX_CONNECTIONS = 64
IDLE_TIMEOUT_SECONDS = 120
# The pod has ten seconds.
GRACE_SECONDS = 8


class LimitedServer(HTTPServer):
    """A server of which nobody takes all connections, and with them its memory."""

    def initialize(self, *arguments: Any, **options: Any) -> None:  # noqa: ANN401 - Tornado's
        """Count from nothing."""
        super().initialize(*arguments, **options)
        self._open = Counter[str]()

    def handle_stream(self, stream: IOStream, address: tuple[Any, ...]) -> None:
        """Take a connection, or close it; called by Tornado."""
        if self._open[address[0]] >= MAX_CONNECTIONS:
            stream.close()
            return
        self._open[address[0]] += 1
        super().handle_stream(stream, address)

    def on_close(self, server_conn: Any) -> None:  # noqa: ANN401 - the same
        """Forget a connection; called by Tornado."""
        host = server_conn.context.address[0]
        self._open[host] -= 1
        if not self._open[host]:
            del self._open[host]
        super().on_close(server_conn)


class Health(Handler):
    """/healthz, for the kubelet: no token, and nothing but whether the database answers."""

    async def prepare(self) -> None:
        """Let everybody in."""

    async def get(self) -> None:
        """Ask the database."""
        database = self.services.database
        await database.read(lambda session: session.execute(text("SELECT count(*) FROM alembic_version")).one())
        self.finish({"success": True})


def open_services(settings: Settings) -> Services:
    """Open the volume, bring the database up to date, and remove contents that no row refers to.

    Raises:
        ValueError: there are files but no database: something was restored by halves, and tidying up would destroy
            the rest.
    """
    files = FileStore(settings.data)
    engine = open_database(settings.data / "exchange.db")
    there = files.all()
    if is_empty(engine) and there:
        raise ValueError(
            f"{settings.data} holds {len(there)} files and no database: restore exchange.db of the same backup"
        )
    upgrade(engine)
    database, hub, http = Database(engine), Hub(settings.hub_api, settings.token), Http()
    lms, issuer, consumer = None, "", None
    if platform := settings.platform:
        endpoint = platform["token_endpoint"]
        audience = platform.get("token_audience", endpoint)
        lms = Lms13(Registration(platform["client_id"], endpoint, settings.key_dir, audience), http)
        issuer = settings.lti_issuer or platform["issuer"]
    elif settings.consumer_dir is not None:
        consumer = Consumer(settings.consumer_dir)
    services = Services(
        settings=settings,
        database=database,
        files=files,
        coursework=Coursework(files, settings.max_upload_bytes),
        hub=hub,
        roster=Roster(
            database,
            hub,
            lms,
            issuer=issuer,
            deployment={key: str(settings.platform.get(key) or "") for key in ("issuer", "deployment_id")},
            url=settings.nrps_url,
            contexts=settings.contexts,
            roles=settings.lti_roles,
        ),
        outbox=Outbox(database, hub, lms=lms, issuer=issuer, http=http, consumer=consumer),
    )
    services.database.transaction(lambda session: follow_binding(session, settings.contexts))
    referenced = services.database.transaction(services.coursework.referenced)
    files.remove(there - referenced)
    log.info("%d contents, %d without a row removed", len(there & referenced), len(there - referenced))
    if missing := referenced - there:
        log.error("%d contents are missing on the volume; the first is %s", len(missing), min(missing))
    return services


def make_application(services: Services) -> web.Application:
    """Put the routes together."""
    shared = {"services": services}
    routes = [(r"/healthz", Health), *ngshare.ROUTES, *api.ROUTES]
    return web.Application(
        [(path, handler, shared) for path, handler in routes],
        default_handler_class=NotFound,
        default_handler_args=shared,
        log_function=log_request,
    )


async def serve(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; requests that have begun are finished.

    Raises:
        ValueError: the settings or the volume are wrong.
    """
    services = open_services(settings)
    server = LimitedServer(
        make_application(services),
        max_body_size=MAX_BODY_BYTES,
        body_timeout=BODY_TIMEOUT_SECONDS,
        idle_connection_timeout=IDLE_TIMEOUT_SECONDS,
    )
    sockets = bind_sockets(settings.port, settings.address)
    server.add_sockets(sockets)
    outbox = asyncio.create_task(services.outbox.run())
    log.info(
        "serving course %s on port %d, SQLite %s",
        settings.course,
        sockets[0].getsockname()[1],
        sqlite3.sqlite_version,
    )
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    await stop.wait()
    log.info("stopping, %d requests open", services.open_requests)
    server.stop()
    with suppress(TimeoutError):
        async with asyncio.timeout(GRACE_SECONDS):
            while services.open_requests:
                await asyncio.sleep(0.05)
    outbox.cancel()
    with suppress(asyncio.CancelledError):
        await outbox
    services.database.close()
    log.info("stopped")
