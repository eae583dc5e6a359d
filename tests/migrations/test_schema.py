"""The migrated schema is the one ``tables.py`` describes; versions are told apart; an upgrade happens whole or not."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, create_engine, inspect, text

from bouncepoll.errors import ConfigurationError, StoreUnavailable
from bouncepoll.store import open_store, schema
from bouncepoll.store.database import Database
from bouncepoll.store.tables import metadata
from bouncepoll.testing import FakeClock
from tests.migrations.conftest import NewUrl, NextVersion
from tests.servers.postgresql import PostgreSQL


def _described(connection: Connection) -> dict[str, Any]:
    """Return everything reflection finds out about the tables."""
    found = inspect(connection)
    return {
        table: {
            "columns": [{**c, "type": repr(c["type"])} for c in found.get_columns(table)],
            "primary key": found.get_pk_constraint(table),
            "foreign keys": sorted(map(repr, found.get_foreign_keys(table))),
            "unique": sorted(map(repr, found.get_unique_constraints(table))),
            "checks": sorted((c["name"], "".join(c["sqltext"].split())) for c in found.get_check_constraints(table)),
            "indexes": sorted((i["name"], i["column_names"], _options(i)) for i in found.get_indexes(table)),
            "autoincrement": _autoincrement(connection, table),
        }
        for table in found.get_table_names()
        if table != schema.VERSION_TABLE
    }


def _options(index: Any) -> list[tuple[str, str]]:
    """Return the conditions of a partial index; reflected ones compare by identity."""
    return sorted((name, str(value)) for name, value in index.get("dialect_options", {}).items())


def _autoincrement(connection: Connection, table: str) -> bool:
    if connection.dialect.name != "sqlite":
        return False
    query = text("SELECT sql FROM sqlite_master WHERE name = :table")
    return "AUTOINCREMENT" in str(connection.execute(query, {"table": table}).scalar_one())


def _version(url: str) -> object:
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            return connection.execute(text("SELECT version_num FROM schema_version")).scalar_one()
    finally:
        engine.dispose()


def _tables(url: str) -> set[str]:
    engine = create_engine(url)
    try:
        return set(inspect(engine).get_table_names())
    finally:
        engine.dispose()


def test_the_migrated_schema_is_the_fresh_one(new_url: NewUrl) -> None:
    migrated, fresh = new_url(), new_url()
    schema.upgrade(migrated)
    described = []
    for url in (migrated, fresh):
        engine = create_engine(url)
        with engine.begin() as connection:
            if url == fresh:
                metadata.create_all(connection)
            else:
                options = {"version_table": schema.VERSION_TABLE, "compare_type": True, "compare_server_default": True}
                context = MigrationContext.configure(connection, opts=options)
                assert compare_metadata(context, metadata) == []
            described.append(_described(connection))
        engine.dispose()

    assert described[0].keys() == metadata.tables.keys()
    for table in metadata.tables:
        assert described[0][table] == described[1][table], table


def test_the_version_needed_is_the_last_migration() -> None:
    scripts = ScriptDirectory(str(schema.migrations_folder()))
    assert scripts.get_heads() == [schema.HEAD]
    assert len(list(scripts.walk_revisions())) == len(list(Path(scripts.versions).glob("v*.py")))


def test_an_upgrade_may_be_run_again(new_url: NewUrl) -> None:
    url = new_url()
    assert schema.status(url) == (None, schema.HEAD, False)
    schema.upgrade(url)
    schema.upgrade(url)
    assert schema.status(url) == (schema.HEAD, schema.HEAD, True)


def test_several_upgrades_at_once_make_one_schema(new_url: NewUrl) -> None:
    for _round in range(2):
        url = new_url()
        with ThreadPoolExecutor(4) as threads:
            for done in [threads.submit(schema.upgrade, url) for _ in range(4)]:
                done.result()
        assert _version(url) == schema.HEAD


def test_the_status_makes_no_file(tmp_path: Path) -> None:
    schema.status(f"sqlite:///{tmp_path / 'sub' / 'x.db'}")
    assert list(tmp_path.iterdir()) == []


def test_sqlite_is_upgraded_by_itself(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'sub' / 'bouncepoll.db'}"
    open_store(url, clock=FakeClock()).close()
    assert schema.status(url).up_to_date
    assert (tmp_path / "sub" / "bouncepoll.db").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "sub").stat().st_mode & 0o777 == 0o700


@pytest.mark.server
@pytest.mark.xdist_group("postgresql")
def test_postgresql_is_upgraded_by_command(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    with pytest.raises(ConfigurationError, match=r"no schema yet.*run 'bouncepoll db upgrade'"):
        open_store(url, clock=FakeClock())
    assert _tables(url) == set()
    schema.upgrade(url)
    open_store(url, clock=FakeClock()).close()


@pytest.mark.server
@pytest.mark.xdist_group("postgresql")
def test_postgresql_needs_an_encoding_that_holds_every_mail(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database("ENCODING SQL_ASCII TEMPLATE template0")
    with pytest.raises(ConfigurationError, match=r"encoding is SQL_ASCII.*createdb --encoding=UTF8"):
        schema.upgrade(url)


@pytest.mark.server
@pytest.mark.xdist_group("postgresql")
def test_postgresql_user_without_rights_is_told(postgresql: PostgreSQL) -> None:
    url = postgresql.new_database()
    user, password = postgresql.new_user()
    with pytest.raises(StoreUnavailable, match=r"permission denied.*make it the owner"):
        schema.upgrade(postgresql.url(url.rpartition("/")[2], user, password))


def test_the_tables_of_another_program_are_left_alone(new_url: NewUrl) -> None:
    url = new_url()
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE events (id integer)"))
    engine.dispose()
    with pytest.raises(StoreUnavailable, match=r"already exists.*a database of its own"):
        schema.upgrade(url)
    assert _tables(url) == {"events"}


@pytest.mark.parametrize("readable_from", ["0999", None])
def test_a_newer_schema_that_is_not_for_this_program_is_refused(new_url: NewUrl, readable_from: str | None) -> None:
    url = new_url()
    schema.upgrade(url)
    _set_version(url, "0999", readable_from)
    for refused in (lambda: open_store(url, clock=FakeClock()), lambda: schema.upgrade(url)):
        with pytest.raises(ConfigurationError, match=r"version 0999, made by a newer bouncepoll.*install the newer"):
            refused()
    assert schema.status(url) == ("0999", schema.HEAD, False)
    assert not schema.status(url).is_newer


def _set_version(url: str, version: str, readable_from: str | None) -> None:
    engine = create_engine(url)
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE schema_version SET version_num = :version, readable_from = :readable_from"),
            {"version": version, "readable_from": readable_from},
        )
    engine.dispose()


_MORE = 'op.create_table("later", sa.Column("id", sa.Integer, primary_key=True))'


def test_an_older_schema_is_brought_up_to_date(new_url: NewUrl, next_version: NextVersion) -> None:
    url = new_url()
    schema.upgrade(url)
    head = schema.HEAD
    with next_version(_MORE):
        if url.startswith("postgresql"):
            with pytest.raises(
                ConfigurationError, match=f"is version {head}, and later is needed; run 'bouncepoll db upgrade'"
            ):
                open_store(url, clock=FakeClock())
            schema.upgrade(url)
        open_store(url, clock=FakeClock()).close()
    assert _version(url) == "later"
    assert "later" in _tables(url)


def test_an_upgrade_that_fails_changes_nothing(new_url: NewUrl, next_version: NextVersion) -> None:
    url = new_url()
    schema.upgrade(url)
    head = schema.HEAD
    with next_version(f'{_MORE}; raise LookupError("half way")'), pytest.raises(LookupError, match="half way"):
        schema.upgrade(url)
    assert _version(url) == head
    assert "later" not in _tables(url)


def test_an_installation_without_migrations_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(schema, "__file__", str(tmp_path / "bouncepoll" / "store" / "schema.py"))
    with pytest.raises(ConfigurationError, match=r"migrations are missing.*install bouncepoll again"):
        schema.migrations_folder()


def test_the_version_is_read_from_an_open_database(new_url: NewUrl) -> None:
    url = new_url()
    schema.upgrade(url)
    database = Database(url)
    try:
        assert schema.status_of(database).current == schema.HEAD
        with database.writing() as connection:
            connection.execute(text("DELETE FROM schema_version"))
        assert schema.status_of(database) == (None, schema.HEAD, False)
    finally:
        database.close()
