"""Retention: what goes, what stays whatever its age, and that a copy is still known afterwards. On both databases."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path

import pytest

from bouncepoll.model.mailbox import Scan
from bouncepoll.model.records import RetentionCounts
from bouncepoll.store import SqlStore
from tests.contracts.storing import DATABASES, LEASE, NOW, answers, bounce_filter, count, mail, new_store, place, record

YEAR = NOW + timedelta(days=365)


@pytest.fixture(params=DATABASES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    opened = new_store(request.param, request, tmp_path)
    yield opened
    opened.close()


def _forwarded(store: SqlStore, *codes: int, now: datetime = NOW) -> list[int]:
    """Store one forwarded mail for each code and settle it so; 0: it waits. Return the ids of the mails."""
    team = store.filters.add(bounce_filter("spring", "team@example.net"))
    ids = []
    for uid, code in enumerate(codes, 1):
        ids += [entry.message_id for entry in record(store, mail(f"m{uid}", place(uid), filters=[team]), now=now)]
        [item] = store.outbox.claim(10, now, LEASE)
        if code:
            store.outbox.settle(item, answers(item, code), {}, now)
    return ids


def test_nothing_goes_that_is_never_to_go(store: SqlStore) -> None:
    record(store, mail(recipients=["x@example.com"]))
    for raw_days, event_days in ((None, None), (1e6, 1e15)):
        assert store.retention(YEAR, raw_days, event_days) == RetentionCounts()
    assert (count(store, "blobs"), count(store, "events")) == (1, 1)


def test_each_kind_of_data_has_its_own_age(store: SqlStore) -> None:
    [old] = record(store, mail("old", place(1), recipients=["x@example.com"]))
    [new] = record(store, mail("new", place(2), recipients=["y@example.com"]), now=NOW + timedelta(days=20))
    now = NOW + timedelta(days=31)

    assert store.retention(now, 30, 60) == RetentionCounts(blobs=1)
    assert store.messages.octets(old.message_id) is None
    assert store.messages.octets(new.message_id) is not None
    assert len(store.events.list()) == 2

    assert store.retention(now, 60, 30) == RetentionCounts(events=1, messages=1)
    assert [event.recipient for event in store.events.list()] == ["y@example.com"]
    assert store.retention(now, 60, 30) == RetentionCounts()
    assert store.retention(now, 0.5, 0.5) == RetentionCounts(blobs=1, events=1, messages=1)


def test_others_have_their_turn_between_two_batches(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for uid in range(5):
        record(store, mail(f"old{uid}", place(uid + 1)))
    rests: list[float] = []

    def store_one_meanwhile(seconds: float) -> None:
        rests.append(seconds)
        record(store, mail(f"new{len(rests)}", place(100 + len(rests))), now=YEAR)

    monkeypatch.setattr("bouncepoll.store.retention.sleep", store_one_meanwhile)
    assert store.retention(YEAR, 30, None, batch=2) == RetentionCounts(blobs=5)
    assert (len(rests), count(store, "blobs")) == (2, 2)
    # Longer than whoever waits for SQLite's lock sleeps between two looks at it.
    assert min(rests) > 0.1


def test_a_mail_keeps_its_identity_and_nothing_of_people(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "team@example.net"))
    [before] = record(store, mail("m1", place(1), recipients=["x@example.com"], filters=[team]))
    [item] = store.outbox.claim(10, NOW, LEASE)
    store.outbox.settle(item, answers(item, 250), {}, NOW)

    assert store.retention(YEAR, 30, 30) == RetentionCounts(blobs=1, events=1, forwards=1, messages=1)

    found = store.messages.get(before.message_id)
    assert found is not None
    assert (found.from_address, found.subject, found.message_id, found.original_message_id) == ("", "", None, None)
    assert (found.defects, found.matched_text, found.events) == ((), None, ())
    assert [route.recipient_id for route in found.routes] == [None]
    again = mail("m1", place(1, folder="Junk"), recipients=["x@example.com"], filters=[team])
    [after] = record(store, again, now=YEAR)
    assert (after.message_id, after.duplicate, after.events, after.forwards) == (before.message_id, True, 0, 0)
    with store.begin() as uow:
        assert uow.unsettled(_scan(), 9) == [place(1)]
        assert uow.known(_scan()) == {"1"}


def _scan() -> Scan:
    return Scan("news", "INBOX", 7, ("1", "2"))


def test_the_octets_of_what_waits_or_is_dead_stay(store: SqlStore) -> None:
    sent, waiting, dead = _forwarded(store, 250, 0, 550)
    with store.begin() as uow:
        uow.quarantine(place(9), b"broken", "broken", NOW)
        uow.commit()

    assert store.retention(YEAR, 0, 0) == RetentionCounts(blobs=1, forwards=1, messages=3)

    assert [store.messages.octets(number) is None for number in (sent, waiting, dead)] == [True, False, False]
    assert store.quarantine.octets(store.quarantine.list()[0].id) == b"broken"
    assert store.outbox.retry(None) == 1
    assert len(store.outbox.claim(10, YEAR, LEASE)) == 2


def test_octets_two_mails_share_stay_while_one_needs_them(store: SqlStore) -> None:
    team = store.filters.add(bounce_filter("spring", "team@example.net"))
    record(store, mail("m1", place(1), octets=b"the same"))
    [second] = record(store, mail("m2", place(2), octets=b"the same", filters=[team]))
    assert count(store, "blobs") == 1
    assert store.retention(YEAR, 30, None) == RetentionCounts()
    [item] = store.outbox.claim(10, YEAR, LEASE)
    assert item.octets == b"the same"
    store.outbox.settle(item, answers(item, 250), {}, YEAR)
    assert store.retention(YEAR, 30, None) == RetentionCounts(blobs=1)
    assert store.messages.octets(second.message_id) is None


def test_octets_that_come_again_start_anew(store: SqlStore) -> None:
    [first] = record(store, mail("m1", place(1), octets=b"the same"))
    record(store, mail("m2", place(2), octets=b"the same"), now=YEAR)
    assert store.retention(YEAR, 30, None) == RetentionCounts()
    assert store.messages.octets(first.message_id) == b"the same"


def test_octets_let_go_of_by_a_discarded_mail_go(store: SqlStore) -> None:
    with store.begin() as uow:
        uow.quarantine(place(9), b"broken", "broken", NOW)
        uow.commit()
    assert store.retention(YEAR, 30, None) == RetentionCounts()
    store.quarantine.discard([store.quarantine.list()[0].id])
    assert store.retention(YEAR, 30, None) == RetentionCounts(blobs=1)


def test_it_works_in_bounded_batches_and_can_be_stopped(store: SqlStore) -> None:
    record(store, *(mail(f"m{uid}", place(uid), recipients=["x@example.com"]) for uid in range(25)))
    asked = iter([False, False, True])
    stopped = store.retention(YEAR, 30, 30, batch=10, should_stop=lambda: next(asked, True))
    assert stopped == RetentionCounts(events=20)
    assert store.retention(YEAR, 30, 30, batch=10) == RetentionCounts(blobs=25, events=5, messages=25)
    assert store.retention(YEAR, 30, 30, batch=10) == RetentionCounts()
