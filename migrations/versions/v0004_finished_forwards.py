"""Indexes for retention and for lists of forwards. Adds only: the program before still runs."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

_SENT = sa.text("state = 'sent'")
_DEAD = sa.text("state = 'dead'")


def upgrade() -> None:
    """Make the indexes."""
    op.create_index("ix_outbox_sent", "outbox", ["finished_at"], sqlite_where=_SENT, postgresql_where=_SENT)
    op.create_index("ix_outbox_dead", "outbox", ["id"], sqlite_where=_DEAD, postgresql_where=_DEAD)
