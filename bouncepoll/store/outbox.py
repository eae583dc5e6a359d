"""The outbox: forwards that wait, and what became of them.

A drainer claims items by leasing them. The end of its lease is also its token: who comes back after another one has
claimed the item may still report what it delivered, and nothing else.
"""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, and_, delete, func, or_, select, tuple_, update

from bouncepoll.model.delivery import DeliveryResult, OutboxItem, OutboxRecipient, OutboxState
from bouncepoll.model.records import OutboxRecord
from bouncepoll.ports import Clock
from bouncepoll.store import filters, octets
from bouncepoll.store.columns import chunks, fit, storable_id
from bouncepoll.store.database import Database
from bouncepoll.store.tables import DEAD, blobs, forwards, messages, outbox

# A mail for one filter may have several recipients; this many rows are looked at to find one item.
_ROWS_AN_ITEM = 8
# The mails of one claim are all in memory at once.
_MAX_OCTETS_A_CLAIM = 64 * 1024 * 1024
_DAMAGED = "the stored mail is damaged; restore it from a backup, then run 'bouncepoll outbox retry'"
_PENDING = (OutboxState.QUEUED, OutboxState.DEAD)

_Group = tuple[int, int]


class SqlOutbox:
    """The ``ports.Outbox``, and what an administrator does with it."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def claim(self, limit: int, now: datetime, lease: timedelta) -> Sequence[OutboxItem]:
        """Return up to ``limit`` due items, the longest due first; no one else gets them before ``now + lease``.

        Another drainer's claim at the same moment is not waited for, and at most 64 MiB of mails are claimed at once
        (one mail may be larger). So fewer items than ``limit`` do not mean that nothing else is due; none at all means
        that nothing is left for this drainer now. A mail whose octets are damaged becomes a dead letter.
        """
        until = now + lease
        with self._database.writing() as connection:
            while groups := _due_groups(connection, limit, now):
                rows = [row for chunk in chunks(groups) for row in connection.execute(_lease(chunk, now, until))]
                raw = octets.load_intact(connection, (row.blob_digest for row in rows))
                damaged = [row.id for row in rows if row.blob_digest not in raw]
                _bury(connection, damaged, now)
                items = _items(connection, groups, [row for row in rows if row.blob_digest in raw], raw, until)
                if items or not damaged:
                    return items
            return []

    def settle(
        self,
        item: OutboxItem,
        results: Mapping[int, DeliveryResult],
        retry_at: Mapping[int, datetime | None],
        now: datetime,
    ) -> None:
        """Record the outcome, by recipient id: 2xx sent; else queued until ``retry_at``, or dead when that is None."""
        recipients = {recipient.id for recipient in item.recipients}
        with self._database.writing() as connection:
            for number in sorted(recipients & results.keys()):
                reply = results[number].reply
                outcome: dict[str, Any] = {
                    "attempts": outbox.c.attempts + 1,
                    "lease_until": None,
                    "last_reply_code": reply.code if 0 <= reply.code <= 999 else None,
                    "last_reply_text": fit(reply.text, outbox.c.last_reply_text),
                }
                if reply.code // 100 == 2:
                    outcome |= {"state": OutboxState.SENT, "finished_at": now, "blob_digest": None}
                elif (due := retry_at.get(number)) is not None:
                    outcome |= {"next_attempt_at": due}
                else:
                    outcome |= {"state": OutboxState.DEAD, "finished_at": now}
                connection.execute(update(outbox).where(_still_ours(number, item, reply.code)).values(outcome))

    def bring_forward(self, now: datetime, longest: timedelta) -> None:
        """Make due what is to wait longer than anything ever is: a clock that was ahead wrote that."""
        unbelievable = (outbox.c.state == OutboxState.QUEUED) & (outbox.c.next_attempt_at > now + longest)
        with self._database.writing() as connection:
            connection.execute(update(outbox).where(unbelievable).values(next_attempt_at=now))

    def release(self) -> None:
        """End all leases: for a process that knows to be the only one, after others died with forwards in hand."""
        leased = (outbox.c.state == OutboxState.QUEUED) & outbox.c.lease_until.is_not(None)
        with self._database.writing() as connection:
            connection.execute(update(outbox).where(leased).values(lease_until=None))

    def list(self, state: OutboxState | None = None, limit: int = 100) -> Sequence[OutboxRecord]:
        """Return up to ``limit`` rows, newest first; of every state when ``state`` is None."""
        query = select(outbox).order_by(outbox.c.id.desc()).limit(limit)
        if state is not None:
            query = query.where(DEAD if state is OutboxState.DEAD else outbox.c.state == state)
        with self._database.reading() as connection:
            return [_record_of(row) for row in connection.execute(query)]

    def counts(self) -> Mapping[OutboxState, int]:
        """Return how many rows are in each state."""
        query = select(outbox.c.state, func.count()).group_by(outbox.c.state)
        with self._database.reading() as connection:
            found = {OutboxState(state): count for state, count in connection.execute(query)}
        return {state: found.get(state, 0) for state in OutboxState}

    def retry(self, ids: Iterable[int] | None) -> int:
        """Queue dead letters again, and queued ones for now; all dead letters when None. Return how many.

        Their age starts anew. One that is being sent right now stays leased.
        """
        now = self._clock()
        anew = {"state": OutboxState.QUEUED, "next_attempt_at": now, "created_at": now, "finished_at": None}
        with self._database.writing() as connection:
            if ids is None:
                return connection.execute(update(outbox).where(DEAD).values(anew | {"attempts": 0})).rowcount
            changes = (
                update(outbox).where(_pending(chunk)).values(anew | {"attempts": 0})
                for chunk in chunks(sorted({storable_id(number) for number in ids}))
            )
            return sum(connection.execute(change).rowcount for change in changes)

    def drop(self, ids: Iterable[int]) -> int:
        """Give queued forwards and dead letters up for good; return how many. They are never queued again."""
        with self._database.writing() as connection:
            removals = (
                delete(outbox).where(_pending(chunk))
                for chunk in chunks(sorted({storable_id(number) for number in ids}))
            )
            return sum(connection.execute(removal).rowcount for removal in removals)


def _due(now: datetime) -> ColumnElement[bool]:
    return and_(
        outbox.c.state == OutboxState.QUEUED,
        outbox.c.next_attempt_at <= now,
        or_(outbox.c.lease_until.is_(None), outbox.c.lease_until <= now),
    )


def _pending(ids: Sequence[int]) -> ColumnElement[bool]:
    return and_(outbox.c.id.in_(ids), outbox.c.state.in_(_PENDING))


def _due_groups(connection: Connection, limit: int, now: datetime) -> Sequence[_Group]:
    """Return up to ``limit`` pairs of mail and filter with something due, and lock them against other drainers."""
    same = and_(forwards.c.message_id == outbox.c.message_id, forwards.c.filter_id == outbox.c.filter_id)
    query = (
        select(outbox.c.message_id, outbox.c.filter_id, blobs.c.size_octets)
        .join(forwards, same)
        .join(blobs, blobs.c.digest == outbox.c.blob_digest)
        .where(_due(now))
        .order_by(outbox.c.next_attempt_at, outbox.c.id)
        .limit(limit * _ROWS_AN_ITEM)
        # One row of forwards stands for all recipients: two drainers never share an item.
        .with_for_update(of=forwards, skip_locked=True)
    )
    groups: dict[_Group, int] = {}
    for message_id, filter_id, size_octets in connection.execute(query):
        groups.setdefault((message_id, filter_id), size_octets)
    chosen: list[_Group] = []
    left = _MAX_OCTETS_A_CLAIM
    for group, size_octets in groups.items():
        left -= size_octets
        if len(chosen) == limit or (chosen and left < 0):
            break
        chosen.append(group)
    return chosen


def _lease(groups: Sequence[_Group], now: datetime, until: datetime) -> Any:
    """Return the UPDATE that leases what is due of these groups, and returns it.

    What is due is asked again: another drainer may have claimed and committed between the look and the lock.
    """
    return (
        update(outbox)
        .where(_due(now), tuple_(outbox.c.message_id, outbox.c.filter_id).in_(groups))
        .values(lease_until=until)
        .returning(
            *(outbox.c[name] for name in ("id", "message_id", "filter_id", "forward_path", "attempts")),
            *(outbox.c[name] for name in ("created_at", "blob_digest")),
        )
    )


def _items(
    connection: Connection,
    groups: Sequence[_Group],
    rows: Sequence[Row[Any]],
    raw: Mapping[str, bytes],
    until: datetime,
) -> Sequence[OutboxItem]:
    by_group: dict[_Group, list[Row[Any]]] = {}
    for row in sorted(rows, key=lambda row: row.id):
        by_group.setdefault((row.message_id, row.filter_id), []).append(row)
    if not by_group:
        return []
    bounce_filters = filters.load_some(connection, (filter_id for _message, filter_id in by_group))
    fingerprints = _fingerprints(connection, [message for message, _filter in by_group])
    return [
        OutboxItem(
            recipients=tuple(OutboxRecipient(row.id, row.forward_path, row.attempts) for row in by_group[group]),
            bounce_filter=bounce_filters[group[1]],
            fingerprint=fingerprints[group[0]],
            octets=raw[by_group[group][0].blob_digest],
            created_at=by_group[group][0].created_at,
            lease_until=until,
        )
        for group in groups
        if group in by_group
    ]


def _bury(connection: Connection, ids: Sequence[int], now: datetime) -> None:
    """Make dead letters of recipients whose mail is damaged, so that the others go on."""
    for chunk in chunks(ids):
        connection.execute(
            update(outbox)
            .where(outbox.c.id.in_(chunk))
            .values(
                state=OutboxState.DEAD,
                lease_until=None,
                finished_at=now,
                last_reply_code=554,
                last_reply_text=_DAMAGED,
            )
        )


def _fingerprints(connection: Connection, message_ids: Sequence[int]) -> dict[int, str]:
    found: dict[int, str] = {}
    for chunk in chunks(message_ids):
        query = select(messages.c.id, messages.c.fingerprint).where(messages.c.id.in_(chunk))
        found.update({row.id: row.fingerprint for row in connection.execute(query)})
    return found


def _still_ours(number: int, item: OutboxItem, code: int) -> ColumnElement[bool]:
    """Return the condition under which an outcome counts: a delivery always does, a failure within the lease."""
    if code // 100 == 2:
        return _pending([number])
    queued = and_(outbox.c.id == number, outbox.c.state == OutboxState.QUEUED)
    return queued if item.lease_until is None else and_(queued, outbox.c.lease_until == item.lease_until)


def _record_of(row: Row[Any]) -> OutboxRecord:
    reply = None if row.last_reply_code is None else f"{row.last_reply_code} {row.last_reply_text or ''}".rstrip()
    return OutboxRecord(
        id=row.id,
        message_id=row.message_id,
        filter_id=row.filter_id,
        forward_path=row.forward_path,
        state=row.state,
        attempts=row.attempts,
        created_at=row.created_at,
        next_attempt_at=row.next_attempt_at,
        lease_until=row.lease_until,
        finished_at=row.finished_at,
        last_reply=reply,
    )
