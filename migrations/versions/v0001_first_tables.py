"""The first tables.

A migration is a record of what was done: it names every type and value itself and imports nothing of the program, which
goes on changing. There is no way down: a backup made before the upgrade is.
"""

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

_KINDS = (
    *("bounce", "delay", "delivered", "complaint", "not_spam", "vacation", "auto_reply", "challenge", "receipt"),
    *("unsubscribe", "loop", "report", "bulk", "reply", "unknown"),
)
_REASONS = (
    *("auth_failure", "bad_reputation", "blocked", "content_error", "email_too_large", "expired", "failed_starttls"),
    *("filtered", "has_moved", "host_unknown", "mailbox_full", "mailer_error", "network_error", "no_relaying"),
    *("not_accept", "not_compliant_rfc", "on_hold", "policy_violation", "rate_limited", "rejected", "require_ptr"),
    *("security_error", "spam_detected", "suppressed", "suspend", "syntax_error", "system_error", "system_full"),
    *("undefined", "user_unknown", "virus_detected"),
)
_TIME = sa.DateTime(timezone=True)
_DIGEST = sa.String(64)
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Make the tables, those that are referred to first."""
    _blobs_and_messages()
    _places_and_quarantine()
    _filters_and_routes()
    _events()
    _forwards_and_outbox()
    _mailboxes()


def _required(name: str, kind: Any) -> "sa.Column[Any]":
    return sa.Column(name, kind, nullable=False)


def _one_of(table: str, name: str, values: Sequence[str]) -> sa.CheckConstraint:
    listed = ", ".join(f"'{value}'" for value in values)
    return sa.CheckConstraint(f"{name} IN ({listed})", name=op.f(f"ck_{table}_{name}"))


def _key(table: str, *columns: str) -> sa.PrimaryKeyConstraint:
    return sa.PrimaryKeyConstraint(*columns, name=op.f(f"pk_{table}"))


def _unique(table: str, *columns: str) -> sa.UniqueConstraint:
    return sa.UniqueConstraint(*columns, name=op.f(f"uq_{table}_{'_'.join(columns)}"))


def _reference(table: str, columns: Sequence[str], target: str, target_columns: Sequence[str]) -> Any:
    return sa.ForeignKeyConstraint(
        columns, [f"{target}.{column}" for column in target_columns], name=op.f(f"fk_{table}_{'_'.join(columns)}")
    )


def _index(table: str, *columns: str) -> None:
    op.create_index(op.f(f"ix_{table}_{'_'.join(columns)}"), table, columns)


def _partial_index(table: str, name: str, columns: Sequence[str], condition: str) -> None:
    where = sa.text(condition)
    op.create_index(op.f(f"ix_{table}_{name}"), table, columns, sqlite_where=where, postgresql_where=where)


def _blobs_and_messages() -> None:
    op.create_table(
        "blobs",
        _required("digest", _DIGEST),
        _required("octets", sa.LargeBinary()),
        _required("size_octets", sa.BigInteger()),
        _required("stored_at", _TIME),
        _key("blobs", "digest"),
    )
    _index("blobs", "stored_at")
    op.create_table(
        "messages",
        _required("id", _ID),
        _required("fingerprint", sa.String(64)),
        _required("kind", sa.String(32)),
        sa.Column("message_id", sa.String(998)),
        sa.Column("original_message_id", sa.String(998)),
        _required("from_address", sa.String(320)),
        _required("subject", sa.String(998)),
        _required("size_octets", sa.BigInteger()),
        _required("defects", sa.JSON()),
        _required("detector", sa.String(64)),
        sa.Column("rule_id", sa.String(128)),
        sa.Column("matched_text", sa.String(1000)),
        sa.Column("matched_where", sa.String(128)),
        sa.Column("received_at", _TIME),
        _required("recorded_at", _TIME),
        _required("stripped", sa.Boolean()),
        _key("messages", "id"),
        _unique("messages", "fingerprint"),
        _one_of("messages", "kind", _KINDS),
        sqlite_autoincrement=True,
    )
    _partial_index("messages", "unstripped", ["recorded_at"], "NOT stripped")


def _places_and_quarantine() -> None:
    op.create_table(
        "places",
        _required("id", _ID),
        _required("source", sa.Text()),
        _required("folder", sa.Text()),
        _required("uidvalidity", sa.BigInteger()),
        _required("uid", sa.Text()),
        sa.Column("message_id", _ID),
        _required("state", sa.String(32)),
        _required("duplicate", sa.Boolean()),
        _required("settled", sa.Boolean()),
        _required("truncated", sa.Boolean()),
        sa.Column("blob_digest", _DIGEST),
        _required("recorded_at", _TIME),
        _key("places", "id"),
        _unique("places", "source", "folder", "uidvalidity", "uid"),
        _reference("places", ["message_id"], "messages", ["id"]),
        _one_of("places", "state", ("stored", "quarantined", "retry", "discarded")),
        sa.CheckConstraint("(state = 'stored') = (message_id IS NOT NULL)", name=op.f("ck_places_message")),
        sqlite_autoincrement=True,
    )
    _index("places", "message_id")
    folder = ["source", "folder", "uidvalidity"]
    _partial_index("places", "unsettled", [*folder, "id"], "NOT settled AND state = 'stored'")
    _partial_index("places", "retry", [*folder, "uid"], "state = 'retry'")
    op.create_table(
        "quarantine",
        _required("id", _ID),
        _required("place_id", _ID),
        _required("error", sa.String(2000)),
        _required("created_at", _TIME),
        _required("attempts", sa.Integer()),
        sa.Column("blob_digest", _DIGEST),
        _key("quarantine", "id"),
        _unique("quarantine", "place_id"),
        _reference("quarantine", ["place_id"], "places", ["id"]),
        _reference("quarantine", ["blob_digest"], "blobs", ["digest"]),
        sqlite_autoincrement=True,
    )
    _index("quarantine", "blob_digest")


def _filters_and_routes() -> None:
    op.create_table(
        "filters",
        _required("id", _ID),
        _required("name", sa.Text()),
        _required("name_key", sa.Text()),
        _required("filter_address", sa.Text()),
        _required("description", sa.Text()),
        _required("forward_to", sa.JSON()),
        _required("forward_kinds", sa.JSON()),
        sa.Column("forward_mode", sa.String(32)),
        _required("enabled", sa.Boolean()),
        _required("created_at", _TIME),
        _key("filters", "id"),
        _unique("filters", "name_key"),
        _unique("filters", "filter_address"),
        _one_of("filters", "forward_mode", ("rewrite", "redirect", "attach")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "routes",
        _required("message_id", _ID),
        _required("filter_id", _ID),
        _required("matched_by", sa.String(1000)),
        sa.Column("mailing_id", sa.String(255)),
        sa.Column("recipient_id", sa.String(255)),
        _required("verified", sa.Boolean()),
        _key("routes", "message_id", "filter_id"),
        _reference("routes", ["message_id"], "messages", ["id"]),
        _reference("routes", ["filter_id"], "filters", ["id"]),
    )
    _index("routes", "filter_id", "message_id")


def _events() -> None:
    op.create_table(
        "events",
        _required("id", _ID),
        _required("message_id", _ID),
        _required("recipient", sa.String(512)),
        _required("recipient_key", sa.String(512)),
        _required("kind", sa.String(32)),
        sa.Column("reason", sa.String(32)),
        _required("permanence", sa.String(32)),
        sa.Column("severity", sa.String(32)),
        sa.Column("status", sa.String(16)),
        sa.Column("reply_code", sa.SmallInteger()),
        sa.Column("action", sa.String(32)),
        sa.Column("remote_mta", sa.String(255)),
        sa.Column("diagnostic", sa.String(2000)),
        _required("detector", sa.String(64)),
        sa.Column("rule_id", sa.String(128)),
        sa.Column("matched_text", sa.String(1000)),
        sa.Column("matched_where", sa.String(128)),
        _required("recorded_at", _TIME),
        _key("events", "id"),
        _unique("events", "message_id", "recipient"),
        _reference("events", ["message_id"], "messages", ["id"]),
        _one_of("events", "kind", _KINDS),
        _one_of("events", "reason", _REASONS),
        _one_of("events", "permanence", ("permanent", "transient", "success", "unknown")),
        _one_of("events", "severity", ("hard", "soft")),
        _one_of("events", "action", ("failed", "delayed", "delivered", "relayed", "expanded")),
        sqlite_autoincrement=True,
    )
    _index("events", "recipient_key")
    _index("events", "recorded_at")


def _forwards_and_outbox() -> None:
    op.create_table(
        "forwards",
        _required("message_id", _ID),
        _required("filter_id", _ID),
        _required("queued_at", _TIME),
        _key("forwards", "message_id", "filter_id"),
        _reference("forwards", ["message_id"], "messages", ["id"]),
        _reference("forwards", ["filter_id"], "filters", ["id"]),
    )
    op.create_table(
        "outbox",
        _required("id", _ID),
        _required("message_id", _ID),
        _required("filter_id", _ID),
        _required("forward_path", sa.Text()),
        _required("state", sa.String(32)),
        sa.Column("blob_digest", _DIGEST),
        _required("attempts", sa.Integer()),
        _required("created_at", _TIME),
        _required("next_attempt_at", _TIME),
        sa.Column("lease_until", _TIME),
        sa.Column("finished_at", _TIME),
        sa.Column("last_reply_code", sa.SmallInteger()),
        sa.Column("last_reply_text", sa.String(1000)),
        _key("outbox", "id"),
        _unique("outbox", "message_id", "filter_id", "forward_path"),
        _reference("outbox", ["blob_digest"], "blobs", ["digest"]),
        _reference("outbox", ["message_id", "filter_id"], "forwards", ["message_id", "filter_id"]),
        _one_of("outbox", "state", ("queued", "sent", "dead")),
        sa.CheckConstraint("state = 'sent' OR blob_digest IS NOT NULL", name=op.f("ck_outbox_blob")),
        sqlite_autoincrement=True,
    )
    _index("outbox", "blob_digest")
    _index("outbox", "state", "next_attempt_at")


def _mailboxes() -> None:
    op.create_table(
        "cursors",
        _required("source", sa.Text()),
        _required("folder", sa.Text()),
        _required("uidvalidity", sa.BigInteger()),
        _required("high_water", sa.BigInteger()),
        _key("cursors", "source", "folder"),
    )
    op.create_table(
        "mailbox_states",
        _required("source", sa.Text()),
        _required("last_poll_at", _TIME),
        sa.Column("last_success_at", _TIME),
        _required("failures", sa.Integer()),
        sa.Column("last_error", sa.String(2000)),
        _required("next_poll_at", _TIME),
        _key("mailbox_states", "source"),
    )
