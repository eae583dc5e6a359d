"""The unit of work: one transaction of ``ports.UnitOfWork``."""

from collections.abc import Iterable, Sequence
from datetime import datetime

from sqlalchemy import Connection, bindparam, select

from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.mailbox import Cursor, Scan
from bouncepoll.model.message import MessageRef
from bouncepoll.model.storing import Entry, Recorded
from bouncepoll.store import filters, places, quarantine, recording
from bouncepoll.store.database import commit, insert_into
from bouncepoll.store.tables import cursors

_CURSOR = select(cursors.c.uidvalidity, cursors.c.high_water, cursors.c.highest_modseq).where(
    cursors.c.source == bindparam("of_source"), cursors.c.folder == bindparam("of_folder")
)


class SqlUnitOfWork:
    """A ``ports.UnitOfWork`` over one connection, whose transaction has begun."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def cursor(self, source: str, folder: str) -> Cursor | None:
        """Return how far the folder was read; just before a mail of it that is to be read again."""
        row = self._connection.execute(_CURSOR, {"of_source": source, "of_folder": folder}).one_or_none()
        if row is None:
            return None
        uidvalidity = row.uidvalidity or None
        # Lowered here and not in the stored mark, which a poll that runs meanwhile would set again.
        retry = places.lowest_retry(self._connection, source, folder, uidvalidity)
        if retry is not None:
            return Cursor(source, folder, uidvalidity, min(row.high_water, max(retry - 1, 0)))
        return Cursor(source, folder, uidvalidity, row.high_water, row.highest_modseq)

    def advance(self, cursor: Cursor) -> None:
        """Store how far the folder was read."""
        insert = insert_into(self._connection, cursors).values(
            source=cursor.source,
            folder=cursor.folder,
            uidvalidity=cursor.uidvalidity or places.NO_UIDVALIDITY,
            high_water=cursor.high_water,
            highest_modseq=cursor.highest_modseq,
        )
        self._connection.execute(
            insert.on_conflict_do_update(
                index_elements=["source", "folder"],
                set_={name: insert.excluded[name] for name in ("uidvalidity", "high_water", "highest_modseq")},
            )
        )

    def known(self, scan: Scan) -> frozenset[str]:
        """Return those UIDs of the scan whose mails are stored or in quarantine, and not to be read again."""
        return places.known(self._connection, scan)

    def record(self, entries: Sequence[Entry], now: datetime) -> Sequence[Recorded]:
        """Store mails."""
        return recording.record(self._connection, entries, now)

    def quarantine(self, ref: MessageRef, octets: bytes | None, error: str, now: datetime) -> None:
        """Keep a mail that could not be processed."""
        quarantine.put(self._connection, ref, octets, error, now)

    def unsettled(self, scan: Scan, limit: int) -> Sequence[MessageRef]:
        """Return stored mails the mailbox was not told about."""
        return places.unsettled(self._connection, scan, limit)

    def mark_settled(self, refs: Iterable[MessageRef]) -> None:
        """Remember that the mailbox did what it was told."""
        places.mark_settled(self._connection, refs)

    def filters(self) -> Sequence[BounceFilter]:
        """Return all filters by id."""
        return filters.load(self._connection)

    def commit(self) -> None:
        """Make it durable; nothing more can be done with this unit of work."""
        commit(self._connection)
        # A closed connection refuses to start another transaction, which nobody would commit.
        self._connection.close()
