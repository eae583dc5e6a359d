"""Runs checks side by side, each with an end: a server that hangs holds up nobody else."""

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import structlog

from bouncepoll.errors import BouncepollError
from bouncepoll.model.probe import Probe, fail

log = structlog.get_logger()

#: So many run at once.
WORKERS = 8


@dataclass
class Job:
    """Checks of one thing; ``limit_s`` is the longest they may take together."""

    subject: str
    look: Callable[[], Iterator[Probe]]
    limit_s: float
    begun: threading.Event = field(default_factory=threading.Event)
    results: "queue.Queue[Probe | None]" = field(default_factory=queue.Queue)


def in_parallel(jobs: Sequence[Job], workers: int = WORKERS) -> Iterator[tuple[str, Probe]]:
    """Yield each job's checks with what they are about, job after job, in their order."""
    waiting: queue.SimpleQueue[Job] = queue.SimpleQueue()
    for job in jobs:
        waiting.put(job)
    for _worker in range(min(workers, len(jobs))):
        # Daemons: one that hangs in a system call does not keep the command from ending.
        threading.Thread(target=_work, args=(waiting,), daemon=True).start()
    for job in jobs:
        yield from ((job.subject, probe) for probe in _results(job, jobs))


def _work(waiting: "queue.SimpleQueue[Job]") -> None:
    while True:
        try:
            job = waiting.get_nowait()
        except queue.Empty:
            return
        job.begun.set()
        try:
            for probe in job.look():
                job.results.put(probe)
        except BouncepollError as exc:
            job.results.put(fail("check", str(exc)))
        except Exception as exc:
            log.debug("check_failed_unexpectedly", subject=job.subject, exc_info=True)
            job.results.put(fail("check", f"a mistake in bouncepoll: {type(exc).__name__}; please report it"))
        finally:
            job.results.put(None)


def _results(job: Job, jobs: Sequence[Job]) -> Iterator[Probe]:
    # However long the others hang, this one's turn comes: each takes its limit at most.
    if not job.begun.wait(sum(one.limit_s for one in jobs)):
        yield fail("time", "it was never looked at: all others hang", "name it alone: bouncepoll doctor NAME")
        return
    deadline = time.monotonic() + job.limit_s
    while True:
        try:
            probe = job.results.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            yield fail(
                "time",
                f"the checks did not end within {job.limit_s:.0f} s",
                "the server answers too slowly; try again with a longer --timeout",
            )
            return
        if probe is None:
            return
        yield probe
