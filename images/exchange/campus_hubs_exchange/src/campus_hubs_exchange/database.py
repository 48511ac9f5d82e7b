"""SQLite: one thread that writes, some that read, migrations at start."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Engine, create_engine, event, inspect
from sqlalchemy.orm import Session

T = TypeVar("T")
READERS = 4


def open_database(path: Path) -> Engine:
    """Open, or make, a database file so that what is committed survives a power cut.

    WAL lets readers work beside the writer; `synchronous=FULL` syncs the log at each commit
    (https://www.sqlite.org/pragma.html#pragma_synchronous).
    """
    engine = create_engine(f"sqlite:///{path}", pool_size=READERS + 1, max_overflow=0)

    @event.listens_for(engine, "connect")
    def _prepare(connection: Any, _: object) -> None:  # noqa: ANN401 - of the driver
        # The driver must not begin transactions by itself: it does so before the first change only, and reads before
        # it would see another state.
        connection.isolation_level = None
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON", "busy_timeout=5000"):
            connection.execute(f"PRAGMA {pragma}").close()

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql("BEGIN")

    return engine


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the database to a revision; a new one gets its tables that way as well."""
    config = Config()
    config.set_main_option("script_location", "campus_hubs_exchange:migrations")
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def is_empty(engine: Engine) -> bool:
    """Say whether the database was only just made."""
    return not inspect(engine).get_table_names()


class Database:
    """Runs pieces of work in transactions, off the event loop."""

    def __init__(self, engine: Engine) -> None:
        """Take an engine whose database is at the newest revision."""
        self._engine = engine
        # SQLite has one writer: a queue in front of it is fairer than its lock.
        self._writer = ThreadPoolExecutor(1, "writer")
        self._readers = ThreadPoolExecutor(READERS, "reader")

    async def write(self, work: Callable[[Session], T]) -> T:
        """Run work in a transaction; it is committed, and on disk, when this returns.

        Args:
            work: gets the session; whatever it raises rolls everything back.
        """
        return await self.in_writer(lambda: self.transaction(work))

    async def read(self, work: Callable[[Session], T]) -> T:
        """Run work that changes nothing; it sees one state of the database."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, lambda: self.transaction(work))

    async def in_writer(self, work: Callable[[], T]) -> T:
        """Run work that calls `transaction` itself, alone among all that write."""
        return await asyncio.get_running_loop().run_in_executor(self._writer, work)

    async def in_reader(self, work: Callable[[], T]) -> T:
        """Run blocking work that needs no transaction."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, work)

    def transaction(self, work: Callable[[Session], T]) -> T:
        """Run work in a transaction in this thread."""
        with Session(self._engine, expire_on_commit=False) as session, session.begin():
            return work(session)

    def close(self) -> None:
        """Finish what was begun."""
        self._writer.shutdown()
        self._readers.shutdown()
        self._engine.dispose()
