"""The schema's version: what the database has, what this program needs, and the way from one to the other."""

from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, column, inspect, select, table, text

from bouncepoll.errors import ConfigurationError
from bouncepoll.store.database import Database, file_exists, prepare_file

log = structlog.get_logger()

#: The version this program needs: the last file of ``migrations/versions``.
HEAD = "0006"
VERSION_TABLE = "schema_version"

# Any number nobody else uses: two processes that upgrade one PostgreSQL database at once wait for each other.
_UPGRADE_LOCK = 0x626F756E6365


class SchemaStatus(NamedTuple):
    """The schema's version, None when there is no schema yet; and the one this program needs."""

    current: str | None
    head: str
    up_to_date: bool


def upgrade(url: str) -> None:
    """Bring the schema up to date, in one transaction; make it where there is none. Safe to run twice at once.

    Raises:
        StoreUnavailable: the database cannot be reached or written.
        ConfigurationError: the URL is wrong, or the schema is newer than this program.
    """
    database = Database(url)
    try:
        upgrade_database(database)
    finally:
        database.close()


def status(url: str) -> SchemaStatus:
    """Return the schema's version; changes nothing, and makes no file.

    Raises:
        StoreUnavailable: the database cannot be reached.
        ConfigurationError: the URL is wrong.
    """
    database = Database(url)
    try:
        return status_of(database)
    finally:
        database.close()


def upgrade_database(database: Database) -> None:
    """Bring the schema of an open database up to date; see ``upgrade``."""
    if database.file is not None:
        prepare_file(database.file)
    with database.writing() as connection:
        # SQLite holds its write lock from the start of the transaction; what is current is read under the lock.
        if database.file is None:
            _refuse_encoding(database.label, connection)
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
        current = _current(connection)
        if current == HEAD:
            return
        _refuse_unknown(database.label, current)
        _migrate(connection)
    log.info("schema_upgraded", database=database.label, before=current, now=HEAD)


def _migrate(connection: Connection) -> None:
    # Imported here: it takes longer than most commands, and nearly all of them find the schema up to date.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)


def status_of(database: Database) -> SchemaStatus:
    """Return the schema's version of an open database; see ``status``."""
    if database.file is not None and not file_exists(database.file):
        return SchemaStatus(None, HEAD, up_to_date=False)
    with database.reading() as connection:
        current = _current(connection)
    return SchemaStatus(current, HEAD, current == HEAD)


def require(database: Database) -> None:
    """Make sure that the schema is the one this program needs; on SQLite, upgrade it.

    Raises:
        StoreUnavailable: the database cannot be reached, or its file not be written.
        ConfigurationError: the schema is missing or older (PostgreSQL), or newer than this program.
    """
    current, head, up_to_date = status_of(database)
    if up_to_date:
        return
    if database.file is not None:
        upgrade_database(database)
        return
    _refuse_unknown(database.label, current)
    found = f"the schema is version {current}" if current else "there is no schema yet"
    raise ConfigurationError(f"{database.label}: {found}, and {head} is needed; run 'bouncepoll db upgrade'")


def migrations_folder() -> Path:
    """Return where the migrations are: inside the installed package, or beside it in a checkout.

    Raises:
        ConfigurationError: they are in neither.
    """
    package = Path(__file__).resolve().parents[1]
    for folder in (package / "_migrations", package.parent / "migrations"):
        if (folder / "env.py").is_file():
            return folder
    raise ConfigurationError(f"{package}: the migrations are missing from this installation; install bouncepoll again")


def _current(connection: Connection) -> str | None:
    if not inspect(connection).has_table(VERSION_TABLE):
        return None
    found = connection.execute(select(column("version_num")).select_from(table(VERSION_TABLE))).scalar()
    return None if found is None else str(found)


def _refuse_encoding(label: str, connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"{label}: the database's encoding is {encoding}, which cannot hold every mail; "
            "make another one: createdb --encoding=UTF8 --template=template0 NAME"
        )


def _refuse_unknown(label: str, current: str | None) -> None:
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see _migrate.

    known = {script.revision for script in ScriptDirectory(str(migrations_folder())).walk_revisions()}
    if current is not None and current not in known:
        raise ConfigurationError(
            f"{label}: the schema is version {current}, made by a newer bouncepoll; this one knows versions up to "
            f"{HEAD}: install the newer program, or restore the backup made before its upgrade"
        )
