"""The workers, and who asks them: a worker that dies is replaced, and the mail it died of is told from the others."""

import atexit
import contextlib
import multiprocessing
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import structlog

from bouncepoll.analysis import Analysing, Unprocessed
from bouncepoll.errors import ConfigurationError, TransientError
from bouncepoll.isolation import _worker
from bouncepoll.isolation._limits import Limits, reason_of
from bouncepoll.isolation._transfer import Answer, Digest, Failed, Request, dumps, entries, loads
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import RawMessage
from bouncepoll.model.storing import Entry

log = structlog.get_logger()

_CHUNK_MAILS = 100
_CHUNK_OCTETS = 4 * 1024 * 1024
# Starting reads some hundred files, and may have to wait for a busy machine.
_START_TIMEOUT_S = 120.0
# CPU seconds are bounded by the kernel; this is for a worker that waits for something that never comes.
_ANSWER_TIMEOUT_S = 60.0
_CPU_SHARE = 0.1
_END_TIMEOUT_S = 5.0


class IsolatedAnalyser:
    """A ``pipeline.Analysing`` whose mails are read by up to ``workers`` other processes; any thread may ask.

    A mail that takes more than the limits, or ends its process, comes back as ``Unprocessed``: it is known after it
    did so twice, the second time alone.
    """

    def __init__(self, build: Callable[[], Analysing], limits: Limits | None = None, *, workers: int = 1) -> None:
        """``build`` has to be picklable; it is called once in each worker. No worker is started yet."""
        self._build = build
        self._limits = limits or Limits()
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix="analysis")
        self._workers: list[_Worker] = []
        self._mine = threading.local()
        atexit.register(self.close)

    def prepare(self) -> None:
        """Start a worker in the background if there is none yet; what goes wrong is told by the first analysis."""
        if not self._workers:
            self._executor.submit(self._warm)

    def begin(
        self, raws: Sequence[RawMessage], filters: Sequence[BounceFilter], default_filter: str | None
    ) -> Callable[[], Sequence[Entry | Unprocessed]]:
        """Have mails read; the function returned waits for what is known of them, in order.

        Raises (that function):
            TransientError: no worker could be started, or somebody ended it.
            ConfigurationError: the rules cannot be read.
        """
        chosen = tuple(filters)
        begun: list[tuple[Sequence[RawMessage], Future[list[bytes]]]] = [
            (chunk, self._executor.submit(self._ask, chunk, chosen, default_filter)) for chunk in _chunks(raws)
        ]

        def wait() -> Sequence[Entry | Unprocessed]:
            found: list[Entry | Unprocessed] = []
            for chunk, future in begun:
                answers = [_understood(octets) for octets in future.result()]
                found += entries([digest for answer in answers for digest in answer], chunk)
            return found

        return wait

    def close(self) -> None:
        """End the workers; what was begun and not read yet is given up. May be called twice."""
        atexit.unregister(self.close)
        self._executor.shutdown(wait=False, cancel_futures=True)
        for worker in self._workers:
            worker.end()

    def _warm(self) -> None:
        # A start that fails now fails again when a mail is to be read, and is told then.
        with contextlib.suppress(TransientError, ConfigurationError):
            self._worker()

    def _worker(self) -> "_Worker":
        """Return this thread's worker, started anew where it died."""
        worker: _Worker | None = getattr(self._mine, "worker", None)
        if worker is None or not worker.alive:
            worker = self._mine.worker = _Worker(self._build, self._limits)
            self._workers[:] = [other for other in self._workers if other.alive] + [worker]
        return worker

    def _ask(
        self,
        raws: Sequence[RawMessage],
        filters: tuple[BounceFilter, ...],
        default_filter: str | None,
        *,
        alone: bool = False,
    ) -> list[bytes]:
        try:
            return [self._worker().ask(raws, filters, default_filter)]
        except _Died as died:
            if died.reason is None:
                raise TransientError(
                    "the process that reads mails was ended from outside; the next run repeats the work"
                ) from None
            log.warning("analysis_worker_replaced", mails=len(raws), place=str(raws[0].ref), reason=died.reason)
            if alone:
                return [dumps(Answer((Unprocessed(died.reason),)))]
        return [octets for raw in raws for octets in self._ask((raw,), filters, default_filter, alone=True)]


class _Died(Exception):
    """A worker is gone; ``reason`` is what its mail did, None when no mail is to blame."""

    def __init__(self, reason: str | None) -> None:
        super().__init__(reason)
        self.reason = reason


class _Worker:
    """One process that reads mails; used by one thread."""

    def __init__(self, build: Callable[[], Analysing], limits: Limits) -> None:
        """Start it and wait until it is ready.

        Raises:
            TransientError: it did not start.
            ConfigurationError: the rules cannot be read.
        """
        self._limits = limits
        self._told: tuple[BounceFilter, ...] | None = None
        # Forking a process that has threads may deadlock.
        context = multiprocessing.get_context("spawn")
        self._connection, theirs = context.Pipe()
        self._process = context.Process(
            target=_worker.work, args=(theirs, build, limits), name="bouncepoll-analysis", daemon=True
        )
        try:
            self._process.start()
            theirs.close()
            _understood(self._received(_START_TIMEOUT_S))
        except (_Died, OSError) as exc:
            self.end()
            raise TransientError(
                f"no process that reads mails could be started ({exc}); are memory and process limits too low?"
            ) from exc
        except BaseException:
            self.end()
            raise

    @property
    def alive(self) -> bool:
        """Whether it can be asked."""
        return not self._connection.closed and self._process.is_alive()

    def ask(self, raws: Sequence[RawMessage], filters: tuple[BounceFilter, ...], default_filter: str | None) -> bytes:
        """Return the answer's octets.

        Raises:
            _Died: the worker is gone, and with it the answer.
        """
        known = self._told is filters or self._told == filters
        request = Request(tuple(raws), None if known else filters, default_filter)
        try:
            self._connection.send_bytes(dumps(request))
        except OSError:
            raise self._died() from None
        self._told = filters
        return self._received(_ANSWER_TIMEOUT_S + len(raws) * self._limits.cpu_s / _CPU_SHARE)

    def end(self) -> None:
        """End it now; may be called twice, and from another thread."""
        self._connection.close()
        if self._process.pid is not None:
            self._process.kill()
            self._process.join(_END_TIMEOUT_S)

    def _received(self, timeout_s: float) -> bytes:
        try:
            if self._connection.poll(timeout_s):
                return self._connection.recv_bytes()
        except (EOFError, OSError):
            raise self._died() from None
        self.end()
        raise _Died(f"reading it took more than {timeout_s:g} s")

    def _died(self) -> "_Died":
        self._process.join(_END_TIMEOUT_S)
        exit_code = self._process.exitcode
        self.end()
        return _Died(reason_of(exit_code, self._limits))


def _understood(octets: bytes) -> "tuple[Digest | Unprocessed, ...]":
    try:
        answer: Answer | Failed = loads(octets)
    except ValueError as exc:
        raise TransientError(f"{exc}; the next run repeats the work") from exc
    if isinstance(answer, Failed):
        raise TransientError(*answer.faults) if answer.transient else ConfigurationError(*answer.faults)
    for level, event in answer.logged:
        getattr(log, level, log.warning)(event.pop("event", ""), **event)
    return answer.digests


def _chunks(raws: Sequence[RawMessage]) -> Iterator[Sequence[RawMessage]]:
    """Cut mails into requests of a bounded size, each of at least one mail."""
    chunk: list[RawMessage] = []
    octets = 0
    for raw in raws:
        if chunk and (len(chunk) >= _CHUNK_MAILS or octets + len(raw.octets) > _CHUNK_OCTETS):
            yield chunk
            chunk, octets = [], 0
        chunk.append(raw)
        octets += len(raw.octets)
    if chunk:
        yield chunk
