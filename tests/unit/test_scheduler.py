"""When what runs: the service over an application that does as it is told. Nothing here waits for time to pass."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from bouncepoll.bootstrap import Application, PollOutcome, system_clock
from bouncepoll.deliver.drain import DrainReport
from bouncepoll.errors import SourceUnavailable
from bouncepoll.pipeline import PollReport
from bouncepoll.scheduler import Service, _Polls
from bouncepoll.testing import FakeClock
from tests.servers import wait_until

OFTEN_S = 0.02
NEVER_S = 3600.0
ShouldStop = Callable[[], bool]


class FakeApplication:
    """What the service asks of an ``Application``; ``polls`` says what a poll of a mailbox does."""

    def __init__(self, every_s: float = NEVER_S) -> None:
        self.clock = system_clock
        self.every_s = every_s
        self.drain_interval_s = NEVER_S
        self.polls: dict[str, Callable[[ShouldStop], PollOutcome]] = {}
        self.due: dict[str, datetime] = {}
        self.calls: Counter[str] = Counter()
        self.drains: Callable[[], None] = lambda: None

    def poll_interval_s(self, _name: str) -> float:
        return self.every_s

    def next_poll_at(self, name: str) -> datetime | None:
        return self.due.get(name)

    def poll(self, name: str, *, should_stop: ShouldStop) -> PollOutcome:
        self.calls[name] += 1
        work = self.polls.get(name)
        return good(name) if work is None else work(should_stop)

    def drain(self, should_stop: ShouldStop) -> DrainReport:
        self.calls["outbox"] += 1
        self.drains()
        return DrainReport()

    def retain(self, should_stop: ShouldStop) -> None:
        self.calls["retention"] += 1


def good(name: str, forwards: int = 0) -> PollOutcome:
    return PollOutcome(name, PollReport(forwards=forwards), None, system_clock() + timedelta(hours=1))


def broken(name: str, due: datetime) -> PollOutcome:
    return PollOutcome(name, None, SourceUnavailable("no"), due)


class Running:
    """A service that runs in a thread."""

    def __init__(self, service: Service, grace_s: float) -> None:
        self.service = service
        self.finished: bool | None = None
        self._thread = threading.Thread(target=self._run, args=(grace_s,))
        self._thread.start()

    def _run(self, grace_s: float) -> None:
        self.finished = self.service.run(grace_s)

    @property
    def ended(self) -> bool:
        return not self._thread.is_alive()

    def end(self) -> bool | None:
        self.service.stop()
        self._thread.join(20)
        assert self.ended
        return self.finished


@contextmanager
def running(application: FakeApplication, *mailboxes: str, grace_s: float = 20.0) -> Iterator[Running]:
    started = Running(Service(cast("Application", application), mailboxes), grace_s)
    try:
        yield started
    finally:
        started.end()


def test_every_mailbox_is_polled_and_the_outbox_drained_at_once() -> None:
    application = FakeApplication()
    with running(application, "news", "offers") as service:
        wait_until(lambda: application.calls >= Counter(news=1, offers=1, outbox=1), "the first runs")
    assert service.finished is True


def test_polls_are_repeated() -> None:
    application = FakeApplication(every_s=OFTEN_S)
    with running(application, "news"):
        wait_until(lambda: application.calls["news"] >= 3, "three polls")


def test_the_batch_in_hand_is_finished() -> None:
    application = FakeApplication()
    begun, release, committed = threading.Event(), threading.Event(), threading.Event()

    def poll(should_stop: ShouldStop) -> PollOutcome:
        begun.set()
        release.wait(20)
        assert should_stop()
        committed.set()
        return good("news")

    application.polls["news"] = poll
    with running(application, "news") as service:
        assert begun.wait(20)
        service.service.stop()
        assert not service.ended
        release.set()
        assert service.end() is True
    assert committed.is_set()


def test_a_job_that_hangs_is_not_waited_for_longer_than_the_grace() -> None:
    application = FakeApplication()
    begun, release = threading.Event(), threading.Event()

    def poll(_stop: ShouldStop) -> PollOutcome:
        begun.set()
        release.wait(20)
        return good("news")

    application.polls["news"] = poll
    with running(application, "news", grace_s=0.01) as service:
        assert begun.wait(20)
        try:
            assert service.end() is False
        finally:
            release.set()


def test_a_broken_mailbox_backs_off_and_holds_up_no_other() -> None:
    application = FakeApplication(every_s=OFTEN_S)
    due = system_clock() + timedelta(hours=1)
    application.polls["broken"] = lambda _stop: broken("broken", due)
    with running(application, "broken", "news") as service:
        wait_until(lambda: application.calls["broken"] == 1 and application.calls["news"] >= 5, "other polls")
        wait_until(lambda: next_run(service, "poll:broken") == due, "the back-off")
    assert application.calls["broken"] == 1


def test_a_mailbox_whose_server_wants_to_be_left_alone_waits() -> None:
    """Its poll was good, its mails are forwarded at once, and it comes again when it may and not when it would."""
    application = FakeApplication(every_s=OFTEN_S)
    later = system_clock() + timedelta(hours=1)
    application.polls["rests"] = lambda _should_stop: PollOutcome(
        "rests", PollReport(forwards=1), None, later, rests=True
    )
    with running(application, "rests", "news"):
        wait_until(lambda: application.calls["news"] > 5 and application.calls["outbox"] > 1, "polls of the other one")
    assert application.calls["rests"] == 1


def test_a_mailbox_that_backed_off_before_the_start_waits() -> None:
    application = FakeApplication(every_s=OFTEN_S)
    application.due["broken"] = due = system_clock() + timedelta(hours=1)
    with running(application, "broken", "news") as service:
        wait_until(lambda: application.calls["news"] >= 3, "other polls")
        assert next_run(service, "poll:broken") == due
    assert application.calls["broken"] == 0


def test_a_back_off_that_ended_before_the_start_does_not_delay() -> None:
    application = FakeApplication()
    application.due["news"] = system_clock() - timedelta(hours=1)
    with running(application, "news"):
        wait_until(lambda: application.calls["news"] == 1, "the first poll")


def test_a_mailbox_is_never_polled_twice_at_once() -> None:
    application = FakeApplication(every_s=OFTEN_S)
    release = threading.Event()

    def poll(_stop: ShouldStop) -> PollOutcome:
        release.wait(20)
        return good("news")

    application.polls["news"] = poll
    with capture_logs() as logs, running(application, "news", "offers") as service:
        try:
            wait_until(lambda: any(line["event"] == "job_still_running" for line in logs), "a run that was due")
            assert application.calls["news"] == 1
            assert application.calls["offers"] >= 1
        finally:
            release.set()
        wait_until(lambda: application.calls["news"] >= 2, "the next poll after it")
        assert service.end() is True


def test_new_forwards_are_drained_at_once() -> None:
    application = FakeApplication()
    drained, bound = threading.Event(), threading.Event()
    application.drains = drained.set

    def poll(_stop: ShouldStop) -> PollOutcome:
        assert drained.wait(20)
        assert bound.wait(20)
        wait_until(lambda: service.service._busy.count == 1, "the first drain to end")
        return good("news", forwards=1)

    application.polls["news"] = poll
    with running(application, "news") as service:
        bound.set()
        wait_until(lambda: application.calls["outbox"] >= 2, "the second drain")


def test_a_job_that_fails_is_logged_and_run_again() -> None:
    application = FakeApplication()
    application.drain_interval_s = OFTEN_S

    def fail() -> None:
        raise RuntimeError("no table")

    application.drains = fail
    with capture_logs() as logs, running(application, "news"):
        wait_until(lambda: application.calls["outbox"] >= 2, "a second run")
        wait_until(lambda: any(line["event"] == "job_failed" for line in logs), "the log line")
    line = next(line for line in logs if line["event"] == "job_failed")
    assert (line["job"], line["error"], line["log_level"]) == ("outbox", "no table", "error")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_the_service_and_their_handlers_are_restored(number: signal.Signals) -> None:
    application = FakeApplication()

    def poll(_stop: ShouldStop) -> PollOutcome:
        os.kill(os.getpid(), number)
        return good("news")

    application.polls["news"] = poll
    before = signal.getsignal(number)
    assert Service(cast("Application", application), ["news"]).run(20.0) is True
    assert signal.getsignal(number) is before


class Woken:
    """A watcher that has news whenever ``tell`` is called."""

    def __init__(self) -> None:
        self._news = threading.Semaphore(0)

    def tell(self) -> None:
        self._news.release()

    def open(self) -> bool:
        return True

    def wait(self, should_stop: ShouldStop) -> bool:
        while not should_stop():
            if self._news.acquire(timeout=0.01):
                return True
        return False

    def close(self) -> None:
        pass


@pytest.fixture
def _no_bursts(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bouncepoll.scheduler._BURST_S", 0.0)


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
    polls = _Polls(clock)
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


def test_nothing_is_begun_after_the_end() -> None:
    application = FakeApplication()
    service = Service(cast("Application", application), ["news"])
    service._retain()
    assert application.calls == Counter(retention=1)
    service.stop()
    service._retain()
    service._drain()
    service._poll("news")
    assert application.calls == Counter(retention=1)


def test_a_failure_reported_after_the_end_harms_nothing() -> None:
    application = FakeApplication()
    application.polls["news"] = lambda _stop: broken("news", system_clock())
    Service(cast("Application", application), ["news"])._poll("news")
    assert application.calls["news"] == 1


def next_run(service: Running, job: str) -> Any:
    found = service.service._scheduler.get_job(job)
    return None if found is None else found.next_run_time


class FakeListener:
    """What takes mails beside the polls, and what was asked of it."""

    def __init__(self, ask_for_drain: Callable[[], None], *, ends: bool = True) -> None:
        self.ask_for_drain = ask_for_drain
        self.ends = ends
        self.asked: list[str] = []

    def start(self) -> None:
        self.asked.append("start")

    def close(self) -> None:
        self.asked.append("close")

    def wait(self, timeout_s: float) -> bool:
        assert timeout_s >= 0
        self.asked.append("wait")
        return self.ends

    def retry(self) -> None:
        self.asked.append("retry")


@pytest.mark.parametrize("ends", [True, False])
def test_a_listener_begins_and_ends_with_the_service_even_without_a_mailbox(ends: bool) -> None:
    application = FakeApplication()
    made: list[FakeListener] = []

    def listen(ask_for_drain: Callable[[], None]) -> FakeListener:
        made.append(FakeListener(ask_for_drain, ends=ends))
        return made[0]

    service = Service(cast("Application", application), [], listen)
    thread = threading.Thread(target=lambda: made[0].asked.append(f"finished {service.run(20.0)}"))
    thread.start()
    wait_until(lambda: application.calls["outbox"] == 1, "the first drain")
    made[0].ask_for_drain()
    wait_until(lambda: application.calls["outbox"] == 2, "the drain that was asked for")
    service._retry()
    service.stop()
    thread.join(20)
    service._retry()
    assert made[0].asked == ["start", "retry", "close", "wait", f"finished {ends}"]


def test_a_drain_asked_for_while_one_runs_is_not_forgotten() -> None:
    application = FakeApplication()
    made: list[FakeListener] = []

    def listen(ask_for_drain: Callable[[], None]) -> FakeListener:
        made.append(FakeListener(ask_for_drain))
        return made[0]

    service = Service(cast("Application", application), [], listen)

    def drain() -> None:
        if application.calls["outbox"] == 1:
            for _ in range(3):
                made[0].ask_for_drain()

    application.drains = drain
    service._drain()
    assert application.calls["outbox"] == 2
