"""A copy of a SQLite database that is in use, whole and consistent (SQLite's online backup)."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from bouncepoll.errors import StoreUnavailable, UsageError
from bouncepoll.store.address import parse

_PAGES_A_STEP = 1024


def back_up(url: str, target: Path, *, replace: bool = False) -> int:
    """Copy the database to the file ``target``, for this user alone, and return the copy's size in octets.

    A process that polls meanwhile goes on. The copy is checked before it takes its name; what had that name stays until
    then, and stays for good when the copy fails.

    Raises:
        UsageError: the database is no SQLite file, or ``target`` exists and ``replace`` is false.
        StoreUnavailable: the database cannot be read, or the copy not be written.
        ConfigurationError: the URL is wrong.
    """
    address = parse(url)
    if address.file is None:
        raise UsageError(
            f"{address.label}: PostgreSQL has tools of its own for this: pg_dump --format=custom --file={target.name} "
            "DATABASE, and pg_restore --clean --if-exists to go back"
        )
    if target.exists() and not replace:
        raise UsageError(f"{target}: exists already; name another file, or use --replace")
    if not address.file.exists():
        raise UsageError(f"{address.file}: there is no database yet; nothing to copy")
    if target.exists() and target.samefile(address.file):
        raise UsageError(f"{target}: is the database itself; name another file")
    return copy_to(address.file, target)


def copy_to(file: Path, target: Path) -> int:
    """Copy a SQLite database that may be in use to ``target``, whatever had that name; return the size in octets.

    Raises:
        StoreUnavailable: it cannot be read, or the copy not be written.
    """
    draft = target.with_name(f".{target.name}.{os.getpid()}.part")
    try:
        # Made before SQLite opens it: it holds people's mail.
        os.close(os.open(draft, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
        try:
            _copy(file, draft)
            draft.replace(target)
            _make_durable(target.parent)
        finally:
            draft.unlink(missing_ok=True)
        return target.stat().st_size
    except (OSError, sqlite3.Error) as exc:
        raise StoreUnavailable(
            f"{target}: the copy failed: {exc}; check the folder, its owner and the space on it; the database is as "
            "it was"
        ) from exc


def _copy(file: Path, draft: Path) -> None:
    with closing(sqlite3.connect(f"{file.absolute().as_uri()}?mode=ro", uri=True)) as source:
        with closing(sqlite3.connect(draft)) as copy:
            source.backup(copy, pages=_PAGES_A_STEP, sleep=0)
            # Without its journal beside it a copy is one file that can be carried anywhere.
            copy.execute("PRAGMA journal_mode = DELETE")
            found = copy.execute("PRAGMA quick_check(1)").fetchone()
        if found != ("ok",):
            raise sqlite3.DatabaseError(f"the copy is damaged, and so may be {file}: {found[0]}")
    _make_durable(draft)


def _make_durable(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)
