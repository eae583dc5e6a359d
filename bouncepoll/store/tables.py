"""The tables. ``migrations/versions`` makes the same ones step by step; a test holds the two together.

Four tables are the memory that keeps anything from being counted or forwarded twice, and nothing is ever deleted from
them: ``places`` (what was fetched), ``messages`` (by fingerprint), ``forwards`` (which filter got a mail) and
``token_uses`` (which mail a token vouched for).
"""

from sqlalchemy import (
    JSON,
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    ForeignKey,
    ForeignKeyConstraint,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    SmallInteger,
    String,
    Table,
    Text,
    UniqueConstraint,
    text,
)

from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import ForwardMode
from bouncepoll.model.records import PlaceState
from bouncepoll.model.report import Action
from bouncepoll.model.status import Permanence
from bouncepoll.model.trust import TokenUse, Trust, TrustReason
from bouncepoll.model.verdict import Kind, Reason, Severity
from bouncepoll.store.columns import ExactText, UtcDateTime, one_of, row_id

metadata = MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: Conditions of partial indexes; a query has to repeat them word for word, or SQLite does not use the index.
UNSETTLED = text("NOT settled AND state = 'stored'")
AWAITING_RETRY = text("state = 'retry'")
UNSTRIPPED = text("NOT stripped")
SENT = text("state = 'sent'")
DEAD = text("state = 'dead'")

blobs = Table(
    "blobs",
    metadata,
    Column("digest", String(64), primary_key=True),
    Column("octets", LargeBinary, nullable=False),
    Column("size_octets", BigInteger, nullable=False),
    Column("stored_at", UtcDateTime, nullable=False, index=True),
)

messages = Table(
    "messages",
    metadata,
    Column("id", row_id(), primary_key=True),
    Column("fingerprint", String(64), nullable=False, unique=True),
    Column("kind", one_of(Kind, "kind"), nullable=False),
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
    Column("received_at", UtcDateTime),
    Column("recorded_at", UtcDateTime, nullable=False),
    # Retention took what the mail says of people; the fingerprint stays.
    Column("stripped", Boolean, nullable=False),
    Index("ix_messages_unstripped", "recorded_at", sqlite_where=UNSTRIPPED, postgresql_where=UNSTRIPPED),
    sqlite_autoincrement=True,
)

# ``blob_digest`` is no foreign key: retention deletes the octets of a mail long before its place.
places = Table(
    "places",
    metadata,
    Column("id", row_id(), primary_key=True),
    Column("source", ExactText, nullable=False),
    Column("folder", ExactText, nullable=False),
    # 0 stands for "none": NULLs would not be unique.
    Column("uidvalidity", BigInteger, nullable=False),
    Column("uid", ExactText, nullable=False),
    Column("message_id", ForeignKey("messages.id"), index=True),
    Column("state", one_of(PlaceState, "state"), nullable=False),
    Column("duplicate", Boolean, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("truncated", Boolean, nullable=False),
    Column("blob_digest", String(64)),
    Column("recorded_at", UtcDateTime, nullable=False),
    UniqueConstraint("source", "folder", "uidvalidity", "uid"),
    CheckConstraint("(state = 'stored') = (message_id IS NOT NULL)", name="message"),
    Index(
        "ix_places_unsettled",
        "source",
        "folder",
        "uidvalidity",
        "id",
        sqlite_where=UNSETTLED,
        postgresql_where=UNSETTLED,
    ),
    Index(
        "ix_places_retry",
        "source",
        "folder",
        "uidvalidity",
        "uid",
        sqlite_where=AWAITING_RETRY,
        postgresql_where=AWAITING_RETRY,
    ),
    sqlite_autoincrement=True,
)

quarantine = Table(
    "quarantine",
    metadata,
    Column("id", row_id(), primary_key=True),
    Column("place_id", ForeignKey("places.id"), nullable=False, unique=True),
    Column("error", String(2000), nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("blob_digest", ForeignKey("blobs.digest"), index=True),
    sqlite_autoincrement=True,
)

filters = Table(
    "filters",
    metadata,
    Column("id", row_id(), primary_key=True),
    Column("name", Text, nullable=False),
    # The name without case: databases disagree on what lower() does beyond ASCII.
    Column("name_key", Text, nullable=False, unique=True),
    Column("filter_address", Text, nullable=False, unique=True),
    Column("description", Text, nullable=False),
    Column("forward_to", JSON, nullable=False),
    Column("forward_kinds", JSON, nullable=False),
    Column("forward_mode", one_of(ForwardMode, "forward_mode")),
    Column("enabled", Boolean, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("tokens", one_of(TokenUse, "tokens", check=False)),
    sqlite_autoincrement=True,
)

routes = Table(
    "routes",
    metadata,
    Column("message_id", ForeignKey("messages.id"), primary_key=True),
    Column("filter_id", ForeignKey("filters.id"), primary_key=True),
    Column("matched_by", String(1000), nullable=False),
    Column("mailing_id", String(255)),
    Column("recipient_id", String(255)),
    Column("verified", Boolean, nullable=False),
    Index(None, "filter_id", "message_id"),
)

events = Table(
    "events",
    metadata,
    Column("id", row_id(), primary_key=True),
    Column("message_id", ForeignKey("messages.id"), nullable=False),
    # "" stands for "unknown": NULLs would not be unique.
    Column("recipient", String(512), nullable=False),
    # The address without case, to look it up by.
    Column("recipient_key", String(512), nullable=False, index=True),
    Column("kind", one_of(Kind, "kind"), nullable=False),
    Column("reason", one_of(Reason, "reason")),
    Column("permanence", one_of(Permanence, "permanence"), nullable=False),
    Column("severity", one_of(Severity, "severity")),
    Column("status", String(16)),
    Column("reply_code", SmallInteger),
    Column("action", one_of(Action, "action")),
    Column("remote_mta", String(255)),
    Column("diagnostic", String(2000)),
    Column("detector", String(64), nullable=False),
    Column("rule_id", String(128)),
    Column("matched_text", String(1000)),
    Column("matched_where", String(128)),
    Column("recorded_at", UtcDateTime, nullable=False, index=True),
    # A program of the release before stores events without looking at their trust.
    Column("trust", one_of(Trust, "trust", check=False), nullable=False, server_default=Trust.UNCONFIRMED.value),
    Column("trust_reason", one_of(TrustReason, "trust_reason", check=False)),
    UniqueConstraint("message_id", "recipient"),
    sqlite_autoincrement=True,
)

# Whose token is ``token`` (a digest) vouched for an event of that kind of that mail, and will for no other mail's.
token_uses = Table(
    "token_uses",
    metadata,
    Column("token", String(64), primary_key=True),
    Column("kind", String(32), primary_key=True),
    Column("message_id", ForeignKey("messages.id"), nullable=False, index=True),
)

forwards = Table(
    "forwards",
    metadata,
    Column("message_id", ForeignKey("messages.id"), primary_key=True),
    Column("filter_id", ForeignKey("filters.id"), primary_key=True),
    Column("queued_at", UtcDateTime, nullable=False),
)

# A copy that is sent lets go of its octets, so that retention may delete them; no other may be without.
outbox = Table(
    "outbox",
    metadata,
    Column("id", row_id(), primary_key=True),
    Column("message_id", row_id(), nullable=False),
    Column("filter_id", row_id(), nullable=False),
    Column("forward_path", Text, nullable=False),
    Column("state", one_of(OutboxState, "state"), nullable=False),
    Column("blob_digest", ForeignKey("blobs.digest"), index=True),
    Column("attempts", Integer, nullable=False),
    Column("created_at", UtcDateTime, nullable=False),
    Column("next_attempt_at", UtcDateTime, nullable=False),
    Column("lease_until", UtcDateTime),
    Column("finished_at", UtcDateTime),
    Column("last_reply_code", SmallInteger),
    Column("last_reply_text", String(1000)),
    ForeignKeyConstraint(["message_id", "filter_id"], ["forwards.message_id", "forwards.filter_id"]),
    UniqueConstraint("message_id", "filter_id", "forward_path"),
    CheckConstraint("state = 'sent' OR blob_digest IS NOT NULL", name="blob"),
    Index(None, "state", "next_attempt_at"),
    # Nearly all forwards are sent ones: what retention, and who looks for dead letters, must not walk through.
    Index("ix_outbox_sent", "finished_at", sqlite_where=SENT, postgresql_where=SENT),
    Index("ix_outbox_dead", "id", sqlite_where=DEAD, postgresql_where=DEAD),
    sqlite_autoincrement=True,
)

cursors = Table(
    "cursors",
    metadata,
    Column("source", ExactText, primary_key=True),
    Column("folder", ExactText, primary_key=True),
    Column("uidvalidity", BigInteger, nullable=False),
    Column("high_water", BigInteger, nullable=False),
    # CONDSTORE (RFC 7162): the MODSEQ up to which changes were seen; NULL where the server has none.
    Column("highest_modseq", BigInteger),
)

mailbox_states = Table(
    "mailbox_states",
    metadata,
    Column("source", ExactText, primary_key=True),
    Column("last_poll_at", UtcDateTime, nullable=False),
    Column("last_success_at", UtcDateTime),
    Column("failures", Integer, nullable=False),
    Column("last_error", String(2000)),
    Column("next_poll_at", UtcDateTime, nullable=False),
)

reprocess_runs = Table(
    "reprocess_runs",
    metadata,
    Column("id", row_id(), primary_key=True),
    Column("selection", JSON, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    # The last mail the run is through with.
    Column("after_id", BigInteger, nullable=False),
    Column("changed", Integer, nullable=False),
    Column("finished_at", UtcDateTime),
    sqlite_autoincrement=True,
)

# Findings that a run of reprocessing replaced. History needs no CHECK constraints: what is in it was in ``events``.
past_events = Table(
    "past_events",
    metadata,
    Column("id", row_id(), primary_key=True),
    Column("run_id", ForeignKey("reprocess_runs.id"), nullable=False),
    Column("message_id", ForeignKey("messages.id"), nullable=False, index=True),
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
    Column("recorded_at", UtcDateTime, nullable=False, index=True),
    Column("replaced_at", UtcDateTime, nullable=False),
    Column("trust", String(32)),
    Column("trust_reason", String(32)),
    sqlite_autoincrement=True,
)

# Logins a person went through, and refresh tokens: ``sealed`` is encrypted. A row is claimed (``lease_owner``) by who
# asks the token end-point; ``version`` counts its changes, so that nobody overwrites a later one.
credentials = Table(
    "credentials",
    metadata,
    Column("name", ExactText, primary_key=True),
    Column("sealed", Text),
    Column("version", Integer, nullable=False),
    Column("updated_at", UtcDateTime, nullable=False),
    Column("expires_at", UtcDateTime),
    Column("lease_owner", String(64)),
    Column("lease_until", UtcDateTime),
    Column("retry_at", UtcDateTime),
    Column("failure", String(2000)),
    Column("failure_permanent", Boolean, nullable=False),
)

# Times the program remembers between its runs, by name.
marks = Table(
    "marks",
    metadata,
    Column("name", String(64), primary_key=True),
    Column("at", UtcDateTime, nullable=False),
)

# Several machines (PostgreSQL): the processes that live, and who polls which mailbox. All times are the database's.
nodes = Table(
    "nodes",
    metadata,
    Column("id", String(128), primary_key=True),
    Column("name", String(255), nullable=False),
    Column("version", String(64), nullable=False),
    Column("sources", JSON, nullable=False),
    Column("started_at", UtcDateTime, nullable=False),
    Column("seen_at", UtcDateTime, nullable=False),
    Column("alive_until", UtcDateTime, nullable=False),
)

# ``epoch`` only ever grows, and a row is never deleted: what a former owner writes late is told by it.
leases = Table(
    "leases",
    metadata,
    Column("source", ExactText, primary_key=True),
    Column("owner", String(128)),
    Column("epoch", BigInteger, nullable=False),
    Column("lease_until", UtcDateTime),
)
