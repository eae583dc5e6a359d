"""A token counts once a kind, for the mail that is stored first: the fake, SQLite, PostgreSQL."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from threading import Barrier

import pytest

from bouncepoll.model.storing import Entry, Judged, Revision, Selection
from bouncepoll.model.trust import Trust, TrustReason
from bouncepoll.model.verdict import Kind, Severity
from bouncepoll.ports import Store
from bouncepoll.store import SqlStore
from bouncepoll.testing import FakeStore
from tests.contracts.storing import DATABASES, NOW, finding, mail, new_store, place, record

#: What is stored of a mail's findings: recipient, trust, why, severity.
Stored = list[tuple[str | None, Trust, TrustReason | None, Severity | None]]
GOOD = (Trust.VERIFIED, None, Severity.HARD)
BAD = (Trust.REFUSED, TrustReason.REPLAYED, None)


@dataclass
class Subject:
    """A store under test, and what it has of a mail."""

    store: Store
    stored: Callable[[int], Stored]


def _fake() -> Subject:
    store = FakeStore()

    def stored(number: int) -> Stored:
        (message,) = (one for one in store.tables.messages.values() if one.id == number)
        return [(key, one.trust, one.trust_reason, one.severity) for key, one in message.events.items()]

    return Subject(store, stored)


def _sql(store: SqlStore) -> Subject:
    def stored(number: int) -> Stored:
        found = store.messages.get(number)
        assert found is not None
        return [(one.recipient, one.trust, one.trust_reason, one.severity) for one in found.events]

    return Subject(store, stored)


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


def vouched(mark: str, uid: int, token: str | None = "t1", kind: Kind = Kind.BOUNCE, *recipients: str) -> Entry:
    """Return a mail whose findings a token vouches for."""
    entry = mail(mark, place(uid), recipients=recipients or ("reader@example.net",))
    judged = tuple(
        Judged(one.finding._replace(kind=kind), Severity.HARD, Trust.VERIFIED, None, token) for one in entry.judged
    )
    return replace(entry, judged=judged)


def test_a_token_counts_for_one_mail(subject: Subject) -> None:
    first, second = (record(subject.store, vouched(mark, uid))[0] for uid, mark in enumerate(("m1", "m2"), 1))
    assert (first.events, second.events) == (1, 0)
    assert subject.stored(first.message_id) == [("reader@example.net", *GOOD)]
    assert subject.stored(second.message_id) == [("reader@example.net", *BAD)]


def test_a_token_counts_once_in_a_batch(subject: Subject) -> None:
    recorded = record(subject.store, *(vouched(f"m{uid}", uid) for uid in range(1, 6)))
    assert [one.events for one in recorded] == [1, 0, 0, 0, 0]


def test_a_token_counts_once_in_a_mail(subject: Subject) -> None:
    [one] = record(subject.store, vouched("m1", 1, "t1", Kind.BOUNCE, "reader@example.net", "other@example.net"))
    assert one.events == 1
    assert subject.stored(one.message_id) == [("reader@example.net", *GOOD), ("other@example.net", *BAD)]


def test_what_happens_in_turn_to_one_mail_counts_each_time(subject: Subject) -> None:
    kinds = (Kind.DELAY, Kind.BOUNCE, Kind.COMPLAINT, Kind.UNSUBSCRIBE, Kind.VACATION)
    entries = [vouched(f"m{uid}", uid, "t1", kind) for uid, kind in enumerate(kinds)]
    assert [one.events for one in record(subject.store, *entries)] == [1] * len(kinds)
    again = [vouched(f"n{uid}", uid + 10, "t1", kind) for uid, kind in enumerate(kinds)]
    assert [one.events for one in record(subject.store, *again)] == [0] * len(kinds)


def test_other_tokens_and_none_count_for_themselves(subject: Subject) -> None:
    entries = (vouched("m1", 1, "t1"), vouched("m2", 2, "t2"), vouched("m3", 3, None), vouched("m4", 4, None))
    assert [one.events for one in record(subject.store, *entries)] == [1, 1, 1, 1]


def test_the_same_mail_elsewhere_is_no_replay(subject: Subject) -> None:
    [first] = record(subject.store, vouched("m1", 1))
    [copy] = record(subject.store, vouched("m1", 2))
    assert (copy.duplicate, copy.message_id) == (True, first.message_id)
    assert subject.stored(first.message_id) == [("reader@example.net", *GOOD)]


def test_what_was_not_committed_used_no_token(subject: Subject) -> None:
    with subject.store.begin() as uow:
        uow.record([vouched("m1", 1)], NOW)
    [one] = record(subject.store, vouched("m2", 2))
    assert one.events == 1


def test_a_refused_finding_counts_for_nothing(subject: Subject) -> None:
    entry = vouched("m1", 1)
    [one] = record(subject.store, replace(entry, judged=(entry.judged[0].refused(TrustReason.MISSING),)))
    assert one.events == 0
    assert subject.stored(one.message_id) == [("reader@example.net", Trust.REFUSED, TrustReason.MISSING, None)]


def test_of_writers_at_once_one_has_the_token(store: SqlStore) -> None:
    writers, rounds = 4, 3
    start = Barrier(writers)

    def write(number: int) -> list[int]:
        start.wait()
        counts = []
        for turn in range(rounds):
            # The tokens in another order in each thread: whoever waits for another must not be waited for.
            tokens = [f"{turn}-{token}" for token in range(5)][:: 1 if number % 2 else -1]
            entries = [
                vouched(f"{number}-{token}", number * 1000 + turn * 10 + at, token) for at, token in enumerate(tokens)
            ]
            counts.append(sum(one.events for one in record(store, *entries)))
        return counts

    with ThreadPoolExecutor(writers) as threads:
        counts = list(threads.map(write, range(writers)))
    assert [sum(column) for column in zip(*counts, strict=True)] == [5] * rounds
    trusted = store.events.list(limit=1000)
    everything = store.events.list(limit=1000, untrusted=True)
    assert (len(trusted), len(everything)) == (5 * rounds, 5 * rounds * writers)
    assert {event.trust_reason for event in everything if event.trust is Trust.REFUSED} == {TrustReason.REPLAYED}


def test_events_that_are_refused_are_left_out_unless_asked_for(store: SqlStore) -> None:
    entry = vouched("m1", 1, None, Kind.BOUNCE, "a@example.net", "b@example.net")
    record(store, replace(entry, judged=(entry.judged[0], entry.judged[1].refused(TrustReason.FORGED))))
    assert [event.recipient for event in store.events.list()] == ["a@example.net"]
    assert [event.recipient for event in store.events.list(untrusted=True)] == ["a@example.net", "b@example.net"]
    assert store.events.list(recipient="B@example.net") == []


def test_reprocessing_gives_a_token_to_no_other_mail(store: SqlStore) -> None:
    first, second = record(store, vouched("m1", 1), vouched("m2", 2))
    run = store.archive.begin_run(Selection(), NOW)
    verified = Judged(finding("reader@example.net"), Severity.HARD, Trust.VERIFIED, None, "t1")
    revisions = [
        Revision(number, mail(recipients=["reader@example.net"]).verdict, (verified,))
        for number in (second.message_id, first.message_id)
    ]
    store.archive.apply(run.id, revisions, second.message_id, NOW)
    stored = _sql(store).stored
    assert stored(first.message_id) == [("reader@example.net", *GOOD)]
    assert stored(second.message_id) == [("reader@example.net", *BAD)]
