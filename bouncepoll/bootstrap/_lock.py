"""The right to be the only process."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from bouncepoll.errors import ConfigurationError, UsageError


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold a lock on a file, which is made where it is missing.

    Raises:
        UsageError: another process holds it.
        ConfigurationError: the file cannot be written.
    """
    try:
        # What a link of that name leads to is not touched.
        file = os.fdopen(os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600), "r+")
    except OSError as exc:
        raise ConfigurationError(f"{path}: the lock file cannot be written: {exc}; check the folder's owner") from exc
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"{path}: another bouncepoll process polls into this database; stop it first, or use PostgreSQL "
                "for several"
            ) from None
        yield


@contextmanager
def only_process(database: Path | None, alone: Callable[[], None]) -> Iterator[None]:
    """Hold the right to poll into a database's file, and call ``alone`` then; None: any number may (PostgreSQL).

    Raises:
        UsageError: another process holds it.
        ConfigurationError: the lock file cannot be written.
    """
    if database is None:
        yield
        return
    with locked(database.with_name(database.name + ".lock")):
        alone()
        yield
