"""Run by Alembic: the connection comes from `database.upgrade`."""

from __future__ import annotations

from alembic import context

from campus_hubs_exchange.model import Base

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=Base.metadata,
    # SQLite alters a table by creating it again.
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
