"""Reads an administrator's rules again when their file changed: no restart, no half-read rules."""

import time
from collections.abc import Callable
from pathlib import Path
from threading import Lock

import structlog

from bouncepoll.classify.rulebook import RuleBook
from bouncepoll.errors import ConfigurationError

log = structlog.get_logger()

#: The file is looked at no more often than this.
CHECK_INTERVAL_S = 1.0


class ChangedRules:
    """Answers with a new rule book when the file changed since the last time, else with None; safe for threads.

    A file that is wrong or gone changes nothing: its faults are logged once, and the rules read before stay in force.
    """

    def __init__(
        self, path: Path, build: Callable[[], RuleBook], monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        """``build`` reads all rules; it raises ConfigurationError when the file has faults."""
        self._path = path
        self._build = build
        self._monotonic = monotonic
        self._seen = _signature(path)
        self._next_check = monotonic() + CHECK_INTERVAL_S
        self._lock = Lock()

    def __call__(self) -> RuleBook | None:
        """Return the rules of a changed file, or None."""
        if self._monotonic() < self._next_check or not self._lock.acquire(blocking=False):
            return None
        try:
            self._next_check = self._monotonic() + CHECK_INTERVAL_S
            signature = _signature(self._path)
            if signature == self._seen:
                return None
            self._seen = signature
            book = self._build()
        except ConfigurationError as exc:
            log.warning("rules_unchanged", file=str(self._path), faults=str(exc))
            return None
        else:
            log.info("rules_reloaded", file=str(self._path), rules=len(book.rules))
            return book
        finally:
            self._lock.release()


def _signature(path: Path) -> tuple[int, int, int] | None:
    """Return what changes when a file is written or replaced; None when it is not there."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino
