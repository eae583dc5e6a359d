"""What the process gives up before it reads the first mail."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager

import structlog

log = structlog.get_logger()

_UMASK = 0o077


@contextmanager
def hardened() -> Iterator[None]:
    """Let what is written be this user's alone, and no memory with mails and passwords be left in a core file.

    As root it is said once that this is not needed: nothing bouncepoll does needs a right of root's.
    """
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
