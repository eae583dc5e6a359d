"""Mails that could not be processed: their octets, why, and what becomes of them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, and_, delete, func, select, update

from bouncepoll.model.message import MessageRef
from bouncepoll.model.records import PlaceState, QuarantineRecord
from bouncepoll.store import octets as raw_mails
from bouncepoll.store.columns import chunks, fit, storable_id
from bouncepoll.store.database import Database, insert_into
from bouncepoll.store.places import ref_of, values_of
from bouncepoll.store.tables import blobs, places, quarantine


def put(connection: Connection, ref: MessageRef, octets: bytes | None, error: str, now: datetime) -> None:
    """Keep a mail that could not be processed; see ``ports.UnitOfWork.quarantine``.

    An older entry keeps its octets when there are no new ones. A mail that is stored already is left alone.
    """
    place_id = _occupy(connection, ref, now)
    if place_id is None:
        return
    digest = None if octets is None else raw_mails.digest_of(octets)
    if octets is not None and digest is not None:
        raw_mails.keep(connection, {digest: octets}, now)
    insert = insert_into(connection, quarantine).values(
        place_id=place_id,
        error=fit(error, quarantine.c.error),
        created_at=now,
        attempts=1,
        blob_digest=digest,
    )
    connection.execute(
        insert.on_conflict_do_update(
            index_elements=["place_id"],
            set_={
                "error": insert.excluded.error,
                "attempts": quarantine.c.attempts + 1,
                "blob_digest": func.coalesce(insert.excluded.blob_digest, quarantine.c.blob_digest),
            },
        )
    )


def _occupy(connection: Connection, ref: MessageRef, now: datetime) -> int | None:
    """Mark the place as in quarantine and return its id; None when a mail is stored there."""
    insert = insert_into(connection, places).values(
        **values_of(ref),
        state=PlaceState.QUARANTINED,
        duplicate=False,
        settled=False,
        truncated=False,
        recorded_at=now,
    )
    statement = insert.on_conflict_do_update(
        index_elements=["source", "folder", "uidvalidity", "uid"],
        set_={"state": insert.excluded.state},
        where=places.c.state != PlaceState.STORED,
    ).returning(places.c.id)
    return connection.execute(statement).scalar_one_or_none()


class SqlQuarantine:
    """The mails in quarantine, for an administrator."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def list(self) -> Sequence[QuarantineRecord]:
        """Return all of them, oldest first."""
        with self._database.reading() as connection:
            return [_record_of(row) for row in connection.execute(_query().order_by(quarantine.c.id))]

    def get(self, entry_id: int) -> QuarantineRecord | None:
        """Return one of them; None when there is none of that id."""
        with self._database.reading() as connection:
            row = connection.execute(_query().where(quarantine.c.id == storable_id(entry_id))).one_or_none()
            return None if row is None else _record_of(row)

    def octets(self, entry_id: int) -> bytes | None:
        """Return what is kept of a mail; None when nothing is, or there is none of that id."""
        with self._database.reading() as connection:
            query = select(quarantine.c.blob_digest).where(quarantine.c.id == storable_id(entry_id))
            digest = connection.execute(query).scalar_one_or_none()
            return None if digest is None else raw_mails.load(connection, digest)

    def retry(self, ids: Iterable[int] | None) -> int:
        """Let the next poll of their mailboxes read these mails again, all of them when None; return how many.

        They stay here until they are stored. One that is gone from its mailbox stays until it is discarded.
        """
        with self._database.writing() as connection:
            return sum(_set_state(connection, chunk, PlaceState.RETRY) for chunk in _places(connection, ids))

    def discard(self, ids: Iterable[int]) -> int:
        """Give these mails up: their octets and errors go, and they are never read again; return how many."""
        with self._database.writing() as connection:
            count = 0
            for chunk in _places(connection, ids):
                count += _set_state(connection, chunk, PlaceState.DISCARDED)
                connection.execute(delete(quarantine).where(quarantine.c.place_id.in_(chunk)))
            return count


def _places(connection: Connection, ids: Iterable[int] | None) -> Sequence[Sequence[int]]:
    """Return the ids of the places of these entries, all of them when None, in short lists."""
    query = select(quarantine.c.place_id).order_by(quarantine.c.place_id)
    if ids is None:
        found = list(connection.scalars(query))
    else:
        parts = chunks(sorted({storable_id(number) for number in ids}))
        found = [place for part in parts for place in connection.scalars(query.where(quarantine.c.id.in_(part)))]
    return list(chunks(found))


def _set_state(connection: Connection, place_ids: Sequence[int], state: PlaceState) -> int:
    # A mail that was stored meanwhile stays stored.
    chosen = and_(places.c.id.in_(place_ids), places.c.state != PlaceState.STORED)
    return connection.execute(update(places).where(chosen).values(state=state)).rowcount


def _query() -> Select[Any]:
    return (
        select(quarantine, *(places.c[name] for name in ("source", "folder", "uidvalidity", "uid", "state")))
        .add_columns(blobs.c.size_octets)
        .join_from(quarantine, places, quarantine.c.place_id == places.c.id)
        .outerjoin(blobs, quarantine.c.blob_digest == blobs.c.digest)
    )


def _record_of(row: Row[Any]) -> QuarantineRecord:
    return QuarantineRecord(
        id=row.id,
        ref=ref_of(row),
        error=row.error,
        created_at=row.created_at,
        attempts=row.attempts,
        retry=row.state == PlaceState.RETRY,
        size_octets=row.size_octets,
    )
