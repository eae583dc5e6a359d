"""When what runs: the service over an application that does as it is told. Nothing here waits for time to pass."""

import os
import signal
import threading
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta, tzinfo
from typing import Any, cast

import pytest
from structlog.testing import capture_logs

from bouncepoll.bootstrap import Application, PollOutcome, system_clock
from bouncepoll.bootstrap._clockwatch import SteadyClock
from bouncepoll.bootstrap._notify import Notifier
from bouncepoll.errors import StoreUnavailable
from bouncepoll.pipeline import PollReport
from bouncepoll.scheduler import Service, _Every
from tests.servers import wait_until
from tests.unit.serving import OFTEN_S, FakeApplication, ShouldStop, broken, good, next_run, running


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


class _Manager(Notifier):
    """A service manager in memory, which wants a sign of life often."""

    def __init__(self) -> None:
        super().__init__("/nowhere", OFTEN_S)
        self.heard: list[str] = []

    def _send(self, state: str) -> None:
        self.heard.append(state.partition("\n")[0])


def test_the_manager_hears_of_the_beginning_the_end_and_of_life_while_every_thread_waits() -> None:
    application, manager, release = FakeApplication(), _Manager(), threading.Event()

    def hang(_should_stop: ShouldStop) -> PollOutcome:
        release.wait(20)
        return good("news")

    application.polls["news"] = hang
    application.drains = lambda: cast("None", release.wait(20))
    service = Service(cast("Application", application), ("news",), notifier=manager)
    thread = threading.Thread(target=service.run)
    thread.start()
    try:
        wait_until(lambda: manager.heard.count("WATCHDOG=1") >= 3, "three signs of life")
        assert "READY=1" in manager.heard
    finally:
        service.stop()
        release.set()
        thread.join(20)
    assert manager.heard.count("READY=1") == manager.heard.count("STOPPING=1") == 1


def test_a_manager_that_does_not_watch_gets_no_signs_of_life() -> None:
    with running(FakeApplication(), "news") as service:
        assert next_run(service, "watchdog") is None


def test_while_the_database_takes_no_writes_nothing_else_runs() -> None:
    application = FakeApplication()

    def refuse(_failures: frozenset[str]) -> None:
        raise StoreUnavailable("the disk is full", reason="full")

    application.writable = refuse
    service = Service(cast("Application", application), ["news"])
    for job in ("_drain", "_retain"):
        application.pausing.run(getattr(service, job))
    assert application.calls == Counter()


class SetClock:
    """A clock that goes on as the system's does, and is set."""

    def __init__(self) -> None:
        self.set_by = timedelta(0)

    def __call__(self) -> datetime:
        return system_clock() + self.set_by


@pytest.mark.parametrize("jump", [timedelta(hours=-1), timedelta(days=1), timedelta(days=365 * 30)])
def test_a_clock_that_is_set_changes_nothing_of_what_is_due(jump: timedelta, monkeypatch: pytest.MonkeyPatch) -> None:
    application = FakeApplication(every_s=600)
    application.clock = clock = SetClock()

    class SetTime(datetime):
        @classmethod
        def now(cls, tz: tzinfo | None = None) -> Any:
            return clock().astimezone(tz)

    monkeypatch.setattr("apscheduler.schedulers.base.datetime", SetTime)
    application.polls["broken"] = lambda _stop: broken("broken", clock() + timedelta(minutes=30))
    with running(application, "broken", "news") as service:
        wait_until(lambda: application.calls >= Counter(news=1, broken=1, outbox=1), "the first runs")
        wait_until(lambda: service.service._busy.count == 0, "their end")
        before = {job: next_run(service, job) for job in ("poll:news", "poll:broken", "outbox", "retention")}
        clock.set_by = jump

        def told(job: str) -> bool:
            return bool(abs(next_run(service, job) - before[job] - jump) < timedelta(seconds=1))

        wait_until(lambda: all(map(told, before)), "all jobs to be told")
        # The scheduler asked before the clock was looked at: a mailbox that was just polled is not polled again.
        service.service._poll("news")
        service.service._poll("broken")
        assert application.calls == Counter(news=1, broken=1, outbox=1)


def test_a_clock_set_ahead_by_years_is_one_missed_run_and_no_more() -> None:
    now = system_clock()
    every = _Every(1.0, now, SteadyClock(system_clock))
    found = every.get_next_fire_time(now - timedelta(days=365 * 50), now)
    assert timedelta(seconds=0.9) <= found - now <= timedelta(seconds=1.1)
