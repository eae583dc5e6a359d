"""``bouncepoll serve``: when what runs. One job a mailbox, one for the outbox, one for retention; and the listener.

APScheduler with a memory job store: missed runs are coalesced, never dropped, and a mailbox is never polled twice at
once. A job that fails is logged and backs off by itself (``Application.poll`` says when it is due again); it holds up
no other job.
"""

import random
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from types import FrameType
from typing import Protocol

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.base import BaseTrigger

from bouncepoll.bootstrap import Application, PollOutcome
from bouncepoll.bootstrap._clockwatch import ClockWatch, SteadyClock
from bouncepoll.bootstrap._cluster import Membership
from bouncepoll.bootstrap._notify import Notifier
from bouncepoll.bootstrap._polls import Busy, Polls
from bouncepoll.bootstrap._watching import Watching
from bouncepoll.ports import Watcher

log = structlog.get_logger()

_MAX_THREADS = 64
_JITTER_SHARE = 0.1
_RETENTION_EVERY_S = 3600.0
_RETRY_EVERY_S = 30.0


class Listening(Protocol):
    """Something that takes mails by itself while the service runs."""

    def start(self) -> object:
        """Begin.

        Raises:
            ConfigurationError: it cannot.
        """
        ...

    def close(self) -> None:
        """Ask for the end; returns at once."""
        ...

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; whether it came in time."""
        ...

    def retry(self) -> object:
        """Process again what was in quarantine."""
        ...


class Observer(Protocol):
    """What is told of what the service does, from several threads."""

    def polled(self, outcome: PollOutcome, *, held: bool) -> None:
        """A poll ended; ``held``: it was not begun, or given up, for the database takes no writes."""
        ...

    def clock_was_set(self, jump: timedelta) -> None:
        """The system's clock was set, ahead or back."""
        ...


class Service:
    """Runs an application until it is told to stop; ``mailboxes`` are the names of those to poll.

    ``listen`` makes what takes mails beside that, of a function to be called when there is something new to forward.
    ``watch`` gives what waits for new mails in a mailbox, None for one that is polled only. ``notifier`` tells the
    service manager. With a ``cluster`` only those mailboxes are polled that are this node's share.
    """

    def __init__(
        self,
        application: Application,
        mailboxes: Sequence[str],
        listen: Callable[[Callable[[], None]], Listening] | None = None,
        watch: Callable[[str], Watcher | None] = lambda _name: None,
        notifier: Notifier | None = None,
        *,
        observer: Observer | None = None,
        cluster: Membership | None = None,
    ) -> None:
        self._cluster = cluster
        self._notifier = notifier or Notifier()
        self._observer = observer
        self._application = application
        self._drain_asked = threading.Event()
        self._listener = None if listen is None else listen(self._ask_for_drain)
        self._mailboxes = tuple(mailboxes)
        self._stop = threading.Event()
        self._busy = Busy()
        self._steady = SteadyClock(application.clock)
        self._clock_watch = ClockWatch(self._steady, self._clock_was_set, self._stop)
        self._polls = Polls(self._steady)
        self._every: dict[str, _Every] = {}
        watched = self._mailboxes if cluster is None else ()
        self._watching = Watching(watch, watched, self._wake, self._stop, lambda: application.pausing.paused)
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            # Signs of life have a thread of their own: they must not wait for mail servers that do not answer.
            executors={
                "default": ThreadPoolExecutor(min(len(mailboxes) + 3, _MAX_THREADS)),
                "watchdog": ThreadPoolExecutor(1),
            },
            job_defaults={"coalesce": True, "max_instances": 1, "misfire_grace_time": None},
        )

    def stop(self) -> None:
        """Ask for the end: batches in hand are finished, nothing new is begun."""
        self._stop.set()

    def run(self, grace_s: float = 9.0) -> bool:
        """Run until ``stop`` is called (SIGTERM and SIGINT call it); return whether every job ended within ``grace_s``.

        A job that did not end in time is one the other side keeps waiting; ending the process then loses nothing.
        """
        self._scheduler.add_listener(_report, EVENT_JOB_ERROR | EVENT_JOB_MISSED | EVENT_JOB_MAX_INSTANCES)
        self._add_jobs()
        with _signals(self.stop):
            if self._listener is not None:
                self._listener.start()
            self._scheduler.start()
            self._watching.start()
            self._clock_watch.start()
            if self._cluster is not None:
                self._cluster.start(self._gain, self._lose, self._polls.is_running)
            log.info("service_started", mailboxes=list(self._mailboxes))
            self._notifier.ready(f"polls {len(self._mailboxes)} mailboxes")
            self._stop.wait()
            self._notifier.stopping()
            log.info("service_stopping", running=self._busy.count)
            self._scheduler.pause()
            self._scheduler.shutdown(wait=False)
            if self._cluster is not None:
                self._cluster.retire()
            finished = self._end(grace_s)
            if self._cluster is not None:
                self._cluster.leave()
        log.info("service_stopped", finished=finished)
        return finished

    def _end(self, grace_s: float) -> bool:
        """Wait for the jobs, the listener and the watchers; whether all ended in time."""
        deadline = time.monotonic() + grace_s
        self._watching.interrupt()
        if self._listener is not None:
            self._listener.close()
        finished = self._busy.wait(grace_s)
        if self._listener is not None:
            finished = self._listener.wait(max(deadline - time.monotonic(), 0.0)) and finished
        return self._watching.wait(max(deadline - time.monotonic(), 0.0)) and finished

    def _add_jobs(self) -> None:
        now = self._application.clock()
        if self._cluster is None:
            self._begin_to_poll(self._mailboxes, self._application.next_polls())
        if (watchdog_s := self._notifier.watchdog_s) is not None:
            # By the scheduler: one that stands still gives no sign, and the manager starts the service anew.
            self._add("watchdog", self._notifier.alive, watchdog_s / 3, now, executor="watchdog")
        held = self._application.pausing.run
        self._add("outbox", partial(held, self._drain), self._application.drain_interval_s, now)
        self._add(
            "retention",
            partial(held, self._retain),
            _RETENTION_EVERY_S,
            now + timedelta(seconds=_RETENTION_EVERY_S / 60),
        )
        if self._listener is not None:
            self._add("quarantine", partial(held, self._retry), _RETRY_EVERY_S, now + timedelta(seconds=_RETRY_EVERY_S))

    def _begin_to_poll(self, names: Iterable[str], next_polls: Mapping[str, datetime]) -> None:
        now = self._application.clock()
        for name in names:
            every_s = self._application.poll_interval_s(name)
            due = max(next_polls.get(name, now), now)
            self._polls.rest(name, self._steady.of(due))
            # Two, for one that ends just now counts as running: the next one must not be skipped for it.
            self._add(f"poll:{name}", partial(self._poll, name), every_s, due, max_instances=2)

    def _gain(self, names: Sequence[str]) -> None:
        """Begin with mailboxes that are this node's share now; raises ``StoreUnavailable``, and is called again."""
        self._begin_to_poll(names, self._application.next_polls())
        for name in names:
            self._watching.add(name)

    def _lose(self, name: str) -> None:
        """Leave a mailbox to another node; a poll that runs finds that out by itself."""
        self._watching.remove(name)
        self._every.pop(f"poll:{name}", None)
        with suppress(JobLookupError):
            self._scheduler.remove_job(f"poll:{name}")

    def _add(
        self,
        name: str,
        work: Callable[[], None],
        every_s: float,
        due: datetime,
        *,
        max_instances: int = 1,
        executor: str = "default",
    ) -> None:
        trigger = self._every[name] = _Every(every_s, self._steady.of(due), self._steady)
        self._scheduler.add_job(
            self._busy.run,
            trigger,
            (work,),
            id=name,
            name=name,
            next_run_time=due,
            max_instances=max_instances,
            executor=executor,
            replace_existing=True,
        )

    def _poll(self, name: str) -> None:
        if self._stop.is_set():
            return
        rests_until = self._polls.rests_until(name)
        if rests_until is not None:
            self._run_at(f"poll:{name}", rests_until)
            return
        if self._polls.polled_within(name, self._application.poll_interval_s(name) / 2):
            return  # The clock was set ahead, and the scheduler thinks that it missed a run.
        if not self._polls.begin(name):
            log.info("job_still_running", job=f"poll:{name}")
            return
        try:
            outcome = self._poll_now(name)
            if outcome is None:
                return
            if self._observer is not None:
                self._observer.polled(outcome, held=self._application.pausing.is_cause(outcome.error))
            if outcome.error is not None or outcome.rests:
                rests_until = self._steady.of(outcome.next_poll_at)
        finally:
            due = self._polls.ended(name, rests_until)
        if due is not None:
            self._run_at(f"poll:{name}", due)
        if outcome.report is not None and outcome.report.forwards:
            self._run_at("outbox", self._steady())

    def _poll_now(self, name: str) -> PollOutcome | None:
        """Poll a mailbox; None when it is no longer this node's share."""
        cluster = self._cluster
        if cluster is None:
            return self._application.poll(name, should_stop=self._stop.is_set)
        lease = cluster.lease_of(name)
        if lease is None:
            return None
        return self._application.poll(
            name, should_stop=lambda: self._stop.is_set() or not cluster.holds(lease), lease=lease
        )

    def _wake(self, name: str) -> None:
        """Poll a mailbox, which has something new, as soon as that may be."""
        due = self._polls.woken(name)
        if due is not None and not self._stop.is_set():
            self._run_at(f"poll:{name}", due)

    def _run_at(self, job: str, due: datetime) -> None:
        every = self._every.get(job)
        if every is not None:
            every.due = due
        # The scheduler may have been shut down meanwhile; its jobs are gone then.
        with suppress(JobLookupError):
            self._scheduler.modify_job(job, next_run_time=self._steady.as_set(due))

    def _clock_was_set(self, jump: timedelta) -> None:
        """Tell the scheduler, which believes the clock, when everything is due by it now."""
        if self._observer is not None:
            self._observer.clock_was_set(jump)
        for job, every in list(self._every.items()):
            self._run_at(job, every.due)

    def _ask_for_drain(self) -> None:
        """Drain the outbox now; asking again before it is done changes nothing."""
        if not self._drain_asked.is_set():
            self._drain_asked.set()
            self._run_at("outbox", self._steady())

    def _drain(self) -> None:
        asked = True
        while asked and not self._stop.is_set():
            self._drain_asked.clear()
            self._application.drain(should_stop=self._stop.is_set)
            # Asked for while this drain ran: a run of its own would have been skipped.
            asked = self._drain_asked.is_set()

    def _retry(self) -> None:
        if not self._stop.is_set() and self._listener is not None:
            self._listener.retry()

    def _retain(self) -> None:
        if not self._stop.is_set() and (self._cluster is None or self._cluster.leads):
            self._application.retain(should_stop=self._stop.is_set)


class _Every(BaseTrigger):
    """Due again so many seconds after a run, ±10 %, however many runs the system's clock says were missed.

    ``due`` is the next one, by the clock that nobody sets.
    """

    def __init__(self, every_s: float, due: datetime, steady: SteadyClock) -> None:
        self._every_s = every_s
        self._steady = steady
        self.due = due

    def get_next_fire_time(self, _previous: datetime | None, now: datetime) -> datetime:
        """Return the next time by the system's clock; called by the scheduler when a job is run."""
        share = random.uniform(1 - _JITTER_SHARE, 1 + _JITTER_SHARE)  # noqa: S311 - spreads jobs, guards nothing.
        found = now + timedelta(seconds=self._every_s * share)
        self.due = self._steady.of(found)
        return found


def _report(event: JobEvent) -> None:
    if isinstance(event, JobExecutionEvent) and event.exception is not None:
        log.error("job_failed", job=event.job_id, error=str(event.exception), traceback=event.traceback)
    elif event.code == EVENT_JOB_MAX_INSTANCES:
        log.info("job_still_running", job=event.job_id)
    else:
        log.warning("job_missed", job=event.job_id)


@contextmanager
def _signals(stop: Callable[[], None]) -> Iterator[None]:
    """Call ``stop`` on SIGTERM and SIGINT, where this is the main thread (others cannot set handlers)."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def handle(_number: int, _frame: FrameType | None) -> None:
        stop()

    old = {number: signal.signal(number, handle) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)
