"""The database as the program sees it."""

from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path

from bouncepoll.model.cluster import Lease
from bouncepoll.model.records import RetentionCounts
from bouncepoll.ports import Clock
from bouncepoll.store import schema
from bouncepoll.store.archive import SqlArchive
from bouncepoll.store.credentials import SqlCredentials
from bouncepoll.store.database import IDLE_TIMEOUT_S, Database
from bouncepoll.store.filters import SqlFilters
from bouncepoll.store.gauges import Gauges, gauges
from bouncepoll.store.leases import LeaseFence, SqlLeases
from bouncepoll.store.mailboxes import SqlMailboxes
from bouncepoll.store.marks import SqlMarks
from bouncepoll.store.outbox import SqlOutbox
from bouncepoll.store.quarantine import SqlQuarantine
from bouncepoll.store.queries import SqlEvents, SqlMessages
from bouncepoll.store.retention import retain
from bouncepoll.store.unit import SqlUnitOfWork
from bouncepoll.store.writing import prove_writable

#: A database that was full is not believed until this much was stored, for it has room for a small write.
_RESERVE_OCTETS = 8 * 1024 * 1024


class SqlStore:
    """A ``ports.Store`` on SQLite or PostgreSQL, with what an administrator asks of it.

    May be used by several threads at once, and the database by several processes. Every method of every part may raise
    ``StoreUnavailable``. ``file`` is the database's file, None for PostgreSQL.
    """

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self.filters = SqlFilters(database, clock)
        self.messages = SqlMessages(database)
        self.events = SqlEvents(database)
        self.archive = SqlArchive(database)
        self.outbox = SqlOutbox(database, clock)
        self.quarantine = SqlQuarantine(database)
        self.mailboxes = SqlMailboxes(database)
        self.marks = SqlMarks(database)
        self.credentials = SqlCredentials(database)
        self.leases = SqlLeases(database)

    @property
    def file(self) -> Path | None:
        """The database's file; None for PostgreSQL."""
        return self._database.file

    def fenced(self, lease: Lease) -> "SqlStore":
        """Return this store for the holder of a lease: what it stores is committed only while it has the mailbox.

        Every method that writes raises ``LeaseLost`` otherwise, and nothing of it is stored (PostgreSQL).
        """
        return SqlStore(self._database.fenced(LeaseFence(lease)), self._clock)

    @contextmanager
    def begin(self) -> Iterator[SqlUnitOfWork]:
        """Start a transaction; see ``ports.Store``."""
        with self._database.connect() as connection:
            yield SqlUnitOfWork(connection)

    def retention(
        self,
        now: datetime,
        raw_days: float | None,
        event_days: float | None,
        batch: int = 500,
        should_stop: Callable[[], bool] = lambda: False,
    ) -> RetentionCounts:
        """Delete what is older than these ages, None meaning never, in transactions of ``batch`` rows.

        What is kept whatever its age is written in ``bouncepoll.store.retention``.
        """
        return retain(self._database, now, raw_days, event_days, batch=batch, should_stop=should_stop)

    def prove_writable(self, failures: Collection[str] = ()) -> None:
        """Commit a write that changes nothing.

        After ``failures``, the reasons (``StoreUnavailable.reason``) it failed for before, it goes over new
        connections, and is a large one where the database was full.

        Raises:
            StoreUnavailable: the database takes no writes, or its schema is older than this program's.
        """
        if failures:
            # Those at hand may be broken, or of a file that could only be opened for reading.
            self._database.close()
        prove_writable(self._database, self._clock(), _RESERVE_OCTETS if "full" in failures else 0)

    def gauges(self) -> Gauges:
        """Return a few bounded counts, for the metrics."""
        return gauges(self._database)

    def close(self) -> None:
        """Close the connections; may be called twice."""
        self._database.close()


def open_store(
    url: str, *, clock: Clock, busy_timeout_s: float = 30.0, idle_timeout_s: float = IDLE_TIMEOUT_S
) -> SqlStore:
    """Open the database, and bring its schema up to date where it is SQLite.

    A lock somebody else holds is waited for ``busy_timeout_s`` seconds; see ``Database`` for ``idle_timeout_s``.

    Raises:
        StoreUnavailable: it cannot be reached, or not be written.
        ConfigurationError: the URL is wrong, the driver is missing, or the schema is not the one this program needs.
    """
    database = Database(url, busy_timeout_s=busy_timeout_s, idle_timeout_s=idle_timeout_s)
    try:
        schema.require(database)
    except BaseException:
        database.close()
        raise
    return SqlStore(database, clock)
