"""Clocks are set: by hand, by a time server, after a start with an empty battery. Nothing may wait or hurry for that.

What is due is kept as the time of a clock that never jumps; the system's clock is only read off it. So an hour back
makes no poll wait for an hour, and a day ahead makes nothing due that was not.
"""

import threading
import time
from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from bouncepoll.ports import Clock

log = structlog.get_logger()

#: Time servers bring a clock into line in smaller steps; each is taken over, and not told.
JUMP = timedelta(seconds=5)
_STEP = timedelta(seconds=1)
_LOOK_EVERY_S = 1.0
#: Between two looks at the one clock that are further apart, the other one says nothing.
_APART_S = 0.1
_MAX_LOOKS = 10
_PROMPT_S = 0.5


def elapsed_s() -> float:
    """Return a time that nobody sets and that goes on while the machine sleeps, where the system has one."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) if hasattr(time, "CLOCK_BOOTTIME") else time.monotonic()


class SteadyClock:
    """The time as it would be had nobody set the clock since the start. Used by several threads."""

    def __init__(self, clock: Clock, elapsed_s: Callable[[], float] = elapsed_s) -> None:
        """``elapsed_s`` counts seconds, from anywhere, and is never set."""
        self._clock = clock
        self._elapsed_s = elapsed_s
        self._guard = threading.Lock()
        self._first, self._first_s = clock(), elapsed_s()
        self._offset = timedelta(0)

    def __call__(self) -> datetime:
        """Return the present time of this clock."""
        return self._clock() - self.offset()

    def of(self, at: datetime) -> datetime:
        """Return what this clock shows when the system's shows ``at``, as that is set now."""
        return at - self.offset()

    def as_set(self, at: datetime) -> datetime:
        """Return what the system's clock shows, as it is set now, when this one shows ``at``."""
        return at + self.offset()

    def offset(self) -> timedelta:
        """Return by how much the system's clock was set since the start; the same as before where it was not."""
        with self._guard:
            found = self._difference()
            if found is not None and abs(found - self._offset) > _STEP:
                self._offset = found
            return self._offset

    def _difference(self) -> timedelta | None:
        for _look in range(_MAX_LOOKS):
            before_s = self._elapsed_s()
            now = self._clock()
            after_s = self._elapsed_s()
            if after_s - before_s <= _APART_S:
                return now - self._first - timedelta(seconds=after_s - self._first_s)
        return None  # A machine this busy tells nothing; the next look may.


class SharedClock:
    """The time all nodes go by: that of the database, as it was read last; the system's where it never was.

    So what one node notes is right for the others, however their clocks are set. Used by several threads.
    """

    def __init__(self, clock: Clock, elapsed_s: Callable[[], float] = elapsed_s) -> None:
        self._clock = clock
        self._elapsed_s = elapsed_s
        self._read: tuple[datetime, float] | None = None

    def __call__(self) -> datetime:
        """Return the present time of this clock."""
        if self._read is None:
            return self._clock()
        at, read_s = self._read
        return at + timedelta(seconds=self._elapsed_s() - read_s)

    def note(self, at: datetime, asked_s: float, answered_s: float) -> None:
        """Note what the database's clock showed at some time between two readings of ``elapsed_s``."""
        # An answer that took long says little.
        if self._read is None or answered_s - asked_s <= _PROMPT_S:
            self._read = (at, (asked_s + answered_s) / 2)

    def as_set(self, at: datetime) -> datetime:
        """Return what the system's clock shows, as it is set now, when this one shows ``at``."""
        return self._clock() + (at - self())


class ClockWatch:
    """Looks at the clock once a second, and tells when it was set."""

    def __init__(self, steady: SteadyClock, on_jump: Callable[[timedelta], None], stop: threading.Event) -> None:
        """``on_jump`` is called, in a thread of its own, with how far the clock went ahead (below zero: back)."""
        self._steady = steady
        self._on_jump = on_jump
        self._stop = stop
        self._seen = steady.offset()

    def start(self) -> None:
        """Begin to look, until ``stop`` is set."""
        threading.Thread(target=self._watch, name="clock", daemon=True).start()

    def look(self) -> None:
        """Look once."""
        offset = self._steady.offset()
        jump, self._seen = offset - self._seen, offset
        if not jump:
            return
        if abs(jump) > JUMP:
            log.warning("clock_jumped", jump_s=round(jump.total_seconds(), 1))
        self._on_jump(jump)

    def _watch(self) -> None:
        while not self._stop.wait(_LOOK_EVERY_S):
            self.look()
