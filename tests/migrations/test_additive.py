"""Migrations add: each is run, and the schema before and after it compared. The comparison itself is tried first."""

from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine, text

from bouncepoll.store import schema
from bouncepoll.store.database import Database
from tests.migrations.additive import described, faults
from tests.migrations.conftest import NewUrl

#: Programs before this version look at nothing but their own; nobody needs to go on running on what came after.
FIRST = schema.FIRST_READABLE


def _upgraded(database: Database, revision: str) -> None:
    config = Config()
    config.set_main_option("script_location", str(schema.migrations_folder()).replace("%", "%%"))
    with database.writing() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, revision)


def test_every_migration_leaves_the_program_before_it_running(new_url: NewUrl) -> None:
    url = new_url()
    database = Database(url)
    if database.file is not None:
        database.file.touch()
    later = [
        script
        for script in ScriptDirectory(str(schema.migrations_folder())).walk_revisions(base=FIRST, head="heads")
        if script.revision != FIRST
    ][::-1]
    try:
        _upgraded(database, FIRST)
        for script in later:
            with database.reading() as connection:
                before = described(connection)
            _upgraded(database, script.revision)
            with database.reading() as connection:
                found = faults(before, described(connection))
            refuses = getattr(script.module, "readable_from", None) == script.revision
            assert refuses or not found, (
                f"{script.revision} is not additive: {found}; add only, or declare readable_from in it"
            )
            assert found or not refuses, f"{script.revision} refuses the program before it without need"
    finally:
        database.close()


_BEFORE = """
CREATE TABLE kept (id INTEGER PRIMARY KEY, name VARCHAR(10), kind VARCHAR(9) NOT NULL, size INTEGER,
    CONSTRAINT uq_name UNIQUE (name), CONSTRAINT ck_kind CHECK (kind IN ('bounce', 'reply')));
CREATE TABLE other (id INTEGER PRIMARY KEY)
"""


@pytest.mark.parametrize(
    ("change", "into", "fault"),
    [
        ("", "", None),
        ("size INTEGER,", "size INTEGER, more INTEGER,", None),
        ("size INTEGER,", "size INTEGER, more INTEGER NOT NULL DEFAULT 0,", None),
        ("'reply')", "'reply', 'delay')", None),
        ("size INTEGER,", "size INTEGER, more INTEGER REFERENCES other (id),", None),
        ("size INTEGER,", "size INTEGER, more INTEGER NOT NULL,", "new column more must be given"),
        ("size INTEGER,", "", "column size is gone"),
        ("size INTEGER", "octets INTEGER", "column size is gone"),
        ("size INTEGER", "size VARCHAR(20)", "column size has another type"),
        ("VARCHAR(10)", "VARCHAR(5)", "column name has another type"),
        ("size INTEGER", "size INTEGER NOT NULL", "column size must be given now"),
        ("size INTEGER", "size INTEGER UNIQUE", "unique size is new or gone"),
        (" CONSTRAINT uq_name UNIQUE (name),", "", "unique name is new or gone"),
        ("size INTEGER", "size INTEGER REFERENCES other (id)", "foreign key size, other is new"),
        ("('bounce', 'reply')", "('bounce')", "check ck_kind is another one"),
        ("('bounce', 'reply')", "('bounce', 'reply') AND size > 0", "check ck_kind is another one"),
        ("size INTEGER,", "size INTEGER, CONSTRAINT ck_size CHECK (size > 0),", "check ck_size is new"),
        ("id INTEGER PRIMARY KEY, name VARCHAR(10)", "id INTEGER, name VARCHAR(10) PRIMARY KEY", "the primary key is"),
        ("CREATE TABLE other", "CREATE TABLE another", "table other is gone"),
    ],
)
def test_the_comparison_finds_what_is_no_addition(tmp_path: Path, change: str, into: str, fault: str | None) -> None:
    after = _BEFORE.replace(change, into, 1) if change else _BEFORE
    assert change == "" or after != _BEFORE
    found = []
    for name, statements in (("before", _BEFORE), ("after", after)):
        engine = create_engine(f"sqlite:///{tmp_path / name}.db")
        with engine.begin() as connection:
            for statement in statements.split(";"):
                connection.execute(text(statement))
            found.append(described(connection))
        engine.dispose()
    wrong = faults(*found)
    if fault is None:
        assert wrong == []
    else:
        assert any(fault in line for line in wrong), wrong
