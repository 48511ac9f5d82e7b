"""When launches and rosters came, what the LMS was told of columns, since when a request fails."""

from __future__ import annotations

import json
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Add the columns; the services' addresses become one fact, which the next launch by staff replaces."""
    # Not in a batch: SQLite would create the tables again, and others refer to them.
    op.add_column("members", sa.Column("launched_at", sa.DateTime))
    op.add_column("members", sa.Column("confirmed_at", sa.DateTime, nullable=False, server_default="1970-01-01"))
    op.execute("UPDATE members SET confirmed_at = since")
    op.add_column("columns", sa.Column("told_label", sa.String, nullable=False, server_default=""))
    for name in ("told_maximum", "lms_maximum"):
        op.add_column("columns", sa.Column(name, sa.Double))
    op.add_column("columns", sa.Column("failing_since", sa.DateTime))
    op.execute(
        "UPDATE columns SET told_label = label, told_maximum = maximum, lms_maximum = maximum WHERE lineitem <> ''"
    )
    op.add_column("scores", sa.Column("failing_since", sa.DateTime))
    op.execute("UPDATE scores SET sent_value = '?' WHERE uncertain AND sent_value = ''")
    facts: dict[str, Any] = dict(op.get_bind().execute(sa.text("SELECT name, value FROM platform")).all())
    old = {name: json.loads(facts[name]) for name in ("nrps_url", "ags") if name in facts}
    if old:
        services = json.dumps({**old, "context": {}, "issued_at": 0}, sort_keys=True)
        op.execute("DELETE FROM platform WHERE name IN ('nrps_url', 'ags')")
        op.get_bind().execute(sa.text("INSERT INTO platform VALUES ('services', :value)"), {"value": services})
