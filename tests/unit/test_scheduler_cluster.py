"""The service as one of several nodes: it polls what is its share, and leaves the rest alone."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import cast

import pytest

from bouncepoll.bootstrap import Application, PollOutcome, system_clock
from bouncepoll.bootstrap._cluster import Membership
from bouncepoll.errors import StoreUnavailable
from bouncepoll.model.cluster import Lease
from bouncepoll.ports import Watcher
from bouncepoll.scheduler import Service
from bouncepoll.testing.source import FakeFolder
from bouncepoll.testing.watcher import FakeWatcher
from tests.servers import wait_until
from tests.unit.serving import FakeApplication, Running, ShouldStop, good, next_run


class FakeMembership:
    """Hands out and takes away mailboxes as the test says."""

    def __init__(self) -> None:
        self.leads = False
        self.started = threading.Event()
        self.held: dict[str, Lease] = {}
        self.told: list[str] = []

    def start(
        self, gained: Callable[[Sequence[str]], None], lost: Callable[[str], None], polling: Callable[[str], bool]
    ) -> None:
        self.gained, self.lost, self.polling = gained, lost, polling
        self.started.set()

    def give(self, name: str, epoch: int = 1) -> None:
        self.held[name] = Lease(name, "me", epoch, system_clock())
        self.gained([name])

    def take(self, name: str) -> None:
        del self.held[name]
        self.lost(name)

    def lease_of(self, name: str) -> Lease | None:
        return self.held.get(name)

    def holds(self, lease: Lease) -> bool:
        return self.held.get(lease.source) == lease

    def retire(self) -> None:
        self.told.append("retire")

    def leave(self) -> None:
        self.told.append("leave")


@contextmanager
def serving(
    application: FakeApplication, watch: Callable[[str], Watcher | None] = lambda _name: None
) -> Iterator[tuple[Running, FakeMembership]]:
    cluster = FakeMembership()
    service = Service(
        cast("Application", application), ["news", "offers"], watch=watch, cluster=cast("Membership", cluster)
    )
    running = Running(service, 20.0)
    try:
        assert cluster.started.wait(20)
        yield running, cluster
    finally:
        running.end()


def test_only_the_share_is_polled_each_with_its_lease() -> None:
    application = FakeApplication()
    with serving(application) as (_service, cluster):
        wait_until(lambda: application.calls["outbox"] == 1, "the first drain: every node drains")
        cluster.give("news", epoch=7)
        wait_until(lambda: application.calls["news"] == 1, "the poll")
        assert application.calls["offers"] == 0
        assert application.leases == [cluster.held["news"]]
    assert cluster.told == ["retire", "leave"]


def test_what_another_node_gets_is_polled_no_more_and_what_comes_back_is_again() -> None:
    application = FakeApplication()
    with serving(application) as (service, cluster):
        cluster.give("news")
        wait_until(lambda: application.calls["news"] == 1, "the poll")
        cluster.take("news")
        assert next_run(service, "poll:news") is None
        cluster.give("news", epoch=3)
        wait_until(lambda: application.calls["news"] == 2, "the next poll, at once")
        cluster.gained(["news"])
        wait_until(lambda: application.calls["news"] == 3, "told twice: one job still")
        assert [lease and lease.epoch for lease in application.leases] == [1, 3, 3]


def test_a_poll_that_runs_is_told_to_stop_and_known_until_it_did() -> None:
    application = FakeApplication()
    begun, ended = threading.Event(), threading.Event()
    asked: list[bool] = []

    def poll(should_stop: ShouldStop) -> PollOutcome:
        asked.append(should_stop())
        begun.set()
        ended.wait(20)
        asked.append(should_stop())
        return good("news")

    application.polls["news"] = poll
    with serving(application) as (_service, cluster):
        cluster.give("news")
        assert begun.wait(20)
        assert cluster.polling("news")
        # The same name again, with another epoch: that is no longer the right this poll began with.
        cluster.held["news"] = Lease("news", "me", 2, system_clock())
        ended.set()
        wait_until(lambda: not cluster.polling("news"), "the poll to end")
    assert asked == [False, True]


def test_a_mailbox_that_is_about_to_go_is_not_begun_with() -> None:
    application = FakeApplication()
    with serving(application) as (service, cluster):
        # Its job is there, and its lease is not any more.
        cluster.gained(["news"])
        wait_until(
            lambda: (due := next_run(service, "poll:news")) is not None and due > system_clock(), "the job to be run"
        )
        assert application.calls["news"] == 0
        assert not cluster.polling("news")


def test_back_off_goes_on_where_the_other_node_was() -> None:
    application = FakeApplication()
    due = application.due["news"] = system_clock() + timedelta(hours=1)
    with serving(application) as (service, cluster):
        cluster.give("news")
        wait_until(lambda: next_run(service, "poll:news") is not None, "the job")
        assert abs(next_run(service, "poll:news") - due) < timedelta(seconds=1)
        assert application.calls["news"] == 0


def test_only_the_share_is_watched() -> None:
    watchers = {name: FakeWatcher(name, FakeFolder()) for name in ("news", "offers")}
    application = FakeApplication()
    with serving(application, watchers.get) as (_service, cluster):
        cluster.give("news")
        wait_until(lambda: watchers["news"].is_open, "the watch")
        assert not watchers["offers"].is_open
        cluster.take("news")
        wait_until(lambda: not watchers["news"].is_open, "the end of the watch")
        cluster.give("offers")
        wait_until(lambda: watchers["offers"].is_open, "the other watch")


def test_a_database_that_cannot_be_asked_is_asked_again_by_whoever_told_us(monkeypatch: pytest.MonkeyPatch) -> None:
    application = FakeApplication()

    def next_polls() -> None:
        raise StoreUnavailable("the server is gone")

    with serving(application) as (service, cluster):
        monkeypatch.setattr(application, "next_polls", next_polls)
        try:
            cluster.give("news")
        except StoreUnavailable:
            cluster.told.append("refused")
        assert next_run(service, "poll:news") is None
    assert cluster.told == ["refused", "retire", "leave"]


def test_one_node_is_enough_for_retention() -> None:
    application = FakeApplication()
    with serving(application) as (running, cluster):
        running.service._retain()
        assert application.calls["retention"] == 0
        cluster.leads = True
        running.service._retain()
        assert application.calls["retention"] == 1
