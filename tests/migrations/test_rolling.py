"""Nodes are upgraded one by one: the program before goes on working on the newest schema, and a way back is kept."""

import shutil
import sqlite3
import stat
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import structlog
from alembic import command
from alembic.config import Config
from sqlalchemy import Connection, Table, create_engine, delete, inspect, select
from sqlalchemy.dialects import postgresql, sqlite

from bouncepoll.analysis import Analyser
from bouncepoll.errors import ConfigurationError, StoreUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.verdict import Evidence, Kind, Verdict
from bouncepoll.pipeline import MailboxPlan, Poller
from bouncepoll.store import open_store, schema
from bouncepoll.store.database import Database
from bouncepoll.testing import FakeClock, FakeSource
from tests.contracts.storing import LEASE, NOW, answers, bounce_filter, count, mail, place, record
from tests.migrations import frozen_v0003 as frozen
from tests.migrations.conftest import NewUrl, NextVersion

# What usual migrations do: a table, a column that may be missing, one with a default, an index.
ADDING = (
    'op.create_table("later", sa.Column("id", sa.Integer, primary_key=True)); '
    'op.add_column("events", sa.Column("weight", sa.Integer)); '
    'op.add_column("places", sa.Column("node", sa.String(64), nullable=False, server_default="")); '
    'op.create_index("ix_later_subject", "messages", ["subject"])'
)


def _at_version(url: str, revision: str) -> None:
    """Make the schema as a program of that version left it."""
    database = Database(url)
    if database.file is not None:
        database.file.touch()
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()).replace("%", "%%"))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)
    database.close()


AT = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
#: A row of each table, in the order in which one needs the other.
ROWS: dict[Table, dict[str, Any]] = {
    frozen.blobs: {"digest": "d" * 64, "octets": b"\0\xff", "size_octets": 2, "stored_at": AT},
    frozen.filters: {
        "id": 1,
        "name": "Spring",
        "name_key": "spring",
        "filter_address": "spring@example.org",
        "description": "",
        "forward_to": ["team@example.net"],
        "forward_kinds": ["reply"],
        "forward_mode": "rewrite",
        "enabled": True,
        "created_at": AT,
    },
    frozen.messages: {
        "id": 1,
        "fingerprint": "f" * 64,
        "kind": "bounce",
        "message_id": "<a@example.org>",
        "detector": "dsn",
        "original_message_id": None,
        "from_address": "x@example.com",
        "subject": "Report",
        "size_octets": 2,
        "defects": ["none"],
        "rule_id": "r",
        "matched_text": "t",
        "matched_where": "w",
        "received_at": AT,
        "recorded_at": AT,
        "stripped": False,
    },
    frozen.places: {
        "id": 1,
        "source": "news",
        "folder": "INBOX",
        "uidvalidity": 7,
        "uid": "1",
        "message_id": 1,
        "state": "stored",
        "duplicate": False,
        "settled": False,
        "truncated": False,
        "blob_digest": "d" * 64,
        "recorded_at": AT,
    },
    frozen.quarantine: {
        "id": 1,
        "place_id": 1,
        "error": "broken",
        "created_at": AT,
        "attempts": 1,
        "blob_digest": "d" * 64,
    },
    frozen.routes: {
        "message_id": 1,
        "filter_id": 1,
        "matched_by": "To",
        "mailing_id": "m",
        "recipient_id": "r",
        "verified": True,
    },
    frozen.events: {
        "id": 1,
        "message_id": 1,
        "recipient": "Ann@example.com",
        "recipient_key": "ann@example.com",
        "kind": "bounce",
        "reason": "user_unknown",
        "permanence": "permanent",
        "severity": "hard",
        "status": "5.1.1",
        "reply_code": 550,
        "action": "failed",
        "remote_mta": "mx.example.net",
        "diagnostic": "no such user",
        "detector": "dsn",
        "rule_id": "r",
        "matched_text": "t",
        "matched_where": "w",
        "recorded_at": AT,
    },
    frozen.forwards: {"message_id": 1, "filter_id": 1, "queued_at": AT},
    frozen.outbox: {
        "id": 1,
        "message_id": 1,
        "filter_id": 1,
        "forward_path": "team@example.net",
        "state": "queued",
        "blob_digest": "d" * 64,
        "attempts": 0,
        "created_at": AT,
        "next_attempt_at": AT,
        "lease_until": AT,
        "finished_at": None,
        "last_reply_code": 451,
        "last_reply_text": "later",
    },
    frozen.cursors: {
        "source": "news",
        "folder": "INBOX",
        "uidvalidity": 7,
        "high_water": 1,
        "highest_modseq": 9,
    },
    frozen.mailbox_states: {
        "source": "news",
        "last_poll_at": AT,
        "last_success_at": AT,
        "failures": 0,
        "last_error": None,
        "next_poll_at": AT,
    },
    frozen.reprocess_runs: {
        "id": 1,
        "selection": {"kind": "bounce"},
        "started_at": AT,
        "after_id": 0,
        "changed": 0,
        "finished_at": AT,
    },
    frozen.past_events: {
        "id": 1,
        "run_id": 1,
        "message_id": 1,
        "recipient": "ann@example.com",
        "kind": "bounce",
        "reason": "expired",
        "permanence": "permanent",
        "severity": "hard",
        "status": "5.1.1",
        "reply_code": 550,
        "action": "failed",
        "remote_mta": "mx.example.net",
        "diagnostic": "d",
        "detector": "dsn",
        "rule_id": "r",
        "matched_text": "t",
        "matched_where": "w",
        "recorded_at": AT,
        "replaced_at": AT,
    },
    frozen.credentials: {
        "name": "mailboxes.news",
        "sealed": "s",
        "version": 1,
        "updated_at": AT,
        "expires_at": AT,
        "lease_owner": "n",
        "lease_until": AT,
        "retry_at": AT,
        "failure": None,
        "failure_permanent": False,
    },
}
#: What its INSERTs name after ON CONFLICT.
_ONCE = {
    frozen.messages: ("fingerprint",),
    frozen.places: ("source", "folder", "uidvalidity", "uid"),
    frozen.routes: ("message_id", "filter_id"),
    frozen.events: ("message_id", "recipient"),
    frozen.forwards: ("message_id", "filter_id"),
    frozen.cursors: ("source", "folder"),
    frozen.blobs: ("digest",),
}


def _insert(connection: Connection, table: Table) -> None:
    made = postgresql.insert(table) if connection.dialect.name == "postgresql" else sqlite.insert(table)
    if table in _ONCE:
        made = made.on_conflict_do_nothing(index_elements=_ONCE[table])
    connection.execute(made, [ROWS[table]])


def _aware(value: Any) -> Any:
    if not isinstance(value, datetime):
        return value
    return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


def test_the_frozen_tables_are_those_of_their_version(new_url: NewUrl) -> None:
    url = new_url()
    _at_version(url, "0003")
    engine = create_engine(url)
    found = inspect(engine)
    for table in frozen.metadata.sorted_tables:
        assert [(c["name"], c["nullable"]) for c in found.get_columns(table.name)] == [
            (column.name, bool(column.nullable)) for column in table.c
        ]
        assert set(ROWS[table]) == {column.name for column in table.c}
    assert {*found.get_table_names()} - {schema.VERSION_TABLE} == {*frozen.metadata.tables}
    engine.dispose()


def test_a_program_of_version_0003_reads_and_writes_the_newest_schema(new_url: NewUrl) -> None:
    url = new_url()
    _at_version(url, "0003")
    schema.upgrade(url)
    engine = create_engine(url)
    with engine.begin() as connection:
        for table in ROWS:
            _insert(connection, table)
            if table in _ONCE:
                _insert(connection, table)
    with engine.begin() as connection:
        for table, wanted in ROWS.items():
            (row,) = connection.execute(select(table)).mappings().all()
            assert {name: _aware(value) for name, value in row.items()} == wanted, table.name
            connection.execute(table.update().values({name: wanted[name] for name in wanted}))
        for table in reversed(ROWS):
            assert connection.execute(delete(table)).rowcount == 1
    engine.dispose()


def test_this_program_goes_on_working_on_the_next_schema(new_url: NewUrl, next_version: NextVersion) -> None:
    url = new_url()
    schema.upgrade(url)
    with next_version(ADDING):
        schema.upgrade(url)
    with structlog.testing.capture_logs() as logs:
        store = open_store(url, clock=FakeClock(NOW))
    assert [(line["event"], line["schema"]) for line in logs] == [("schema_newer_than_program", "later")]
    spring = store.filters.add(bounce_filter())
    recorded = record(store, mail("a", recipients=["x@example.com"]), mail("b", place(2), filters=[spring]))
    assert [(one.events, one.forwards) for one in recorded] == [(1, 0), (0, 1)]
    (item,) = store.outbox.claim(10, NOW, LEASE)
    store.outbox.settle(item, answers(item, 250), {}, NOW)
    assert {message.kind for message in store.messages.list()} == {Kind.REPLY, Kind.BOUNCE}
    assert count(store, "outbox", "state = 'sent'") == 1
    store.close()
    # It does not take the schema back, and says what there is.
    assert schema.upgrade(url) is None
    assert schema.status(url) == ("later", schema.HEAD, True)
    assert schema.status(url).is_newer


def test_a_migration_may_refuse_the_program_before_it(new_url: NewUrl, next_version: NextVersion) -> None:
    url = new_url()
    schema.upgrade(url)
    with next_version('op.drop_column("events", "remote_mta")', declared='readable_from = "later"'):
        schema.upgrade(url)
        assert schema.status(url) == ("later", "later", True)
    with pytest.raises(ConfigurationError, match="version later, made by a newer bouncepoll"):
        open_store(url, clock=FakeClock())


def test_a_node_that_polls_is_not_disturbed_by_the_upgrade(new_url: NewUrl, next_version: NextVersion) -> None:
    """The first node of several is upgraded while another, of the version before, is in the middle of a batch."""
    url = new_url()
    schema.upgrade(url)
    store = open_store(url, clock=FakeClock(NOW))
    octets = [f"Message-ID: <{n}@example.org>\n\nmail {n}\n".encode() for n in range(20)]
    source = FakeSource("news", {"INBOX": octets})
    fetched = []

    def upgrade_meanwhile(step: str) -> None:
        fetched.append(step)
        if fetched.count("fetch") == 7:
            upgrading = threading.Thread(target=schema.upgrade, args=(url,))
            upgrading.start()
            upgrading.join()

    source.fail = upgrade_meanwhile
    with next_version(ADDING):
        plan = MailboxPlan("news", Disposition(DoneAction.MOVE, "Done"), batch=5)
        analyser = Analyser(lambda _message: Verdict(Kind.REPLY, (), Evidence("test")), "here")
        report = Poller(source, plan, store=store, analyser=analyser, clock=FakeClock(NOW)).run()
        assert schema.status(url).current == "later"
    assert (report.recorded, report.settled) == (20, 20)
    assert not source.mailbox["INBOX"].mails
    assert count(store, "messages") == count(store, "places", "settled") == 20
    store.close()


def test_a_copy_is_kept_before_a_sqlite_file_is_changed(tmp_path: Path, next_version: NextVersion) -> None:
    url, file, kept = f"sqlite:///{tmp_path / 'a.db'}", tmp_path / "a.db", tmp_path / f"a.db.bak-{schema.HEAD}"
    before = schema.HEAD
    assert schema.upgrade(url) is None
    store = open_store(url, clock=FakeClock(NOW))
    record(store, mail("a", recipients=["x@example.com"]))
    kept.write_bytes(b"of an upgrade that failed")
    with next_version(ADDING):
        assert schema.upgrade(url) == kept
        assert schema.upgrade(url) is None
    store.close()
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    # The way back: the copy takes the place of the database.
    for name in ("a.db-wal", "a.db-shm"):
        (tmp_path / name).unlink(missing_ok=True)
    kept.replace(file)
    assert schema.status(url) == (before, before, True)
    again = open_store(url, clock=FakeClock(NOW))
    assert count(again, "messages") == 1
    again.close()


def test_an_upgrade_for_whose_copy_there_is_no_room_does_not_begin(
    tmp_path: Path, next_version: NextVersion, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    schema.upgrade(url)
    before = schema.HEAD
    monkeypatch.setattr(schema.shutil, "disk_usage", lambda _folder: shutil._ntuple_diskusage(10**9, 10**9, 1000))  # type: ignore[attr-defined]
    with next_version(ADDING):
        with pytest.raises(StoreUnavailable, match=r"1000 are free; free space.*--no-backup"):
            schema.upgrade(url)
        assert schema.status(url).current == before
        assert schema.upgrade(url, backup=False) is None
        assert schema.status(url).current == "later"
    assert not list(tmp_path.glob("*.bak*"))


def test_of_several_that_upgrade_at_once_one_makes_the_copy(tmp_path: Path, next_version: NextVersion) -> None:
    url = f"sqlite:///{tmp_path / 'a.db'}"
    schema.upgrade(url)
    before = schema.HEAD
    with next_version(ADDING), ThreadPoolExecutor(4) as threads:
        copies = [done.result() for done in [threads.submit(schema.upgrade, url) for _ in range(4)]]
    assert sum(copy is not None for copy in copies) == 1
    with closing(sqlite3.connect(tmp_path / f"a.db.bak-{before}")) as kept:
        assert kept.execute("SELECT version_num FROM schema_version").fetchall() == [(before,)]
