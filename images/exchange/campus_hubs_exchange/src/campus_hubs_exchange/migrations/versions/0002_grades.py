"""Columns and scores for the LMS."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "columns",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("label", sa.String, nullable=False),
        sa.Column("maximum", sa.Double, nullable=False),
        sa.Column("lineitem", sa.String, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt", sa.DateTime),
        sa.PrimaryKeyConstraint("name", name="pk_columns"),
    )
    op.create_table(
        "scores",
        sa.Column("assignment", sa.String, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("score", sa.Double),
        sa.Column("comment", sa.String, nullable=False),
        sa.Column("timestamp", sa.DateTime, nullable=False),
        sa.Column("state", sa.String, nullable=False),
        sa.Column("reason", sa.String, nullable=False),
        sa.Column("attempts", sa.Integer, nullable=False),
        sa.Column("next_attempt", sa.DateTime),
        sa.Column("uncertain", sa.Boolean, nullable=False),
        sa.Column("sent_at", sa.DateTime),
        sa.Column("sent_value", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("assignment", "user", name="pk_scores"),
        sa.ForeignKeyConstraint(["assignment"], ["columns.name"], name="fk_scores_assignment"),
    )
