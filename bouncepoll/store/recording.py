"""Storing mails in bulk, each once: the heart of ``ports.UnitOfWork.record``.

Who counts a mail is decided by the database, not by a look before: the writer whose INSERT made the row of a
fingerprint stores the events, the one whose INSERT made the row of (mail, filter) queues the forward. Rows are written
table by table and in the order of their keys, so two writers wait for each other instead of deadlocking.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from operator import itemgetter
from typing import Any

from sqlalchemy import Connection, delete, select, text

from bouncepoll.model.message import MessageRef
from bouncepoll.model.records import PlaceState
from bouncepoll.model.storing import Entry, Recorded
from bouncepoll.model.trust import Trust
from bouncepoll.store import octets, places, rows
from bouncepoll.store.bulk import BulkInsert, Insert
from bouncepoll.store.columns import chunks
from bouncepoll.store.database import insert_into
from bouncepoll.store.tables import events, forwards, messages, outbox, quarantine, routes
from bouncepoll.store.tables import places as place_table
from bouncepoll.store.vouching import vouched


def _take_over(insert: Insert) -> Insert:
    """A place in quarantine is taken over; one that is stored stays as it is."""
    taken_over = ("message_id", "state", "duplicate", "settled", "truncated", "blob_digest", "recorded_at")
    return insert.on_conflict_do_update(
        index_elements=["source", "folder", "uidvalidity", "uid"],
        set_={name: insert.excluded[name] for name in taken_over},
        where=text("places.state <> 'stored'"),
    )


_MESSAGES = BulkInsert(
    messages,
    ("id", *rows.MESSAGE_COLUMNS),
    ("recorded_at", "stripped"),
    lambda insert: insert.on_conflict_do_nothing(index_elements=["fingerprint"]),
)
_PLACES = BulkInsert(place_table, rows.PLACE_COLUMNS, ("state", "settled", "recorded_at"), _take_over)
_EVENTS = BulkInsert(
    events,
    rows.EVENT_COLUMNS,
    ("recorded_at",),
    lambda insert: insert.on_conflict_do_nothing(index_elements=["message_id", "recipient"]),
)
_ROUTES = BulkInsert(
    routes,
    rows.ROUTE_COLUMNS,
    (),
    lambda insert: insert.on_conflict_do_nothing(index_elements=["message_id", "filter_id"]),
)


@dataclass(frozen=True, slots=True)
class _New:
    """A mail at a place not stored before; ``first`` when its fingerprint was not known either."""

    entry: Entry
    digest: str
    message_id: int
    first: bool


def record(connection: Connection, entries: Sequence[Entry], now: datetime) -> Sequence[Recorded]:
    """Store mails and return what became of each, in order; see ``ports.UnitOfWork.record``.

    Raises:
        ValueError: a mail is to be forwarded, and only its first octets are there.
    """
    known = places.find(connection, (entry.message.raw.ref for entry in entries))
    fresh: dict[MessageRef, Entry] = {}
    for entry in entries:
        ref = entry.message.raw.ref
        if ref not in known or known[ref].state != PlaceState.STORED:
            fresh.setdefault(ref, entry)
    done = {
        ref: Recorded(ref, row.message_id, row.duplicate, 0, 0)
        for ref, row in known.items()
        if row.message_id is not None
    }
    for result in _record_fresh(connection, tuple(fresh.values()), now):
        done[result.ref] = result
    _release(connection, fresh)
    answers, told = [], set()
    for entry in entries:
        result = done[entry.message.raw.ref]
        # A place given twice was counted the first time.
        again = result.ref in told
        answers.append(Recorded(result.ref, result.message_id, result.duplicate, 0, 0) if again else result)
        told.add(result.ref)
    return answers


def _record_fresh(connection: Connection, entries: Sequence[Entry], now: datetime) -> Sequence[Recorded]:
    if not entries:
        return ()
    digests = [octets.digest_of(entry.message.raw.octets) for entry in entries]
    octets.keep(connection, {d: e.message.raw.octets for d, e in zip(digests, entries, strict=True)}, now)
    ids, made = _insert_messages(connection, entries, now)
    counted: set[str] = set()
    new = []
    for entry, digest in zip(entries, digests, strict=True):
        mark = entry.message.fingerprint
        new.append(_New(entry, digest, ids[mark], first=mark in made and mark not in counted))
        counted.add(mark)
    _insert_places(connection, new, now)
    event_counts = _insert_events(connection, new, now)
    _insert_routes(connection, new)
    forward_counts = _queue_forwards(connection, new, now)
    return [
        Recorded(mail.entry.message.raw.ref, mail.message_id, not mail.first, event_counts[i], forward_counts[i])
        for i, mail in enumerate(new)
    ]


def _insert_messages(
    connection: Connection, entries: Iterable[Entry], now: datetime
) -> tuple[dict[str, int], set[str]]:
    """Insert what is not known; return the ids of all by fingerprint, and which of them this made."""
    wanted: dict[str, dict[str, Any]] = {}
    for entry in entries:
        if entry.message.fingerprint not in wanted:
            wanted[entry.message.fingerprint] = rows.message_row(entry)
    marks = sorted(wanted)
    given = dict(zip(marks, _reserve_ids(connection, len(marks)), strict=True))
    _MESSAGES(connection, ({"id": given[mark], **wanted[mark]} for mark in marks), recorded_at=now, stripped=False)
    ids = _message_ids(connection, marks)
    return ids, {mark for mark in marks if ids[mark] == given[mark]}


def _reserve_ids(connection: Connection, count: int) -> Sequence[int]:
    """Return numbers for new mails that nobody else gets: the mail whose number is in the table was made here."""
    if connection.dialect.name == "postgresql":
        query = text("SELECT nextval(pg_get_serial_sequence('messages', 'id')) FROM generate_series(1, :count)")
        return connection.scalars(query, {"count": count}).all()
    # The write lock is ours, and AUTOINCREMENT remembers numbers of rows that are gone.
    last = connection.scalar(text("SELECT seq FROM sqlite_sequence WHERE name = 'messages'")) or 0
    return range(last + 1, last + 1 + count)


def _message_ids(connection: Connection, fingerprints: Iterable[str]) -> dict[str, int]:
    ids: dict[str, int] = {}
    for chunk in chunks(sorted(fingerprints)):
        query = select(messages.c.fingerprint, messages.c.id).where(messages.c.fingerprint.in_(chunk))
        ids.update({row.fingerprint: row.id for row in connection.execute(query)})
    return ids


def _insert_places(connection: Connection, new: Iterable[_New], now: datetime) -> None:
    wanted = [rows.place_row(mail.entry, mail.message_id, mail.digest, duplicate=not mail.first) for mail in new]
    wanted.sort(key=itemgetter("source", "folder", "uidvalidity", "uid"))
    _PLACES(connection, wanted, state=PlaceState.STORED, settled=False, recorded_at=now)


def _release(connection: Connection, refs: Iterable[MessageRef]) -> None:
    """Take mails that are stored now out of quarantine, whoever put them there."""
    if connection.execute(select(quarantine.c.id).limit(1)).first() is None:
        return
    for stored in places.stored_ids(refs):
        connection.execute(delete(quarantine).where(quarantine.c.place_id.in_(stored)))


def _insert_events(connection: Connection, new: Sequence[_New], now: datetime) -> list[int]:
    """Insert the events of mails that were not known; return how many that count for each mail."""
    wanted: list[dict[str, Any]] = []
    counts = []
    findings = vouched(connection, [(mail.message_id, mail.entry.judged if mail.first else ()) for mail in new])
    for mail, judged in zip(new, findings, strict=True):
        by_recipient: dict[str, dict[str, Any]] = {}
        for entry in judged:
            row = rows.event_row(mail.message_id, entry)
            by_recipient.setdefault(row["recipient"], row)
        wanted += by_recipient.values()
        counts.append(sum(row["trust"] is not Trust.REFUSED for row in by_recipient.values()))
    _EVENTS(connection, wanted, recorded_at=now)
    return counts


def _insert_routes(connection: Connection, new: Iterable[_New]) -> None:
    wanted: dict[tuple[int, int], dict[str, Any]] = {}
    for mail in new:
        for route in mail.entry.routes:
            wanted.setdefault((mail.message_id, route.filter_id), rows.route_row(mail.message_id, route))
    _ROUTES(connection, (wanted[key] for key in sorted(wanted)))


def _queue_forwards(connection: Connection, new: Sequence[_New], now: datetime) -> list[int]:
    """Queue mails for filters they were never forwarded for; return how many outbox rows for each mail."""
    asked: set[tuple[int, int]] = set()
    for mail in new:
        raw = mail.entry.message.raw
        if mail.entry.forwards and raw.truncated:
            raise ValueError(
                f"{raw.ref}: to be forwarded, and only {len(raw.octets)} of {raw.size_octets} octets are here"
            )
        asked.update((mail.message_id, bounce_filter.id) for bounce_filter in mail.entry.forwards)
    granted = _claim_forwards(connection, sorted(asked), now)
    found: list[dict[str, Any]] = []
    counts = []
    for mail in new:
        before = len(found)
        for bounce_filter in mail.entry.forwards:
            if (mail.message_id, bounce_filter.id) in granted:
                granted.remove((mail.message_id, bounce_filter.id))
                found += rows.outbox_rows(mail.message_id, bounce_filter, mail.digest, now)
        counts.append(len(found) - before)
    if found:
        connection.execute(insert_into(connection, outbox), found)
    return counts


def _claim_forwards(connection: Connection, pairs: Sequence[tuple[int, int]], now: datetime) -> set[tuple[int, int]]:
    """Return those pairs of mail and filter that were not there yet, and now are."""
    if not pairs:
        return set()
    statement = (
        insert_into(connection, forwards)
        .on_conflict_do_nothing(index_elements=["message_id", "filter_id"])
        .returning(forwards.c.message_id, forwards.c.filter_id)
    )
    wanted = [{"message_id": message, "filter_id": bounce_filter, "queued_at": now} for message, bounce_filter in pairs]
    return {(row.message_id, row.filter_id) for row in connection.execute(statement, wanted)}
