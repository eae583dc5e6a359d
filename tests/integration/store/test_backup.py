"""Copies of a SQLite database: whole while it is written to, and never in the way of anything."""

import sqlite3
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest
import structlog

from bouncepoll.bootstrap._process import keep_private
from bouncepoll.errors import StoreUnavailable, UsageError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.store import SqlStore, open_store
from bouncepoll.store.backup import back_up
from bouncepoll.testing import FakeClock


def names_in(file: Path) -> list[str]:
    copy = open_store(f"sqlite:///{file}", clock=FakeClock())
    try:
        return [entry.name for entry in copy.filters.all()]
    finally:
        copy.close()


def add(store: SqlStore, number: int) -> None:
    store.filters.add(BounceFilter(0, f"filter {number}", f"f{number}@example.org"))


def test_the_copy_of_a_database_in_use_is_whole(store: SqlStore, file: Path, tmp_path: Path) -> None:
    add(store, 0)
    stop = threading.Event()

    def write() -> None:
        number = 0
        while not stop.is_set() and number < 2000:
            number += 1
            add(store, number)

    writer = threading.Thread(target=write)
    writer.start()
    try:
        sizes = [back_up(f"sqlite:///{file}", tmp_path / f"copy{turn}.db") for turn in range(5)]
    finally:
        stop.set()
        writer.join()
    for turn, size in enumerate(sizes):
        copy = tmp_path / f"copy{turn}.db"
        assert copy.stat().st_size == size
        assert stat.S_IMODE(copy.stat().st_mode) == 0o600
        found = names_in(copy)
        assert sorted(found) == sorted(f"filter {number}" for number in range(len(found)))
    assert not list(tmp_path.glob(".*.part"))


def test_an_existing_file_is_replaced_only_when_asked(store: SqlStore, file: Path, tmp_path: Path) -> None:
    add(store, 1)
    target = tmp_path / "copy.db"
    target.write_bytes(b"precious")
    with pytest.raises(UsageError, match="--replace"):
        back_up(f"sqlite:///{file}", target)
    assert target.read_bytes() == b"precious"
    back_up(f"sqlite:///{file}", target, replace=True)
    assert names_in(target) == ["filter 1"]


def test_a_damaged_database_is_said_and_the_old_copy_stays(store: SqlStore, file: Path, tmp_path: Path) -> None:
    for number in range(400):
        add(store, number)
    store.close()
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    octets = bytearray(file.read_bytes())
    octets[len(octets) // 2 : len(octets) // 2 + 8192] = b"\xff" * 8192
    file.write_bytes(octets)
    target = tmp_path / "copy.db"
    target.write_bytes(b"the last good copy")
    with pytest.raises(StoreUnavailable, match="damaged"):
        back_up(f"sqlite:///{file}", target, replace=True)
    assert target.read_bytes() == b"the last good copy"
    assert not list(tmp_path.glob(".*.part"))


def test_what_cannot_be_copied_is_said(store: SqlStore, file: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="pg_dump"):
        back_up("postgresql+psycopg://bob:secret@db.example.org/mails", tmp_path / "copy.db")
    with pytest.raises(UsageError, match="no database yet"):
        back_up(f"sqlite:///{tmp_path}/none.db", tmp_path / "copy.db")
    with pytest.raises(UsageError, match="itself"):
        back_up(f"sqlite:///{file}", file, replace=True)
    with pytest.raises(StoreUnavailable, match="the copy failed"):
        back_up(f"sqlite:///{file}", tmp_path / "no such folder" / "copy.db")


def test_a_database_others_could_read_is_closed_to_them(store: SqlStore, file: Path, tmp_path: Path) -> None:
    add(store, 1)
    for name in ("", "-wal", "-shm"):
        file.with_name(f"{file.name}{name}").chmod(0o664)
    with structlog.testing.capture_logs() as logs:
        keep_private(file)
        keep_private(None)
        keep_private(tmp_path / "none.db")
    found = [one for one in file.parent.iterdir() if one.name.startswith(file.name)]
    assert len(found) == 3
    assert {stat.S_IMODE(one.stat().st_mode) for one in found} == {0o600}
    assert [line["before"] for line in logs] == ["0664"] * 3
