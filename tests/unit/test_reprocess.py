"""Classifying stored mails again, over the fake archive, with executors that run at once or in threads."""

from collections.abc import Callable, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any

import pytest

from bouncepoll.analysis import Analysing, Unprocessed
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import Message, MessageRef, RawMessage
from bouncepoll.model.records import EventRecord
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.status import EnhancedStatus, Permanence
from bouncepoll.model.storing import Entry, Judged, Selection, StoredMail
from bouncepoll.model.trust import Trust, TrustReason
from bouncepoll.model.verdict import Evidence, Finding, Kind, Reason, Severity, Verdict
from bouncepoll.reprocess import Reprocessor, Transition, revise
from bouncepoll.testing import ArchivedMail, FakeArchive, FakeClock

RECORDED_AT = datetime(2026, 11, 1, tzinfo=UTC)
EVERY_MAIL = Selection()


class AtOnce(Executor):
    """Runs each task when it is submitted."""

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(fn(*args, **kwargs))
        return future


def entry_of(raw: RawMessage, reason: Reason | None) -> Entry:
    """Return what an analyser finds: a bounce of ``reason`` for the address in the mail, or a person's reply."""
    message = Message(raw, (), (), (), (), f"fingerprint {raw.ref.uid}")
    evidence = Evidence("test", "rule.1", "matched", "part 1")
    if reason is None:
        return Entry(message, Verdict(Kind.REPLY, (), evidence), (), (), ())
    report = RecipientReport(final_recipient=raw.octets.decode(), status=EnhancedStatus(5, 1, 1))
    finding = Finding(report.recipient, Kind.BOUNCE, reason, Permanence.PERMANENT, evidence, report)
    return Entry(message, Verdict(Kind.BOUNCE, (finding,), evidence), (Judged(finding, Severity.HARD),), (), ())


class Saying:
    """An analyser that finds a bounce of one reason in each mail but those it cannot read."""

    def __init__(self, reason: Reason | None, unreadable: str = "") -> None:
        self._reason = reason
        self._unreadable = unreadable

    def begin(
        self, raws: Sequence[RawMessage], _filters: Sequence[BounceFilter], _default: str | None
    ) -> Callable[[], Sequence[Entry | Unprocessed]]:
        def answer(raw: RawMessage) -> Entry | Unprocessed:
            return Unprocessed("unreadable") if raw.ref.uid == self._unreadable else entry_of(raw, self._reason)

        return lambda: [answer(raw) for raw in raws]


def analyser(reason: Reason | None, unreadable: str = "") -> Analysing:
    return Saying(reason, unreadable)


def mail(number: int, reason: Reason | None = Reason.UNDEFINED, *, gone: bool = False, **more: Any) -> ArchivedMail:
    octets = f"Reader{number}@example.net".encode()
    event = EventRecord(
        id=number,
        message_id=number,
        recorded_at=RECORDED_AT,
        recipient=f"reader{number}@example.net",
        kind=Kind.BOUNCE,
        reason=reason,
        permanence=Permanence.PERMANENT,
        severity=Severity.SOFT if reason is Reason.UNDEFINED else Severity.HARD,
        status="5.1.1",
        reply_code=None,
        action=None,
        remote_mta=None,
        diagnostic=None,
        detector="test",
        rule_id=None,
        matched_text=None,
        where=None,
    )
    raw = None if gone else RawMessage(MessageRef("news", "INBOX", 1, str(number)), octets, len(octets))
    return ArchivedMail(number, raw, Kind.BOUNCE, RECORDED_AT, (event,), **more)


def reprocessor(
    archive: FakeArchive,
    analyse: Analysing,
    selection: Selection = EVERY_MAIL,
    executor: Executor | None = None,
    **more: Any,
) -> Reprocessor:
    return Reprocessor(
        archive, selection, partial(_same, analyse), executor or AtOnce(), clock=FakeClock(), chunk=2, **more
    )


def _same(analyse: Analysing) -> Analysing:
    return analyse


def test_a_dry_run_tells_what_would_change_and_changes_nothing() -> None:
    archive = FakeArchive(*(mail(number) for number in range(1, 6)), mail(6, Reason.USER_UNKNOWN))
    report = reprocessor(archive, analyser(Reason.USER_UNKNOWN)).compare()
    transition = Transition("bounce undefined soft 5.1.1", "bounce user_unknown hard 5.1.1")
    assert report.transitions == {transition: 5}
    assert report.examples == {transition: [1, 2, 3]}
    assert (report.looked_at, report.changed, report.stopped) == (6, 5, False)
    assert all(not stored.past for stored in archive.mails.values())
    assert archive.runs == {}


def test_apply_replaces_findings_keeps_the_old_ones_and_counts_nothing_twice() -> None:
    archive = FakeArchive(mail(1), mail(2, Reason.USER_UNKNOWN))
    run = archive.begin_run(Selection(), RECORDED_AT)
    report = reprocessor(archive, analyser(Reason.USER_UNKNOWN)).apply(run.id, 0)
    changed, same = archive.mails[1], archive.mails[2]
    assert [event.reason for event in changed.events] == [Reason.USER_UNKNOWN]
    assert [event.reason for event in changed.past] == [Reason.UNDEFINED]
    assert changed.events[0].recorded_at == RECORDED_AT
    assert same.past == ()
    assert report.changed == 1
    assert archive.unfinished_run() is None
    again = reprocessor(archive, analyser(Reason.USER_UNKNOWN)).compare()
    assert again.changed == 0


def test_a_mail_whose_kind_alone_changes_is_a_change() -> None:
    archive = FakeArchive(mail(1))
    run = archive.begin_run(Selection(), RECORDED_AT)
    report = reprocessor(archive, analyser(None)).apply(run.id, 0)
    assert report.transitions == {Transition("bounce undefined soft 5.1.1", "reply"): 1}
    assert archive.mails[1].kind is Kind.REPLY
    assert archive.mails[1].events == ()


def test_it_stops_between_chunks_and_goes_on_where_it_stopped() -> None:
    archive = FakeArchive(*(mail(number) for number in range(1, 41)))
    run = archive.begin_run(Selection(), RECORDED_AT)
    done: list[int] = []
    first = reprocessor(
        archive, analyser(Reason.USER_UNKNOWN), should_stop=lambda: len(done) >= 2, on_progress=done.append
    ).apply(run.id, 0)
    assert first.stopped
    assert 0 < first.looked_at < 40
    unfinished = archive.unfinished_run()
    assert unfinished is not None
    assert unfinished[0].after_id == first.looked_at
    second = reprocessor(archive, analyser(Reason.USER_UNKNOWN)).apply(run.id, unfinished[0].after_id)
    assert first.looked_at + second.looked_at == 40
    assert all(len(stored.past) == 1 for stored in archive.mails.values())
    assert archive.runs[run.id][0].changed == 40


def test_a_mail_without_octets_or_that_cannot_be_read_keeps_its_findings() -> None:
    archive = FakeArchive(mail(1, gone=True), mail(2), mail(3))
    run = archive.begin_run(Selection(), RECORDED_AT)
    report = reprocessor(archive, analyser(Reason.USER_UNKNOWN, unreadable="2")).apply(run.id, 0)
    assert (report.gone, report.failed, report.changed) == (1, 1, 1)
    assert archive.mails[2].events[0].reason is Reason.UNDEFINED


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(filter_id=7), [2]),
        (Selection(source="offers"), [3]),
        (Selection(since=datetime(2026, 11, 2, tzinfo=UTC)), []),
        (Selection(until=datetime(2026, 11, 2, tzinfo=UTC), kind=Kind.BOUNCE), [1, 2, 3]),
    ],
)
def test_only_the_selected_mails_are_looked_at(selection: Selection, meant: Sequence[int]) -> None:
    archive = FakeArchive(mail(1), mail(2, filter_ids=frozenset({7})), mail(3, source="offers"))
    report = reprocessor(archive, analyser(None), selection).compare()
    assert report.looked_at == len(meant) == archive.count(selection)
    assert [example for examples in report.examples.values() for example in examples] == list(meant)


def test_chunks_come_in_order_whatever_order_the_workers_finish_in() -> None:
    archive = FakeArchive(*(mail(number) for number in range(1, 60)))
    run = archive.begin_run(Selection(), RECORDED_AT)
    positions: list[int] = []
    with ThreadPoolExecutor(4) as executor:
        reprocessor(archive, analyser(Reason.USER_UNKNOWN), executor=executor, on_progress=positions.append).apply(
            run.id, 0
        )
    assert positions == sorted(positions)
    assert archive.runs[run.id][0].after_id == 59


def _believed(stored: EventRecord, judged: Judged, *, strict: bool = False) -> Judged:
    """Return what becomes of one finding of now in a mail that has one stored event."""
    raw = RawMessage(MessageRef("news", "INBOX", 1, "1"), b"x", 1)
    entry = replace(entry_of(raw, Reason.USER_UNKNOWN), judged=(judged,))

    class Fixed(Saying):
        def begin(self, *_arguments: object) -> Callable[[], Sequence[Entry | Unprocessed]]:
            return lambda: [entry]

    (revision,) = revise(lambda: Fixed(None), [StoredMail(1, raw, Kind.BOUNCE, (stored,), tokens_required=strict)])
    assert revision is not None
    return revision.judged[0]


def test_what_was_said_of_a_recipient_is_believed_as_far_as_it_was_when_the_mail_came() -> None:
    (event,) = mail(1).events
    finding = Finding("READER1@example.net", Kind.BOUNCE, Reason.USER_UNKNOWN, Permanence.PERMANENT, Evidence("test"))
    now = Judged(finding, Severity.HARD, Trust.CONFIRMED)
    # Refused then: refused, whatever the rules of now make of it.
    refused = replace(event, trust=Trust.REFUSED, trust_reason=TrustReason.REPLAYED)
    assert _believed(refused, now) == now.refused(TrustReason.REPLAYED)
    # Verified then: its token is too old by now, and was good.
    verified = replace(event, trust=Trust.VERIFIED)
    assert _believed(verified, now.refused(TrustReason.OLD)) == Judged(finding, Severity.HARD, Trust.VERIFIED)
    assert _believed(verified, now, strict=True) == Judged(finding, Severity.HARD, Trust.VERIFIED)
    # Nobody's before: as now, and where tokens are required, not without one.
    other = replace(now, finding=finding._replace(recipient="other@example.net"))
    assert _believed(verified, other) == other
    assert _believed(verified, other, strict=True) == other.refused(TrustReason.MISSING)
