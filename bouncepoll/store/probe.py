"""What ``bouncepoll doctor`` looks at in the database. Nothing is changed there, and no file is made."""

import os
import shutil
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from sqlalchemy import text

from bouncepoll.errors import BouncepollError, StoreUnavailable
from bouncepoll.model.probe import Probe, fail, ok, skipped, warn
from bouncepoll.store.database import Database, file_exists
from bouncepoll.store.schema import SchemaStatus, status_of

_BUSY_TIMEOUT_S = 5.0
_FREE_FAIL_OCTETS = 100 * 1024**2
_FREE_WARN_OCTETS = 1024**3
#: Clocks of several machines that differ by more upset leases and retries.
_SKEW_WARN_S = 5.0

# What this user may not write, among the tables of its schemas.
_NOT_WRITABLE = """
SELECT tablename FROM pg_tables WHERE schemaname = ANY (current_schemas(false)) AND NOT (
  has_table_privilege(quote_ident(schemaname) || '.' || quote_ident(tablename), 'INSERT')
  AND has_table_privilege(quote_ident(schemaname) || '.' || quote_ident(tablename), 'UPDATE')
  AND has_table_privilege(quote_ident(schemaname) || '.' || quote_ident(tablename), 'DELETE')
) ORDER BY tablename LIMIT 5
"""


def probe(url: str) -> Iterator[Probe]:
    """Yield the checks of the database: it is reached, its schema, that it may be written, space or clock."""
    later = ("schema", "writable")
    try:
        database = Database(url, busy_timeout_s=_BUSY_TIMEOUT_S)
    except BouncepollError as exc:
        yield fail("database", str(exc), "mend database.url")
        yield from skipped(later, "there is no database")
        return
    with closing(database):
        if database.file is not None and not _is_there(database.file):
            yield from _new_file(database.file)
            return
        try:
            status = status_of(database)
            yield ok("database", f"{_kind(database)} {database.label} is reached")
        except BouncepollError as exc:
            yield fail("database", *_found_and_advice(exc))
            yield from skipped(later, "the database is not reached")
            return
        yield _schema(database, status)
        yield from _writable(database)
        if database.file is not None:
            yield from _file(database.file)


def _is_there(file: Path) -> bool:
    try:
        return file_exists(file)
    except StoreUnavailable:
        return True  # Opening it says why it cannot be looked at.


def _kind(database: Database) -> str:
    return "PostgreSQL" if database.file is None else "SQLite"


def _new_file(file: Path) -> Iterator[Probe]:
    above = file.absolute().parent
    while not above.exists() and above != above.parent:
        above = above.parent
    if not os.access(above, os.W_OK | os.X_OK):
        yield fail(
            "database",
            f"{file} is not there yet, and this user may make nothing in {above}",
            f"make its folder for this user: install -d -m 700 -o USER {file.absolute().parent}",
        )
        return
    yield ok("database", f"SQLite {file} is not there yet; it is made when first needed")
    yield from skipped(("schema", "writable"), "there is no database yet")
    yield _space(above)


def _schema(database: Database, status: SchemaStatus) -> Probe:
    current, needed, up_to_date = status
    if status.is_newer:
        found = f"version {current}, made by a newer bouncepoll; this one needs {needed}, and may use it"
        return warn("schema", found, "install the newer bouncepoll here too")
    if up_to_date:
        return ok("schema", f"version {current}, the one this program needs")
    found = f"version {current}" if current else "there is no schema yet"
    if current is not None and current > needed:
        return fail(
            "schema",
            f"{found}; this program knows {needed}",
            "a newer bouncepoll wrote it: install that one again, or go back to the database's backup",
        )
    if database.file is not None:
        return warn("schema", f"{found}, {needed} is needed", "the next command that writes brings it up to date")
    return fail("schema", f"{found}, {needed} is needed", "run: bouncepoll db upgrade")


def _writable(database: Database) -> Iterator[Probe]:
    try:
        if database.file is None:
            yield from _postgresql(database)
            return
        with database.connect():
            yield ok("writable", "a transaction that writes can be begun")
    except BouncepollError as exc:
        found, *advice = _found_and_advice(exc)
        if "locked" in found:
            yield warn("writable", found, *advice)
        else:
            yield fail("writable", found, *advice)


def _postgresql(database: Database) -> Iterator[Probe]:
    with database.reading() as connection:
        read_only, now_s = connection.execute(
            text("SELECT current_setting('transaction_read_only'), extract(epoch FROM clock_timestamp())")
        ).one()
        ours_s = time.time()
        forbidden = connection.execute(text(_NOT_WRITABLE)).scalars().all()
    if read_only == "on":
        yield fail("writable", "the server takes no writes", "connect to the primary, not to a standby (database.url)")
    elif forbidden:
        yield fail(
            "writable",
            f"this user may not write: {', '.join(forbidden)}",
            "make the user of database.url the owner of the tables",
        )
    else:
        yield ok("writable", "this user may write all tables")
    skew_s = ours_s - float(now_s)
    found = f"this machine's clock is {abs(skew_s):.1f} s {'ahead of' if skew_s > 0 else 'behind'} the database's"
    if abs(skew_s) > _SKEW_WARN_S:
        yield warn(
            "clock", found, "set both by NTP (timedatectl set-ntp true): logins that several machines renew need it"
        )
    else:
        yield ok("clock", found)


def _file(file: Path) -> Iterator[Probe]:
    mode = stat.S_IMODE(file.stat().st_mode)
    if mode & 0o077:
        yield warn("mode", f"{file}: others may read people's mail (mode {mode:04o})", f"run: chmod 600 {file}")
    else:
        yield ok("mode", f"{file} is for its owner alone (mode {mode:04o})")
    yield _space(file.absolute().parent)


def _space(folder: Path) -> Probe:
    free = shutil.disk_usage(folder).free
    found = f"{free / 1024**3:.1f} GiB free at {folder}"
    mend = "free space there, or keep stored mails for a shorter time (retention.raw)"
    if free < _FREE_FAIL_OCTETS:
        return fail("space", found, mend)
    return warn("space", found, mend) if free < _FREE_WARN_OCTETS else ok("space", found)


def _found_and_advice(exc: BouncepollError) -> tuple[str, ...]:
    found, _, advice = str(exc).rpartition("; ")
    return (found, advice) if found else (advice,)
