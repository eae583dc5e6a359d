"""Holds all work while the database takes no writes: what cannot be noted must not be done.

Before a poll touches its mailbox, before a mail is forwarded and before anything is deleted, the database is known to
take writes. One failure pauses everything, with one line in the log; a retry now and then, with a real write, ends the
pause, with another line. No mailbox is blamed for it.
"""

import random
import threading
import time
from collections.abc import Callable
from typing import cast

import structlog

from bouncepoll.errors import BouncepollError, StoreRefused, StoreUnavailable

log = structlog.get_logger()

#: A proof is believed for so long, by all mailboxes together.
_FRESH_S = 5.0
_FIRST_DELAY_S = 0.5
_LONGEST_DELAY_S = 60.0
#: What fails again so soon after a pause goes on with the delay it had, up to four seconds: a connection that is cut
#: again and again must not keep the mails for a minute each time.
_RELAPSE_S = 60.0
_MOST_FAILURES_REMEMBERED = 3
# What may pass without anybody mending the configuration.
_PASSING = frozenset({"full", "locked", "read_only", "unreachable"})


class Pausing:
    """Whether work may begin. Used by several threads at once."""

    def __init__(
        self,
        prove: Callable[[frozenset[str]], None],
        *,
        spread_s: float = 0.0,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """``prove`` writes to the database or raises ``StoreUnavailable``; it is told why it failed before.

        ``spread_s``: over so many seconds the held work is spread when it is tried again.
        """
        self._prove = prove
        self._spread_s = spread_s
        self._random = rng or random.Random()  # noqa: S311 - spreads polls, guards nothing.
        self._monotonic = monotonic
        self._sleep = sleep
        self._guard = threading.Lock()
        self._cause: StoreUnavailable | None = None
        self._reasons: frozenset[str] = frozenset()
        self._proved_until = -1.0
        self._paused_at = self._again_at = 0.0
        self._resumed_at = float("-inf")
        self._failures = 0

    @property
    def reason(self) -> str | None:
        """Why everything is held, as ``StoreUnavailable.reason`` has it; None when nothing is."""
        cause = self._cause
        return None if cause is None else cause.reason

    @property
    def paused(self) -> bool:
        """Whether everything is held."""
        return self._cause is not None

    def check(self) -> None:
        """Make sure that the database takes writes; asks it at most once in some seconds, for whoever calls this.

        Raises:
            StoreUnavailable: it does not. Nothing may be begun.
        """
        with self._guard:
            if self._cause is None and self._monotonic() < self._proved_until:
                return
            if self._cause is not None and self._monotonic() < self._again_at:
                raise StoreUnavailable(str(self._cause), reason=self._cause.reason)
            try:
                self._prove(self._reasons)
            except StoreUnavailable as exc:
                self._retry_later(exc)
                raise
            self._resume()

    def wait(self) -> None:
        """Return when the database takes writes, however long that takes.

        Raises:
            StoreUnavailable: it does not, for a reason that does not pass by itself.
        """
        while True:
            try:
                return self.check()
            except StoreUnavailable as exc:
                if exc.reason not in _PASSING:
                    raise
                self._sleep(self.again_in_s())

    @staticmethod
    def is_cause(error: BouncepollError | None) -> bool:
        """Whether this error is one of the database, and no matter of one mailbox."""
        return isinstance(error, StoreUnavailable) and not isinstance(error, StoreRefused)

    def failed(self, error: BouncepollError) -> bool:
        """Hold everything if this error is one of the database; return whether it is."""
        if not self.is_cause(error):
            return False
        with self._guard:
            # Others that were under way when it began fail too: that is no news.
            if self._cause is None:
                self._retry_later(cast("StoreUnavailable", error))
        return True

    def run(self, work: Callable[[], object]) -> None:
        """Do what needs the database, unless that takes no writes; it is then left for the next time."""
        try:
            self.check()
            work()
        except StoreUnavailable as exc:
            if not self.failed(exc):
                raise

    def again_in_s(self) -> float:
        """Return after how many seconds held work is to be tried again; not the same for each."""
        return max(self._again_at - self._monotonic(), 0.0) + self._random.uniform(0.0, self._spread_s)

    def _retry_later(self, cause: StoreUnavailable) -> None:
        now = self._monotonic()
        begins = self._cause is None
        if begins:
            self._paused_at = now
            if now - self._resumed_at > _RELAPSE_S:
                self._failures = 0
            self._failures = min(self._failures, _MOST_FAILURES_REMEMBERED)
        self._cause = cause
        self._reasons |= {cause.reason}
        self._failures += 1
        delay_s = min(_FIRST_DELAY_S * 2.0 ** min(self._failures - 1, 30), _LONGEST_DELAY_S)
        self._again_at = now + delay_s
        if begins:
            log.error("polls_paused", reason=cause.reason, error=str(cause), again_in_s=delay_s)
        else:
            log.debug("polls_still_paused", reason=cause.reason, error=str(cause), again_in_s=delay_s)

    def _resume(self) -> None:
        now = self._monotonic()
        self._proved_until = now + _FRESH_S
        self._reasons = frozenset()
        if self._cause is not None:
            reason, self._cause, self._resumed_at = self._cause.reason, None, now
            log.warning("polls_resumed", reason=reason, paused_s=round(now - self._paused_at, 1))
