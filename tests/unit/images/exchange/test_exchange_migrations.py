"""A database of an earlier revision comes along with its data."""

from __future__ import annotations

import hashlib
from pathlib import Path

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from campus_hubs_exchange.database import open_database, upgrade
from campus_hubs_exchange.model import Base
from sqlalchemy import text

from tests.unit.images.exchange.client import unpacked
from tests.unit.images.exchange.exchange_lab import ADA, COURSE, TEACHER, Exchange, Hub

FIRST = "0001"
MEMBER = (
    "INSERT INTO members VALUES ('{user}', '{user}', '{role}', '', '', '', 1, '2026-10-01 08:00:00.000000', '', '', 0)"
)
ROWS = (
    MEMBER.format(user=TEACHER, role="instructor"),
    MEMBER.format(user=ADA, role="student"),
    "INSERT INTO assignments VALUES (1, 'ps1', 1)",
    "INSERT INTO submissions VALUES (1, 1, '{ada}', '2026-10-02 09:00:00.000000')",
    "INSERT INTO submission_files VALUES ('a.ipynb', '{sha256}', 'x', 4, 1)",
    "INSERT INTO platform VALUES ('nrps_url', '\"https://lms/m\"')",
)


def test_the_first_revision_is_upgraded_with_its_data(hub: Hub, tmp_path: Path) -> None:
    exchange = Exchange(tmp_path, hub)
    sha256 = hashlib.sha256(b"work").hexdigest()
    (exchange.data / "files" / sha256[:2]).mkdir(parents=True)
    (exchange.data / "files" / sha256[:2] / sha256).write_bytes(b"work")
    engine = open_database(exchange.data / "exchange.db")
    upgrade(engine, FIRST)
    with engine.begin() as connection:
        for row in ROWS:
            connection.execute(text(row.format(ada=ADA, sha256=sha256)))
    engine.dispose()
    try:
        exchange.start()
        teacher = exchange.as_user(TEACHER)
        submitted = teacher.get(f"submission/{COURSE}/ps1/{ADA}")
        assert submitted.json()["timestamp"] == "2026-10-02 09:00:00.000000 UTC"
        assert unpacked(submitted) == {"a.ipynb": b"work"}
        document = {"label": "W", "maximum": 1, "scores": {ADA: 1}}
        assert exchange.api("POST", "/grades/w", f"token-{TEACHER}", document).status_code == 202
        # Where the roster was is still known, until a launch by staff says more.
        assert exchange.api("GET", "/members").json()["members"][0]["confirmed_at"] == "2026-10-01T08:00:00Z"
        assert "https://lms/m" in exchange.query("SELECT value FROM platform WHERE name = 'services'")[0][0]
        assert exchange.query("SELECT version_num FROM alembic_version") != [(FIRST,)]
    finally:
        exchange.stop()


def test_the_migrations_make_what_the_model_says(tmp_path: Path) -> None:
    engine = open_database(tmp_path / "exchange.db")
    upgrade(engine)
    upgrade(engine)
    with engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []
    engine.dispose()
