"""A service over an application that does as it is told."""

import threading
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any, cast

from bouncepoll.bootstrap import Application, PollOutcome, system_clock
from bouncepoll.bootstrap._pausing import Pausing
from bouncepoll.deliver.drain import DrainReport
from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.cluster import Lease
from bouncepoll.pipeline import PollReport
from bouncepoll.ports import Clock
from bouncepoll.scheduler import Service

OFTEN_S = 0.02
NEVER_S = 3600.0
ShouldStop = Callable[[], bool]


class FakeApplication:
    """What the service asks of an ``Application``; ``polls`` says what a poll of a mailbox does."""

    def __init__(self, every_s: float = NEVER_S) -> None:
        self.clock: Clock = system_clock
        self.every_s = every_s
        self.drain_interval_s = NEVER_S
        self.polls: dict[str, Callable[[ShouldStop], PollOutcome]] = {}
        self.due: dict[str, datetime] = {}
        self.calls: Counter[str] = Counter()
        self.leases: list[Lease | None] = []
        self.drains: Callable[[], None] = lambda: None
        self.writable: Callable[[frozenset[str]], None] = lambda _failures: None
        self.pausing = Pausing(self._prove)

    def _prove(self, failures: frozenset[str]) -> None:
        self.writable(failures)

    def poll_interval_s(self, _name: str) -> float:
        return self.every_s

    def next_polls(self) -> dict[str, datetime]:
        return self.due

    def poll(self, name: str, *, should_stop: ShouldStop, lease: Lease | None = None) -> PollOutcome:
        self.calls[name] += 1
        self.leases.append(lease)
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


def next_run(service: Running, job: str) -> Any:
    found = service.service._scheduler.get_job(job)
    return None if found is None else found.next_run_time
