"""Mailboxes whose servers tell of new mails: one thread each, which asks for a poll when there is something."""

import os
import random
import threading
import time
from collections.abc import Callable, Sequence

import structlog

from bouncepoll import registry
from bouncepoll.bootstrap import Application
from bouncepoll.errors import ConfigurationError, TransientError
from bouncepoll.ports import Watcher

log = structlog.get_logger()

_FIRST_DELAY_S = 5.0
_LONGEST_DELAY_S = 600.0
#: How often a thread asks whether it may go on.
_HELD_S = 1.0
#: A session that lasted so long was a good one: servers end them after an hour or a day, and mean nothing by it.
_GOOD_SESSION_S = 60.0


def watcher_of(application: Application, name: str) -> Watcher | None:
    """Return what waits for new mails in a mailbox; None for one that is polled only.

    Raises:
        UsageError: there is no mailbox of that name.
        ConfigurationError: its credentials are not complete.
    """
    options = application.mailbox(name)
    watch = getattr(registry.plugins("bouncepoll.sources")[options.protocol], "watch", None)
    found: Watcher | None = None if watch is None else watch(name, options, application.credentials.mailbox(name))
    return found


class Watching:
    """The threads of all mailboxes that can be watched, from ``start`` to ``wait``."""

    def __init__(
        self,
        watcher_for: Callable[[str], Watcher | None],
        names: Sequence[str],
        wake: Callable[[str], None],
        stop: threading.Event,
        held: Callable[[], bool] = lambda: False,
        rng: random.Random | None = None,
    ) -> None:
        """``wake`` is called with the name of a mailbox that may have new mails; ``stop`` ends all threads.

        While ``held`` says so no mailbox is touched: sessions are ended, and begun again afterwards.
        """
        self._watcher_for = watcher_for
        self._names = names
        self._wake = wake
        self._stop = stop
        self._held = held
        self._random = rng or random.Random()  # noqa: S311 - spreads connections, guards nothing.
        self._threads: list[threading.Thread] = []
        # Its reading end is at its end, and so can be read for ever, once the other one is closed: one for all threads.
        self._wake_reader: int | None = None
        self._wake_writer: int | None = None

    def start(self) -> None:
        """Begin to watch."""
        self._wake_reader, self._wake_writer = os.pipe()
        for name in self._names:
            try:
                watcher = self._watcher_for(name)
            except ConfigurationError as exc:
                log.warning("mailbox_not_watched", mailbox=name, error=str(exc))
                continue
            if watcher is not None:
                # A daemon, for a server that hangs must not keep the process.
                thread = threading.Thread(target=self._watch, args=(name, watcher), name=f"idle:{name}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def interrupt(self) -> None:
        """Wake all threads, once ``stop`` is set; may be called twice."""
        writer, self._wake_writer = self._wake_writer, None
        if writer is not None:
            os.close(writer)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of all threads, once ``stop`` is set; whether it came in time."""
        self.interrupt()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if any(thread.is_alive() for thread in self._threads):
            return False
        reader, self._wake_reader = self._wake_reader, None
        if reader is not None:
            os.close(reader)
        return True

    def _watch(self, name: str, watcher: Watcher) -> None:
        failures = 0
        while not self._stop.is_set():
            if self._held():
                self._stop.wait(_HELD_S)
                continue
            begun = time.monotonic()
            try:
                if not self._session(name, watcher):
                    return
                continue
            except TransientError as exc:
                failures = 1 if time.monotonic() - begun > _GOOD_SESSION_S else failures + 1
                delay_s = self._delay_s(failures, getattr(exc, "retry_after_s", None))
                log.info("watch_interrupted", mailbox=name, error=str(exc), again_in_s=round(delay_s, 1))
            except ConfigurationError as exc:
                log.warning("mailbox_not_watched", mailbox=name, error=str(exc))
                return
            except Exception:
                log.exception("watch_failed_unexpectedly", mailbox=name)
                return
            self._stop.wait(delay_s)

    def _session(self, name: str, watcher: Watcher) -> bool:
        """Watch until the end, or until all is held (True); False where the server cannot tell of new mails."""
        try:
            if not watcher.open():
                log.info("mailbox_not_watched", mailbox=name, error="the server has no IDLE; it is polled only")
                return False
            log.info("mailbox_watched", mailbox=name)
            # What came while nobody watched is not told.
            self._wake(name)
            while watcher.wait(lambda: self._stop.is_set() or self._held(), self._wake_reader):
                self._wake(name)
            return True
        finally:
            watcher.close()

    def _delay_s(self, failures: int, retry_after_s: float | None) -> float:
        doubled_s = min(_FIRST_DELAY_S * 2.0 ** min(failures - 1, 30), _LONGEST_DELAY_S)
        return max(doubled_s, retry_after_s or 0.0) * self._random.uniform(1.0, 1.2)
