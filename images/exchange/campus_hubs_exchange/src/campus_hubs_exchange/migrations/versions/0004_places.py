"""By which link of the LMS, in which of its courses, LTI 1.1 takes somebody's grade."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """Add the columns; each person's next launch fills them."""
    for name in ("outcome_link", "outcome_context"):
        op.add_column("members", sa.Column(name, sa.String, nullable=False, server_default=""))
