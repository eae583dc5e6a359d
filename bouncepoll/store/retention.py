"""Retention: deletes what is old, and never what keeps a mail from being counted or forwarded twice.

What goes: raw mails older than ``raw_days``; events, finished forwards, and what a stored mail says of people (sender,
subject, matched text) older than ``event_days``.

What stays, whatever its age: the raw mail of a forward that waits, of a dead letter and of a mail in quarantine; and
of every mail its fingerprint, its places and the filters it was forwarded for. These are its identity: with the raw
mail and the events gone, a copy that comes again is still known, and neither counted nor forwarded.
"""

from collections.abc import Callable
from datetime import datetime, timedelta
from time import sleep
from typing import Any

from sqlalchemy import ColumnElement, Table, and_, delete, select, update

from bouncepoll.model.records import RetentionCounts
from bouncepoll.store.database import Database
from bouncepoll.store.tables import SENT, UNSTRIPPED, blobs, events, messages, outbox, past_events, quarantine, routes

#: SQLite has one writer, and those that wait for it look every 0.1 s: without a rest they hardly ever find it free.
_REST_S = 0.2

_NOTHING_LEFT: dict[str, Any] = {
    "from_address": "",
    "subject": "",
    "message_id": None,
    "original_message_id": None,
    "defects": [],
    "matched_text": None,
    "stripped": True,
}


def retain(
    database: Database,
    now: datetime,
    raw_days: float | None,
    event_days: float | None,
    *,
    batch: int,
    should_stop: Callable[[], bool],
) -> RetentionCounts:
    """Delete what is older than these ages (None: nothing ever is), ``batch`` rows a transaction; return how many.

    Between transactions others have their turn.
    """

    def in_batches(run: Callable[[], int]) -> int:
        total = 0
        while not should_stop():
            done = run()
            total += done
            if done < batch:
                break
            sleep(_REST_S)
        return total

    blob_count = event_count = forward_count = message_count = 0
    said_before, raw_before = _before(now, event_days), _before(now, raw_days)
    if said_before is not None:
        old_events = events.c.recorded_at < said_before
        finished = and_(SENT, outbox.c.finished_at < said_before)
        old_history = past_events.c.recorded_at < said_before
        event_count = in_batches(lambda: _delete(database, events, old_events, batch))
        event_count += in_batches(lambda: _delete(database, past_events, old_history, batch))
        forward_count = in_batches(lambda: _delete(database, outbox, finished, batch))
        message_count = in_batches(lambda: _strip(database, said_before, batch))
    if raw_before is not None:
        old_blobs = _unused_blobs(raw_before)
        blob_count = in_batches(lambda: _delete(database, blobs, old_blobs, batch))
    return RetentionCounts(blob_count, event_count, forward_count, message_count)


def _before(now: datetime, days: float | None) -> datetime | None:
    """Return the time that many days ago; None when nothing is ever that old."""
    try:
        return None if days is None else now - timedelta(days=days)
    except OverflowError:
        return None


def _unused_blobs(before: datetime) -> ColumnElement[bool]:
    in_outbox = select(outbox.c.id).where(outbox.c.blob_digest == blobs.c.digest).exists()
    in_quarantine = select(quarantine.c.id).where(quarantine.c.blob_digest == blobs.c.digest).exists()
    return and_(blobs.c.stored_at < before, ~in_outbox, ~in_quarantine)


def _delete(database: Database, table: Table, condition: ColumnElement[bool], batch: int) -> int:
    """Delete up to ``batch`` rows.

    The condition is asked twice: a row that another process touched between the look and the lock is looked at anew.
    """
    (key,) = table.primary_key.columns
    chosen = select(key).where(condition).limit(batch).scalar_subquery()
    with database.writing() as connection:
        return connection.execute(delete(table).where(key.in_(chosen), condition)).rowcount


def _strip(database: Database, before: datetime, batch: int) -> int:
    chosen = select(messages.c.id).where(UNSTRIPPED, messages.c.recorded_at < before).limit(batch)
    with database.writing() as connection:
        ids = connection.scalars(chosen).all()
        connection.execute(update(messages).where(messages.c.id.in_(ids)).values(_NOTHING_LEFT))
        connection.execute(update(routes).where(routes.c.message_id.in_(ids)).values(recipient_id=None))
    return len(ids)
