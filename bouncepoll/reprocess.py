"""Classifying stored mails again after rules changed: what would be different, and putting it into force.

The work is cut into chunks that any ``concurrent.futures.Executor`` runs: processes here, a cluster beyond. Findings
are compared with the stored events; where they differ, and only when asked, they replace them. Nothing is forwarded,
and nothing is counted twice: a new event keeps the time its mail was recorded at, and the old one is kept as history.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass, field

from bouncepoll.analysis import Analysing
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.records import EventRecord
from bouncepoll.model.storing import Entry, Judged, Revision, Selection, StoredMail
from bouncepoll.model.trust import Trust, TrustReason
from bouncepoll.policy.severity import severity
from bouncepoll.policy.trust import with_tokens_required
from bouncepoll.ports import Archive, Clock

_IN_FLIGHT = 8
_EXAMPLES = 3

#: What is compared of one recipient: recipient, kind, reason, severity, status.
Outcome = tuple[str, str, str, str, str]


@dataclass(frozen=True, slots=True)
class Transition:
    """How the findings of a mail change, without addresses: ``bounce undefined soft`` before, and what it is after."""

    before: str
    after: str


@dataclass(slots=True)
class ReprocessReport:
    """What a run did or would do, in mails. ``gone``: their octets are older than the retention time.

    ``examples`` has up to three ids of stored mails for each transition.
    """

    looked_at: int = 0
    changed: int = 0
    gone: int = 0
    failed: int = 0
    stopped: bool = False
    transitions: Counter[Transition] = field(default_factory=Counter)
    examples: dict[Transition, list[int]] = field(default_factory=dict)

    def note(self, transition: Transition, message_id: int) -> None:
        """Count one changed mail."""
        self.changed += 1
        self.transitions[transition] += 1
        shown = self.examples.setdefault(transition, [])
        if len(shown) < _EXAMPLES:
            shown.append(message_id)


def revise(
    analyser: Callable[[], Analysing], mails: Sequence[StoredMail], filters: Sequence[BounceFilter] = ()
) -> list[Revision | None]:
    """Return what each mail is by the rules of now, None where it cannot be read; runs in any process.

    ``analyser`` is called once a chunk and has to be picklable; it should keep what it builds. What was said of a
    recipient is believed as far as it was when the mail came: its token may be old by now.
    """
    raws = [mail.raw for mail in mails if mail.raw is not None]
    answers = iter(analyser().begin(raws, filters, None)())
    revisions: list[Revision | None] = []
    for mail in mails:
        answer = next(answers) if mail.raw is not None else None
        # One mail that cannot be read must not stop the others; it keeps the findings it has.
        revisions.append(
            Revision(mail.id, answer.verdict, _believed(mail, answer)) if isinstance(answer, Entry) else None
        )
    return revisions


def _believed(mail: StoredMail, entry: Entry) -> tuple[Judged, ...]:
    """Return the findings of now with the trust of then; a new one is believed as far as it earns it now.

    A mail for a filter that requires tokens earns no more without one, whatever its route is today.
    """
    before = {(event.recipient or "").casefold(): event for event in mail.events}
    found = []
    for now in with_tokens_required(entry.judged) if mail.tokens_required else entry.judged:
        event = before.get((now.finding.recipient or "").casefold())
        if event is None:
            found.append(now)
        elif event.trust is Trust.REFUSED:
            found.append(now.refused(event.trust_reason or TrustReason.MISSING))
        else:
            severe = severity(now.finding)
            found.append(Judged(now.finding, severe, event.trust, event.trust_reason, now.token))
    return tuple(found)


class Reprocessor:
    """One run over the mails of a selection, in the order they were stored."""

    def __init__(
        self,
        archive: Archive,
        selection: Selection,
        analyser: Callable[[], Analysing],
        executor: Executor,
        *,
        clock: Clock,
        filters: Sequence[BounceFilter] = (),
        chunk: int = 250,
        should_stop: Callable[[], bool] = lambda: False,
        on_progress: Callable[[int], None] = lambda _looked_at: None,
    ) -> None:
        """``chunk`` mails are one task of ``executor``, and one transaction where changes are applied.

        ``filters`` are those of now: what they want of tokens is asked of recipients not seen in a mail before.
        """
        self._archive = archive
        self._selection = selection
        self._analyser = analyser
        self._executor = executor
        self._clock = clock
        self._filters = filters
        self._chunk = chunk
        self._should_stop = should_stop
        self._on_progress = on_progress

    def compare(self) -> ReprocessReport:
        """Return what would change; nothing is stored.

        Raises:
            TransientError: the database failed.
        """
        return self._run(0, lambda _revisions, _last_id: None)

    def apply(self, run_id: int, after_id: int) -> ReprocessReport:
        """Replace the findings that differ, from the mail after ``after_id`` on, and return what changed.

        How far the run came is stored with each chunk, so it can be stopped at any time and resumed.

        Raises:
            TransientError: the database failed; what was applied before stays.
        """

        def store(revisions: Sequence[Revision], last_id: int) -> None:
            self._archive.apply(run_id, revisions, last_id, self._clock())

        report = self._run(after_id, store)
        if not report.stopped:
            self._archive.finish(run_id, self._clock())
        return report

    def _run(self, after_id: int, store: Callable[[Sequence[Revision], int], None]) -> ReprocessReport:
        report = ReprocessReport()
        for mails, revisions in self._revised(after_id, report):
            changes = [
                revision
                for mail, revision in zip(mails, revisions, strict=True)
                if revision is not None and self._differs(mail, revision, report)
            ]
            store(changes, mails[-1].id)
            report.looked_at += len(mails)
            report.gone += sum(mail.raw is None for mail in mails)
            report.failed += sum(r is None and m.raw is not None for m, r in zip(mails, revisions, strict=True))
            self._on_progress(report.looked_at)
        return report

    def _revised(
        self, after_id: int, report: ReprocessReport
    ) -> Iterator[tuple[Sequence[StoredMail], Sequence[Revision | None]]]:
        """Yield chunks and their revisions in order; a few are in work ahead, so no worker waits for the database."""
        waiting: deque[tuple[Sequence[StoredMail], Future[list[Revision | None]]]] = deque()
        ended = False
        while waiting or not ended:
            if not ended and self._should_stop():
                report.stopped = ended = True
            while not ended and len(waiting) < _IN_FLIGHT:
                mails = self._archive.page(self._selection, after_id, self._chunk)
                if not mails:
                    ended = True
                    break
                after_id = mails[-1].id
                waiting.append((mails, self._executor.submit(revise, self._analyser, mails, self._filters)))
            if waiting:
                mails, future = waiting.popleft()
                yield mails, future.result()

    def _differs(self, mail: StoredMail, revision: Revision, report: ReprocessReport) -> bool:
        before = sorted(map(_stored, mail.events))
        after = sorted(_found(judged) for judged in revision.judged)
        if before == after and mail.kind is revision.verdict.kind:
            return False
        report.note(Transition(_text(mail.kind, before), _text(revision.verdict.kind, after)), mail.id)
        return True


def _stored(event: EventRecord) -> Outcome:
    return (
        (event.recipient or "").casefold(),
        str(event.kind),
        str(event.reason or ""),
        str(event.severity or ""),
        event.status or "",
    )


def _found(judged: Judged) -> Outcome:
    finding, report = judged.finding, judged.finding.report
    status = str(report.status) if report is not None and report.status is not None else ""
    recipient = (finding.recipient or "").casefold()
    return (recipient, str(finding.kind), str(finding.reason or ""), str(judged.severity or ""), status)


def _text(kind: object, outcomes: Sequence[Outcome]) -> str:
    """Return the outcomes of a mail in words: the same texts for mails that differ in their addresses only."""
    if not outcomes:
        return str(kind)
    words = Counter(" ".join(filter(None, outcome[1:])) for outcome in outcomes)
    return ", ".join(text if count == 1 else f"{count} x {text}" for text, count in sorted(words.items()))
