"""The proof that the database takes writes: a real one, for SELECTs go well on a full disk and on a standby."""

import os
from datetime import datetime

from sqlalchemy import ColumnClause, String, column, delete, table, update

from bouncepoll.errors import StoreUnavailable
from bouncepoll.store.database import Database, insert_into
from bouncepoll.store.schema import HEAD, VERSION_TABLE
from bouncepoll.store.tables import blobs

# No digest of a mail looks like this.
_RESERVE = "reserve"
_PIECE_OCTETS = 256 * 1024


def prove_writable(database: Database, now: datetime, reserve_octets: int = 0) -> None:
    """Commit a write that changes nothing; with ``reserve_octets``, write as much first, and delete it again.

    What the reserve took stays with the file, free for what is to be stored next.

    Raises:
        StoreUnavailable: the database takes no writes, or its schema is missing or older than this program's.
    """
    version: ColumnClause[str] = column("version_num", String)
    versions = table(VERSION_TABLE, version)
    with database.writing() as connection:
        found = connection.execute(update(versions).values(version_num=version).returning(version)).scalar()
    if found is None or str(found) < HEAD:
        raise StoreUnavailable(
            f"{database.label}: the schema is version {found}, and {HEAD} is needed; was an old backup restored? "
            "Run 'bouncepoll db upgrade'",
            reason="schema",
        )
    if reserve_octets:
        _reserve(database, now, reserve_octets)


def _reserve(database: Database, now: datetime, size_octets: int) -> None:
    names = [f"{_RESERVE}-{number}" for number in range(-(-size_octets // _PIECE_OCTETS))]
    with database.writing() as connection:
        connection.execute(delete(blobs).where(blobs.c.digest.in_(names)))
        for name in names:
            # Random, for zeros would be compressed away; in pieces, for a driver makes several copies of each.
            octets = os.urandom(_PIECE_OCTETS)
            row = {"digest": name, "octets": octets, "size_octets": _PIECE_OCTETS, "stored_at": now}
            # Another node may be doing the same.
            connection.execute(insert_into(connection, blobs).values(row).on_conflict_do_nothing())
    with database.writing() as connection:
        connection.execute(delete(blobs).where(blobs.c.digest.in_(names)))
