"""What the process gives up before it reads the first mail."""

import os
import resource
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import structlog

from bouncepoll.errors import ConfigurationError

log = structlog.get_logger()

_UMASK = 0o077


@contextmanager
def hardened(exposed: Sequence[str] = ()) -> Iterator[None]:
    """Let what is written be this user's alone, and no memory with mails and passwords be left in a core file.

    As root it is said once that this is not needed: nothing bouncepoll does needs a right of root's. ``exposed`` has a
    line for each secret of the settings that others could read or change.

    Raises:
        ConfigurationError: there are some.
    """
    if exposed:
        raise ConfigurationError(*exposed)
    if os.geteuid() == 0:
        log.warning(
            "service_runs_as_root",
            advice="give it a user of its own (deploy/systemd); for ports below 1024, a .socket unit",
        )
    before = os.umask(_UMASK)
    try:
        with _without_core():
            yield
    finally:
        os.umask(before)


def keep_private(database: Path | None) -> None:
    """Take away what others may do with a database's file, which somebody may have copied there; None: there is none.

    It holds people's mail. A file that is another user's stays as it is.
    """
    if database is None:
        return
    for file in (database, *(database.with_name(f"{database.name}{end}") for end in ("-wal", "-shm"))):
        with suppress(OSError):
            status = file.stat()
            mode = stat.S_IMODE(status.st_mode)
            if mode & _UMASK and status.st_uid == os.geteuid():
                file.chmod(mode & ~_UMASK)
                log.warning("database_mode_tightened", file=str(file), before=f"{mode:04o}")


@contextmanager
def _without_core() -> Iterator[None]:
    try:
        limits = resource.getrlimit(resource.RLIMIT_CORE)
        resource.setrlimit(resource.RLIMIT_CORE, (0, limits[1]))
    except OSError:
        # A sandbox may forbid to ask; it has a limit of its own then (LimitCORE= of the unit).
        yield
        return
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_CORE, limits)
