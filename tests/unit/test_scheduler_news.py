"""Polls that a server's news (IDLE) bring forward. Nothing here waits for time to pass."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

import pytest

from bouncepoll.bootstrap import Application, PollOutcome, system_clock
from bouncepoll.bootstrap._polls import Polls
from bouncepoll.scheduler import Service
from bouncepoll.testing import FakeClock
from tests.servers import wait_until
from tests.unit.serving import FakeApplication, Running, ShouldStop, broken, good, next_run


class Woken:
    """A watcher that has news whenever ``tell`` is called."""

    def __init__(self) -> None:
        self._news = threading.Semaphore(0)

    def tell(self) -> None:
        self._news.release()

    def open(self) -> bool:
        return True

    def wait(self, should_stop: ShouldStop, wake: int | None = None) -> bool:
        while not should_stop():
            if self._news.acquire(timeout=0.01):
                return True
        return False

    def close(self) -> None:
        pass


@pytest.fixture
def _no_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bouncepoll.bootstrap._polls._BURST_S", 0.0)


@contextmanager
def watched(application: FakeApplication, watcher: Woken) -> Iterator[Running]:
    service = Service(cast("Application", application), ["news"], watch=lambda _name: watcher)
    started = Running(service, 20.0)
    try:
        yield started
    finally:
        started.end()


@pytest.mark.usefixtures("_no_bursts")
def test_news_are_polled_at_once() -> None:
    application, watcher = FakeApplication(), Woken()
    with watched(application, watcher) as service:
        for polls in range(1, 4):
            wait_until(lambda polls=polls: application.calls["news"] >= polls, "a poll")  # type: ignore[misc] # It is no loop variable.
            wait_until(lambda: service.service._busy.count == 0, "its end")
            watcher.tell()
        wait_until(lambda: application.calls["news"] >= 4, "the last poll")
        assert service.end() is True


@pytest.mark.usefixtures("_no_bursts")
def test_news_during_a_poll_are_polled_after_it() -> None:
    application, watcher = FakeApplication(), Woken()
    begun, release = threading.Event(), threading.Event()

    def poll(_stop: ShouldStop) -> PollOutcome:
        if not begun.is_set():
            begun.set()
            release.wait(20)
        return good("news")

    application.polls["news"] = poll
    with watched(application, watcher) as service:
        assert begun.wait(20)
        watcher.tell()
        wait_until(lambda: "news" in service.service._polls._news, "the news")
        release.set()
        wait_until(lambda: application.calls["news"] >= 2, "the poll after it")


def test_news_do_not_end_a_rest() -> None:
    application, watcher = FakeApplication(), Woken()
    due = system_clock() + timedelta(hours=1)
    application.polls["news"] = lambda _stop: broken("news", due)
    with watched(application, watcher) as service:
        wait_until(lambda: next_run(service, "poll:news") == due, "the back-off")
        watcher.tell()
        wait_until(lambda: "news" in service.service._polls._news, "the news")
        assert next_run(service, "poll:news") == due
    assert application.calls["news"] == 1


def test_a_burst_of_news_is_one_poll() -> None:
    clock = FakeClock()
    polls = Polls(clock)
    assert polls.woken("news") == clock()
    assert polls.begin("news")
    assert not polls.begin("news")
    assert polls.woken("news") is None
    assert polls.ended("news", None) == clock() + timedelta(seconds=2)
    clock.advance(timedelta(seconds=1))
    assert polls.woken("news") == clock() + timedelta(seconds=1)
    clock.advance(timedelta(seconds=9))
    assert polls.woken("news") == clock()
    assert polls.begin("news")
    assert polls.ended("news", None) is None
    polls.rest("news", clock() + timedelta(minutes=1))
    assert polls.rests_until("news") == clock() + timedelta(minutes=1)
    assert polls.woken("news") is None
    clock.advance(timedelta(minutes=1))
    assert polls.rests_until("news") is None
