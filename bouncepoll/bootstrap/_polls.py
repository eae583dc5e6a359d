"""What the jobs in hand are: which mailboxes are being polled, and how many jobs the end has to wait for."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from bouncepoll.ports import Clock

#: A burst of new mails is one poll, not one for each: the next one is not begun before.
_BURST_S = 2.0


class Polls:
    """When mailboxes were polled, which are just now, and which have something new since. Used by several threads."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._guard = threading.Lock()
        self._running: set[str] = set()
        self._news: set[str] = set()
        self._last: dict[str, datetime] = {}
        self._rests: dict[str, datetime] = {}

    def begin(self, name: str) -> bool:
        """Note that a poll begins, which finds what was new until now; False when another one is not over yet."""
        with self._guard:
            if name in self._running:
                return False
            self._running.add(name)
            self._news.discard(name)
            self._last[name] = self._clock()
            return True

    def is_running(self, name: str) -> bool:
        """Whether a mailbox is being polled."""
        with self._guard:
            return name in self._running

    def rest(self, name: str, until: datetime) -> None:
        """Note that a mailbox is not to be polled before then."""
        with self._guard:
            self._rests[name] = until

    def rests_until(self, name: str) -> datetime | None:
        """Return until when a mailbox rests; None when it may be polled."""
        with self._guard:
            until = self._rests.get(name)
            return until if until is not None and until > self._clock() else None

    def polled_within(self, name: str, age_s: float) -> bool:
        """Whether a poll that ended well began so short a time ago, and nothing new was told since."""
        with self._guard:
            last = self._last.get(name)
            if last is None or name in self._news or name in self._rests or name in self._running:
                return False
            return self._clock() - last < timedelta(seconds=age_s)

    def ended(self, name: str, rests_until: datetime | None) -> datetime | None:
        """Note that a poll ended, and return when the next one is due, where that is not the usual time."""
        with self._guard:
            self._running.discard(name)
            if rests_until is not None:
                self._rests[name] = rests_until
                return rests_until
            self._rests.pop(name, None)
            return self._soon(name) if name in self._news else None

    def woken(self, name: str) -> datetime | None:
        """Note that there is something new, and return when to poll; None when a poll is due anyway."""
        with self._guard:
            self._news.add(name)
            if name in self._running or self._rests.get(name, self._clock()) > self._clock():
                return None
            return self._soon(name)

    def _soon(self, name: str) -> datetime:
        last = self._last.get(name)
        now = self._clock()
        return now if last is None else max(now, last + timedelta(seconds=_BURST_S))


class Busy:
    """Counts the jobs in hand, so that the end can wait for them."""

    def __init__(self) -> None:
        self.count = 0
        self._changed = threading.Condition()

    def run(self, work: Callable[[], None]) -> None:
        with self._changed:
            self.count += 1
        try:
            work()
        finally:
            with self._changed:
                self.count -= 1
                self._changed.notify_all()

    def wait(self, timeout_s: float) -> bool:
        with self._changed:
            return self._changed.wait_for(lambda: self.count == 0, timeout_s)
