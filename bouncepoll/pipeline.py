"""What happens to a mail, in order: fetch, read, resolve, classify, store, commit, settle.

Everything that brings mails in runs through ``Analysing`` and ``Poller``; nothing is done at the mailbox before the
commit, and nothing is counted or forwarded twice after it (see ``ports.UnitOfWork.record``).
"""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from itertools import islice, zip_longest
from random import Random
from typing import NamedTuple, TypeVar

import structlog

from bouncepoll.analysis import Analysing, Unprocessed
from bouncepoll.errors import ConfigurationError, FolderMissing, TransientError
from bouncepoll.model.mailbox import Cursor, Disposition, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.model.storing import Entry, Recorded
from bouncepoll.model.verdict import Kind
from bouncepoll.ports import Clock, Source, Store

log = structlog.get_logger()

_SETTLE_CHUNK = 500
_MAX_LEFT = 20_000
_LONGEST_BACKOFF_S = 3600.0
# Mails to be forwarded are here with all their octets: a batch of large ones is stored in several transactions.
_MAX_BATCH_OCTETS = 64 * 1024 * 1024

_T = TypeVar("_T")

#: A mail for the quarantine: its place, its octets where there are any, and why.
_Failure = tuple[MessageRef, bytes | None, str]


@dataclass(frozen=True, slots=True)
class MailboxPlan:
    """What to do with one mailbox: ``batch`` is the number of mails a transaction stores."""

    name: str
    disposition: Disposition
    default_filter: str | None = None
    batch: int = 100


@dataclass(slots=True)
class PollReport:
    """What one poll did, in mails. ``held``: the server did not hand them out now; the next poll asks again."""

    recorded: int = 0
    duplicates: int = 0
    quarantined: int = 0
    unrouted: int = 0
    held: int = 0
    forwards: int = 0
    settled: int = 0
    stopped: bool = False
    kinds: Counter[Kind] = field(default_factory=Counter)


class Poller:
    """Polls one mailbox once.

    ``should_stop`` is asked between batches; ``on_progress`` is told how many mails of how many are done.
    """

    def __init__(
        self,
        source: Source,
        plan: MailboxPlan,
        *,
        store: Store,
        analyser: Analysing,
        clock: Clock,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int, int], None] = lambda _done, _total: None,
    ) -> None:
        self._source = source
        self._plan = plan
        self._store = store
        self._analyser = analyser
        self._clock = clock
        self._should_stop = should_stop
        self._on_progress = on_progress
        self._report = PollReport()
        # Mails the mailbox was certainly told about: remembered with the next transaction.
        self._certain: list[MessageRef] = []

    def run(self) -> PollReport:
        """Read every folder of the mailbox and return what was done.

        Raises:
            TransientError: the mailbox or the database failed; what was committed before stays, nothing is lost.
            ConfigurationError: a secret cannot be read.
            FolderMissing: some folders do not exist; the others were read.
        """
        self._report = PollReport()
        try:
            self._source.open()
            missing = [fault for folder in self._source.folders for fault in self._tried(folder)]
        finally:
            self._source.close()
        if missing:
            raise FolderMissing(*missing)
        return self._report

    def _tried(self, folder: str) -> Sequence[str]:
        """Read a folder; return the fault when there is none of that name: the others are read all the same."""
        if not self._report.stopped:
            try:
                self._read(folder)
            except FolderMissing as exc:
                # The message says all; a traceback would say no more.
                log.error("folder_missing", mailbox=self._plan.name, folder=folder, error=str(exc))  # noqa: TRY400
                return exc.faults
        return ()

    def _read(self, folder: str) -> None:
        with self._store.begin() as uow:
            cursor = uow.cursor(self._plan.name, folder)
        scan = self._source.scan(folder, cursor)
        if cursor is not None and cursor.uidvalidity != scan.uidvalidity:
            log.warning("uidvalidity_changed", mailbox=self._plan.name, folder=folder, mails=len(scan.uids))
        with self._store.begin() as uow:
            known = uow.known(scan)
            left = uow.unsettled(scan, _MAX_LEFT)
            progress = _Progress(scan, cursor, known)
            if cursor is not None and progress.cursor() != cursor and len(known) == len(scan.uids):
                # Noted now, for no batch will: an empty folder would be told as changed at every poll.
                uow.advance(progress.cursor())
                uow.commit()
        while left:
            left = self._settle_left(left, scan)
        self._read_new([uid for uid in scan.uids if uid not in known] if known else scan.uids, scan, progress)
        self._settle_outstanding()

    def _read_new(self, uids: Sequence[str], scan: Scan, progress: "_Progress") -> None:
        """Read mails batch by batch: while one is stored, the next one is being analysed."""
        begun: _Batch | None = None
        ahead = islice(_chunks(uids, self._plan.batch), 1, None)
        for now, then in zip_longest(_chunks(uids, self._plan.batch), ahead, fillvalue=()):
            if self._should_stop():
                self._report.stopped = True
                break
            try:
                following = self._begin(scan, now, then)
            except TransientError:
                # Stored all the same: a mailbox that breaks off at every second batch would never be read.
                if begun is not None:
                    with suppress(TransientError):
                        self._finish(begun, scan, progress)
                raise
            if begun is not None:
                self._finish(begun, scan, progress)
            begun = following
        if begun is not None:
            self._finish(begun, scan, progress)

    def _begin(self, scan: Scan, uids: Sequence[str], ahead: Sequence[str]) -> "_Batch":
        answers = list(self._source.fetch(scan, uids, ahead))
        with self._store.begin() as uow:
            filters = uow.filters()
        raws = [answer for answer in answers if isinstance(answer, RawMessage)]
        unfetched = [answer for answer in answers if isinstance(answer, Unfetched)]
        return _Batch(raws, unfetched, self._analyser.begin(raws, filters, self._plan.default_filter))

    def _finish(self, batch: "_Batch", scan: Scan, progress: "_Progress") -> None:
        """Store a batch, and settle it."""
        entries: list[Entry] = []
        failed: list[_Failure] = []
        octets = 0
        for missing in batch.unfetched:
            self._unfetched(missing, failed, progress)
        for raw, answer in zip(batch.raws, batch.answers(), strict=True):
            entry = answer if isinstance(answer, Unprocessed) else self._complete(answer)
            if isinstance(entry, Unprocessed):
                failed.append(_failure(raw, entry.error))
            else:
                entries.append(entry)
                octets += len(entry.message.raw.octets)
            progress.handled(raw.ref.uid)
            if octets > _MAX_BATCH_OCTETS:
                self._commit(entries, failed, progress.cursor())
                entries, failed, octets = [], [], 0
        self._commit(entries, failed, progress.cursor())
        self._on_progress(progress.done, len(scan.uids))

    def _commit(self, entries: list[Entry], failed: list[_Failure], cursor: Cursor) -> None:
        """Store mails and settle them: all at once, else one by one when one of them cannot be stored."""
        stored = entries
        try:
            recorded = self._write(entries, failed, cursor)
        except TransientError:
            raise
        except Exception as exc:
            if not entries:
                raise
            log.warning("batch_split", mailbox=self._plan.name, mails=len(entries), error=str(exc))
            stored, recorded = self._one_by_one(entries, failed)
            # The mark moves last: it must not pass a mail that is not stored yet.
            self._write((), failed, cursor)
        self._count(stored, recorded, len(failed))
        self._certain += self._source.settle([entry.ref for entry in recorded], self._plan.disposition, wait=False)

    def _one_by_one(self, entries: Sequence[Entry], failed: list[_Failure]) -> tuple[list[Entry], Sequence[Recorded]]:
        stored: list[Entry] = []
        recorded: list[Recorded] = []
        for entry in entries:
            try:
                recorded += self._write((entry,), (), None)
                stored.append(entry)
            except TransientError:
                raise
            except Exception as exc:  # noqa: BLE001 - this mail cannot be stored: it is kept, the others go on.
                failed.append(_failure(entry.message.raw, f"{type(exc).__name__}: {exc}"))
        return stored, recorded

    def _write(self, entries: Sequence[Entry], failed: Sequence[_Failure], cursor: Cursor | None) -> Sequence[Recorded]:
        now = self._clock()
        with self._store.begin() as uow:
            recorded = uow.record(entries, now)
            for ref, octets, error in failed:
                uow.quarantine(ref, octets, error, now)
            if cursor is not None:
                uow.advance(cursor)
            uow.mark_settled(self._certain)
            uow.commit()
        self._told()
        return recorded

    def _complete(self, entry: Entry) -> Entry | Unprocessed:
        if not entry.forwards or not entry.message.raw.truncated:
            return entry
        try:
            return replace(entry, message=replace(entry.message, raw=self._source.complete(entry.message.raw)))
        except (TransientError, ConfigurationError):
            raise
        except Exception as exc:  # noqa: BLE001 - whatever one mail does, the others go on, and it is kept.
            return Unprocessed(f"{type(exc).__name__}: {exc}")

    def _unfetched(self, answer: Unfetched, failed: list[_Failure], progress: "_Progress") -> None:
        if answer.permanent:
            failed.append((answer.ref, None, answer.error))
        if answer.permanent or answer.gone:
            progress.handled(answer.ref.uid)
            return
        self._report.held += 1
        log.warning("message_held", place=str(answer.ref), error=answer.error)

    def _settle_left(self, refs: Sequence[MessageRef], scan: Scan) -> Sequence[MessageRef]:
        """Settle mails of an earlier poll and return the next ones; none when the mailbox refused them all."""
        settled: list[MessageRef] = []
        for chunk in _chunks(refs, _SETTLE_CHUNK):
            settled += self._source.settle(chunk, self._plan.disposition, wait=False)
        settled += self._source.settle((), self._plan.disposition)
        with self._store.begin() as uow:
            uow.mark_settled(settled)
            left = uow.unsettled(scan, _MAX_LEFT)
            uow.commit()
        self._report.settled += len(settled)
        return left if settled else ()

    def _settle_outstanding(self) -> None:
        """Wait for what the mailbox was asked to do, and remember it."""
        self._certain += self._source.settle((), self._plan.disposition)
        if self._certain:
            with self._store.begin() as uow:
                uow.mark_settled(self._certain)
                uow.commit()
            self._told()

    def _told(self) -> None:
        self._report.settled += len(self._certain)
        self._certain.clear()

    def _count(self, entries: Sequence[Entry], recorded: Sequence[Recorded], quarantined: int) -> None:
        self._report.quarantined += quarantined
        told = log.bind(mailbox=self._plan.name)
        for entry, stored in zip(entries, recorded, strict=True):
            self._report.recorded += 1
            self._report.duplicates += stored.duplicate
            self._report.forwards += stored.forwards
            self._report.unrouted += not entry.routes
            self._report.kinds[entry.verdict.kind] += 1
            told.info(
                "message_recorded",
                folder=stored.ref.folder,
                uid=stored.ref.uid,
                message=stored.message_id,
                kind=str(entry.verdict.kind),
                findings=len(entry.judged),
                filters=[route.filter_id for route in entry.routes],
                forwards=stored.forwards,
                duplicate=stored.duplicate,
            )


class _Batch(NamedTuple):
    """Mails that were fetched and are being read; ``answers`` waits for what is known of each of ``raws``."""

    raws: Sequence[RawMessage]
    unfetched: Sequence[Unfetched]
    answers: Callable[[], Sequence[Entry | Unprocessed]]


def _failure(raw: RawMessage, error: str) -> _Failure:
    log.warning("message_quarantined", place=str(raw.ref), error=error)
    return raw.ref, raw.octets, error


class _Progress:
    """How far a folder is read: the high-water mark never passes a mail that is not stored."""

    def __init__(self, scan: Scan, cursor: Cursor | None, known: frozenset[str]) -> None:
        self._scan = scan
        # Those ahead of the mark only: a mailbox may have more mails than should be remembered one by one.
        self._handled = set(known)
        self._next = 0
        old = cursor is not None and cursor.uidvalidity == scan.uidvalidity
        self._high_water = cursor.high_water if cursor is not None and old else 0

    @property
    def done(self) -> int:
        return self._next + len(self._handled)

    def handled(self, uid: str) -> None:
        self._handled.add(uid)

    def cursor(self) -> Cursor:
        uids = self._scan.uids
        while self._next < len(uids) and uids[self._next] in self._handled:
            self._handled.remove(uids[self._next])
            if self._scan.uidvalidity is not None:
                self._high_water = int(uids[self._next])
            self._next += 1
        # Nothing is left to read: as long as the folder does not change, nothing need be looked for.
        modseq = self._scan.highest_modseq if self._next == len(uids) else None
        return Cursor(self._scan.source, self._scan.folder, self._scan.uidvalidity, self._high_water, modseq)


def next_poll_delay_s(every_s: float, failures: int, rng: Random) -> float:
    """Return how long a mailbox rests after ``failures`` failed polls in a row: doubling, at most an hour, ±10 %."""
    longest_s = max(every_s, _LONGEST_BACKOFF_S)
    return min(every_s * 2.0 ** min(failures, 30), longest_s) * rng.uniform(0.9, 1.1)


def _chunks(values: Sequence[_T], size: int) -> Iterator[Sequence[_T]]:
    return (values[start : start + size] for start in range(0, len(values), size))
