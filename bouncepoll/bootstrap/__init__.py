"""The only place that builds things: settings in, working parts out."""

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Self

import structlog

from bouncepoll import registry
from bouncepoll.analysis import Analyser, Analysing
from bouncepoll.bootstrap._clock import system_clock
from bouncepoll.bootstrap._clockwatch import SharedClock
from bouncepoll.bootstrap._counting import count_new
from bouncepoll.bootstrap._credentials import CredentialDesk
from bouncepoll.bootstrap._delivery import backend_faults, check_delivery
from bouncepoll.bootstrap._filters import FilterDesk
from bouncepoll.bootstrap._lock import only_process
from bouncepoll.bootstrap._pausing import Pausing
from bouncepoll.bootstrap._reprocessing import analyser_with, analysing, reprocess
from bouncepoll.bootstrap._retention import retain
from bouncepoll.bootstrap.tokens import weighing
from bouncepoll.classify import create_classifier
from bouncepoll.deliver.drain import DrainReport, Outcome, RetryPolicy, drain
from bouncepoll.deliver.forward import prepare
from bouncepoll.errors import BouncepollError, ConfigurationError, FolderMissing, LeaseLost, TransientError, UsageError
from bouncepoll.model.cluster import Lease
from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.storing import Selection
from bouncepoll.pipeline import MailboxPlan, Poller, PollReport, next_poll_delay_s
from bouncepoll.ports import Backend, Clock, Source
from bouncepoll.reprocess import ReprocessReport
from bouncepoll.settings import MailboxSettings, Settings
from bouncepoll.store import SqlStore, open_store, schema

__all__ = ["Application", "PollOutcome", "analyser_with", "system_clock"]

log = structlog.get_logger()

#: Over so many seconds a mailbox the polls are spread that a pause held.
_SPREAD_S, _LONGEST_SPREAD_S = 0.05, 10.0


@dataclass(frozen=True, slots=True)
class PollOutcome:
    """How a poll ended: with a report, or with an error and the time it is tried again.

    ``rests``: the server wants to be left alone until ``next_poll_at``, which is later than the next poll would be.
    """

    mailbox: str
    report: PollReport | None
    error: BouncepollError | None
    next_poll_at: datetime
    rests: bool = False


class Application:
    """bouncepoll as configured. Parts are built when first used; ``close`` (or ``with``) ends them."""

    def __init__(self, settings: Settings, clock: Clock = system_clock) -> None:
        self.settings = settings
        self.clock = clock
        self.shared = SharedClock(clock)
        self._failures: dict[str, int] = {}
        self._unnoted: list[Outcome] = []
        self._random = random.Random()  # noqa: S311 - spreads polls, guards nothing.
        self.pausing = Pausing(
            lambda failures: self.store.prove_writable(failures),  # noqa: PLW0108 - not opened before it is asked.
            spread_s=min(len(settings.mailboxes) * _SPREAD_S, _LONGEST_SPREAD_S),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the database and the connection to the next hop, if they were opened; end who reads mails."""
        for part in ("analysing", "backend", "store"):
            built = self.__dict__.pop(part, None)
            if built is not None and built is not self.__dict__.get("analyser"):
                built.close()

    @cached_property
    def store(self) -> SqlStore:
        """The database, upgraded by itself where it is SQLite."""
        idle_timeout_s = self.settings.cluster.idle_timeout_s
        return open_store(self.settings.database.url, clock=self.clock, idle_timeout_s=idle_timeout_s)

    @cached_property
    def credentials(self) -> CredentialDesk:
        """What everything logs in with."""
        return CredentialDesk(self.settings, lambda: self.store.credentials, self.clock)

    @cached_property
    def analyser(self) -> Analyser:
        """The way from octets to a verdict."""
        classify = create_classifier(self.settings.rules.extra_file).classify
        return Analyser(classify, self.settings.instance.id, weighing(self.settings, self.clock))

    @cached_property
    def analysing(self) -> Analysing:
        """What reads the mails that come: processes of their own, unless there are to be none."""
        return analysing(self.settings, lambda: self.analyser)

    @cached_property
    def backend(self) -> Backend:
        """The configured way to hand over forwards."""
        faults = backend_faults(self.settings)
        if faults:
            raise ConfigurationError(*faults)
        name = self.settings.delivery.backend
        module = registry.plugins("bouncepoll.deliver")[name]
        tokens = self.credentials.delivery(name)
        backend: Backend = module.create(getattr(self.settings.delivery, name), *(() if tokens is None else (tokens,)))
        return backend

    def check_delivery(self) -> None:
        """Make sure that what forwarding needs is configured, where a filter forwards or something waits.

        Raises:
            ConfigurationError: it is not, and it is needed; one line a fault.
        """
        check_delivery(self.settings, self.store)

    @property
    def mailboxes(self) -> Mapping[str, MailboxSettings]:
        """The enabled mailboxes by name."""
        return {name: mailbox for name, mailbox in self.settings.mailboxes.items() if mailbox.enabled}

    @property
    def drain_interval_s(self) -> float:
        """How often the outbox is looked at."""
        return self.settings.delivery.interval

    def mailbox(self, name: str) -> MailboxSettings:
        """Return a mailbox's settings.

        Raises:
            UsageError: there is none of that name.
        """
        try:
            return self.settings.mailboxes[name]
        except KeyError:
            known = ", ".join(sorted(self.settings.mailboxes)) or "none is configured"
            raise UsageError(f"there is no mailbox {name!r}; known: {known}") from None

    def source(self, name: str) -> Source:
        """Build a session with a mailbox; it is not open yet."""
        options = self.mailbox(name)
        module = registry.plugins("bouncepoll.sources")[options.protocol]
        source: Source = module.create(name, options, self.credentials.mailbox(name))
        return source

    def poll_interval_s(self, name: str) -> float:
        """How often a mailbox is polled."""
        return self.mailbox(name).poll

    def next_poll_at(self, name: str) -> datetime | None:
        """Return when a mailbox that backs off or rests is due again; None when it is due now."""
        return self.next_polls().get(name)

    def next_polls(self) -> dict[str, datetime]:
        """Return when mailboxes are due again that back off or rest, whoever polled them; the others are due now."""
        due = {}
        for state in self.store.mailboxes.all():
            # Noted by a clock that was ahead, it may be years away; how long it is to rest is true all the same.
            rests_for = abs(state.next_poll_at - state.last_poll_at)
            options = self.settings.mailboxes.get(state.source)
            if options is not None and (state.failures or rests_for > timedelta(seconds=options.poll)):
                self._failures[state.source] = state.failures
                due[state.source] = self.shared.as_set(min(state.next_poll_at, self.shared() + rests_for))
        return due

    def poll(
        self,
        name: str,
        *,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
        lease: Lease | None = None,
    ) -> PollOutcome:
        """Poll one mailbox once; a failure is recorded with the mailbox and returned, not raised.

        With a ``lease`` nothing is stored once another node has the mailbox.
        """
        options = self.mailbox(name)
        store = self.store if lease is None else self.store.fenced(lease)
        try:
            self.pausing.check()
            self._check_default_filter(name)
            self.credentials.warn_of_end(f"mailboxes.{name}")
            source = self.source(name)
            report = Poller(
                source,
                MailboxPlan(name, options.on_done, options.default_filter, options.batch),
                store=store,
                analyser=self.analysing,
                clock=self.shared,
                should_stop=lambda: should_stop() or self.pausing.paused,
                on_progress=on_progress,
            ).run()
            # POP3 servers may name a least time between two logins.
            delay_s = max(options.poll, getattr(source, "login_delay_s", 0.0))
            due = self.clock() + timedelta(seconds=delay_s)
            now = self.shared()
            store.mailboxes.note_success(name, now, now + timedelta(seconds=delay_s))
        except BouncepollError as exc:
            return self._failed(name, exc, store)
        except Exception as exc:
            # A mistake of ours, met by one mailbox, must not hold up the others.
            log.exception("mailbox_failed_unexpectedly", mailbox=name)
            found = f"{type(exc).__name__}; nothing is lost; the log has the traceback, please report it"
            return self._failed(name, TransientError(f"{name}: a mistake in bouncepoll: {found}"), store)
        self._failures.pop(name, None)
        log.info("mailbox_polled", mailbox=name, recorded=report.recorded, quarantined=report.quarantined)
        return PollOutcome(name, report, None, due, rests=delay_s > options.poll)

    def _failed(self, name: str, exc: BouncepollError, store: SqlStore) -> PollOutcome:
        if isinstance(exc, LeaseLost):
            log.warning("lease_lost", mailbox=name, error=str(exc))
            # By then this node knows what it still has.
            again_in_s = min(self.poll_interval_s(name), self.settings.cluster.lease / 4)
            return PollOutcome(name, None, exc, self.clock() + timedelta(seconds=again_in_s))
        if self.pausing.failed(exc):
            # That is no fault of the mailbox: it is polled when the database is back.
            return PollOutcome(name, None, exc, self.clock() + timedelta(seconds=self.pausing.again_in_s()))
        failures = self._failures[name] = self._failures.get(name, 0) + 1
        # A folder that is missing is no reason to read the others less often.
        doubled = 0 if isinstance(exc, FolderMissing) else failures
        delay_s = next_poll_delay_s(self.poll_interval_s(name), doubled, self._random)
        # Mail servers and token end-points say how long they want to be left alone.
        asked_s = getattr(exc, "retry_after_s", None)
        delay_s = max(delay_s, (asked_s or 0.0) * self._random.uniform(1.0, 1.1))
        due = self.clock() + timedelta(seconds=delay_s)
        log.error("mailbox_failed", mailbox=name, error=str(exc), failures=failures, next_poll_at=due.isoformat())
        try:
            now = self.shared()
            store.mailboxes.note_failure(name, str(exc), now, now + timedelta(seconds=delay_s))
        except BouncepollError as unavailable:
            if not self.pausing.failed(unavailable):
                log.error("mailbox_state_not_stored", mailbox=name, error=str(unavailable))  # noqa: TRY400
        return PollOutcome(name, None, exc, due)

    def drain(self, should_stop: Callable[[], bool] = lambda: False) -> DrainReport:
        """Forward what is due in the outbox; nothing is begun that could not be noted."""
        self.pausing.check()
        delivery, forward = self.settings.delivery, self.settings.forward
        self.credentials.warn_of_end(f"delivery.{delivery.backend}")
        if backend_faults(self.settings) and not self.store.outbox.counts()[OutboxState.QUEUED]:
            return DrainReport()
        self.store.outbox.bring_forward(self.shared(), timedelta(seconds=delivery.retry_max * 1.2))
        return drain(
            self.store.outbox,
            self.backend,
            lambda item: prepare(item, forward, self.settings.instance.id),
            clock=self.shared,
            policy=RetryPolicy(
                first_s=delivery.retry_first,
                factor=delivery.retry_factor,
                max_s=delivery.retry_max,
                max_age_s=delivery.max_age,
            ),
            stop=lambda: should_stop() or self.pausing.paused,
            rng=self._random,
            unnoted=self._unnoted,
        )

    def reprocess(
        self,
        selection: Selection,
        *,
        apply: bool = False,
        resume: bool = False,
        workers: int = 1,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int], None] = lambda _looked_at: None,
    ) -> ReprocessReport:
        """Classify stored mails again, on ``workers`` processes; with ``apply`` the findings that differ are replaced.

        ``resume`` goes on with the run that was stopped last, with the selection it had.

        Raises:
            UsageError: there is no run to resume, or one that was stopped and is not resumed.
        """
        return reprocess(
            self.store.archive,
            self.store.filters.all(),
            self.settings,
            selection,
            apply=apply,
            resume=resume,
            workers=workers,
            clock=self.clock,
            should_stop=should_stop,
            on_progress=on_progress,
        )

    def retain(self, should_stop: Callable[[], bool] = lambda: False) -> None:
        """Delete what is older than the retention times; see ``bouncepoll.bootstrap._retention``."""
        retain(self.store, self.settings.retention, self.clock(), lambda: should_stop() or self.pausing.paused)

    def count_new(self, name: str) -> Sequence[tuple[str, int]]:
        """Log in to a mailbox and return each folder with the number of mails the next poll would read.

        Raises:
            TransientError: the mailbox or the database cannot be reached.
            ConfigurationError: a folder does not exist, a secret cannot be read.
        """
        return count_new(self.source(name), self.store)

    def stored_filters(self) -> Sequence[BounceFilter]:
        """Return the filters in the database; none, and no database made, where there is none yet."""
        if not schema.status(self.settings.database.url).up_to_date:
            return ()
        return self.store.filters.all()

    def filter_id(self, name: str | None) -> int | None:
        """Return the id of the filter of that name, address or id; None for None.

        Raises:
            UsageError: there is none.
        """
        return None if name is None else self.filter(name).id

    def filter(self, name: str) -> BounceFilter:
        """Return the filter of that name, address or id.

        Raises:
            UsageError: there is none.
        """
        found = self.store.filters.get(name)
        if found is None:
            raise UsageError(f"there is no filter {name[:80]!r}; 'bouncepoll filter list' shows them")
        return found

    def add_filter(self, wanted: BounceFilter, mailbox: str | None = None) -> BounceFilter:
        """Store a new filter; its filter address is made where it has none, of ``mailbox`` where that is named.

        Raises:
            UsageError: the name or the filter address is in use or none at all; forwards would come back (loop).
        """
        if mailbox is not None:
            self.mailbox(mailbox)
        return FilterDesk(self.store.filters, self.settings).add(wanted, mailbox)

    def replace_filter(self, changed: BounceFilter) -> BounceFilter:
        """Store a changed filter under its id; raises like ``add_filter``, also when there is none of that id."""
        return FilterDesk(self.store.filters, self.settings).replace(changed)

    def import_filters(self, wanted: Sequence[BounceFilter], *, replace_existing: bool = False) -> tuple[int, int]:
        """Store many filters, all or none; return how many were added, and how many replaced.

        Raises:
            UsageError: one of them cannot be stored, or its name is in use and ``replace_existing`` is false.
        """
        return FilterDesk(self.store.filters, self.settings).import_all(wanted, replace_existing=replace_existing)

    def _check_default_filter(self, name: str) -> None:
        wanted = self.mailbox(name).default_filter
        if wanted is not None and self.store.filters.get(wanted) is None:
            raise ConfigurationError(
                f"mailboxes.{name}.default_filter: there is no filter {wanted!r}; 'bouncepoll filter list' shows them"
            )

    @contextmanager
    def exclusive(self) -> Iterator[None]:
        """Hold the right to poll into this database: SQLite has one polling process, PostgreSQL any number.

        Raises:
            UsageError: another process holds it.
        """
        # Whoever leased a forward is gone then: it need not wait for the lease's end.
        with only_process(self.store.file, self.store.outbox.release):
            yield
