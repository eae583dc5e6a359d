"""A clock that is set: nothing waits for it, and nothing hurries."""

import threading
from datetime import UTC, datetime, timedelta

import pytest
from structlog.testing import capture_logs

from bouncepoll.bootstrap._clockwatch import ClockWatch, SteadyClock, elapsed_s

START = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)


class Times:
    """The system's clock, and seconds that nobody sets."""

    def __init__(self) -> None:
        self.set_by = timedelta(0)
        self.seconds = 500.0
        self.slow_looks = 0
        self.steady = SteadyClock(lambda: START + timedelta(seconds=self.seconds - 500) + self.set_by, self._elapsed)
        self.jumps: list[timedelta] = []
        self.watch = ClockWatch(self.steady, self.jumps.append, threading.Event())

    def _elapsed(self) -> float:
        if self.slow_looks:
            self.slow_looks -= 1
            self.seconds += 30
        return self.seconds


@pytest.mark.parametrize("jump", [-HOUR, DAY, 30 * 365 * DAY, timedelta(seconds=-6)])
def test_a_jump_is_told_once(jump: timedelta) -> None:
    times = Times()
    with capture_logs() as logs:
        for _second in range(5):
            times.seconds += 1
            times.watch.look()
        times.set_by = jump
        for _second in range(5):
            times.seconds += 1
            times.watch.look()
    assert logs == [{"event": "clock_jumped", "jump_s": jump.total_seconds(), "log_level": "warning"}]
    assert times.jumps == [jump]
    assert times.steady() == START + timedelta(seconds=10)


def test_the_steady_clock_knows_of_a_jump_before_anybody_looked() -> None:
    times = Times()
    due = times.steady.of(START + HOUR)
    times.set_by = -DAY
    assert times.steady() == START
    assert times.steady.as_set(due) == START + HOUR - DAY
    assert times.steady.of(START + HOUR - DAY) == due


def test_small_steps_are_taken_over_and_not_told() -> None:
    times = Times()
    with capture_logs() as logs:
        times.set_by = timedelta(seconds=0.9)
        times.watch.look()
        assert times.jumps == []
        times.set_by = timedelta(seconds=4)
        times.watch.look()
    assert logs == []
    assert times.jumps == [timedelta(seconds=4)]


def test_a_machine_that_is_busy_between_two_looks_tells_of_no_jump() -> None:
    times = Times()
    times.slow_looks = 3
    times.watch.look()
    times.slow_looks = 1000
    times.watch.look()
    assert times.jumps == []


def test_seconds_that_nobody_sets_go_on() -> None:
    assert elapsed_s() <= elapsed_s()
