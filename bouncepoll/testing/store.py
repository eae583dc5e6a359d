"""The database in memory: the same promises, no durability."""

import copy
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from bouncepoll.errors import StoreUnavailable
from bouncepoll.model.delivery import DeliveryResult, OutboxItem, OutboxRecipient, OutboxState
from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.mailbox import Cursor, Scan
from bouncepoll.model.message import MessageRef
from bouncepoll.model.storing import Entry, Judged, Recorded
from bouncepoll.model.trust import Trust, TrustReason
from bouncepoll.model.verdict import Kind
from bouncepoll.ports import UnitOfWork


@dataclass
class FakePlace:
    """Where a mail was found; ``message_id`` is None while it is in quarantine."""

    message_id: int | None
    duplicate: bool = False
    settled: bool = False
    error: str | None = None
    octets: bytes | None = None


@dataclass
class FakeMessage:
    """A stored mail: its first entry, and its events by recipient."""

    id: int
    entry: Entry
    events: dict[str | None, Judged] = field(default_factory=dict)
    routes: dict[int, Route] = field(default_factory=dict)


@dataclass
class FakeOutboxRow:
    """One recipient's copy."""

    id: int
    message_id: int
    bounce_filter: BounceFilter
    forward_path: str
    octets: bytes
    created_at: datetime
    due_at: datetime
    state: OutboxState = OutboxState.QUEUED
    attempts: int = 0
    lease_until: datetime | None = None
    result: DeliveryResult | None = None


@dataclass
class FakeTables:
    """Everything stored."""

    messages: dict[str, FakeMessage] = field(default_factory=dict)
    places: dict[MessageRef, FakePlace] = field(default_factory=dict)
    cursors: dict[tuple[str, str], Cursor] = field(default_factory=dict)
    filters: list[BounceFilter] = field(default_factory=list)
    outbox: list[FakeOutboxRow] = field(default_factory=list)
    # The mail each token vouched for, by token and kind.
    token_uses: dict[tuple[str, Kind], int] = field(default_factory=dict)


class FakeStore:
    """A ``Store``; what is committed is in ``tables``. ``failure`` makes every transaction fail with it."""

    def __init__(self, filters: Iterable[BounceFilter] = ()) -> None:
        self.tables = FakeTables(filters=list(filters))
        self.failure: StoreUnavailable | None = None
        self.outbox = FakeOutbox(self)

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        """Start a transaction on a copy of the tables."""
        if self.failure is not None:
            raise self.failure
        yield _FakeUnitOfWork(self)


class _FakeUnitOfWork:
    def __init__(self, store: FakeStore) -> None:
        self._store = store
        self._tables = copy.deepcopy(store.tables)

    def cursor(self, source: str, folder: str) -> Cursor | None:
        return self._tables.cursors.get((source, folder))

    def advance(self, cursor: Cursor) -> None:
        self._tables.cursors[cursor.source, cursor.folder] = cursor

    def known(self, scan: Scan) -> frozenset[str]:
        return frozenset(uid for uid in scan.uids if scan.ref(uid) in self._tables.places)

    def record(self, entries: Sequence[Entry], now: datetime) -> Sequence[Recorded]:
        return [self._record(entry, now) for entry in entries]

    def quarantine(self, ref: MessageRef, octets: bytes | None, error: str, now: datetime) -> None:
        place = self._tables.places.get(ref)
        if place is None:
            self._tables.places[ref] = FakePlace(None, error=error, octets=octets)
        elif place.message_id is None:
            place.error, place.octets = error, place.octets if octets is None else octets

    def unsettled(self, scan: Scan, limit: int) -> Sequence[MessageRef]:
        return [
            ref
            for ref, place in self._tables.places.items()
            if (ref.source, ref.folder, ref.uidvalidity) == (scan.source, scan.folder, scan.uidvalidity)
            and place.message_id is not None
            and not place.settled
        ][:limit]

    def mark_settled(self, refs: Iterable[MessageRef]) -> None:
        for ref in refs:
            if ref in self._tables.places:
                self._tables.places[ref].settled = True

    def filters(self) -> Sequence[BounceFilter]:
        return sorted(self._tables.filters, key=lambda bounce_filter: bounce_filter.id)

    def commit(self) -> None:
        self._store.tables = self._tables

    def _record(self, entry: Entry, now: datetime) -> Recorded:
        raw = entry.message.raw
        if entry.forwards and raw.truncated:
            raise ValueError(
                f"{raw.ref}: to be forwarded, and only {len(raw.octets)} of {raw.size_octets} octets are here"
            )
        place = self._tables.places.get(raw.ref)
        if place is not None and place.message_id is not None:
            return Recorded(raw.ref, place.message_id, place.duplicate, 0, 0)
        stored = self._tables.messages.get(entry.message.fingerprint)
        duplicate = stored is not None
        if stored is None:
            stored = FakeMessage(len(self._tables.messages) + 1, entry)
            self._tables.messages[entry.message.fingerprint] = stored
        self._tables.places[raw.ref] = FakePlace(stored.id, duplicate)
        events = 0
        if not duplicate:
            for given in entry.judged:
                judged = self._vouched(given, stored.id)
                events += judged.finding.recipient not in stored.events and judged.trust is not Trust.REFUSED
                stored.events.setdefault(judged.finding.recipient, judged)
        for route in entry.routes:
            stored.routes.setdefault(route.filter_id, route)
        return Recorded(raw.ref, stored.id, duplicate, events, self._queue(stored, entry, now))

    def _vouched(self, judged: Judged, message_id: int) -> Judged:
        if judged.token is None:
            return judged
        key = judged.token, judged.finding.kind
        if key in self._tables.token_uses:
            return judged.refused(TrustReason.REPLAYED)
        self._tables.token_uses[key] = message_id
        return judged

    def _queue(self, stored: FakeMessage, entry: Entry, now: datetime) -> int:
        known = {(row.message_id, row.bounce_filter.id) for row in self._tables.outbox}
        rows = [
            (bounce_filter, forward_path)
            for bounce_filter in entry.forwards
            if (stored.id, bounce_filter.id) not in known
            for forward_path in dict.fromkeys(bounce_filter.forward_to)
        ]
        for bounce_filter, forward_path in rows:
            number = len(self._tables.outbox) + 1
            octets = entry.message.raw.octets
            self._tables.outbox.append(
                FakeOutboxRow(number, stored.id, bounce_filter, forward_path, octets, created_at=now, due_at=now)
            )
        return len(rows)


class FakeOutbox:
    """An ``Outbox`` over the rows of a ``FakeStore``."""

    def __init__(self, store: FakeStore) -> None:
        self._store = store

    def claim(self, limit: int, now: datetime, lease: timedelta) -> Sequence[OutboxItem]:
        """Return due items, the longest due first, and lease them."""
        groups: dict[tuple[int, int], list[FakeOutboxRow]] = {}
        for row in sorted(self._store.tables.outbox, key=lambda row: (row.due_at, row.id)):
            free = row.lease_until is None or row.lease_until <= now
            if row.state is OutboxState.QUEUED and row.due_at <= now and free:
                groups.setdefault((row.message_id, row.bounce_filter.id), []).append(row)
        claimed = list(groups.values())[:limit]
        for rows in claimed:
            for row in rows:
                row.lease_until = now + lease
        return [self._item(sorted(rows, key=lambda row: row.id), now + lease) for rows in claimed]

    def settle(
        self,
        item: OutboxItem,
        results: Mapping[int, DeliveryResult],
        retry_at: Mapping[int, datetime | None],
        now: datetime,
    ) -> None:
        """Record the outcome; of an item that another one has claimed meanwhile, only what was delivered."""
        recipients = {recipient.id for recipient in item.recipients}
        for row in self._store.tables.outbox:
            result = results.get(row.id) if row.id in recipients else None
            if result is not None and self._counts(row, item, result):
                self._settle(row, result, retry_at.get(row.id))

    @staticmethod
    def _counts(row: FakeOutboxRow, item: OutboxItem, result: DeliveryResult) -> bool:
        if result.reply.code // 100 == 2:
            return row.state is not OutboxState.SENT
        return row.state is OutboxState.QUEUED and item.lease_until in {None, row.lease_until}

    @staticmethod
    def _settle(row: FakeOutboxRow, result: DeliveryResult, due: datetime | None) -> None:
        row.result, row.lease_until = result, None
        row.attempts += 1
        if result.reply.code // 100 == 2:
            row.state = OutboxState.SENT
        elif due is None:
            row.state = OutboxState.DEAD
        else:
            row.due_at = due

    def _item(self, rows: Sequence[FakeOutboxRow], lease_until: datetime) -> OutboxItem:
        first = rows[0]
        fingerprint = next(
            mark for mark, message in self._store.tables.messages.items() if message.id == first.message_id
        )
        recipients = tuple(OutboxRecipient(row.id, row.forward_path, row.attempts) for row in rows)
        bounce_filter = next(
            (entry for entry in self._store.tables.filters if entry.id == first.bounce_filter.id),
            replace(first.bounce_filter),
        )
        return OutboxItem(recipients, bounce_filter, fingerprint, first.octets, first.created_at, lease_until)
