"""What the running service and the commands ask of the database costs the same however much is stored.

SQLite counts the steps of its machine: the same work is done on a small database and on one four times as large, and
must not take noticeably more steps. What grows is listed with the reason. PostgreSQL is asked for its plans.
"""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event, text

from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.mailbox import Scan
from bouncepoll.model.storing import Selection
from bouncepoll.model.verdict import Kind
from bouncepoll.store import SqlStore, schema
from bouncepoll.store.database import Database
from bouncepoll.testing import FakeClock
from tests.contracts.storing import LEASE, mail, place, record
from tests.integration.load.filling import AGE_DAYS, NOW, fill, mailbox
from tests.servers.postgresql import PostgreSQL

Work = Callable[[SqlStore], Any]

_SMALL, _LARGE = 4_000, 16_000
_STEPS_A_CALL = 20
_SOURCE = mailbox(3)
_UIDS = tuple(str(uid) for uid in range(1, 60))


def _poll(store: SqlStore) -> None:
    scan = Scan(_SOURCE, "INBOX", 7, _UIDS)
    with store.begin() as uow:
        uow.cursor(_SOURCE, "INBOX")
        uow.known(scan)
        uow.mark_settled(uow.unsettled(scan, 2))
        uow.commit()
    record(store, mail("new", place(99_999, source=_SOURCE), recipients=["ann@example.com"]))
    store.mailboxes.note_success(_SOURCE, NOW, NOW)


def _retain_nothing(store: SqlStore) -> None:
    counts = store.retention(NOW, AGE_DAYS + 1, AGE_DAYS + 1)
    assert (counts.blobs, counts.events, counts.forwards, counts.messages) == (0, 0, 0, 0)


def _retain_one_batch(store: SqlStore) -> None:
    asked = iter([False] * 5 + [True] * 100)
    store.retention(NOW, 90, 90, batch=20, should_stop=lambda: next(asked))


#: What must not grow.
BOUNDED: dict[str, Work] = {
    "poll": _poll,
    "outbox claim": lambda store: store.outbox.claim(1, NOW + timedelta(days=1), LEASE),
    "outbox release": lambda store: store.outbox.release(),
    "retention, nothing old": _retain_nothing,
    "retention, a batch": _retain_one_batch,
    "mailboxes": lambda store: store.mailboxes.all(),
    "filters": lambda store: store.filters.all(),
    "message list": lambda store: store.messages.list(),
    "message list, next page": lambda store: store.messages.list(before_id=2_000),
    "message list --kind": lambda store: store.messages.list(kind=Kind.BOUNCE),
    "message list --unrouted": lambda store: store.messages.list(unrouted=True),
    "message show": lambda store: store.messages.get(1_234),
    "message octets": lambda store: store.messages.octets(1_234),
    "events list": lambda store: store.events.list(),
    "events list, next page": lambda store: store.events.list(after_id=2_000),
    "events list --recipient": lambda store: store.events.list(recipient="reader1234@example.com"),
    "events list --kind": lambda store: store.events.list(kind=Kind.BOUNCE),
    "outbox list": lambda store: store.outbox.list(),
    "outbox list --state dead": lambda store: store.outbox.list(OutboxState.DEAD),
    "outbox retry --all-dead": lambda store: store.outbox.retry(None),
    "reprocess, a page": lambda store: store.archive.page(Selection(), 1_000, 50),
    "reprocess, a page of a kind": lambda store: store.archive.page(Selection(kind=Kind.BOUNCE), 1_000, 50),
    "reprocess, unfinished": lambda store: store.archive.unfinished_run(),
}

#: What grows with what is stored, and why that is borne.
GROWING: dict[str, tuple[Work, str]] = {
    "reprocess, the count": (
        lambda store: store.archive.count(Selection()),
        "counts what is meant, once, before a run that reads all of it",
    ),
    "outbox counts": (lambda store: store.outbox.counts(), "reads one index and no table"),
    "quarantine list": (lambda store: store.quarantine.list(), "shows all of it; somebody has to clear it"),
    "message list --mailbox": (lambda store: store.messages.list(source="none"), "walks back until there are enough"),
    "message show, by place": (
        lambda store: store.messages.at(_SOURCE, "INBOX", "5"),
        "walks the index of one folder, for its UIDVALIDITY is not given",
    ),
}


class _Steps:
    """Counts, roughly, the steps SQLite takes."""

    def __init__(self, database: Database) -> None:
        self.count = 0
        event.listen(database.engine, "connect", self._connected)

    def _connected(self, connection: Any, _record: Any) -> None:
        connection.set_progress_handler(self._step, _STEPS_A_CALL)

    def _step(self) -> int:
        self.count += 1
        return 0


@contextmanager
def _filled(url: str, mails: int) -> "Iterator[tuple[Database, SqlStore]]":
    schema.upgrade(url)
    database = Database(url)
    with closing(database):
        fill(database, mails, mailboxes=50, bounce_filters=20)
        yield database, SqlStore(database, FakeClock(NOW))


def _steps(folder: Path, mails: int) -> dict[str, int]:
    """Return how many steps each work takes; what it changes is the same in both databases."""
    found = {}
    with _filled(f"sqlite:///{folder / f'{mails}.db'}", mails) as (database, store):
        database.close()
        steps = _Steps(database)
        for name, work in (BOUNDED | {name: work for name, (work, _why) in GROWING.items()}).items():
            before = steps.count
            work(store)
            found[name] = steps.count - before
    return found


def test_what_is_asked_costs_the_same_however_much_is_stored(tmp_path: Path) -> None:
    small, large = _steps(tmp_path, _SMALL), _steps(tmp_path, _LARGE)
    grown = {name for name in BOUNDED if large[name] > 1.5 * small[name] + 20}
    assert {name: (small[name], large[name]) for name in grown} == {}


def test_the_count_of_steps_finds_what_grows(tmp_path: Path) -> None:
    small, large = _steps(tmp_path, _SMALL // 2), _steps(tmp_path, _LARGE)
    name = "reprocess, the count"
    assert large[name] > 4 * small[name]


@pytest.mark.server
@pytest.mark.xdist_group("postgresql")
def test_postgresql_has_an_index_for_each(postgresql: PostgreSQL) -> None:
    with _filled(postgresql.new_database(), _SMALL) as (database, store):
        plans = _Plans(database)
        for name, work in BOUNDED.items():
            plans.work = name
            work(store)
    assert plans.scans == set()


class _Plans:
    """Explains each statement before it is run, and notes whole tables it would have to read."""

    _SMALL_TABLES = ("filters", "mailbox_states", "cursors", "reprocess_runs", "quarantine")

    def __init__(self, database: Database) -> None:
        self.work = ""
        self.scans: set[tuple[str, str]] = set()
        self._explaining = False
        event.listen(database.engine, "before_cursor_execute", self._before)

    def _before(
        self, connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool
    ) -> None:
        if self._explaining or not statement.startswith(("SELECT", "UPDATE", "DELETE")):
            return
        self._explaining = True
        # A scan that is taken although it is forbidden is one there is no index for.
        connection.execute(text("SET LOCAL enable_seqscan = off"))
        with closing(connection.connection.cursor()) as cursor:
            cursor.execute("EXPLAIN " + statement, parameters[0] if many else parameters)
            lines = [row[0] for row in cursor.fetchall()]
        connection.execute(text("SET LOCAL enable_seqscan = on"))
        self._explaining = False
        for line in lines:
            _before, is_scan, table = line.partition("Seq Scan on ")
            if is_scan and table.split()[0] not in self._SMALL_TABLES:
                self.scans.add((self.work, line.strip()))
