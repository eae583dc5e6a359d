"""The tables as a program of version 0003 knows them. Frozen: it is never changed, whatever becomes of the schema.

Constraints are left out: they are the database's, and it is the newest one that has them.
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    Column,
    DateTime,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
)

metadata = MetaData()

_TIME = DateTime(timezone=True)
_ID = BigInteger().with_variant(Integer(), "sqlite")

blobs = Table(
    "blobs",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("octets", LargeBinary, nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("stored_at", _TIME, nullable=False),
)

credentials = Table(
    "credentials",
    metadata,
    Column("name", Text, primary_key=True),
    Column("sealed", Text),
    Column("version", Integer, nullable=False),
    Column("updated_at", _TIME, nullable=False),
    Column("expires_at", _TIME),
    Column("lease_owner", String(64)),
    Column("lease_until", _TIME),
    Column("retry_at", _TIME),
    Column("failure", String(2000)),
    Column("failure_permanent", Boolean, nullable=False),
)

cursors = Table(
    "cursors",
    metadata,
    Column("source", Text, primary_key=True),
    Column("folder", Text, primary_key=True),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("high_water", BigInteger, nullable=False),
    Column("highest_modseq", BigInteger),
)

filters = Table(
    "filters",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("name", Text, nullable=False),
    Column("name_key", Text, nullable=False),
    Column("filter_address", Text, nullable=False),
    Column("description", Text, nullable=False),
    Column("forward_to", JSON, nullable=False),
    Column("forward_kinds", JSON, nullable=False),
    Column("forward_mode", String(32)),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", _TIME, nullable=False),
)

mailbox_states = Table(
    "mailbox_states",
    metadata,
    Column("source", Text, primary_key=True),
    Column("last_poll_at", _TIME, nullable=False),
    Column("last_success_at", _TIME),
    Column("failures", Integer, nullable=False),
    Column("last_error", String(2000)),
    Column("next_poll_at", _TIME, nullable=False),
)

messages = Table(
    "messages",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("fingerprint", String(64), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("message_id", String(998)),
    Column("original_message_id", String(998)),
    Column("from_address", String(320), nullable=False),
    Column("subject", String(998), nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("defects", JSON, nullable=False),
    Column("detector", String(64), nullable=False),
    Column("rule_id", String(128)),
    Column("matched_text", String(1000)),
    Column("matched_where", String(128)),
    Column("received_at", _TIME),
    Column("recorded_at", _TIME, nullable=False),
    Column("stripped", Boolean, nullable=False),
)

reprocess_runs = Table(
    "reprocess_runs",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("selection", JSON, nullable=False),
    Column("started_at", _TIME, nullable=False),
    Column("after_id", BigInteger, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("finished_at", _TIME),
)

events = Table(
    "events",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("message_id", _ID, nullable=False),
    Column("recipient", String(512), nullable=False),
    Column("recipient_key", String(512), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("reason", String(32)),
    Column("permanence", String(32), nullable=False),
    Column("severity", String(32)),
    Column("status", String(16)),
    Column("reply_code", SmallInteger),
    Column("action", String(32)),
    Column("remote_mta", String(255)),
    Column("diagnostic", String(2000)),
    Column("detector", String(64), nullable=False),
    Column("rule_id", String(128)),
    Column("matched_text", String(1000)),
    Column("matched_where", String(128)),
    Column("recorded_at", _TIME, nullable=False),
)

forwards = Table(
    "forwards",
    metadata,
    Column("message_id", _ID, primary_key=True),
    Column("filter_id", _ID, primary_key=True),
    Column("queued_at", _TIME, nullable=False),
)

past_events = Table(
    "past_events",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("run_id", _ID, nullable=False),
    Column("message_id", _ID, nullable=False),
    Column("recipient", String(512), nullable=False),
    Column("kind", String(32), nullable=False),
    Column("reason", String(32)),
    Column("permanence", String(32), nullable=False),
    Column("severity", String(32)),
    Column("status", String(16)),
    Column("reply_code", SmallInteger),
    Column("action", String(32)),
    Column("remote_mta", String(255)),
    Column("diagnostic", String(2000)),
    Column("detector", String(64), nullable=False),
    Column("rule_id", String(128)),
    Column("matched_text", String(1000)),
    Column("matched_where", String(128)),
    Column("recorded_at", _TIME, nullable=False),
    Column("replaced_at", _TIME, nullable=False),
)

places = Table(
    "places",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("source", Text, nullable=False),
    Column("folder", Text, nullable=False),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uid", Text, nullable=False),
    Column("message_id", _ID),
    Column("state", String(32), nullable=False),
    Column("duplicate", Boolean, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("blob_digest", String(64)),
    Column("recorded_at", _TIME, nullable=False),
)

routes = Table(
    "routes",
    metadata,
    Column("message_id", _ID, primary_key=True),
    Column("filter_id", _ID, primary_key=True),
    Column("matched_by", String(1000), nullable=False),
    Column("mailing_id", String(255)),
    Column("recipient_id", String(255)),
    Column("verified", Boolean, nullable=False),
)

outbox = Table(
    "outbox",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("message_id", _ID, nullable=False),
    Column("filter_id", _ID, nullable=False),
    Column("forward_path", Text, nullable=False),
    Column("state", String(32), nullable=False),
    Column("blob_digest", String(64)),
    Column("attempts", Integer, nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("next_attempt_at", _TIME, nullable=False),
    Column("lease_until", _TIME),
    Column("finished_at", _TIME),
    Column("last_reply_code", SmallInteger),
    Column("last_reply_text", String(1000)),
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", _ID, primary_key=True),
    Column("place_id", _ID, nullable=False),
    Column("error", String(2000), nullable=False),
    Column("created_at", _TIME, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("blob_digest", String(64)),
)
