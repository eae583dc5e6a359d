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
        self._guard = threading.Lock()
        self._threads: list[threading.Thread] = []
        #: One for all that are watched from the start, one for each that may be removed.
        self._ends: dict[str | None, _End] = {}

    def start(self) -> None:
        """Begin to watch."""
        end = self._ends[None] = _End()
        for name in self._names:
            self._begin(name, end)

    def add(self, name: str) -> None:
        """Watch one mailbox more, until it is removed."""
        with self._guard:
            if name not in self._ends and not self._stop.is_set():
                end = _End()
                if self._begin(name, end, end.close):
                    self._ends[name] = end
                else:
                    end.close()

    def remove(self, name: str) -> None:
        """Watch a mailbox no longer that was added; its thread ends by itself."""
        with self._guard:
            end = self._ends.pop(name, None)
        if end is not None:
            end.come()

    def interrupt(self) -> None:
        """Wake all threads, once ``stop`` is set; may be called twice."""
        with self._guard:
            for end in self._ends.values():
                end.come()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of all threads, once ``stop`` is set; whether it came in time."""
        self.interrupt()
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(deadline - time.monotonic(), 0.0))
        if any(thread.is_alive() for thread in self._threads):
            return False
        for end in self._ends.values():
            end.close()
        return True

    def _begin(self, name: str, end: "_End", afterwards: Callable[[], None] = lambda: None) -> bool:
        """Watch a mailbox in a thread of its own, which calls ``afterwards``; whether there is anything to watch."""
        self._threads = [thread for thread in self._threads if thread.is_alive()]
        try:
            watcher = self._watcher_for(name)
        except ConfigurationError as exc:
            log.warning("mailbox_not_watched", mailbox=name, error=str(exc))
            return False
        if watcher is None:
            return False

        def watch() -> None:
            self._watch(name, watcher, end)
            afterwards()

        # A daemon, for a server that hangs must not keep the process.
        thread = threading.Thread(target=watch, name=f"idle:{name}", daemon=True)
        self._threads.append(thread)
        thread.start()
        return True

    def _watch(self, name: str, watcher: Watcher, end: "_End") -> None:
        failures = 0
        while not self._stop.is_set() and not end.has_come:
            if self._held():
                self._stop.wait(_HELD_S)
                continue
            begun = time.monotonic()
            try:
                if not self._session(name, watcher, end):
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

    def _session(self, name: str, watcher: Watcher, end: "_End") -> bool:
        """Watch until the end, or until all is held (True); False where the server cannot tell of new mails."""
        try:
            if not watcher.open():
                log.info("mailbox_not_watched", mailbox=name, error="the server has no IDLE; it is polled only")
                return False
            log.info("mailbox_watched", mailbox=name)
            # What came while nobody watched is not told.
            self._wake(name)
            while watcher.wait(lambda: self._stop.is_set() or end.has_come or self._held(), end.reader):
                self._wake(name)
            return True
        finally:
            watcher.close()

    def _delay_s(self, failures: int, retry_after_s: float | None) -> float:
        doubled_s = min(_FIRST_DELAY_S * 2.0 ** min(failures - 1, 30), _LONGEST_DELAY_S)
        return max(doubled_s, retry_after_s or 0.0) * self._random.uniform(1.0, 1.2)


class _End:
    """Ends threads that sleep: what they wait for can be read, for ever, once the end has come."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self.reader, writer = os.pipe()
        # A pipe can be read from, and is at its end, when nobody can write to it any more.
        self._writer: int | None = writer
        self._closed = False

    @property
    def has_come(self) -> bool:
        """Whether the end has come."""
        return self._writer is None

    def come(self) -> None:
        """Let it come; may be called twice."""
        with self._guard:
            writer, self._writer = self._writer, None
        if writer is not None:
            os.close(writer)

    def close(self) -> None:
        """Close it, when nobody waits any more; may be called twice."""
        self.come()
        with self._guard:
            closed, self._closed = self._closed, True
        if not closed:
            os.close(self.reader)
