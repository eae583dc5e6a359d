"""Runs of ``bouncepoll reprocess``, and the findings they replaced. Adds tables only: the program before still runs."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_TIME = sa.DateTime(timezone=True)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the two tables."""
    op.create_table(
        "reprocess_runs",
        sa.Column("id", _ID, nullable=False),
        sa.Column("selection", sa.JSON(), nullable=False),
        sa.Column("started_at", _TIME, nullable=False),
        sa.Column("after_id", sa.BigInteger(), nullable=False),
        sa.Column("changed", sa.Integer(), nullable=False),
        sa.Column("finished_at", _TIME),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_reprocess_runs")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "past_events",
        sa.Column("id", _ID, nullable=False),
        sa.Column("run_id", _ID, nullable=False),
        sa.Column("message_id", _ID, nullable=False),
        sa.Column("recipient", sa.String(512), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("permanence", sa.String(32), nullable=False),
        sa.Column("severity", sa.String(32)),
        sa.Column("status", sa.String(16)),
        sa.Column("reply_code", sa.SmallInteger()),
        sa.Column("action", sa.String(32)),
        sa.Column("remote_mta", sa.String(255)),
        sa.Column("diagnostic", sa.String(2000)),
        sa.Column("detector", sa.String(64), nullable=False),
        sa.Column("rule_id", sa.String(128)),
        sa.Column("matched_text", sa.String(1000)),
        sa.Column("matched_where", sa.String(128)),
        sa.Column("recorded_at", _TIME, nullable=False),
        sa.Column("replaced_at", _TIME, nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_past_events")),
        sa.ForeignKeyConstraint(["run_id"], ["reprocess_runs.id"], name=op.f("fk_past_events_run_id")),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_past_events_message_id")),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_past_events_message_id"), "past_events", ["message_id"])
    op.create_index(op.f("ix_past_events_recorded_at"), "past_events", ["recorded_at"])
