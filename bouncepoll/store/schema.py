"""The schema's version: what the database has, what this program needs, and the way from one to the other.

Migrations add: a program goes on working on a schema that a newer one made, so that several nodes are upgraded one by
one. The table of the version says from which version on a program may use the schema (``readable_from``). A migration
that takes something away says so by ``readable_from = "its own revision"``; older programs are refused then.
"""

import shutil
from pathlib import Path
from typing import NamedTuple

import structlog
from sqlalchemy import Connection, column, inspect, select, table, text

from bouncepoll.errors import ConfigurationError, StoreUnavailable
from bouncepoll.store.backup import copy_to
from bouncepoll.store.database import Database, file_exists, prepare_file

log = structlog.get_logger()

#: The version this program needs: the last file of ``migrations/versions``.
HEAD = "0007"
VERSION_TABLE = "schema_version"
#: The first version whose program looks at ``readable_from``; those before it know only what they need themselves.
FIRST_READABLE = "0003"

# Any number nobody else uses: two processes that upgrade one PostgreSQL database at once wait for each other.
_UPGRADE_LOCK = 0x626F756E6365


class SchemaStatus(NamedTuple):
    """The schema's version, None when there is no schema yet; and the one this program needs.

    ``up_to_date`` is also true of a newer schema that this program may use (``is_newer``).
    """

    current: str | None
    head: str
    up_to_date: bool

    @property
    def is_newer(self) -> bool:
        """Whether a newer program made the schema."""
        return self.up_to_date and self.current != self.head


class _Version(NamedTuple):
    """What the table of the version says; ``readable_from`` is None where an older program wrote it."""

    current: str | None = None
    readable_from: str | None = None


def upgrade(url: str, *, backup: bool = True) -> Path | None:
    """Bring the schema up to date, in one transaction; make it where there is none. Safe to run twice at once.

    A newer schema stays as it is. A SQLite file with an older one is copied first (``backup``); returns the copy.

    Raises:
        StoreUnavailable: the database cannot be reached or written.
        ConfigurationError: the URL is wrong, or the schema is newer than this program and not for it.
    """
    database = Database(url)
    try:
        return upgrade_database(database, backup=backup)
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


def upgrade_database(database: Database, *, backup: bool = True) -> Path | None:
    """Bring the schema of an open database up to date; see ``upgrade``."""
    copied = None
    if database.file is not None:
        prepare_file(database.file)
    with database.writing() as connection:
        # SQLite holds its write lock from the start of the transaction; what is current is read under the lock.
        if database.file is None:
            _refuse_encoding(database.label, connection)
            connection.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _UPGRADE_LOCK})
        version = _version(connection)
        if version.current == HEAD or _is_for_us(database.label, version):
            return None
        if backup and database.file is not None and version.current is not None:
            copied = _copy_before(database.file, version.current)
        _migrate(connection)
    log.info("schema_upgraded", database=database.label, before=version.current, now=HEAD)
    return copied


def _copy_before(file: Path, current: str) -> Path:
    """Copy a database that is about to be changed, for a way back to the program before.

    Nobody can have changed it meanwhile: the write lock is held, and nothing is written yet.
    """
    target = file.with_name(f"{file.name}.bak-{current}")
    size, free = file.stat().st_size, shutil.disk_usage(file.parent).free
    if free < size * 2:
        raise StoreUnavailable(
            f"{target}: a copy before the upgrade needs {size} octets and the upgrade about as many again, and {free} "
            "are free; free space, or make a copy elsewhere ('bouncepoll db backup FILE') and run 'bouncepoll db "
            "upgrade --no-backup'"
        )
    copy_to(file, target)
    log.info("schema_backup_made", file=str(target))
    return target


def _migrate(connection: Connection) -> None:
    # Imported here: it takes longer than most commands, and nearly all of them find the schema up to date.
    from alembic import command  # noqa: PLC0415
    from alembic.config import Config  # noqa: PLC0415

    config = Config()
    config.set_main_option("script_location", str(migrations_folder()).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, HEAD)
    names = {found["name"] for found in inspect(connection).get_columns(VERSION_TABLE)}
    if "readable_from" not in names:
        connection.execute(text(f"ALTER TABLE {VERSION_TABLE} ADD COLUMN readable_from VARCHAR(32)"))
    connection.execute(table(VERSION_TABLE, column("readable_from")).update().values(readable_from=_readable_from()))


def status_of(database: Database) -> SchemaStatus:
    """Return the schema's version of an open database; see ``status``."""
    if database.file is not None and not file_exists(database.file):
        return SchemaStatus(None, HEAD, up_to_date=False)
    with database.reading() as connection:
        version = _version(connection)
    return SchemaStatus(version.current, HEAD, version.current == HEAD or _is_readable(version))


def require(database: Database) -> None:
    """Make sure that the schema is the one this program needs; on SQLite, upgrade it.

    Raises:
        StoreUnavailable: the database cannot be reached, or its file not be written.
        ConfigurationError: the schema is missing or older (PostgreSQL), or newer than this program and not for it.
    """
    status = status_of(database)
    current, head, up_to_date = status
    if up_to_date:
        if status.is_newer:
            _warn_of_newer(database.label, current)
        return
    if database.file is not None:
        upgrade_database(database)
        return
    with database.reading() as connection:
        _is_for_us(database.label, _version(connection))
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


def _version(connection: Connection) -> _Version:
    if not inspect(connection).has_table(VERSION_TABLE):
        return _Version()
    # All columns: an older program made the table without the second.
    row = connection.execute(select(text("*")).select_from(table(VERSION_TABLE))).mappings().first()
    return _Version() if row is None else _Version(row["version_num"], row.get("readable_from"))


def _refuse_encoding(label: str, connection: Connection) -> None:
    encoding = connection.execute(text("SHOW server_encoding")).scalar_one()
    if encoding != "UTF8":
        raise ConfigurationError(
            f"{label}: the database's encoding is {encoding}, which cannot hold every mail; "
            "make another one: createdb --encoding=UTF8 --template=template0 NAME"
        )


def _is_readable(version: _Version) -> bool:
    """Whether a newer program made the schema, and this program may use it all the same."""
    if version.current is None or version.readable_from is None:
        return False
    known = {revision for revision, _declared in _revisions()}
    return version.current not in known and version.readable_from in known


def _is_for_us(label: str, version: _Version) -> bool:
    """Whether the schema is a newer one that this program may use; False for an older one.

    Raises:
        ConfigurationError: it is a newer one, and not for this program.
    """
    if _is_readable(version):
        _warn_of_newer(label, version.current)
        return True
    if version.current is not None and version.current not in {revision for revision, _declared in _revisions()}:
        raise ConfigurationError(
            f"{label}: the schema is version {version.current}, made by a newer bouncepoll; this one knows versions up "
            f"to {HEAD}: install the newer program, or restore the backup made before its upgrade"
        )
    return False


def _warn_of_newer(label: str, current: str | None) -> None:
    log.warning("schema_newer_than_program", database=label, schema=current, program=HEAD, advice="upgrade the program")


def _readable_from() -> str:
    """Return the version from which on programs may use the newest schema."""
    return next((str(declared) for _revision, declared in _revisions() if declared is not None), FIRST_READABLE)


def _revisions() -> list[tuple[str, object]]:
    """Return the versions this program knows, newest first, each with what its migration says of older programs."""
    from alembic.script import ScriptDirectory  # noqa: PLC0415 - see _migrate.

    scripts = ScriptDirectory(str(migrations_folder())).walk_revisions(base="base", head=HEAD)
    return [(script.revision, getattr(script.module, "readable_from", None)) for script in scripts]
