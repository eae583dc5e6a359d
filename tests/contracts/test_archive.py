"""The archive: what a run of reprocessing may do, over the fake and both databases."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bouncepoll.model.records import EventRecord
from bouncepoll.model.storing import Judged, Revision, Selection
from bouncepoll.model.trust import TokenUse, Trust, TrustReason
from bouncepoll.model.verdict import Evidence, Kind, Reason, Severity, Verdict
from bouncepoll.ports import Archive
from bouncepoll.store import SqlStore
from bouncepoll.testing import ArchivedMail, FakeArchive
from tests.contracts.storing import DATABASES, NOW, bounce_filter, count, finding, mail, new_store, place, record

LATER = NOW + timedelta(hours=1)
HARD = Severity.HARD


@dataclass
class Subject:
    """An archive under test. ``put`` stores a bounce of one recipient; ``past`` counts replaced events."""

    archive: Archive
    put: Callable[[int, str, datetime], int]
    kind: Callable[[int], Kind]
    events: Callable[[int], Sequence[EventRecord]]
    past: Callable[[], int]


def _fake() -> Subject:
    archive = FakeArchive()

    def put(uid: int, recipient: str, at: datetime) -> int:
        entry = mail(f"m{uid}", place(uid), recipients=[recipient])
        archive.mails[uid] = ArchivedMail(uid, entry.message.raw, Kind.BOUNCE, at, source="news")
        archive.mails[uid].events = tuple(archive._event(archive.mails[uid], one) for one in entry.judged)
        return uid

    return Subject(
        archive,
        put,
        lambda number: archive.mails[number].kind,
        lambda number: archive.mails[number].events,
        lambda: sum(len(stored.past) for stored in archive.mails.values()),
    )


def _sql(store: SqlStore) -> Subject:
    def put(uid: int, recipient: str, at: datetime) -> int:
        [recorded] = record(store, mail(f"m{uid}", place(uid), recipients=[recipient]), now=at)
        return recorded.message_id

    def detail(number: int) -> Kind:
        found = store.messages.get(number)
        assert found is not None
        return found.kind

    def events(number: int) -> Sequence[EventRecord]:
        found = store.messages.get(number)
        assert found is not None
        return found.events

    return Subject(store.archive, put, detail, events, lambda: count(store, "past_events"))


@pytest.fixture(params=["fake", *DATABASES])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield _fake()
        return
    store = new_store(request.param, request, tmp_path)
    yield _sql(store)
    store.close()


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    opened = new_store(request.param, request, tmp_path)
    yield opened
    opened.close()


def _revision(message_id: int, recipient: str | None, reason: Reason = Reason.MAILBOX_FULL) -> Revision:
    evidence = Evidence("dsn", "rule.2", "full", "part 1")
    if recipient is None:
        return Revision(message_id, Verdict(Kind.REPLY, (), evidence), ())
    found = finding(recipient)._replace(reason=reason)
    return Revision(message_id, Verdict(Kind.BOUNCE, (found,), evidence), (Judged(found, Severity.SOFT),))


def test_pages_come_in_order_with_octets_and_events(subject: Subject) -> None:
    ids = [subject.put(uid, f"reader{uid}@example.net", NOW) for uid in range(1, 6)]
    first = subject.archive.page(Selection(), 0, 2)
    rest = subject.archive.page(Selection(), first[-1].id, 10)
    assert [stored.id for stored in (*first, *rest)] == ids
    assert subject.archive.count(Selection()) == 5
    assert first[0].raw is not None
    assert first[0].raw.octets == b"Message-ID: <m1@example.org>\r\n\r\nm1\r\n"
    assert [event.recipient for event in first[0].events] == ["reader1@example.net"]
    assert subject.archive.page(Selection(), ids[-1], 10) == []


def test_a_revision_replaces_events_and_keeps_their_time_and_the_old_ones(subject: Subject) -> None:
    [number, other] = [subject.put(uid, f"reader{uid}@example.net", NOW) for uid in (1, 2)]
    run = subject.archive.begin_run(Selection(), LATER)
    subject.archive.apply(run.id, [_revision(number, "reader1@example.net")], other, LATER)
    [event] = subject.events(number)
    assert (event.reason, event.severity, event.recorded_at) == (Reason.MAILBOX_FULL, Severity.SOFT, NOW)
    [untouched] = subject.events(other)
    assert untouched.severity is HARD
    assert subject.past() == 1


def test_what_filters_want_of_tokens_is_told_and_trust_is_kept_as_history(store: SqlStore) -> None:
    strict = store.filters.add(bounce_filter("strict", tokens=TokenUse.REQUIRED))
    lenient = store.filters.add(bounce_filter("lenient"))
    entries = [
        mail(f"m{uid}", place(uid), recipients=["reader@example.net"], filters=filters)
        for uid, filters in enumerate(([strict, lenient], [lenient], []), 1)
    ]
    refused = replace(entries[0], judged=(entries[0].judged[0].refused(TrustReason.MISSING),), forwards=())
    ids = [one.message_id for one in record(store, refused, *entries[1:])]
    pages = sorted(store.archive.page(Selection(), 0, 10), key=lambda stored: ids.index(stored.id))
    assert [stored.tokens_required for stored in pages] == [True, False, False]
    assert [stored.events[0].trust for stored in pages] == [Trust.REFUSED, Trust.UNCONFIRMED, Trust.UNCONFIRMED]
    run = store.archive.begin_run(Selection(), LATER)
    store.archive.apply(run.id, [_revision(pages[0].id, "reader@example.net")], pages[0].id, LATER)
    assert count(store, "past_events", "trust = 'refused' AND trust_reason = 'no_token'") == 1


def test_a_bounce_that_was_none_loses_its_events(subject: Subject) -> None:
    number = subject.put(1, "reader1@example.net", NOW)
    run = subject.archive.begin_run(Selection(), LATER)
    subject.archive.apply(run.id, [_revision(number, None)], number, LATER)
    assert subject.kind(number) is Kind.REPLY
    assert subject.events(number) == ()
    assert subject.past() == 1


def test_a_chunk_is_applied_once_whoever_brings_it(subject: Subject) -> None:
    number = subject.put(1, "reader1@example.net", NOW)
    run = subject.archive.begin_run(Selection(), LATER)
    for _ in range(2):
        subject.archive.apply(run.id, [_revision(number, "reader1@example.net")], number, LATER)
    assert subject.past() == 1


def test_a_run_is_unfinished_until_it_is_finished(subject: Subject) -> None:
    assert subject.archive.unfinished_run() is None
    selection = Selection(since=NOW, until=LATER, kind=Kind.BOUNCE, filter_id=3, source="news")
    number = subject.put(1, "reader1@example.net", NOW)
    run = subject.archive.begin_run(selection, NOW)
    subject.archive.apply(run.id, [_revision(number, "reader1@example.net")], number, LATER)
    assert subject.archive.unfinished_run() == (replace(run, after_id=number, changed=1), selection)
    subject.archive.finish(run.id, LATER)
    assert subject.archive.unfinished_run() is None


@pytest.mark.parametrize(
    ("selection", "meant"),
    [
        (Selection(since=LATER), [2]),
        (Selection(until=LATER), [1]),
        (Selection(kind=Kind.BOUNCE), [1, 2]),
        (Selection(kind=Kind.REPLY), []),
        (Selection(source="news"), [1, 2]),
        (Selection(source="offers"), []),
    ],
)
def test_a_selection_is_kept_to(subject: Subject, selection: Selection, meant: list[int]) -> None:
    ids = {1: subject.put(1, "reader1@example.net", NOW), 2: subject.put(2, "reader2@example.net", LATER)}
    found = subject.archive.page(selection, 0, 10)
    assert [stored.id for stored in found] == [ids[number] for number in meant]
    assert subject.archive.count(selection) == len(meant)


def test_only_mails_of_a_filter(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring"))
    record(store, mail("m1", place(1)), mail("m2", place(2), filters=[team]))
    found = store.archive.page(Selection(filter_id=team.id), 0, 10)
    assert [event.message_id for stored in found for event in stored.events] == []
    assert len(found) == 1
    assert store.archive.count(Selection(filter_id=team.id + 1)) == 0


def test_what_retention_took_is_not_brought_back(store: SqlStore) -> None:
    record(store, mail("m1", place(1), recipients=["x@example.net"]))
    store.retention(NOW + timedelta(days=100), None, 10)
    assert store.archive.page(Selection(), 0, 10) == []


def test_a_mail_whose_octets_are_gone_says_so(store: SqlStore) -> None:
    record(store, mail("m1", place(1), recipients=["x@example.net"]))
    store.retention(NOW + timedelta(days=100), 10, None)
    [stored] = store.archive.page(Selection(), 0, 10)
    assert stored.raw is None


def test_a_complete_copy_goes_before_a_truncated_one(store: SqlStore) -> None:
    record(store, mail("m1", place(1), octets=b"Subject: x\r\n\r\nab", size_octets=900))
    [stored] = store.archive.page(Selection(), 0, 10)
    assert stored.raw is not None
    assert stored.raw.truncated
    record(store, mail("m1", place(2), octets=b"Subject: x\r\n\r\nabcdef"))
    [stored] = store.archive.page(Selection(), 0, 10)
    assert stored.raw is not None
    assert (stored.raw.truncated, stored.raw.octets) == (False, b"Subject: x\r\n\r\nabcdef")


def test_history_is_deleted_with_the_events_of_its_age(store: SqlStore) -> None:
    [recorded] = record(store, mail("m1", place(1), recipients=["x@example.net"]))
    run = store.archive.begin_run(Selection(), LATER)
    store.archive.apply(run.id, [_revision(recorded.message_id, "x@example.net")], recorded.message_id, LATER)
    assert count(store, "past_events") == 1
    assert store.retention(NOW + timedelta(days=100), None, 10).events == 2
    assert count(store, "past_events") == 0
