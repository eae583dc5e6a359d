"""Whether the database takes writes, found out by writing; and a file that is not the one that was opened."""

import os
from pathlib import Path

import pytest
from sqlalchemy import text

from bouncepoll.errors import StoreRefused, StoreUnavailable
from bouncepoll.store import SqlStore, open_store, schema
from bouncepoll.testing import FakeClock
from tests.contracts.storing import NOW, count, mail, place, record
from tests.integration.store.test_database import _locked, _read_only_file
from tests.servers.postgresql import PostgreSQL


def _proof(store: SqlStore) -> None:
    store.prove_writable()
    store.prove_writable({"full"})


def test_a_proof_changes_nothing(store: SqlStore) -> None:
    record(store, mail())
    _proof(store)
    assert (count(store, "messages"), count(store, "blobs")) == (1, 1)


def test_a_proof_is_a_real_write(store: SqlStore, file: Path) -> None:
    wal = file.with_name(file.name + "-wal")
    store.close()
    assert not wal.exists()
    store.prove_writable()
    assert wal.stat().st_size > 0


def test_a_lock_is_a_reason(store: SqlStore, file: Path) -> None:
    with _locked(file), pytest.raises(StoreUnavailable, match="another process holds") as caught:
        store.prove_writable()
    assert caught.value.reason == "locked"
    _proof(store)


def test_a_file_that_could_only_be_read_is_opened_anew() -> None:
    with _read_only_file(0o777) as file:
        store = open_store(f"sqlite:///{file}", clock=FakeClock(NOW))
        with pytest.raises(StoreUnavailable) as caught:
            store.prove_writable()
        assert caught.value.reason == "read_only"
        if os.geteuid() != os.getuid():
            os.seteuid(os.getuid())
        for name in file.parent.iterdir():
            name.chmod(0o666)
        store.prove_writable({"full"})
        store.prove_writable()
        store.close()


def test_a_full_file_is_found_by_the_reserve_only(store: SqlStore) -> None:
    record(store, mail())
    with store._database.connect() as connection:
        pages = int(connection.exec_driver_sql("PRAGMA page_count").scalar_one())

    def limit(raw: object, _record: object, pages: int = pages + 10) -> None:
        raw.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined] # the driver's connection

    from sqlalchemy import event

    event.listen(store._database.engine, "connect", limit)
    store.close()
    store.prove_writable()
    with pytest.raises(StoreUnavailable, match="is full") as caught:
        store.prove_writable({"full"})
    assert caught.value.reason == "full"
    event.remove(store._database.engine, "connect", limit)
    store.prove_writable({"full"})
    assert count(store, "blobs") == 1


def test_an_older_schema_is_a_reason(store: SqlStore) -> None:
    with store._database.writing() as connection:
        connection.execute(text(f"UPDATE {schema.VERSION_TABLE} SET version_num = '0001'"))
    with pytest.raises(StoreUnavailable, match=r"the schema is version 0001, and .* is needed") as caught:
        store.prove_writable()
    assert caught.value.reason == "schema"
    with store._database.writing() as connection:
        connection.execute(text(f"DROP TABLE {schema.VERSION_TABLE}"))
    with pytest.raises(StoreUnavailable) as caught:
        store.prove_writable()
    assert caught.value.reason == "schema"


class TestTheFile:
    def test_gone(self, store: SqlStore, file: Path) -> None:
        file.rename(file.with_suffix(".away"))
        for call in (store.prove_writable, lambda: record(store, mail()), store.mailboxes.all):
            with pytest.raises(StoreUnavailable, match=r"the file in use is gone: .*; put it back") as caught:
                call()
            assert caught.value.reason == "replaced"
        assert not file.exists()
        file.with_suffix(".away").rename(file)
        _proof(store)
        record(store, mail())
        assert count(store, "messages") == 1

    def test_replaced(self, store: SqlStore, file: Path) -> None:
        other = file.with_suffix(".other")
        schema.upgrade(f"sqlite:///{other}")
        kept = file.with_suffix(".kept")
        file.rename(kept)
        other.rename(file)
        with pytest.raises(StoreUnavailable, match="the file was replaced while it was in use") as caught:
            record(store, mail())
        assert caught.value.reason == "replaced"
        kept.replace(file)
        record(store, mail())

    def test_its_folder_gone(self, store: SqlStore, file: Path) -> None:
        away = file.parent.with_name("away")
        file.parent.rename(away)
        try:
            with pytest.raises(StoreUnavailable, match="the file in use is gone"):
                store.prove_writable()
        finally:
            away.rename(file.parent)
        _proof(store)

    def test_gone_between_begin_and_commit(self, store: SqlStore, file: Path) -> None:
        """What nobody will find again is not said to be stored: its mails are not settled."""

        def write() -> None:
            with store.begin() as uow:
                uow.record([mail(at=place(1))], NOW)
                file.unlink()
                uow.commit()

        with pytest.raises(StoreUnavailable, match="the file in use is gone"):
            write()


@pytest.mark.server
@pytest.mark.xdist_group("postgresql")
class TestPostgreSQL:
    @pytest.fixture
    def url(self, postgresql: PostgreSQL) -> str:
        url = postgresql.new_database()
        schema.upgrade(url)
        return url

    def test_a_proof_changes_nothing(self, url: str) -> None:
        store = open_store(url, clock=FakeClock(NOW))
        _proof(store)
        assert count(store, "blobs") == 0
        store.close()

    def test_read_only(self, postgresql: PostgreSQL, url: str) -> None:
        store = open_store(url, clock=FakeClock(NOW))
        database = url.rpartition("/")[2]
        postgresql.execute(f"ALTER DATABASE {database} SET default_transaction_read_only = on")
        store.close()
        with pytest.raises(StoreUnavailable, match="takes no writes") as caught:
            store.prove_writable()
        assert caught.value.reason == "read_only"
        postgresql.execute(f"ALTER DATABASE {database} RESET default_transaction_read_only")
        # The connections at hand would stay as they are.
        store.prove_writable({"full"})
        store.prove_writable()
        store.close()

    def test_a_lock(self, postgresql: PostgreSQL, url: str) -> None:
        store, other = (open_store(url, clock=FakeClock(NOW), busy_timeout_s=0.1) for _ in range(2))
        with other._database.connect() as connection:
            connection.exec_driver_sql(f"LOCK TABLE {schema.VERSION_TABLE}")
            with pytest.raises(StoreUnavailable) as caught:
                store.prove_writable()
        assert caught.value.reason == "locked"
        _proof(store)
        store.close()
        other.close()


def test_what_concerns_one_work_only_is_told_apart() -> None:
    assert issubclass(StoreRefused, StoreUnavailable)
    assert StoreUnavailable("x").reason == "unreachable"
