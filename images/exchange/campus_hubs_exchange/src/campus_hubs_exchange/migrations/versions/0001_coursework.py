"""Members, assignments, submissions, feedback."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Make the tables."""
    op.create_table(
        "members",
        sa.Column("user", sa.String, nullable=False),
        sa.Column("subject", sa.String, nullable=False),
        sa.Column("role", sa.String, nullable=False),
        sa.Column("given_name", sa.String, nullable=False),
        sa.Column("family_name", sa.String, nullable=False),
        sa.Column("email", sa.String, nullable=False),
        sa.Column("active", sa.Boolean, nullable=False),
        sa.Column("since", sa.DateTime, nullable=False),
        sa.Column("outcome_url", sa.String, nullable=False),
        sa.Column("outcome_sourcedid", sa.String, nullable=False),
        sa.Column("hub_due", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("user", name="pk_members"),
    )
    op.create_table(
        "platform",
        sa.Column("name", sa.String, nullable=False),
        sa.Column("value", sa.String, nullable=False),
        sa.PrimaryKeyConstraint("name", name="pk_platform"),
    )
    op.create_table(
        "assignments",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("name", sa.String, nullable=False),
        sa.Column("released", sa.Boolean, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_assignments"),
        sa.UniqueConstraint("name", name="uq_assignments_name"),
    )
    op.create_table(
        "submissions",
        sa.Column("id", sa.Integer, nullable=False),
        sa.Column("assignment_id", sa.Integer, nullable=False),
        sa.Column("user", sa.String, nullable=False),
        sa.Column("timestamp", sa.DateTime, nullable=False),
        sa.PrimaryKeyConstraint("id", name="pk_submissions"),
        sa.ForeignKeyConstraint(["assignment_id"], ["assignments.id"], name="fk_submissions_assignment_id"),
        sa.ForeignKeyConstraint(["user"], ["members.user"], name="fk_submissions_user"),
        sa.UniqueConstraint("assignment_id", "user", "timestamp", name="uq_submissions_assignment_id"),
    )
    op.create_index("ix_submissions_user", "submissions", ["user"])
    for table, owner in (
        ("assignment_files", "assignments"),
        ("submission_files", "submissions"),
        ("feedback_files", "submissions"),
    ):
        op.create_table(
            table,
            sa.Column("path", sa.String, nullable=False),
            sa.Column("sha256", sa.String, nullable=False),
            sa.Column("md5", sa.String, nullable=False),
            sa.Column("size", sa.Integer, nullable=False),
            sa.Column("owner", sa.Integer, nullable=False),
            sa.PrimaryKeyConstraint("path", "owner", name=f"pk_{table}"),
            sa.ForeignKeyConstraint(["owner"], [f"{owner}.id"], name=f"fk_{table}_owner"),
        )
        op.create_index(f"ix_{table}_sha256", table, ["sha256"])
        op.create_index(f"ix_{table}_owner", table, ["owner"])
