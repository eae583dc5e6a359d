"""``bouncepoll serve``: when what runs. One job a mailbox, one for the outbox, one for retention.

APScheduler with a memory job store: missed runs are coalesced, never dropped, and a mailbox is never polled twice at
once. A job that fails is logged and backs off by itself (``Application.poll`` says when it is due again); it holds up
no other job.
"""

import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import datetime, timedelta
from functools import partial
from types import FrameType

import structlog
from apscheduler.events import EVENT_JOB_ERROR, EVENT_JOB_MAX_INSTANCES, EVENT_JOB_MISSED, JobEvent, JobExecutionEvent
from apscheduler.executors.pool import ThreadPoolExecutor
from apscheduler.jobstores.base import JobLookupError
from apscheduler.schedulers.background import BackgroundScheduler
from apscheduler.triggers.interval import IntervalTrigger

from bouncepoll.bootstrap import Application

log = structlog.get_logger()

_MAX_THREADS = 64
_JITTER_SHARE = 0.1
_RETENTION_EVERY_S = 3600.0


class Service:
    """Runs an application until it is told to stop; ``mailboxes`` are the names of those to poll."""

    def __init__(self, application: Application, mailboxes: Sequence[str]) -> None:
        self._application = application
        self._mailboxes = tuple(mailboxes)
        self._stop = threading.Event()
        self._busy = _Busy()
        self._scheduler = BackgroundScheduler(
            timezone="UTC",
            executors={"default": ThreadPoolExecutor(min(len(mailboxes) + 2, _MAX_THREADS))},
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
            self._scheduler.start()
            log.info("service_started", mailboxes=list(self._mailboxes))
            self._stop.wait()
            log.info("service_stopping", running=self._busy.count)
            self._scheduler.pause()
            self._scheduler.shutdown(wait=False)
            finished = self._busy.wait(grace_s)
        log.info("service_stopped", finished=finished)
        return finished

    def _add_jobs(self) -> None:
        now = self._application.clock()
        for name in self._mailboxes:
            every_s = self._application.poll_interval_s(name)
            due = max(self._application.next_poll_at(name) or now, now)
            self._add(f"poll:{name}", partial(self._poll, name), every_s, due)
        self._add("outbox", self._drain, self._application.drain_interval_s, now)
        self._add("retention", self._retain, _RETENTION_EVERY_S, now + timedelta(seconds=_RETENTION_EVERY_S / 60))

    def _add(self, name: str, work: Callable[[], None], every_s: float, due: datetime) -> None:
        trigger = IntervalTrigger(seconds=every_s, jitter=every_s * _JITTER_SHARE, timezone="UTC")
        self._scheduler.add_job(self._busy.run, trigger, args=(work,), id=name, name=name, next_run_time=due)

    def _poll(self, name: str) -> None:
        if self._stop.is_set():
            return
        outcome = self._application.poll(name, should_stop=self._stop.is_set)
        if outcome.error is not None:
            self._run_at(f"poll:{name}", outcome.next_poll_at)
        elif outcome.report is not None and outcome.report.forwards:
            self._run_at("outbox", self._application.clock())

    def _run_at(self, job: str, due: datetime) -> None:
        # The scheduler may have been shut down meanwhile; its jobs are gone then.
        with suppress(JobLookupError):
            self._scheduler.modify_job(job, next_run_time=due)

    def _drain(self) -> None:
        if not self._stop.is_set():
            self._application.drain(should_stop=self._stop.is_set)

    def _retain(self) -> None:
        if not self._stop.is_set():
            self._application.retain(should_stop=self._stop.is_set)


class _Busy:
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
