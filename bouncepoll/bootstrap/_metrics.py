"""What the service counts, and what it looks up when it is asked, in Prometheus' format.

Values that live in the database are read in a thread of their own, at most once in some seconds; a database that does
not answer is one gauge, and never an error of the scrape.
"""

import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from concurrent.futures import TimeoutError as Late
from dataclasses import dataclass
from datetime import timedelta

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, disable_created_metrics, generate_latest
from prometheus_client.metrics_core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from bouncepoll import __version__
from bouncepoll.bootstrap import Application, PollOutcome
from bouncepoll.bootstrap._clockwatch import JUMP
from bouncepoll.errors import BouncepollError
from bouncepoll.model.credential import Expiry
from bouncepoll.model.records import MailboxState
from bouncepoll.store.gauges import Gauges

log = structlog.get_logger()

#: What is read from the database is shown again for so long.
_FRESH_S = 10.0
#: A scrape waits so long for the database, then it shows what it had.
_PATIENCE_S = 2.0
#: ``StoreUnavailable.reason``, each of which is a label.
REASONS = ("full", "locked", "read_only", "replaced", "schema", "damaged", "refused", "unreachable")


class Metrics:
    """The metrics of one running service."""

    def __init__(self, application: Application, monotonic: Callable[[], float] = time.monotonic) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations.
        self._registry = CollectorRegistry(auto_describe=False)
        self._polls = Counter(
            "bouncepoll_polls",
            "Polls by how they ended: ok, failed, held.",
            ["mailbox", "outcome"],
            registry=self._registry,
        )
        self._messages = Counter(
            "bouncepoll_messages",
            "Mails that polls recorded, by kind; mails for the quarantine as kind quarantine.",
            ["mailbox", "kind"],
            registry=self._registry,
        )
        self._jumps = Counter("bouncepoll_clock_jumps", "How often the clock was set.", registry=self._registry)
        build = Gauge("bouncepoll_build_info", "The version of bouncepoll.", ["version"], registry=self._registry)
        build.labels(__version__).set(1)
        for name in application.mailboxes:
            for outcome in ("ok", "failed", "held"):
                self._polls.labels(name, outcome)
        self._looked_up = _LookedUp(application, monotonic)
        self._registry.register(self._looked_up)

    def polled(self, outcome: PollOutcome, *, held: bool) -> None:
        """Count a poll; ``held``: nothing was done, for the database takes no writes."""
        ended = "held" if held else "failed" if outcome.error is not None else "ok"
        self._polls.labels(outcome.mailbox, ended).inc()
        if outcome.report is not None:
            for kind, count in outcome.report.kinds.items():
                self._messages.labels(outcome.mailbox, str(kind)).inc(count)
            if outcome.report.quarantined:
                self._messages.labels(outcome.mailbox, "quarantine").inc(outcome.report.quarantined)

    def clock_was_set(self, jump: timedelta) -> None:
        """Count a jump of the clock."""
        if abs(jump) > JUMP:
            self._jumps.inc()

    def text(self) -> bytes:
        """Return everything in Prometheus' text format; may be called from several threads."""
        return generate_latest(self._registry)

    def close(self) -> None:
        """End the thread that reads the database; what it waits for is left alone."""
        self._looked_up.close()


@dataclass(frozen=True, slots=True)
class _Snapshot:
    """What the database said."""

    states: tuple[MailboxState, ...]
    gauges: Gauges
    expiries: tuple[Expiry, ...]


class _LookedUp(Collector):
    """The pause, and what is in the database."""

    def __init__(self, application: Application, monotonic: Callable[[], float]) -> None:
        self._application = application
        self._monotonic = monotonic
        self._guard = threading.Lock()
        self._reader = ThreadPoolExecutor(1, "metrics")
        self._reading: Future[_Snapshot] | None = None
        self._read_at = float("-inf")
        self._snapshot: _Snapshot | None = None

    def collect(self) -> Iterable[Metric]:
        """Yield the families; called once a scrape."""
        yield self._paused()
        snapshot = self._current()
        yield _gauge(
            "bouncepoll_database_up", "Whether the database could be read.", [((), float(snapshot is not None))]
        )
        if snapshot is not None:
            yield from _families(snapshot, set(self._application.mailboxes))

    def close(self) -> None:
        self._reader.shutdown(wait=False, cancel_futures=True)

    def _paused(self) -> Metric:
        reason = self._application.pausing.reason
        return _gauge(
            "bouncepoll_polls_paused",
            "1 for the reason why the database takes no writes and everything is held, else 0.",
            [((each,), float(each == reason)) for each in REASONS],
            "reason",
        )

    def _current(self) -> _Snapshot | None:
        with self._guard:
            if self._application.pausing.paused:
                return None
            if self._monotonic() - self._read_at < _FRESH_S:
                return self._snapshot
            if self._reading is None:
                self._reading = self._reader.submit(self._read)
            reading = self._reading
        try:
            snapshot = reading.result(_PATIENCE_S)
        except Late:
            return self._snapshot
        except BouncepollError as exc:
            log.debug("metrics_incomplete", error=str(exc))
            snapshot = None
        with self._guard:
            if self._reading is reading:
                self._reading, self._snapshot, self._read_at = None, snapshot, self._monotonic()
            return snapshot

    def _read(self) -> _Snapshot:
        store = self._application.store
        return _Snapshot(tuple(store.mailboxes.all()), store.gauges(), self._application.credentials.expiries())


def _families(snapshot: _Snapshot, mailboxes: set[str]) -> Iterator[Metric]:
    states = [state for state in snapshot.states if state.source in mailboxes]
    yield _gauge(
        "bouncepoll_mailbox_failures",
        "Polls of a mailbox that failed in a row.",
        [((state.source,), float(state.failures)) for state in states],
        "mailbox",
    )
    yield _gauge(
        "bouncepoll_mailbox_last_success_timestamp_seconds",
        "When a poll of a mailbox last went well.",
        [((s.source,), s.last_success_at.timestamp()) for s in states if s.last_success_at is not None],
        "mailbox",
    )
    yield _gauge(
        "bouncepoll_quarantine_messages",
        "Mails that could not be processed and are kept; counted up to 100000.",
        [((), float(snapshot.gauges.quarantine))],
    )
    yield _gauge(
        "bouncepoll_outbox_recipients",
        "Recipients of forwards that wait (queued) or were given up (dead); counted up to 100000.",
        [((str(state),), float(count)) for state, count in snapshot.gauges.outbox.items()],
        "state",
    )
    # A section may have two of one kind; the sooner one matters.
    ends = {(end.name, end.what): end.expires_at.timestamp() for end in reversed(snapshot.expiries)}
    yield _gauge(
        "bouncepoll_credential_expiry_timestamp_seconds",
        "When a credential ends, as far as that is known.",
        ends.items(),
        "section",
        "what",
    )


def _gauge(name: str, text: str, samples: Iterable[tuple[tuple[str, ...], float]], *labels: str) -> Metric:
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, value in samples:
        family.add_metric(values, value)
    return family
