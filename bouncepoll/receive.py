"""Mails that are brought, from octets to commit: the pipeline of the SMTP and LMTP listener.

The same steps as for polled mails (``Analyser``, ``UnitOfWork.record``). Who brings a mail is answered after the commit
only, and keeps it until then; one that is brought again is known by its fingerprint, and counted once.
"""

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field, replace

import structlog

from bouncepoll.analysis import Analysing, Unprocessed
from bouncepoll.errors import ConfigurationError, TransientError
from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.loop import LOOP_FIELD
from bouncepoll.model.message import Envelope, Message, MessageRef, RawMessage
from bouncepoll.model.reception import Reception, Recipient
from bouncepoll.model.storing import Entry, Recorded
from bouncepoll.model.trust import TokenUse
from bouncepoll.model.verdict import Kind
from bouncepoll.policy.trust import with_tokens_required
from bouncepoll.ports import Clock, Store
from bouncepoll.resolve import FilterIndex, addresses

log = structlog.get_logger()

_TRUSTED_S = 1.0
_MAX_BATCH = 100
# As much of a mail is read as of a polled one by default; the whole mail is stored.
_ANALYSIS_OCTETS = 256 * 1024
# RFC 5321 section 6.3: more trace fields than any way has stations.
_MAX_RECEIVED = 100
_POSTMASTER = "postmaster"
# How the envelope of a mail is kept in quarantine. No path holds a line end.
_TO_FIELD = b"X-Envelope-To: "
_SEPARATOR = b",\r\n\t"
_FROM_FIELD = b"\r\nX-Envelope-From: "
_NOWHERE = RawMessage(MessageRef("", "", None, ""), b"", 0, None, Envelope("", ()))
_NOBODYS = Message(_NOWHERE, headers=(), parts=(), returned_headers=(), defects=(), fingerprint="")


class FilterBook:
    """The filters as they were a moment ago, for the recipients of mails.

    A recipient that is not known is looked up in the database each time: a filter made a moment ago counts at once, one
    that was disabled stops counting within a second.
    """

    def __init__(
        self,
        load: Callable[[], Sequence[BounceFilter]],
        *,
        mailloop_domain: str | None = None,
        default_filter: str | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        """``load`` reads all filters; ``default_filter`` gets the mails to ``postmaster``."""
        self.default_filter = default_filter
        self._load = load
        self._mailloop_domain = mailloop_domain
        self._monotonic = monotonic
        self._reading = threading.Lock()
        self._page: _Page | None = None

    def known(self, path: str) -> bool:
        """Whether a forward-path is certainly a filter's, told without asking the database."""
        page = self._page
        return page is not None and self._is_fresh(page) and page.answer(path) is Recipient.KNOWN

    def answer(self, path: str) -> Recipient:
        """Return whose a forward-path is now.

        Raises:
            TransientError: the database cannot be asked.
        """
        return Recipient.KNOWN if self.known(path) else self._read(self._monotonic()).answer(path)

    def page(self) -> "_Page":
        """Return the filters of now, while another thread reads them the last ones; raises like ``answer``."""
        page = self._page
        if page is not None and (self._is_fresh(page) or self._reading.locked()):
            return page
        return self._read(self._monotonic())

    def _is_fresh(self, page: "_Page") -> bool:
        return self._monotonic() - page.read_at < _TRUSTED_S

    def _read(self, asked_at: float) -> "_Page":
        with self._reading:
            # Whoever waited for another reader takes what that one read, if it began after this one asked.
            if self._page is None or self._page.read_at < asked_at:
                read_at = self._monotonic()
                self._page = _page(self._load(), read_at, self._mailloop_domain, self.default_filter)
            return self._page


@dataclass(frozen=True, slots=True)
class _Page:
    """All filters as they were at ``read_at``: the addresses of the enabled ones, the domains of all."""

    filters: Sequence[BounceFilter]
    index: FilterIndex
    addresses: frozenset[str]
    domains: frozenset[str]
    default: Route | None
    read_at: float

    def answer(self, path: str) -> Recipient:
        if path.casefold() == _POSTMASTER:
            # RFC 5321 section 4.1.1.3: the one address that needs no domain.
            return Recipient.UNKNOWN if self.default is None else Recipient.KNOWN
        address = addresses.valid_address(path)
        if address is None:
            return Recipient.MALFORMED
        if any(form in self.addresses for form in addresses.forms_of(address)):
            return Recipient.KNOWN
        local, _, domain = address.rpartition("@")
        if domain not in self.domains:
            return Recipient.FOREIGN
        return Recipient.KNOWN if local == _POSTMASTER and self.default is not None else Recipient.UNKNOWN


def _page(
    filters: Sequence[BounceFilter], read_at: float, mailloop_domain: str | None, default_filter: str | None
) -> _Page:
    index = FilterIndex(filters)
    known = {f.id: addresses.comparable_filter_address(f.filter_address) for f in filters}
    domains = {address.rpartition("@")[2] for address in known.values()}
    if mailloop_domain is not None:
        domains.add(addresses.comparable_filter_address(f"@{mailloop_domain}")[1:])
    enabled = frozenset(known[f.id] for f in filters if f.enabled)
    default = next(iter(index.routes(_NOBODYS, default_filter)), None)
    return _Page(filters, index, enabled, frozenset(domains), default, read_at)


class Receiver:
    """Stores mails; may be called from several threads at once, whose mails then share transactions.

    ``on_forwards`` is told after the commit when there is something new to forward.
    """

    def __init__(
        self,
        store: Store,
        analyser: Analysing,
        book: FilterBook,
        *,
        clock: Clock,
        on_forwards: Callable[[], None] = lambda: None,
    ) -> None:
        self._store = store
        self._analyser = analyser
        self._book = book
        self._clock = clock
        self._on_forwards = on_forwards
        self._writer = _Writer(store, clock)

    def __call__(self, raw: RawMessage) -> Reception:
        """Store a mail and return after the commit; one that cannot be processed is kept in quarantine.

        Raises:
            TransientError: the database takes nothing now; nothing of the mail is stored.
        """
        try:
            entry = self._entry(raw)
            if entry is None:
                return Reception.LOOPED
            if isinstance(entry, Unprocessed):
                return self._quarantined(raw, entry.error)
            recorded = self._writer.record(entry)
        except (TransientError, ConfigurationError):
            raise
        except Exception as exc:
            log.warning("message_unstorable", place=str(raw.ref), error=str(exc), exc_info=exc)
            return self._quarantined(raw, f"{type(exc).__name__}: {exc}")
        _log(entry, recorded)
        if recorded.forwards:
            self._on_forwards()
        return Reception.STORED

    def again(self, ref: MessageRef, octets: bytes) -> Reception:
        """Store a mail that was in quarantine; ``octets`` are what was kept of it. Raises like a call."""
        envelope, content = _taken_apart(octets)
        raw = RawMessage(ref, content, len(content), envelope=envelope)
        outcome = self(raw)
        if outcome is Reception.LOOPED:
            self._keep(raw, "the mail was here before: it goes round in a circle")
        return outcome

    def _entry(self, raw: RawMessage) -> Entry | Unprocessed | None:
        """Return everything known of a mail; None when it goes round in a circle."""
        page = self._book.page()
        read = replace(raw, octets=raw.octets[:_ANALYSIS_OCTETS])
        (entry,) = self._analyser.begin((read,), page.filters, None)()
        if isinstance(entry, Unprocessed):
            return entry
        received = sum(1 for _ in entry.message.header_values("Received"))
        # Any other loop (somebody's machine answers a forward) is stored, for refusing it would only be answered again.
        ours = entry.verdict.kind is Kind.LOOP and entry.verdict.evidence.where == LOOP_FIELD
        if ours or received > _MAX_RECEIVED:
            return None
        entry = replace(entry, message=replace(entry.message, raw=raw))
        if page.default is None or not self._is_for_default(entry, page):
            return entry
        routes = (*entry.routes, page.default)
        strict = page.index.by_id(page.default.filter_id).tokens is TokenUse.REQUIRED
        judged = with_tokens_required(entry.judged) if strict else entry.judged
        forwards = page.index.forwards(entry.message, routes, entry.verdict.kind)
        return replace(entry, routes=routes, judged=judged, forwards=forwards)

    @staticmethod
    def _is_for_default(entry: Entry, page: "_Page") -> bool:
        """Whether a recipient belongs to no filter, and the default filter does not get the mail anyhow."""
        if page.default is None or page.default.filter_id in {route.filter_id for route in entry.routes}:
            return False
        raw = entry.message.raw
        paths = raw.envelope.forward_paths if raw.envelope is not None else ()
        alone = (replace(_NOBODYS, raw=replace(_NOBODYS.raw, envelope=Envelope("", (path,)))) for path in paths)
        return any(not page.index.routes(message, None) for message in alone)

    def _quarantined(self, raw: RawMessage, error: str) -> Reception:
        log.warning("message_quarantined", place=str(raw.ref), error=error)
        self._keep(raw, error)
        return Reception.QUARANTINED

    def _keep(self, raw: RawMessage, error: str) -> None:
        kept = raw.octets if raw.envelope is None else _put_together(raw.envelope, raw.octets)
        with self._store.begin() as uow:
            uow.quarantine(raw.ref, kept, error, self._clock())
            uow.commit()


def _put_together(envelope: Envelope, octets: bytes) -> bytes:
    """Return a mail with its envelope in two fields above it, as it is kept in quarantine."""
    paths = _SEPARATOR.join(path.encode() for path in envelope.forward_paths)
    return b"".join((_TO_FIELD, paths, _FROM_FIELD, envelope.reverse_path.encode(), b"\r\n", octets))


def _taken_apart(octets: bytes) -> tuple[Envelope | None, bytes]:
    """Return a mail of the quarantine and its envelope; None where the two fields are not above it."""
    paths, found, rest = octets.removeprefix(_TO_FIELD).partition(_FROM_FIELD)
    if not octets.startswith(_TO_FIELD) or not found:
        return None, octets
    reverse_path, _, content = rest.partition(b"\r\n")
    forward_paths = tuple(path.decode() for path in paths.split(_SEPARATOR) if path)
    return Envelope(reverse_path.decode(), forward_paths), content


@dataclass(eq=False, slots=True)
class _Job:
    """A mail that waits to be stored, and what became of it; ``called``: that is known, or its thread has the turn."""

    entry: Entry
    done: "Future[Recorded]" = field(default_factory=Future)
    called: threading.Event = field(default_factory=threading.Event)


class _Writer:
    """Stores mails of several threads in one transaction: who has the turn stores what all have brought meanwhile.

    One commit costs a disk's flush; and on SQLite, writers that wait for each other's locks wait too long.
    """

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._waiting: list[_Job] = []
        self._taken = False
        self._lock = threading.Lock()

    def record(self, entry: Entry) -> Recorded:
        """Store a mail and return after the commit; raises what the store raises for this mail."""
        job = _Job(entry)
        with self._lock:
            self._waiting.append(job)
            if not self._taken:
                self._taken = True
                job.called.set()
        job.called.wait()
        if not job.done.done():
            self._take_turn()
        return job.done.result()

    def _take_turn(self) -> None:
        """Store the first that wait, this thread's mail at their head, and give the turn to the next."""
        with self._lock:
            batch, self._waiting = self._waiting[:_MAX_BATCH], self._waiting[_MAX_BATCH:]
        try:
            self._store_all(batch)
        finally:
            with self._lock:
                self._taken = bool(self._waiting)
                if self._waiting:
                    self._waiting[0].called.set()
            for job in batch:
                job.called.set()

    def _store_all(self, batch: Sequence[_Job]) -> None:
        try:
            recorded = self._write([job.entry for job in batch])
        except TransientError as exc:
            for job in batch:
                job.done.set_exception(exc)
        except BaseException as exc:  # noqa: BLE001 - it is raised again in the threads that wait.
            if len(batch) == 1:
                batch[0].done.set_exception(exc)
                return
            log.warning("batch_split", mailbox=batch[0].entry.message.raw.ref.source, mails=len(batch), error=str(exc))
            for job in batch:
                self._store_all([job])
        else:
            for job, result in zip(batch, recorded, strict=True):
                job.done.set_result(result)

    def _write(self, entries: Sequence[Entry]) -> Sequence[Recorded]:
        now = self._clock()
        with self._store.begin() as uow:
            recorded = uow.record(entries, now)
            # There is no mailbox to be told.
            uow.mark_settled([entry.message.raw.ref for entry in entries])
            uow.commit()
        return recorded


def _log(entry: Entry, recorded: Recorded) -> None:
    log.info(
        "message_recorded",
        mailbox=recorded.ref.source,
        folder=recorded.ref.folder,
        uid=recorded.ref.uid,
        message=recorded.message_id,
        kind=str(entry.verdict.kind),
        findings=len(entry.judged),
        filters=[route.filter_id for route in entry.routes],
        forwards=recorded.forwards,
        duplicate=recorded.duplicate,
    )
