"""Mails ready to be stored, and the stores the contract suites run over."""

import hashlib
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from bouncepoll.model.delivery import DeliveryResult, OutboxItem
from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.message import Header, Message, MessageRef, RawMessage
from bouncepoll.model.report import Action, RecipientReport
from bouncepoll.model.status import EnhancedStatus, Permanence, SmtpReply
from bouncepoll.model.storing import Entry, Judged, Recorded
from bouncepoll.model.verdict import Evidence, Finding, Kind, Reason, Severity, Verdict
from bouncepoll.ports import Outbox, Store
from bouncepoll.store import SqlStore, open_store, schema
from bouncepoll.testing import FakeClock, FakeStore
from tests.servers.postgresql import PostgreSQL

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
LEASE = timedelta(minutes=5)
TABLES = ("messages", "places", "events", "routes", "forwards", "outbox", "quarantine", "cursors")

#: The databases a test runs on, to parametrise ``database`` with.
POSTGRESQL = pytest.param("postgresql", marks=[pytest.mark.server, pytest.mark.xdist_group("postgresql")])
DATABASES = ["sqlite", POSTGRESQL]


def place(uid: str | int = 1, folder: str = "INBOX", uidvalidity: int | None = 7, source: str = "news") -> MessageRef:
    """Return a place."""
    return MessageRef(source, folder, uidvalidity, str(uid))


def mail(
    mark: str = "m1",
    at: MessageRef | None = None,
    *,
    recipients: Sequence[str | None] = (),
    filters: Sequence[BounceFilter] = (),
    kind: Kind | None = None,
    octets: bytes | None = None,
    size_octets: int | None = None,
    headers: Mapping[str, str] | None = None,
    received_at: datetime | None = NOW,
) -> Entry:
    """Return a mail: a bounce of ``recipients`` if there are any, else a reply; routed and forwarded to ``filters``."""
    content = f"Message-ID: <{mark}@example.org>\r\n\r\n{mark}\r\n".encode() if octets is None else octets
    raw = RawMessage(at or place(), content, len(content) if size_octets is None else size_octets, received_at)
    fields = {"Message-ID": f"<{mark}@example.org>", "From": "Ann <ann@example.com>", "Subject": mark} | dict(
        headers or {}
    )
    message = Message(
        raw=raw,
        headers=tuple(Header(name, value) for name, value in fields.items()),
        parts=(),
        returned_headers=(Header("Message-ID", f"<news-{mark}@example.org>"),),
        defects=("a broken boundary",),
        fingerprint=hashlib.sha256(mark.encode("utf-8", "surrogatepass")).hexdigest(),
    )
    judged = tuple(Judged(finding(recipient), Severity.HARD) for recipient in recipients)
    kind = kind or (Kind.BOUNCE if recipients else Kind.REPLY)
    verdict = Verdict(
        kind, tuple(entry.finding for entry in judged), Evidence("dsn", "user_unknown.1", "no such", "part 1")
    )
    routes = tuple(Route(f.id, f"To: {f.filter_address} (full)", "mailing", "reader", verified=True) for f in filters)
    return Entry(message, verdict, judged, routes, tuple(filters))


def finding(recipient: str | None, said: str = "550 5.1.1 no such user") -> Finding:
    """Return what a report says of one recipient."""
    report = RecipientReport(
        final_recipient=recipient,
        action=Action.FAILED,
        status=EnhancedStatus(5, 1, 1),
        reply=SmtpReply(550, said, EnhancedStatus(5, 1, 1)),
        diagnostic_type="smtp",
        diagnostic_code=said,
        remote_mta="mx.example.net",
    )
    evidence = Evidence("dsn", "user_unknown.1", "no such user", "Diagnostic-Code")
    return Finding(recipient, Kind.BOUNCE, Reason.USER_UNKNOWN, Permanence.PERMANENT, evidence, report)


def bounce_filter(name: str = "spring", *forward_to: str, **fields: Any) -> BounceFilter:
    """Return a filter not stored yet; its address is made of its name."""
    fields = {"filter_address": f"{name}@example.org"} | fields
    return BounceFilter(0, name, forward_to=forward_to or ("team@example.net",), **fields)


def record(store: Store, *entries: Entry, now: datetime = NOW) -> Sequence[Recorded]:
    """Record mails in a transaction of their own."""
    with store.begin() as uow:
        recorded = uow.record(entries, now)
        uow.commit()
    return recorded


def answers(item: OutboxItem, code: int, said: str = "as you say") -> dict[int, DeliveryResult]:
    """Return the same answer of the next hop for each recipient of an item."""
    return {r.id: DeliveryResult(r.forward_path, SmtpReply(code, said)) for r in item.recipients}


@dataclass
class Subject:
    """A store under test, and how to look into it."""

    store: Store
    outbox: Outbox
    add_filter: Callable[[BounceFilter], BounceFilter]
    count: Callable[[str], int]

    def counts(self) -> dict[str, int]:
        """Return how many rows each table has, those with none left out."""
        found = {table: self.count(table) for table in TABLES}
        return {table: rows for table, rows in found.items() if rows}


def sql_subject(store: SqlStore) -> Subject:
    """Return a database as a subject."""
    return Subject(store, store.outbox, store.filters.add, lambda table: count(store, table))


def count(store: SqlStore, table: str, condition: str = "true") -> int:
    """Return how many rows of a table fulfil a condition."""
    with store._database.reading() as connection:
        return int(connection.execute(text(f"SELECT count(*) FROM {table} WHERE {condition}")).scalar_one())


def fake_subject() -> Subject:
    """Return the fake as a subject."""
    store = FakeStore()

    def add(wanted: BounceFilter) -> BounceFilter:
        added = replace(wanted, id=len(store.tables.filters) + 1)
        store.tables.filters.append(added)
        return added

    def rows(table: str) -> int:
        tables, messages = store.tables, store.tables.messages.values()
        return {
            "messages": len(messages),
            "places": len(tables.places),
            "events": sum(len(message.events) for message in messages),
            "routes": sum(len(message.routes) for message in messages),
            "forwards": len({(row.message_id, row.bounce_filter.id) for row in tables.outbox}),
            "outbox": len(tables.outbox),
            "quarantine": sum(place.message_id is None for place in tables.places.values()),
            "cursors": len(tables.cursors),
        }[table]

    return Subject(store, store.outbox, add, rows)


_TEMPLATES: dict[int, str] = {}


def new_url(database: str, request: pytest.FixtureRequest, folder: Path) -> str:
    """Return the URL of a database with the schema in it: ``sqlite`` or ``postgresql``."""
    if database == "sqlite":
        template: Path = request.getfixturevalue("tmp_path_factory").getbasetemp() / "template.db"
        if not template.exists():
            schema.upgrade(f"sqlite:///{template}")
        shutil.copy(template, folder / "bouncepoll.db")
        return f"sqlite:///{folder / 'bouncepoll.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    if server.port not in _TEMPLATES:
        url = server.new_database()
        schema.upgrade(url)
        _TEMPLATES[server.port] = url.rpartition("/")[2]
    return server.new_database(f"TEMPLATE {_TEMPLATES[server.port]}")


def new_store(database: str, request: pytest.FixtureRequest, folder: Path, **options: Any) -> SqlStore:
    """Return a fresh store on ``sqlite`` or ``postgresql``; the test closes it."""
    return open_store(new_url(database, request, folder), clock=FakeClock(NOW), **options)
