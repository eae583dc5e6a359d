"""The pipeline over fakes: what is stored, in which order, and what a failure at any step leaves behind."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from random import Random

import pytest

from bouncepoll.analysis import Analyser
from bouncepoll.errors import ConfigurationError, MessageUnreadable, SourceUnavailable, StoreUnavailable
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.loop import forward_id
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.message import Envelope, Message, MessageRef, RawMessage
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.status import Permanence
from bouncepoll.model.storing import Entry, Recorded
from bouncepoll.model.verdict import Evidence, Finding, Kind, Reason, Verdict
from bouncepoll.pipeline import MailboxPlan, Poller, PollReport, next_poll_delay_s
from bouncepoll.ports import UnitOfWork
from bouncepoll.testing import FakeClock, FakeSource, FakeStore

SPRING = BounceFilter(1, "spring", "news@example.org", ("team@example.net",))
MOVE = Disposition(DoneAction.MOVE, "Processed")
EVIDENCE = Evidence("test")


def mail(number: int, subject: str = "hello", to: str = "news@example.org", extra: str = "", size: int = 0) -> bytes:
    head = f"From: r{number}@example.com\nTo: {to}\nSubject: {subject}\nMessage-ID: <{number}@example.com>\n{extra}"
    return f"{head}\ntext {number}\n".encode() + b"x" * size


def classify(message: Message) -> Verdict:
    subject = message.header("Subject") or ""
    if subject == "broken":
        raise RuntimeError("a detector failed")
    if subject == "unreadable":
        raise MessageUnreadable("no")
    if subject == "gone":
        raise StoreUnavailable("gone")
    if subject == "bounce":
        report = RecipientReport(final_recipient="x@example.net")
        finding = Finding("x@example.net", Kind.BOUNCE, Reason.USER_UNKNOWN, Permanence.PERMANENT, EVIDENCE, report)
        return Verdict(Kind.BOUNCE, (finding,), EVIDENCE)
    return Verdict(Kind.REPLY, (), EVIDENCE)


def poll(source: FakeSource, store: FakeStore, *, batch: int = 2, stop: Callable[[], bool] = lambda: False, done: Disposition = MOVE) -> PollReport:  # fmt: skip
    analyser = Analyser(classify, "here")
    return Poller(
        source, MailboxPlan("news", done, batch=batch), store=store, analyser=analyser, clock=FakeClock(), should_stop=stop
    ).run()  # fmt: skip


def left(source: FakeSource) -> int:
    return len(source.mailbox["INBOX"].mails)


class Breaking(FakeStore):
    """A store whose n-th transaction fails when it begins, or at its commit before or after it took hold."""

    def __init__(self, number: int, when: str) -> None:
        super().__init__([SPRING])
        self.left, self.when = number, when

    @contextmanager
    def begin(self) -> Iterator[UnitOfWork]:
        self.left -= 1
        if self.left == 0 and self.when == "begin":
            raise StoreUnavailable("the database is locked")
        with super().begin() as uow:
            commit = uow.commit
            if self.left == 0 and self.when != "begin":
                uow.commit = lambda: self._broken(commit)  # type: ignore[method-assign]  # a fault put in on purpose
            yield uow

    def _broken(self, commit: Callable[[], None]) -> None:
        if self.when == "after":
            commit()
        raise StoreUnavailable("the connection was lost")


def fill() -> FakeSource:
    return FakeSource(
        "news", {"INBOX": [mail(n, "bounce" if n % 2 else "hello") for n in range(1, 6)]}, polled=["INBOX"]
    )


def check_all_once(store: FakeStore) -> None:
    tables = store.tables
    assert len(tables.messages) == 5
    assert sum(len(stored.events) for stored in tables.messages.values()) == 3
    assert sorted(row.message_id for row in tables.outbox) == sorted(
        stored.id for stored in tables.messages.values() if stored.entry.verdict.kind is Kind.REPLY
    )


def test_a_poll_records_forwards_and_settles_every_mail() -> None:
    source, store = fill(), FakeStore([SPRING])
    report = poll(source, store)
    assert (report.recorded, report.forwards, report.settled, report.unrouted) == (5, 2, 5, 0)
    assert report.kinds == {Kind.BOUNCE: 3, Kind.REPLY: 2}
    check_all_once(store)
    assert left(source) == 0
    assert not source.is_open
    assert poll(source, store).recorded == 0


@pytest.mark.parametrize("step", ["open", "scan", "fetch", "settle", "settled"])
@pytest.mark.parametrize("times", [1, 2, 3])
def test_a_crash_at_the_mailbox_loses_nothing_and_doubles_nothing(step: str, times: int) -> None:
    source, store = fill(), FakeStore([SPRING])
    seen = 0

    def fail(name: str) -> None:
        nonlocal seen
        seen += name == step
        if name == step and seen == times:
            raise SourceUnavailable("the connection was lost")

    source.fail = fail
    if step in {"open", "scan"} and times > 1:
        poll(source, store)
    else:
        with pytest.raises(SourceUnavailable):
            poll(source, store)
    assert not source.is_open
    source.fail = lambda _step: None
    poll(source, store)
    check_all_once(store)
    assert left(source) == 0


@pytest.mark.parametrize("when", ["begin", "before", "after"])
@pytest.mark.parametrize("number", range(1, 12))
def test_a_crash_of_the_database_loses_nothing_and_doubles_nothing(number: int, when: str) -> None:
    source, store = fill(), Breaking(number, when)
    try:
        poll(source, store)
    except StoreUnavailable:
        assert left(source) + len(source.mailbox.get("Processed", source.mailbox["INBOX"]).mails) >= 5
    store.left = 0
    poll(source, store)
    check_all_once(store)
    assert left(source) == 0


def test_nothing_is_settled_before_its_commit() -> None:
    source, store = fill(), FakeStore([SPRING])

    def look(step: str) -> None:
        if step == "settle":
            assert len(store.tables.places) in {2, 4, 5}
            assert left(source) == 7 - len(store.tables.places) or len(store.tables.places) == 5

    source.fail = look
    poll(source, store)
    assert left(source) == 0


@pytest.mark.parametrize("subject", ["broken", "unreadable"])
def test_one_bad_mail_is_quarantined_and_the_others_go_on(subject: str) -> None:
    source = FakeSource("news", {"INBOX": [mail(1), mail(2, subject), mail(3)]}, polled=["INBOX"])
    store = FakeStore([SPRING])
    report = poll(source, store)
    assert (report.recorded, report.quarantined) == (2, 1)
    (kept,) = [place for place in store.tables.places.values() if place.message_id is None]
    assert kept.octets == mail(2, subject)
    assert left(source) == 1
    assert poll(source, store).quarantined == 0


def test_a_transient_error_ends_the_poll_and_keeps_what_was_committed() -> None:
    source = FakeSource("news", {"INBOX": [mail(1), mail(2), mail(3, "gone")]}, polled=["INBOX"])
    store = FakeStore([SPRING])
    with pytest.raises(StoreUnavailable):
        poll(source, store)
    assert len(store.tables.messages) == 2
    assert store.tables.cursors["news", "INBOX"].high_water == 2


def test_a_mail_the_server_never_hands_out_is_quarantined_without_octets() -> None:
    source, store = fill(), FakeStore([SPRING])
    source.unfetchable = {2}
    report = poll(source, store)
    assert (report.recorded, report.quarantined) == (4, 1)
    assert [place.octets for place in store.tables.places.values() if place.error] == [None]


def test_the_high_water_mark_never_passes_a_held_mail(monkeypatch: pytest.MonkeyPatch) -> None:
    from bouncepoll.model.mailbox import Unfetched

    source, store = fill(), FakeStore([SPRING])
    fetch = source.fetch
    with monkeypatch.context() as patch:
        patch.setattr(source, "fetch", lambda scan, uids, _ahead: [
            Unfetched(raw.ref, "NO busy") if raw.ref.uid == "2" else raw for raw in fetch(scan, uids)
        ])  # fmt: skip
        report = poll(source, store)
    assert (report.recorded, report.held) == (4, 1)
    assert store.tables.cursors["news", "INBOX"].high_water == 1
    assert poll(source, store).recorded == 1
    check_all_once(store)
    assert store.tables.cursors["news", "INBOX"].high_water >= 2


def test_a_copy_in_another_folder_and_a_new_uidvalidity_count_once() -> None:
    source = FakeSource("news", {"INBOX": [mail(1), mail(2, "bounce")], "Junk": [mail(1)]})
    store = FakeStore([SPRING])
    leave = Disposition(DoneAction.LEAVE)
    assert poll(source, store, done=leave).duplicates == 1
    source.reset_uidvalidity("INBOX")
    assert poll(source, store, done=leave).duplicates == 2
    assert (len(store.tables.messages), len(store.tables.outbox)) == (2, 1)


def test_it_stops_between_batches_and_goes_on() -> None:
    source, store = fill(), FakeStore([SPRING])
    report = poll(source, store, stop=lambda: bool(store.tables.messages))
    assert report.stopped
    # The batch that was being read when the first one was stored is finished.
    assert report.recorded == 4
    assert poll(source, store).recorded == 1


def test_a_large_mail_is_completed_only_when_it_is_forwarded() -> None:
    mails = [mail(1, size=5000), mail(2, "bounce", size=5000)]
    source = FakeSource("news", {"INBOX": mails}, polled=["INBOX"], analysis_octets=1000)
    steps: list[str] = []
    source.fail = steps.append
    store = FakeStore([SPRING])
    poll(source, store)
    assert steps.count("complete") == 1
    assert [row.octets for row in store.tables.outbox] == [mails[0]]


def test_a_forward_that_is_too_large_is_quarantined() -> None:
    source = FakeSource("news", {"INBOX": [mail(1, size=5000)]}, analysis_octets=1000, max_octets=2000)
    assert poll(source, FakeStore([SPRING])).quarantined == 1


def test_a_mail_we_forwarded_is_a_loop_and_stays_here() -> None:
    source = FakeSource("news", {"INBOX": [mail(1, extra="X-Bouncepoll-Loop: here\n")]})
    report = poll(source, FakeStore([SPRING]))
    assert (report.kinds, report.forwards) == ({Kind.LOOP: 1}, 0)


def test_an_answer_to_a_forward_is_a_loop() -> None:
    ours = forward_id("0123456789abcdef" * 4, "example.org")
    source = FakeSource("news", {"INBOX": [mail(1, extra=f"In-Reply-To: {ours}\n"), mail(2, "bounce", extra=f"In-Reply-To: {ours}\n"), mail(3, extra="In-Reply-To: <x@example.org>\n")]})  # fmt: skip
    report = poll(source, FakeStore([SPRING]))
    assert (report.kinds, report.forwards) == ({Kind.LOOP: 1, Kind.BOUNCE: 1, Kind.REPLY: 1}, 1)


def test_what_a_feedback_address_wrote_is_not_sent_back_to_it() -> None:
    both = BounceFilter(1, "spring", "news@example.org", ("R1@example.com", "team@example.net"))
    store = FakeStore([both])
    assert poll(FakeSource("news", {"INBOX": [mail(1)]}), store).forwards == 1
    assert [row.forward_path for row in store.tables.outbox] == ["team@example.net"]
    alone = BounceFilter(1, "spring", "news@example.org", ("r1@example.com",))
    assert poll(FakeSource("news", {"INBOX": [mail(1)]}), FakeStore([alone])).forwards == 0


def test_an_unrouted_mail_is_kept_and_a_new_filter_takes_the_next_one() -> None:
    source, store = FakeSource("news", {"INBOX": [mail(1, to="new@example.org")]}, polled=["INBOX"]), FakeStore()
    assert poll(source, store).unrouted == 1
    assert len(store.tables.messages) == 1
    store.tables.filters.append(BounceFilter(2, "new", "new@example.org", ("team@example.net",)))
    source.mailbox["INBOX"].append(mail(2, to="new@example.org"))
    assert poll(source, store).forwards == 1


def test_a_mail_alone_is_analysed_the_same_way() -> None:
    source = fill()
    source.open()
    (raw,) = source.fetch(source.scan("INBOX", None), ["2"])
    entry = Analyser(classify, "here")(raw, [SPRING])  # type: ignore[arg-type]  # the fake hands out UID 2
    assert (entry.verdict.kind, entry.forwards) == (Kind.REPLY, (SPRING,))


def test_a_broken_mailbox_rests_longer_each_time_and_at_most_an_hour() -> None:
    rng = Random(1)
    assert 108 <= next_poll_delay_s(120, 0, rng) <= 132
    assert 432 <= next_poll_delay_s(120, 2, rng) <= 528
    assert next_poll_delay_s(120, 1000, rng) <= 3960
    assert next_poll_delay_s(7200, 5, rng) >= 6480


def test_a_mail_that_cannot_be_stored_is_quarantined_and_the_rest_of_its_batch_stored(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from bouncepoll.testing.store import _FakeUnitOfWork

    record = _FakeUnitOfWork.record

    def refuse(uow: _FakeUnitOfWork, entries: Sequence[Entry], now: datetime) -> Sequence[Recorded]:
        if any(entry.message.header("Subject") == "poison" for entry in entries):
            raise ValueError("cannot be stored")
        return record(uow, entries, now)

    monkeypatch.setattr(_FakeUnitOfWork, "record", refuse)
    source = FakeSource("news", {"INBOX": [mail(1), mail(2, "poison"), mail(3)]}, polled=["INBOX"])
    store = FakeStore([SPRING])
    report = poll(source, store, batch=3)
    assert (report.recorded, report.quarantined, report.settled, left(source)) == (2, 1, 2, 1)
    (kept,) = [place for place in store.tables.places.values() if place.error]
    assert (kept.octets, kept.error) == (mail(2, "poison"), "ValueError: cannot be stored")
    assert store.tables.cursors["news", "INBOX"].high_water == 3


def test_a_batch_of_large_mails_is_stored_in_several_transactions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bouncepoll.pipeline._MAX_BATCH_OCTETS", 3000)
    source = FakeSource("news", {"INBOX": [mail(n, size=2000) for n in range(1, 6)]}, polled=["INBOX"])
    store = FakeStore([SPRING])
    steps: list[str] = []
    source.fail = steps.append
    assert poll(source, store, batch=5).settled == 5
    # Three transactions, each settled, and the call that waits for the answers.
    assert (steps.count("settle"), len(store.tables.outbox)) == (4, 5)


def test_a_secret_that_cannot_be_read_ends_the_poll_and_quarantines_nothing() -> None:
    source = FakeSource("news", {"INBOX": [mail(1, size=4000)]}, analysis_octets=1000)
    store = FakeStore([SPRING])

    def fail(step: str) -> None:
        if step == "complete":
            raise ConfigurationError("password_file: cannot be read")

    source.fail = fail
    with pytest.raises(ConfigurationError):
        poll(source, store)
    assert store.tables.places == {}
    source.fail = lambda _step: None
    assert poll(source, store).recorded == 1


def test_a_new_uidvalidity_of_an_empty_folder_is_noted_once() -> None:
    source, store = fill(), FakeStore([SPRING])
    poll(source, store)
    source.reset_uidvalidity("INBOX")
    poll(source, store)
    cursor = store.tables.cursors["news", "INBOX"]
    assert cursor.uidvalidity == source.mailbox["INBOX"].uidvalidity
    assert cursor.high_water == 0


def test_a_filter_made_between_two_batches_takes_the_next_mail() -> None:
    source, store = FakeSource("news", {"INBOX": [mail(1), mail(2)]}), FakeStore()
    batches: list[int] = []

    def between() -> bool:
        batches.append(1)
        if len(batches) == 2:
            store.tables.filters.append(SPRING)
        return False

    report = poll(source, store, batch=1, stop=between)
    assert (report.recorded, report.unrouted, report.forwards) == (2, 1, 1)


def test_the_envelope_says_where_a_mail_belongs() -> None:
    octets = mail(1, to="someone@else.example")
    envelope = Envelope("", ("news@example.org",))
    raw = RawMessage(MessageRef("lmtp", "", None, "1"), octets, len(octets), envelope=envelope)
    entry = Analyser(classify, "here")(raw, [SPRING])
    assert [route.matched_by for route in entry.routes] == ["RCPT TO: news@example.org (full)"]
    assert entry.forwards == (SPRING,)
