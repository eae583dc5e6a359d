"""The way to the database: its connections, its transactions, and what its errors mean for us."""

import os
import re
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from copy import copy
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import URL, Connection, Engine, Table, create_engine, event
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine.interfaces import DBAPIConnection, DBAPICursor, ExceptionContext
from sqlalchemy.exc import DBAPIError, IntegrityError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from bouncepoll.errors import ConfigurationError, StoreRefused, StoreUnavailable
from bouncepoll.store.address import parse

_CONNECT_TIMEOUT_S = 10
#: No transaction waits for anything but the database: one that is silent for so long is frozen.
IDLE_TIMEOUT_S = 60.0
# A server that vanished without a word is noticed within a minute (seconds, but for the last, which is milliseconds).
_DEAD_PEER = {"keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3, "tcp_user_timeout": 60_000}
_WAL_RETRY_S = 0.02
_POOL_SIZE = 5
_MAX_OVERFLOW = 27

# A connection that is refused because of what the URL asks for: no later run mends that.
_WRONG_OPTION = re.compile(r"\binvalid\b.*\b(option|value)\b")

# What the drivers say, and what to do about it. The first text found wins.
_ADVICE = (
    ("locked", "another process holds the lock; wait for it, or find it with 'fuser' on the file"),
    ("lock timeout", "another process holds the lock; wait for it, or find it in pg_stat_activity"),
    ("lock_not_available", "another process holds the lock; wait for it, or find it in pg_stat_activity"),
    ("read-only", "the server takes no writes; is it a standby, or set to read-only?"),
    ("readonly", "the file, its folder or the file system is read-only for this user; check owner and mode"),
    ("unable to open", "check that the folder exists and that this user may write to it"),
    ("is full", "free space on that file system; nothing was stored, and the next run repeats the work"),
    ("no space left", "free space on the server; nothing was stored, and the next run repeats the work"),
    # What PostgreSQL says to whoever connects while its disk is full.
    ("could not write init file", "free space on the server; nothing was stored, and the next run repeats the work"),
    ("disk i/o error", "check the disk and the space on it; nothing was stored, and the next run repeats the work"),
    ("malformed", "the file is damaged; restore the last backup"),
    ("not a database", "the file is something else; check database.url"),
    ("no such table", "the schema is not the one this program needs; run 'bouncepoll db status'"),
    ("does not exist", "run 'bouncepoll db status'; check the database's name and its schema"),
    ("already exists", "the database holds tables of another program; give bouncepoll a database of its own"),
    ("permission denied", "this user may not do that; make it the owner of the database"),
    ("password authentication failed", "check the user and the password of database.url"),
    (
        "connection slots",
        "the server has no connection left; raise its max_connections, or poll fewer mailboxes at once",
    ),
    (
        "too many clients",
        "the server has no connection left; raise its max_connections, or poll fewer mailboxes at once",
    ),
)
# The same for programs (``StoreUnavailable.reason``); the first text found wins.
_REASONS = (
    ("locked", "locked"),
    ("lock timeout", "locked"),
    ("locknotavailable", "locked"),
    ("read-only", "read_only"),
    ("readonly", "read_only"),
    ("is full", "full"),
    ("no space left", "full"),
    ("could not write init file", "full"),
    ("wrote only", "full"),
    ("disk i/o error", "full"),
    ("malformed", "damaged"),
    ("not a database", "damaged"),
    ("no such table", "schema"),
    ("no such column", "schema"),
    ("relation", "schema"),
    ("undefined", "schema"),
    ("unable to open", "refused"),
    ("does not exist", "refused"),
    ("authentication failed", "refused"),
    ("pg_hba.conf", "refused"),
)
_OTHER_ADVICE = "check that the database runs and can be reached; the next run repeats the work"


class Fence(Protocol):
    """Keeps transactions from being committed by who may not write any more."""

    def look(self, connection: Connection) -> None:
        """Raise where a transaction that begins need not be begun; takes no lock."""
        ...

    def hold(self, connection: Connection) -> None:
        """Raise where a transaction that ends must not be committed; keep it so until that is done."""
        ...


class Database:
    """An engine and its transactions. May be used by several threads at once; ``label`` names it without secrets.

    ``file`` is the database's file, None for PostgreSQL. Every error of the driver is raised as ``StoreUnavailable``. A
    broken constraint is SQLAlchemy's ``IntegrityError`` inside a transaction, and becomes one when it is left with it.
    """

    def __init__(self, url: str, *, busy_timeout_s: float = 30.0, idle_timeout_s: float = IDLE_TIMEOUT_S) -> None:
        """Prepare the engine; no connection is made yet. A lock is waited for ``busy_timeout_s`` seconds.

        PostgreSQL ends a transaction when nothing is heard of it for ``idle_timeout_s`` seconds: a process that was
        frozen in it must not keep its locks, or a pooler's connection, from the others.

        Raises:
            ConfigurationError: the URL is no URL, of another kind of database, or its driver is not installed.
        """
        address = parse(url)
        self.file = address.file
        self.label = address.label
        self._secrets = address.secrets
        timeout_s = busy_timeout_s if address.timeout_s is None else address.timeout_s
        self.fence: Fence | None = None
        if self.file is None:
            self.engine = _postgresql(address.url, timeout_s, idle_timeout_s)
        else:
            self.engine = _sqlite(address.url, timeout_s)
        event.listen(self.engine, "handle_error", self._translate)
        self._identity: tuple[int, int] | None = None

    def fenced(self, fence: Fence) -> "Database":
        """Return the same database, whose writing transactions are begun and committed only if ``fence`` allows it."""
        other = copy(self)
        other.fence = fence
        return other

    @contextmanager
    def connect(self) -> Iterator[Connection]:
        """Start a transaction that may write; it is undone unless it is committed.

        On SQLite it takes the write lock at once: one that first reads and then writes could fail at any time
        (SQLITE_BUSY_SNAPSHOT), however long it waits.
        """
        with self._begun("BEGIN IMMEDIATE") as connection:
            if self.fence is not None:
                self.fence.look(connection)
                connection.execution_options(fence=self.fence)
            yield connection

    @contextmanager
    def writing(self) -> Iterator[Connection]:
        """Start a transaction and commit it at the end."""
        with self.connect() as connection:
            yield connection
            commit(connection)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """Start a transaction that only reads, and waits for no lock."""
        with self._begun("BEGIN") as connection:
            yield connection

    def close(self) -> None:
        """Close the connections that are not in use."""
        self.engine.dispose()

    @contextmanager
    def _begun(self, sqlite_begin: str) -> Iterator[Connection]:
        self._check_file()
        try:
            opened = self.engine.connect()
        except PoolTimeout as exc:
            raise StoreUnavailable(
                f"{self.label}: all {_POOL_SIZE + _MAX_OVERFLOW} connections are in use; poll fewer mailboxes at once"
            ) from exc
        try:
            with opened as connection:
                connection.execution_options(sqlite_begin=sqlite_begin).begin()
                yield connection
            # What was written to a file that nobody finds again is not stored, whatever SQLite says.
            self._check_file()
        except (IntegrityError, OverflowError) as exc:
            # A filter that vanished with a restored backup, a number of more than 64 bits: nothing of it is stored.
            said = self._said(exc.orig if isinstance(exc, IntegrityError) else exc)
            raise StoreRefused(f"{self.label}: {said}; nothing was stored, and the next run repeats the work") from exc

    def _check_file(self) -> None:
        """Make sure that the file is still the one that was opened first; SQLite itself does not notice.

        Raises:
            StoreUnavailable: it was deleted, moved away or replaced.
        """
        if self.file is None:
            return
        try:
            found = self.file.stat()
        except OSError as exc:
            if self._identity is None:
                return  # It is not made yet, or opening it says why it cannot be.
            raise StoreUnavailable(
                f"{self.label}: the file in use is gone: {exc.strerror}; put it back, or restart bouncepoll to begin "
                "with a new one",
                reason="replaced",
            ) from exc
        identity = (found.st_dev, found.st_ino)
        if self._identity is None:
            self._identity = identity
        elif identity != self._identity:
            raise StoreUnavailable(
                f"{self.label}: the file was replaced while it was in use; put the old one back, or restart bouncepoll "
                "to go on with the new one",
                reason="replaced",
            )

    def _translate(self, context: ExceptionContext) -> BaseException | None:
        failure = context.sqlalchemy_exception
        if context.is_pre_ping:
            return None  # A connection that died while nobody used it is replaced, and nobody need know.
        if not isinstance(failure, DBAPIError) or isinstance(failure, IntegrityError):
            return None
        said = self._said(failure.orig)
        if context.connection is None and _WRONG_OPTION.search(said):
            return ConfigurationError(f"database.url: {said}; PostgreSQL's manual lists the 'Parameter Key Words'")
        lowered = f"{said} {type(failure.orig).__name__}".lower()
        advice = next((advice for sign, advice in _ADVICE if sign in lowered), _OTHER_ADVICE)
        reason = next((reason for sign, reason in _REASONS if sign in lowered), "unreachable")
        return StoreUnavailable(f"{self.label}: {said}; {advice}", reason=reason)

    def _said(self, error: BaseException | None) -> str:
        """Return the first line of what the driver said: it holds no values, and no secret."""
        said = (str(error).strip().splitlines() or [type(error).__name__])[0]
        for secret in self._secrets:
            said = said.replace(secret, "***")
        return said


def commit(connection: Connection) -> None:
    """End a transaction of ``Database.connect`` and make it durable, where its fence allows that."""
    fence: Fence | None = connection.get_execution_options().get("fence")
    if fence is not None:
        fence.hold(connection)
    connection.commit()


def insert_into(connection: Connection, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """Return an INSERT that knows ON CONFLICT, in the connection's dialect."""
    return insert_for(connection.dialect.name, table)


def insert_for(dialect: str, table: Table) -> "postgresql.Insert | sqlite.Insert":
    """Return an INSERT that knows ON CONFLICT, in the dialect of that name."""
    return postgresql.insert(table) if dialect == "postgresql" else sqlite.insert(table)


def file_exists(file: Path) -> bool:
    """Return whether the database's file is there.

    Raises:
        StoreUnavailable: that cannot be found out (no right to look into the folder, a name that is too long).
    """
    try:
        return file.exists()
    except OSError as exc:
        raise StoreUnavailable(
            f"{file}: cannot be opened: {exc.strerror}; check database.url and the folder", reason="refused"
        ) from exc


def prepare_file(file: Path) -> None:
    """Make the database's file and its folder where they are missing, for this user alone: they hold people's mail.

    Raises:
        StoreUnavailable: they cannot be made.
    """
    try:
        file.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not file.exists():
            os.close(os.open(file, os.O_RDWR | os.O_CREAT, 0o600))
    except OSError as exc:
        raise StoreUnavailable(
            f"{file}: cannot be made: {exc.strerror}; check database.url and who may write to the folder",
            reason="refused",
        ) from exc


def _sqlite(url: URL, busy_timeout_s: float) -> Engine:
    engine = create_engine(
        url,
        connect_args={"timeout": busy_timeout_s, "check_same_thread": False},
        hide_parameters=True,
        max_overflow=_MAX_OVERFLOW,
        pool_size=_POOL_SIZE,
        pool_timeout=busy_timeout_s,
    )

    def set_up(connection: DBAPIConnection, _record: Any) -> None:
        # The driver would start transactions late and by itself; _begin_sqlite starts them.
        connection.isolation_level = None
        cursor = connection.cursor()
        try:
            cursor.execute("PRAGMA journal_mode")
            if cursor.fetchone() != ("wal",):
                _switch_to_wal(cursor, busy_timeout_s)
            cursor.execute("PRAGMA foreign_keys = ON")
            # With WAL, only FULL keeps a commit through a power cut; and a mail is deleted at its mailbox after it.
            cursor.execute("PRAGMA synchronous = FULL")
        except BaseException:
            # The pool does not close a connection it was not given.
            connection.close()
            raise
        cursor.close()

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", _begin_sqlite)
    return engine


def _switch_to_wal(cursor: DBAPICursor, busy_timeout_s: float) -> None:
    # QUIRK: for this lock SQLite does not wait, whatever its time-out is; two processes may make a database at once.
    deadline = time.monotonic() + busy_timeout_s
    while True:
        try:
            cursor.execute("PRAGMA journal_mode = WAL")
        except sqlite3.OperationalError as exc:
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
            time.sleep(_WAL_RETRY_S)
        else:
            return


def _begin_sqlite(connection: Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("sqlite_begin", "BEGIN IMMEDIATE"))


def _postgresql(url: URL, busy_timeout_s: float, idle_timeout_s: float) -> Engine:
    arguments: dict[str, Any] = {
        "application_name": "bouncepoll",
        "client_encoding": "utf8",
        "connect_timeout": _CONNECT_TIMEOUT_S,
        # Through a pooler in transaction mode (PgBouncer), the next transaction may meet another session.
        "prepare_threshold": None,
        **_DEAD_PEER,
    }
    try:
        engine = create_engine(
            url,
            # What the URL itself sets is the administrator's choice.
            connect_args={name: value for name, value in arguments.items() if name not in url.query},
            hide_parameters=True,
            # The driver would begin transactions by a message of its own; see begin() below.
            isolation_level="AUTOCOMMIT",
            max_overflow=_MAX_OVERFLOW,
            pool_pre_ping=True,
            pool_size=_POOL_SIZE,
            pool_timeout=busy_timeout_s,
        )
    except ImportError as exc:
        raise ConfigurationError(
            "database.url: the driver for PostgreSQL is not installed; run: pip install 'bouncepoll[postgresql]'"
        ) from exc

    def set_up(connection: DBAPIConnection, _record: Any) -> None:
        cursor = connection.cursor()
        try:
            # In another zone the driver cannot read a time at the calendar's edge. Of all that may be set for a session
            # this is what PgBouncer keeps with its client.
            cursor.execute("SET TIME ZONE 'UTC'")
            connection.commit()
        finally:
            cursor.close()

    # For the transaction, not for the session: a pooler hands that out to others. In one message: whoever is frozen
    # while it waits for a connection of the pooler is given one all the same, and must not keep it.
    statements = (
        "BEGIN ISOLATION LEVEL READ COMMITTED",
        f"SET LOCAL lock_timeout = {max(1, int(busy_timeout_s * 1000))}",
        f"SET LOCAL idle_in_transaction_session_timeout = {max(1, int(idle_timeout_s * 1000))}",
    )

    def begin(connection: Connection) -> None:
        connection.exec_driver_sql("; ".join(statements))

    event.listen(engine, "connect", set_up)
    event.listen(engine, "begin", begin)
    return engine
