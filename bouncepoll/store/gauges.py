"""A few counts for the metrics, each bounded whatever there is."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import Connection, Select, func, select, text

from bouncepoll.model.delivery import OutboxState
from bouncepoll.store.database import Database
from bouncepoll.store.tables import outbox, quarantine

#: No more rows than this are counted.
MOST = 100_000
_TIMEOUT_MS = 2000


@dataclass(frozen=True, slots=True)
class Gauges:
    """Mails in quarantine, and recipients of forwards that wait or are dead letters; each up to ``MOST``."""

    quarantine: int
    outbox: Mapping[OutboxState, int]


def gauges(database: Database) -> Gauges:
    """Return the counts.

    Raises:
        StoreUnavailable: the database cannot be read, or takes too long for it.
    """
    with database.reading() as connection:
        if database.file is None:
            connection.execute(text(f"SET LOCAL statement_timeout = {_TIMEOUT_MS}"))
        waiting = {
            state: _count(connection, select(outbox.c.id).where(outbox.c.state == state))
            for state in (OutboxState.QUEUED, OutboxState.DEAD)
        }
        return Gauges(_count(connection, select(quarantine.c.id)), waiting)


def _count(connection: Connection, rows: Select[Any]) -> int:
    return connection.execute(select(func.count()).select_from(rows.limit(MOST).subquery())).scalar_one()
