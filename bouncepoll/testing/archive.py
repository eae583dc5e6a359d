"""Stored mails in memory, to be classified again."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from bouncepoll.model.message import RawMessage
from bouncepoll.model.records import EventRecord, ReprocessRun
from bouncepoll.model.storing import Judged, Revision, Selection, StoredMail
from bouncepoll.model.verdict import Kind


@dataclass
class ArchivedMail:
    """A mail of a ``FakeArchive``; ``past`` are the events that runs replaced."""

    id: int
    raw: RawMessage | None
    kind: Kind
    recorded_at: datetime
    events: tuple[EventRecord, ...] = ()
    past: tuple[EventRecord, ...] = ()
    filter_ids: frozenset[int] = frozenset()
    source: str = ""


class FakeArchive:
    """An ``Archive`` over ``mails``, by id."""

    def __init__(self, *mails: ArchivedMail) -> None:
        self.mails = {mail.id: mail for mail in sorted(mails, key=lambda mail: mail.id)}
        self.runs: dict[int, tuple[ReprocessRun, Selection]] = {}
        self._next_event = 1 + max((event.id for mail in mails for event in mail.events), default=0)

    def count(self, selection: Selection) -> int:
        """Return how many mails are meant."""
        return sum(_is_meant(mail, selection) for mail in self.mails.values())

    def page(self, selection: Selection, after_id: int, limit: int) -> Sequence[StoredMail]:
        """Return up to ``limit`` mails above ``after_id``, by id."""
        meant = [mail for mail in self.mails.values() if mail.id > after_id and _is_meant(mail, selection)]
        return [StoredMail(mail.id, mail.raw, mail.kind, mail.events) for mail in meant[:limit]]

    def begin_run(self, selection: Selection, now: datetime) -> ReprocessRun:
        """Note that a run begins."""
        run = ReprocessRun(len(self.runs) + 1, now, 0, 0, None)
        self.runs[run.id] = (run, selection)
        return run

    def unfinished_run(self) -> tuple[ReprocessRun, Selection] | None:
        """Return the latest run when it was not finished."""
        latest = self.runs.get(len(self.runs))
        return latest if latest is not None and latest[0].finished_at is None else None

    def apply(self, run_id: int, revisions: Sequence[Revision], last_id: int, now: datetime) -> None:
        """Replace kinds and events, and keep the old events."""
        run, selection = self.runs[run_id]
        if run.after_id >= last_id:
            return
        for revision in revisions:
            mail = self.mails[revision.message_id]
            mail.past += mail.events
            mail.kind = revision.verdict.kind
            mail.events = tuple(self._event(mail, judged) for judged in revision.judged)
        run = replace(run, after_id=last_id, changed=run.changed + len(revisions))
        self.runs[run_id] = (run, selection)

    def finish(self, run_id: int, now: datetime) -> None:
        """Note that a run came to its end."""
        run, selection = self.runs[run_id]
        self.runs[run_id] = (replace(run, finished_at=now), selection)

    def _event(self, mail: ArchivedMail, judged: Judged) -> EventRecord:
        finding, report = judged.finding, judged.finding.report
        self._next_event += 1
        return EventRecord(
            id=self._next_event - 1,
            message_id=mail.id,
            recorded_at=mail.recorded_at,
            recipient=finding.recipient,
            kind=finding.kind,
            reason=finding.reason,
            permanence=finding.permanence,
            severity=judged.severity,
            status=str(report.status) if report and report.status else None,
            reply_code=report.reply.code if report and report.reply else None,
            action=report.action if report else None,
            remote_mta=report.remote_mta if report else None,
            diagnostic=report.diagnostic_code if report else None,
            detector=finding.evidence.detector,
            rule_id=finding.evidence.rule_id,
            matched_text=finding.evidence.matched_text,
            where=finding.evidence.where,
            trust=judged.trust,
            trust_reason=judged.trust_reason,
        )


def _is_meant(mail: ArchivedMail, selection: Selection) -> bool:
    return (
        (selection.since is None or mail.recorded_at >= selection.since)
        and (selection.until is None or mail.recorded_at < selection.until)
        and selection.kind in {None, mail.kind}
        and (selection.filter_id is None or selection.filter_id in mail.filter_ids)
        and selection.source in {None, mail.source}
    )
