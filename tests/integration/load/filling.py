"""Fills a database with what a service has stored after years: rows in bulk, table by table.

One mail in twelve has no event, one in ten was routed to a filter, one in fifty forwarded; of a thousand forwards one
is dead and one waits. Mails are spread over mailboxes by their number, and over 180 days by their age.
"""

import hashlib
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import zstandard
from sqlalchemy import Connection, Table, insert, text

from bouncepoll.store.database import Database
from bouncepoll.store.tables import (
    blobs,
    events,
    filters,
    forwards,
    mailbox_states,
    messages,
    outbox,
    places,
    quarantine,
    routes,
)

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
AGE_DAYS = 180
_SLICE = 20_000
_REASONS = ("user_unknown", "mailbox_full", "host_unknown", "content_error")

Row = dict[str, Any]


def fill(database: Database, mails: int, mailboxes: int = 200, bounce_filters: int = 500) -> None:
    """Fill an empty, migrated database, and let it gather its statistics."""
    with database.writing() as connection:
        _put(connection, filters, [_filter_row(number) for number in range(1, bounce_filters + 1)])
        _put(connection, mailbox_states, [_state_row(number) for number in range(mailboxes)])
    for first in range(1, mails + 1, _SLICE):
        numbers = range(first, min(first + _SLICE, mails + 1))
        with database.writing() as connection:
            for table, rows in _rows(numbers, mails, mailboxes, bounce_filters).items():
                _put(connection, table, rows)
    with database.writing() as connection:
        if connection.dialect.name == "postgresql":
            for table in (messages, places, events, outbox, quarantine, filters):
                connection.execute(
                    text(f"SELECT setval(pg_get_serial_sequence('{table.name}', 'id'), max(id)) FROM {table.name}")
                )
        connection.execute(text("ANALYZE"))


def mailbox(number: int) -> str:
    """Return the name of a mailbox."""
    return f"box{number:03}"


def _put(connection: Connection, table: Table, rows: Sequence[Row]) -> None:
    """Write rows that have the same columns; with COPY where there is that."""
    if not rows:
        return
    columns = list(rows[0])
    bind = [table.c[name].type.dialect_impl(connection.dialect).bind_processor(connection.dialect) for name in columns]
    values = ([row[n] if b is None else b(row[n]) for n, b in zip(columns, bind, strict=True)] for row in rows)
    driver = connection.connection.driver_connection
    if isinstance(driver, psycopg.Connection):
        with driver.cursor().copy(f"COPY {table.name} ({', '.join(columns)}) FROM STDIN".encode()) as copy:
            for row in values:
                copy.write_row(row)
    else:
        assert isinstance(driver, sqlite3.Connection)
        driver.executemany(str(insert(table).values(dict.fromkeys(columns)).compile(connection)), values)


def _filter_row(number: int) -> Row:
    return {
        "id": number,
        "name": f"list {number}",
        "name_key": f"list {number}",
        "filter_address": f"bounce-{number}@example.org",
        "description": "",
        "forward_to": [f"team-{number}@example.net"],
        "forward_kinds": ["reply"],
        "forward_mode": None,
        "enabled": True,
        "created_at": NOW,
    }


def _state_row(number: int) -> Row:
    return {
        "source": mailbox(number),
        "last_poll_at": NOW,
        "last_success_at": NOW,
        "failures": 0,
        "last_error": None,
        "next_poll_at": NOW,
    }


def _rows(numbers: range, mails: int, mailboxes: int, bounce_filters: int) -> Mapping[Table, Sequence[Row]]:
    found: dict[Table, list[Row]] = {
        table: [] for table in (blobs, messages, places, quarantine, routes, events, forwards, outbox)
    }
    for number in numbers:
        at = NOW - timedelta(days=AGE_DAYS) * (1 - number / mails)
        for table, row in _mail(number, at, mailboxes, bounce_filters):
            found[table].append(row)
    return found


def _mail(number: int, at: datetime, mailboxes: int, bounce_filters: int) -> Iterator[tuple[Table, Row]]:
    """Yield the rows of one mail."""
    octets = f"Message-ID: <{number}@example.org>\r\n\r\n{'x' * (number % 300)}\r\n".encode()
    digest = hashlib.sha256(octets).hexdigest()
    kind = "bounce" if number % 12 else "reply"
    yield blobs, {"digest": digest, "octets": _packed(octets), "size_octets": len(octets), "stored_at": at}
    if number % 5000 == 1:
        yield places, _place_row(number, None, digest, at, mailboxes)
        yield quarantine, _quarantine_row(number, digest, at)
        return
    yield messages, _message_row(number, kind, len(octets), at)
    yield places, _place_row(number, number, digest, at, mailboxes)
    team = number % bounce_filters + 1
    if number % 10 == 0:
        yield routes, {"message_id": number, "filter_id": team, "matched_by": "To", "verified": False}
    if kind == "bounce":
        yield events, _event_row(number, at)
    if number % 50 == 0:
        yield forwards, {"message_id": number, "filter_id": team, "queued_at": at}
        yield outbox, _outbox_row(number, team, digest, at)


def _packed(octets: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=3).compress(octets)


def _message_row(number: int, kind: str, size_octets: int, at: datetime) -> Row:
    return {
        "id": number,
        "fingerprint": hashlib.sha256(str(number).encode()).hexdigest(),
        "kind": kind,
        "message_id": f"<{number}@example.org>",
        "original_message_id": None,
        "from_address": "mailer-daemon@example.net",
        "subject": "Undelivered Mail Returned to Sender",
        "size_octets": size_octets,
        "defects": [],
        "detector": "dsn",
        "rule_id": "user_unknown.1",
        "received_at": at,
        "recorded_at": at,
        "stripped": False,
    }


def _place_row(number: int, message_id: int | None, digest: str, at: datetime, mailboxes: int) -> Row:
    return {
        "id": number,
        "source": mailbox(number % mailboxes),
        "folder": "INBOX",
        "uidvalidity": 7,
        "uid": str(number // mailboxes + 1),
        "message_id": message_id,
        "state": "quarantined" if message_id is None else "stored",
        "duplicate": False,
        # The last one is still to be settled.
        "settled": number % 1000 != 999,
        "truncated": False,
        "blob_digest": digest,
        "recorded_at": at,
    }


def _quarantine_row(number: int, digest: str, at: datetime) -> Row:
    return {
        "id": number,
        "place_id": number,
        "error": "too deep",
        "created_at": at,
        "attempts": 1,
        "blob_digest": digest,
    }


def _event_row(number: int, at: datetime) -> Row:
    recipient = f"reader{number % 700_001}@example.com"
    return {
        "id": number,
        "message_id": number,
        "recipient": recipient,
        "recipient_key": recipient,
        "kind": "bounce",
        "reason": _REASONS[number % len(_REASONS)],
        "permanence": "permanent",
        "severity": "hard",
        "status": "5.1.1",
        "reply_code": 550,
        "action": "failed",
        "diagnostic": "550 5.1.1 no such user",
        "detector": "dsn",
        "recorded_at": at,
    }


def _outbox_row(number: int, team: int, digest: str, at: datetime) -> Row:
    state = {0: "dead", 25_000: "queued"}.get(number % 50_000, "sent")
    return {
        "id": number,
        "message_id": number,
        "filter_id": team,
        "forward_path": f"team-{team}@example.net",
        "state": state,
        "blob_digest": None if state == "sent" else digest,
        "attempts": 1,
        "created_at": at,
        "next_attempt_at": at,
        "lease_until": None,
        "finished_at": None if state == "queued" else at,
    }
