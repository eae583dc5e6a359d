"""How the mailboxes fare: the last poll, the failures, the next poll."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import select

from bouncepoll.model.records import MailboxState
from bouncepoll.store.columns import fit
from bouncepoll.store.database import Database, insert_into
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
        with self._database.writing() as connection:
            insert = insert_into(connection, mailbox_states).values(
                source=source, last_poll_at=now, last_success_at=now, failures=0, next_poll_at=next_poll_at
            )
            changed = ("last_poll_at", "last_success_at", "failures", "last_error", "next_poll_at")
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["source"], set_={name: insert.excluded[name] for name in changed}
                )
            )

    def note_failure(self, source: str, error: str, now: datetime, next_poll_at: datetime) -> None:
        """Remember a poll that failed, and why; the error must hold no secret."""
        with self._database.writing() as connection:
            insert = insert_into(connection, mailbox_states).values(
                source=source,
                last_poll_at=now,
                failures=1,
                last_error=fit(error, mailbox_states.c.last_error),
                next_poll_at=next_poll_at,
            )
            changed = ("last_poll_at", "last_error", "next_poll_at")
            connection.execute(
                insert.on_conflict_do_update(
                    index_elements=["source"],
                    set_={name: insert.excluded[name] for name in changed}
                    | {"failures": mailbox_states.c.failures + 1},
                )
            )
