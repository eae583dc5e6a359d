"""``bouncepoll doctor`` at the database."""

import json
import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from bouncepoll.auth.keys import generate
from bouncepoll.bootstrap import Application
from bouncepoll.diagnose.doctor import run
from bouncepoll.model.probe import Outcome
from bouncepoll.settings import load
from bouncepoll.store import probe as store_probe
from bouncepoll.store import schema
from bouncepoll.store.probe import probe as database_probe
from tests.integration.doctor.checks import Checks, Command, Site
from tests.servers import free_port
from tests.servers.postgresql import PostgreSQL

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgresql")]


def test_the_database_of_several_machines(postgresql: PostgreSQL, tmp_path: Path, command: Command) -> None:
    url = postgresql.new_database()
    config = tmp_path / "config.toml"
    config.write_text(f'[database]\nurl = "{url}"\n', encoding="utf-8")
    config.chmod(0o644)
    config.chmod(0o600)
    status, out, _err = command(config, "doctor")
    assert status == 1
    assert "  FAIL schema: there is no schema yet" in out
    assert "→ run: bouncepoll db upgrade" in out
    assert "  FAIL mailboxes: no mailbox is configured" in out
    assert command(config, "db", "upgrade")[0] == 0
    _status, out, _err = command(config, "doctor", "--json")
    found = {record["check"]: record for record in map(json.loads, out.splitlines()) if record["subject"] == "database"}
    assert {check: record["outcome"] for check, record in found.items()} == {
        "database": "ok",
        "schema": "ok",
        "writable": "ok",
        "clock": "ok",
    }
    assert "the database's" in found["clock"]["found"]


def test_a_postgresql_that_takes_no_writes(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    schema.upgrade(url)
    name = url.rpartition("/")[2].partition("?")[0]
    postgresql.execute(f'ALTER DATABASE "{name}" SET default_transaction_read_only = on')
    found = {one.check: one for one in database_probe(url)}
    assert found["writable"].outcome is Outcome.FAIL
    assert found["writable"].found == "the server takes no writes"
    postgresql.execute(f'ALTER DATABASE "{name}" RESET default_transaction_read_only')


def test_a_database_that_cannot_be_reached(site: Site, tmp_path: Path) -> None:
    config = tmp_path / "other.toml"
    url = f"postgresql+psycopg://bp:hunter-two@127.0.0.1:{free_port()}/mails"
    config.write_text(f'[database]\nurl = "{url}"\n', encoding="utf-8")
    config.chmod(0o644)
    with Application(load(config, env={}, cwd=tmp_path)) as application:
        checks = Checks(list(run(application, (), config, timeout_s=5.0)))
    failed = checks.one("database", "database")
    assert failed.outcome is Outcome.FAIL
    assert "hunter-two" not in str(checks.found)
    assert checks.one("schema", "database").outcome is Outcome.SKIP
    warned = checks.one("configuration", "configuration")
    assert warned.outcome is Outcome.FAIL
    assert "database.url" in warned.found
    assert os.fspath(config) in warned.mend[0]


def test_a_database_of_sqlite(site: Site) -> None:
    assert site.look("").outcomes("database") == {
        "database": "ok",
        "schema": "skip",
        "writable": "skip",
        "space": "ok",
    }
    assert not (site.folder / "mails.db").exists()
    site.add_filters("")
    (site.folder / "mails.db").chmod(0o644)
    found = site.look("")
    assert found.outcomes("database") == {
        "database": "ok",
        "schema": "ok",
        "writable": "ok",
        "mode": "warn",
        "space": "ok",
    }
    assert found.one("mode", "database").mend == (f"run: chmod 600 {site.folder}/mails.db",)


@pytest.mark.parametrize(
    ("version", "readable_from", "outcome"),
    [("0001", "0001", Outcome.WARN), ("9999", "9999", Outcome.FAIL), ("9999", "0003", Outcome.WARN)],
)
def test_another_schema(site: Site, version: str, readable_from: str, outcome: Outcome) -> None:
    site.add_filters("")
    with closing(sqlite3.connect(site.folder / "mails.db")) as connection:
        connection.execute("UPDATE schema_version SET version_num = ?, readable_from = ?", (version, readable_from))
        connection.commit()
    found = site.look("").one("schema", "database")
    assert found.outcome is outcome
    assert f"version {version}" in found.found


def test_a_database_somebody_else_writes(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_probe, "_BUSY_TIMEOUT_S", 0.1)
    site.add_filters("")
    with closing(sqlite3.connect(site.folder / "mails.db", isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        found = site.look("").one("writable", "database")
    assert found.outcome is Outcome.WARN
    assert "locked" in found.found


def test_files_that_are_no_database(site: Site) -> None:
    (site.folder / "mails.db").write_bytes(b"no database at all, but longer than a page header" * 20)
    found = site.look("")
    assert found.one("database", "database").outcome is Outcome.FAIL
    assert "not a database" in found.one("database", "database").found
    wrong = {one.check: one for one in database_probe("sqlite:///:memory:")}
    assert wrong["database"].outcome is Outcome.FAIL
    assert wrong["schema"].outcome is Outcome.SKIP


def test_no_space(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, outcome in ((50 * 1024**2, Outcome.FAIL), (500 * 1024**2, Outcome.WARN)):
        usage = shutil.disk_usage(site.folder)._replace(free=free)
        monkeypatch.setattr(shutil, "disk_usage", lambda _folder, usage=usage: usage)
        assert site.look("").one("space", "database").outcome is outcome
        monkeypatch.undo()


def test_logins_that_nobody_went_through(site: Site) -> None:
    generate(site.folder / "keys")
    keys = f'[credentials]\nkey_file = "{site.folder / "keys"}"\n'
    auth = 'host = "127.0.0.1"\nport = 1\nsecurity = "insecure-loopback"\nusername = "news@example.org"\n'
    text = f'{keys}[mailboxes.news]\n{auth}oauth = "microsoft"\nauth.kind = "device_code"\nauth.client_id = "x"\n'
    found = site.look(text).one("credentials", "credentials")
    assert found.outcome is Outcome.FAIL
    assert found.mend == ("run: bouncepoll mailbox login news",)
    assert not (site.folder / "mails.db").exists()
    text = (
        f'[mailboxes.news]\n{auth}oauth = "microsoft"\nauth.kind = "client_credentials"\nauth.client_id = "x"\n'
        'auth.tenant = "example.org"\nauth.client_secret = "hunter-two"\nauth.expires = 2020-01-31\n'
    )
    ended = site.look(text).one("credentials", "credentials")
    assert ended.outcome is Outcome.FAIL
    assert ended.found == "mailboxes.news: client secret ended on 2020-01-31"


def test_a_folder_where_nothing_may_be_made(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    access = os.access
    # As root everything may be written.
    monkeypatch.setattr(os, "access", lambda path, mode: access(path, mode) and not mode & os.W_OK)
    found = site.look("")
    assert found.one("database", "database").outcome is Outcome.FAIL
    assert f"this user may make nothing in {site.folder}" in found.one("database", "database").found
