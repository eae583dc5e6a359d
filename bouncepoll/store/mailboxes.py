"""How the mailboxes fare: the last poll, the failures, the next poll."""

from collections.abc import Sequence
from datetime import datetime
from functools import cache
from typing import Any

from sqlalchemy import Insert, case, select

from bouncepoll.model.records import MailboxState
from bouncepoll.store.columns import fit
from bouncepoll.store.database import Database, insert_for
from bouncepoll.store.tables import mailbox_states


class SqlMailboxes:
    """The state of each mailbox that was ever polled."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> Sequence[MailboxState]:
        """Return the states by name of the mailbox."""
        columns = (mailbox_states.c[name] for name in MailboxState.__slots__)
        with self._database.reading() as connection:
            found = connection.execute(select(*columns).order_by(mailbox_states.c.source))
            return [MailboxState(**row) for row in found.mappings()]

    def note_success(self, source: str, now: datetime, next_poll_at: datetime) -> None:
        """Remember a poll that went well."""
        values = {"last_poll_at": now, "last_success_at": now, "failures": 0, "last_error": None}
        self._note({"source": source, **values, "next_poll_at": next_poll_at})

    def note_failure(self, source: str, error: str, now: datetime, next_poll_at: datetime) -> None:
        """Remember a poll that failed, and why; the error must hold no secret."""
        said = fit(error, mailbox_states.c.last_error)
        values = {"last_poll_at": now, "failures": 1, "last_error": said, "next_poll_at": next_poll_at}
        self._note({"source": source, **values})

    def _note(self, row: dict[str, Any]) -> None:
        with self._database.writing() as connection:
            connection.execute(_upsert(connection.dialect.name, tuple(row)), row)


@cache
def _upsert(dialect: str, names: tuple[str, ...]) -> Insert:
    """Return the INSERT of these columns; failures are added to those there are. Built once: every poll needs it."""
    insert = insert_for(dialect, mailbox_states)
    changes: dict[str, Any] = {name: insert.excluded[name] for name in names if name != "source"}
    changes["failures"] = case((insert.excluded.failures > 0, mailbox_states.c.failures + 1), else_=0)
    return insert.on_conflict_do_update(index_elements=["source"], set_=changes)
