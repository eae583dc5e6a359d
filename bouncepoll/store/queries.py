"""Reading what is stored: mails and events."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, exists, select

from bouncepoll.model.filter import Route
from bouncepoll.model.message import MessageRef
from bouncepoll.model.records import EventRecord, MessageDetail, MessageRecord, PlaceRecord
from bouncepoll.model.trust import Trust
from bouncepoll.model.verdict import Kind
from bouncepoll.store import octets as raw_mails
from bouncepoll.store.columns import storable_id
from bouncepoll.store.database import Database
from bouncepoll.store.places import ref_of
from bouncepoll.store.rows import recipient_key
from bouncepoll.store.tables import blobs, events, messages, places, routes

_SUMMARY = (
    *("id", "fingerprint", "kind", "message_id", "original_message_id", "from_address", "subject", "size_octets"),
    *("received_at", "recorded_at"),
)


class SqlMessages:
    """The stored mails, for an administrator."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(
        self,
        limit: int = 50,
        before_id: int | None = None,
        kind: Kind | None = None,
        filter_id: int | None = None,
        source: str | None = None,
        unrouted: bool = False,
    ) -> Sequence[MessageRecord]:
        """Return up to ``limit`` mails, newest first; None means: any. ``unrouted``: those that belong to no filter."""
        query = select(*(messages.c[name] for name in _SUMMARY)).order_by(messages.c.id.desc()).limit(limit)
        of_message = routes.c.message_id == messages.c.id
        if before_id is not None:
            query = query.where(messages.c.id < storable_id(before_id))
        if kind is not None:
            query = query.where(messages.c.kind == kind)
        if filter_id is not None:
            query = query.where(exists().where(of_message, routes.c.filter_id == storable_id(filter_id)))
        if source is not None:
            query = query.where(exists().where(places.c.message_id == messages.c.id, places.c.source == source))
        if unrouted:
            query = query.where(~exists().where(of_message))
        with self._database.reading() as connection:
            return [MessageRecord(**row) for row in connection.execute(query).mappings()]

    def get(self, message_id: int) -> MessageDetail | None:
        """Return a mail with its routes, events and places; None when there is none of that id."""
        with self._database.reading() as connection:
            return _detail(connection, storable_id(message_id))

    def at(self, source: str, folder: str, uid: str) -> MessageDetail | None:
        """Return the mail stored at a place, the latest one where UIDVALIDITY changed; None when there is none."""
        query = select(places.c.message_id).where(
            places.c.source == source, places.c.folder == folder, places.c.uid == uid, places.c.message_id.is_not(None)
        )
        with self._database.reading() as connection:
            found = connection.execute(query.order_by(places.c.id.desc()).limit(1)).scalar_one_or_none()
            return None if found is None else _detail(connection, found)

    def octets(self, message_id: int) -> bytes | None:
        """Return a mail as it was fetched; None when that is older than the retention time, or there is no such mail.

        A complete copy goes before one of which only the first octets were fetched.
        """
        query = (
            select(places.c.blob_digest)
            .join(blobs, places.c.blob_digest == blobs.c.digest)
            .where(places.c.message_id == storable_id(message_id))
            .order_by(places.c.truncated, places.c.id)
            .limit(1)
        )
        with self._database.reading() as connection:
            digest = connection.execute(query).scalar_one_or_none()
            return None if digest is None else raw_mails.load(connection, digest)


class SqlEvents:
    """The events, for an administrator and for other programs."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(
        self,
        limit: int = 100,
        after_id: int = 0,
        recipient: str | None = None,
        kind: Kind | None = None,
        filter_id: int | None = None,
        since: datetime | None = None,
        until: datetime | None = None,
        untrusted: bool = False,
    ) -> Sequence[EventRecord]:
        """Return up to ``limit`` events above ``after_id``, by id; call again with the last id for the next ones.

        None means: any. ``recipient`` is compared without case, ``""`` finds events of unknown recipients;
        ``since`` and ``until`` are the times of recording, from (inclusive) and to (exclusive). Events that are refused
        are left out unless ``untrusted``.
        """
        query = select(events).where(events.c.id > storable_id(after_id)).order_by(events.c.id).limit(limit)
        if not untrusted:
            query = query.where(events.c.trust != Trust.REFUSED)
        if recipient is not None:
            query = query.where(events.c.recipient_key == recipient_key(recipient))
        if kind is not None:
            query = query.where(events.c.kind == kind)
        if filter_id is not None:
            query = query.where(
                exists().where(routes.c.message_id == events.c.message_id, routes.c.filter_id == storable_id(filter_id))
            )
        if since is not None:
            query = query.where(events.c.recorded_at >= since)
        if until is not None:
            query = query.where(events.c.recorded_at < until)
        with self._database.reading() as connection:
            return [event_of(row) for row in connection.execute(query)]


def _detail(connection: Connection, message_id: int) -> MessageDetail | None:
    row = connection.execute(select(messages).where(messages.c.id == message_id)).one_or_none()
    if row is None:
        return None
    return MessageDetail(
        **{name: getattr(row, name) for name in _SUMMARY},
        defects=tuple(row.defects),
        routes=tuple(_route_of(found) for found in connection.execute(_of(routes, message_id, "filter_id"))),
        events=tuple(event_of(found) for found in connection.execute(_of(events, message_id, "id"))),
        places=tuple(_place_of(found) for found in connection.execute(_of(places, message_id, "id"))),
        detector=row.detector,
        rule_id=row.rule_id,
        matched_text=row.matched_text,
        where=row.matched_where,
    )


def _of(table: Any, message_id: int, order: str) -> Select[Any]:
    return select(table).where(table.c.message_id == message_id).order_by(table.c[order])


def _route_of(row: Row[Any]) -> Route:
    return Route(row.filter_id, row.matched_by, row.mailing_id, row.recipient_id, row.verified)


def _place_of(row: Row[Any]) -> PlaceRecord:
    ref: MessageRef = ref_of(row)
    return PlaceRecord(ref, row.duplicate, row.settled, row.truncated, row.recorded_at)


def event_of(row: Row[Any]) -> EventRecord:
    """Return the event of a row of ``events``."""
    return EventRecord(
        id=row.id,
        message_id=row.message_id,
        recorded_at=row.recorded_at,
        recipient=row.recipient or None,
        kind=row.kind,
        reason=row.reason,
        permanence=row.permanence,
        severity=row.severity,
        status=row.status,
        reply_code=row.reply_code,
        action=row.action,
        remote_mta=row.remote_mta,
        diagnostic=row.diagnostic,
        detector=row.detector,
        rule_id=row.rule_id,
        matched_text=row.matched_text,
        where=row.matched_where,
        trust=row.trust,
        trust_reason=row.trust_reason,
    )
