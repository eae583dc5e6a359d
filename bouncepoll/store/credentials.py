"""Stored logins: sealed texts, who renews one now, and why the last time failed."""

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import RowMapping, or_, select, update

from bouncepoll.model.credential import StoredCredential
from bouncepoll.store.columns import fit
from bouncepoll.store.database import Database, insert_into
from bouncepoll.store.tables import credentials

_FREE: dict[str, Any] = {"lease_owner": None, "lease_until": None}
_WELL: dict[str, Any] = {"retry_at": None, "failure": None, "failure_permanent": False}


class SqlCredentials:
    """A ``CredentialStore`` on SQLite or PostgreSQL."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def get(self, name: str) -> StoredCredential | None:
        """Return one row, or None."""
        with self._database.reading() as connection:
            found = connection.execute(_SELECT.where(credentials.c.name == name)).mappings().first()
        return None if found is None else _row(found)

    def all(self) -> Sequence[StoredCredential]:
        """Return all rows by name."""
        with self._database.reading() as connection:
            return [_row(found) for found in connection.execute(_SELECT.order_by(credentials.c.name)).mappings()]

    def claim(self, name: str, owner: str, now: datetime, until: datetime) -> bool:
        """Return whether ``owner`` has the row until then; False: somebody else has it."""
        with self._database.writing() as connection:
            fresh = {"name": name, "sealed": None, "version": 0, "updated_at": now, **_FREE, **_WELL}
            connection.execute(insert_into(connection, credentials).values(fresh).on_conflict_do_nothing())
            # One statement decides: on PostgreSQL the second of two waits for the first, and then finds it claimed.
            free = or_(credentials.c.lease_until.is_(None), credentials.c.lease_until <= now)
            wanted = update(credentials).where(credentials.c.name == name, free)
            return connection.execute(wanted.values(lease_owner=owner, lease_until=until)).rowcount == 1

    def release(self, name: str, owner: str) -> None:
        """Let go of a row that ``owner`` claimed."""
        with self._database.writing() as connection:
            theirs = (credentials.c.name == name, credentials.c.lease_owner == owner)
            connection.execute(update(credentials).where(*theirs).values(_FREE))

    def save(self, name: str, sealed: str, expires_at: datetime | None, now: datetime, version: int | None) -> bool:
        """Store a new secret, forget the failure and end the claim; False when the row is of another version."""
        changed = {"sealed": sealed, "expires_at": expires_at, "updated_at": now, **_FREE, **_WELL}
        with self._database.writing() as connection:
            insert = insert_into(connection, credentials).values(name=name, version=1, **changed)
            same = None if version is None else credentials.c.version == version
            upsert = insert.on_conflict_do_update(
                index_elements=["name"], set_={**changed, "version": credentials.c.version + 1}, where=same
            )
            return connection.execute(upsert.returning(credentials.c.version)).first() is not None

    def fail(self, name: str, owner: str, failure: str, retry_at: datetime, *, permanent: bool) -> None:
        """Remember why a refresh failed, and end the claim of ``owner``."""
        with self._database.writing() as connection:
            connection.execute(
                update(credentials)
                .where(credentials.c.name == name, credentials.c.lease_owner == owner)
                .values(
                    failure=fit(failure, credentials.c.failure),
                    retry_at=retry_at,
                    failure_permanent=permanent,
                    **_FREE,
                )
            )

    def reseal(self, name: str, before: str, after: str) -> bool:
        """Replace one sealed text by the same under another key; False when it is another one by now."""
        with self._database.writing() as connection:
            same = (credentials.c.name == name, credentials.c.sealed == before)
            # Not a new version: who renews it meanwhile has the same login in hand.
            return connection.execute(update(credentials).where(*same).values(sealed=after)).rowcount == 1


_SELECT = select(*(credentials.c[name] for name in StoredCredential.__slots__))


def _row(found: RowMapping) -> StoredCredential:
    return StoredCredential(**found)
