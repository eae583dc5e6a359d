"""SQLite when something is wrong with the file, the disk or the lock: a clear error, and nothing half done."""

import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
from sqlalchemy import event
from sqlalchemy.exc import ResourceClosedError

from bouncepoll.errors import BouncepollError, ConfigurationError, MessageUnreadable, StoreUnavailable
from bouncepoll.model.mailbox import Cursor
from bouncepoll.model.message import MessageRef
from bouncepoll.store import SqlStore, open_store, schema
from bouncepoll.store.database import Database
from bouncepoll.testing import FakeClock
from tests.contracts.storing import NOW, bounce_filter, count, mail, place, record

_NOBODY = 65534


def _open(file: Path, **options: Any) -> SqlStore:
    return open_store(f"sqlite:///{file}", clock=FakeClock(NOW), **options)


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    other = sqlite3.connect(file, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    try:
        yield
    finally:
        other.close()


def _writes(store: SqlStore) -> list[Callable[[], object]]:
    return [
        lambda: record(store, mail()),
        lambda: store.filters.add(bounce_filter()),
        lambda: store.mailboxes.note_success("news", NOW, NOW),
        lambda: store.outbox.retry(None),
        lambda: store.outbox.claim(1, NOW, NOW - NOW),
        lambda: store.quarantine.retry(None),
        lambda: store.retention(NOW, 1, 1),
    ]


def test_the_file_is_set_up_for_safety(store: SqlStore) -> None:
    with store._database.reading() as connection:
        pragmas = {
            name: connection.exec_driver_sql(f"PRAGMA {name}").scalar()
            for name in ("journal_mode", "foreign_keys", "synchronous", "busy_timeout")
        }
    assert pragmas == {"journal_mode": "wal", "foreign_keys": 1, "synchronous": 2, "busy_timeout": 50}


def test_the_url_may_set_the_time_a_lock_is_waited_for(file: Path) -> None:
    opened = open_store(f"sqlite:///{file}?timeout=1.5", clock=FakeClock(NOW))
    with opened._database.reading() as connection:
        assert connection.exec_driver_sql("PRAGMA busy_timeout").scalar() == 1500
    opened.close()


def test_a_locked_file_is_said_to_be_locked(store: SqlStore, file: Path) -> None:
    with _locked(file):
        for write in _writes(store):
            with pytest.raises(StoreUnavailable, match=r"bouncepoll\.db: database is locked; another process holds"):
                write()
    record(store, mail())
    assert count(store, "messages") == 1


def test_a_file_that_others_read_is_waited_for_before_it_gets_a_wal(tmp_path: Path) -> None:
    # As after a restore with VACUUM INTO. SQLite itself does not wait here.
    file = tmp_path / "bouncepoll.db"
    other = sqlite3.connect(file, isolation_level=None, check_same_thread=False)
    other.executescript("CREATE TABLE x (y); INSERT INTO x VALUES (1); BEGIN; SELECT * FROM x")
    assert other.execute("SELECT y FROM x").fetchall() == [(1,)]
    with pytest.raises(StoreUnavailable, match="database is locked; another process holds the lock"):
        _open(file, busy_timeout_s=0.1)
    release = Timer(0.1, other.execute, ["ROLLBACK"])
    release.start()
    _open(file).close()
    release.join()
    other.close()


def test_reading_waits_for_no_lock(store: SqlStore, file: Path) -> None:
    record(store, mail())
    with _locked(file):
        assert len(store.messages.list()) == 1
        _open(file).close()


def test_a_transaction_has_the_lock_from_its_start(store: SqlStore, file: Path) -> None:
    # Otherwise one that reads first could be refused when it writes, however long it waited.
    with (
        closing(sqlite3.connect(file, timeout=0)) as other,
        store.begin(),
        pytest.raises(sqlite3.OperationalError, match="locked"),
    ):
        other.execute("BEGIN IMMEDIATE")


@contextmanager
def _read_only_file(mode: int) -> Iterator[Path]:
    """Give a database nobody but its owner may write, in a folder with this mode; and be somebody else meanwhile."""
    folder = Path(tempfile.mkdtemp(prefix="bp-ro-", dir="/tmp"))
    try:
        file = folder / "bouncepoll.db"
        schema.upgrade(f"sqlite:///{file}")
        file.chmod(0o444)
        folder.chmod(mode)
        root = os.geteuid() == 0
        if root:
            os.seteuid(_NOBODY)
        try:
            yield file
        finally:
            if root:
                os.seteuid(0)
    finally:
        folder.chmod(0o700)
        shutil.rmtree(folder)


def test_a_read_only_file_is_said_to_be_read_only() -> None:
    with _read_only_file(0o777) as file:
        store = _open(file)
        with pytest.raises(StoreUnavailable, match=r"attempt to write a readonly database; .*check owner and mode"):
            record(store, mail())
        store.close()


def test_a_file_in_a_folder_nobody_may_write_to() -> None:
    with _read_only_file(0o555) as file, pytest.raises(StoreUnavailable, match="check"):
        record(_open(file), mail())


def test_a_folder_nobody_may_look_into() -> None:
    with (
        _read_only_file(0o600) as file,
        pytest.raises(StoreUnavailable, match=r"Permission denied; check database\.url"),
    ):
        _open(file)


@pytest.mark.parametrize("parts", [("missing", "x" * 300), ("x" * 300,)])
def test_a_path_that_cannot_be(tmp_path: Path, parts: tuple[str, ...]) -> None:
    with pytest.raises(StoreUnavailable, match=r"File name too long; check database\.url"):
        _open(tmp_path.joinpath(*parts))


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnavailable, match=r"cannot be made: .*; check database\.url"):
        _open(tmp_path / "file" / "sub" / "bouncepoll.db")


def test_a_folder_where_the_file_should_be(tmp_path: Path) -> None:
    with pytest.raises(StoreUnavailable, match="unable to open database file; check that the folder exists"):
        _open(tmp_path)


def test_a_file_of_something_else_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "notes.txt"
    file.write_text("not a database\n" * 100)
    with pytest.raises(
        StoreUnavailable, match=r"file is not a database; the file is something else; check database\.url"
    ):
        _open(file)
    assert file.read_text() == "not a database\n" * 100


def test_a_damaged_file_is_said_to_be_damaged(store: SqlStore, file: Path) -> None:
    record(store, *(mail(f"m{uid}", place(uid)) for uid in range(200)))
    store.close()
    size = file.stat().st_size
    with file.open("r+b") as damaged:
        damaged.seek(4096)
        damaged.write(b"\xff" * (size - 4096))
    with pytest.raises(StoreUnavailable, match="malformed; the file is damaged; restore the last backup"):
        _open(file).messages.list()


def test_a_full_disk_loses_nothing(store: SqlStore) -> None:
    record(store, mail("m1", place(1)))
    pages = 0

    def limit(connection: Any, _record: Any) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")

    with store._database.reading() as connection:
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())
    event.listen(store._database.engine, "connect", limit)
    store.close()
    with (
        store.begin() as uow,
        pytest.raises(StoreUnavailable, match=r"is full; free space.*the next run repeats the work"),
    ):
        uow.record([mail(f"m{uid}", place(uid), octets=os.urandom(5000)) for uid in range(2, 20)], NOW)
    assert (count(store, "messages"), count(store, "blobs")) == (1, 1)

    event.remove(store._database.engine, "connect", limit)
    store.close()
    pages = 2**30
    record(store, *(mail(f"m{uid}", place(uid)) for uid in range(2, 20)))
    assert count(store, "messages") == 19


_FILL = """
import resource, sys
from tests.contracts.storing import NOW, mail, place
from bouncepoll.errors import StoreUnavailable
from bouncepoll.store import open_store
import os
store = open_store(sys.argv[1], clock=lambda: NOW)
resource.setrlimit(resource.RLIMIT_FSIZE, (600_000, 600_000))
done = 0
try:
    while True:
        with store.begin() as uow:
            uow.record([mail(f"m{done}-{i}", place(done * 10 + i), octets=os.urandom(3000)) for i in range(10)], NOW)
            uow.commit()
        done += 1
except StoreUnavailable as exc:
    print(done, exc)
"""


def test_a_disk_that_refuses_to_write_leaves_whole_batches(file: Path) -> None:
    script = [sys.executable, "-c", _FILL, f"sqlite:///{file}"]
    run = subprocess.run(script, cwd=Path(__file__).parents[3], capture_output=True, text=True, check=False, timeout=60)
    done, _, said = run.stdout.strip().partition(" ")
    assert int(done) > 0, run.stderr
    assert said.endswith("nothing was stored, and the next run repeats the work")
    store = _open(file)
    assert count(store, "messages") == count(store, "places") == int(done) * 10
    record(store, mail("after", place(99_999)))
    store.close()


_KILLED = """
import os, signal, sys
from tests.contracts.storing import NOW, mail, place, record
from bouncepoll.store import open_store
store = open_store(sys.argv[1], clock=lambda: NOW)
record(store, mail("before", place(1)))
with store.begin() as uow:
    uow.record([mail(f"m{i}", place(i), octets=os.urandom(50_000)) for i in range(2, 100)], NOW)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_process_leaves_nothing_half_done(file: Path) -> None:
    script = [sys.executable, "-c", _KILLED, f"sqlite:///{file}"]
    assert subprocess.run(script, cwd=Path(__file__).parents[3], check=False, timeout=60).returncode == -9
    store = _open(file, busy_timeout_s=0.0)
    assert (count(store, "messages"), count(store, "places"), count(store, "blobs")) == (1, 1, 1)
    assert len(record(store, mail("m2", place(2)))) == 1
    store.close()


def test_a_missing_table_is_said_to_be_missing(store: SqlStore) -> None:
    with store._database.writing() as connection:
        connection.exec_driver_sql("DROP TABLE mailbox_states")
    with pytest.raises(StoreUnavailable, match=r"no such table: mailbox_states; .*run 'bouncepoll db status'"):
        store.mailboxes.all()


def test_a_filter_that_vanished_is_an_error_of_ours(store: SqlStore) -> None:
    # As after restoring a backup under a running program.
    stranger = replace(bounce_filter(), id=42)
    with pytest.raises(StoreUnavailable, match="FOREIGN KEY constraint failed; nothing was stored"):
        record(store, mail(filters=[stranger]))
    assert count(store, "messages") == 0


def test_numbers_no_database_takes_are_an_error_of_ours(store: SqlStore) -> None:
    with pytest.raises(StoreUnavailable, match="too large"), store.begin() as uow:
        uow.advance(Cursor("news", "INBOX", 2**80, 1))


def test_a_place_too_long_to_be_indexed_is_refused(store: SqlStore) -> None:
    with pytest.raises(MessageUnreadable, match="place there has 5009 octets, and at most 2600"):
        record(store, mail(at=MessageRef("news", "INBOX", None, "u" * 5000)))


def test_nothing_can_be_done_after_the_commit(store: SqlStore) -> None:
    with store.begin() as uow:
        uow.commit()
        with pytest.raises(ResourceClosedError):
            uow.record([mail()], NOW)
    assert count(store, "messages") == 0


def test_all_connections_in_use_is_an_error_of_ours(file: Path) -> None:
    database = Database(f"sqlite:///{file}", busy_timeout_s=0.01)
    with pytest.raises(StoreUnavailable, match="all 32 connections are in use; poll fewer mailboxes at once"):
        _nested(database, 33)
    database.close()


def _nested(database: Database, depth: int) -> None:
    if depth:
        with database.reading():
            _nested(database, depth - 1)


def test_closing_twice_is_allowed(store: SqlStore) -> None:
    store.close()
    store.close()


@pytest.mark.parametrize("url", ["garbage", "sqlite://", "sqlite:////proc", "sqlite:////proc/x/y.db"])
def test_every_error_of_opening_is_one_of_ours(url: str) -> None:
    for call in (schema.upgrade, lambda at: open_store(at, clock=FakeClock(NOW))):
        with pytest.raises(BouncepollError):
            call(url)
    with pytest.raises(ConfigurationError):
        schema.status("garbage")
