"""How far events are believed, and which mails tokens vouched for. Adds only: the program before still runs."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns, and make the table."""
    op.add_column("filters", sa.Column("tokens", sa.String(32)))
    op.add_column("events", sa.Column("trust", sa.String(32), nullable=False, server_default="unconfirmed"))
    op.add_column("events", sa.Column("trust_reason", sa.String(32)))
    op.add_column("past_events", sa.Column("trust", sa.String(32)))
    op.add_column("past_events", sa.Column("trust_reason", sa.String(32)))
    op.create_table(
        "token_uses",
        sa.Column("token", sa.String(64), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("message_id", sa.BigInteger().with_variant(sa.Integer(), "sqlite"), nullable=False),
        sa.ForeignKeyConstraint(["message_id"], ["messages.id"], name=op.f("fk_token_uses_message_id")),
        sa.PrimaryKeyConstraint("token", "kind", name=op.f("pk_token_uses")),
    )
    op.create_index(op.f("ix_token_uses_message_id"), "token_uses", ["message_id"])
