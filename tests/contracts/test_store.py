"""What every ``ports.Store`` promises: the fake, SQLite, PostgreSQL."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from bouncepoll.model.mailbox import Cursor, Scan
from bouncepoll.model.message import MessageRef
from bouncepoll.testing import FakeStore
from tests.contracts.storing import (
    LEASE,
    NOW,
    POSTGRESQL,
    Subject,
    bounce_filter,
    fake_subject,
    mail,
    new_store,
    place,
    record,
    sql_subject,
)


@pytest.fixture(params=["fake", "sqlite", POSTGRESQL])
def subject(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Subject]:
    if request.param == "fake":
        yield fake_subject()
        return
    store = new_store(request.param, request, tmp_path)
    try:
        yield sql_subject(store)
    finally:
        store.close()


def _scan(*uids: int, folder: str = "INBOX", uidvalidity: int | None = 7) -> Scan:
    return Scan("news", folder, uidvalidity, tuple(map(str, uids)))


def test_a_batch_is_stored_whole(subject: Subject) -> None:
    team = subject.add_filter(bounce_filter("spring", "a@example.net", "b@example.net"))
    with subject.store.begin() as uow:
        recorded = uow.record(
            [
                mail("m1", place(1), recipients=["x@example.com", "y@example.com"]),
                mail("m2", place(2), filters=[team]),
            ],
            NOW,
        )
        uow.quarantine(place(3), b"broken", "ValueError: broken", NOW)
        uow.advance(Cursor("news", "INBOX", 7, 3))
        uow.commit()

    assert [(entry.ref.uid, entry.duplicate, entry.events, entry.forwards) for entry in recorded] == [
        ("1", False, 2, 0),
        ("2", False, 0, 2),
    ]
    assert len({entry.message_id for entry in recorded}) == 2
    assert subject.counts() == {
        "messages": 2,
        "places": 3,
        "events": 2,
        "routes": 1,
        "forwards": 1,
        "outbox": 2,
        "quarantine": 1,
        "cursors": 1,
    }


def test_leaving_without_commit_undoes_everything(subject: Subject) -> None:
    team = subject.add_filter(bounce_filter())
    with subject.store.begin() as uow:
        uow.record([mail(recipients=["x@example.com"], filters=[team])], NOW)
        uow.quarantine(place(2), b"broken", "broken", NOW)
        uow.advance(Cursor("news", "INBOX", 7, 2))

    assert subject.counts() == {}


def test_an_error_undoes_everything(subject: Subject) -> None:
    def fail() -> None:
        with subject.store.begin() as uow:
            uow.record([mail()], NOW)
            raise LookupError("a fault of the caller")

    with pytest.raises(LookupError, match="a fault of the caller"):
        fail()
    assert subject.counts() == {}


def test_storing_a_place_again_changes_nothing(subject: Subject) -> None:
    first, second = subject.add_filter(bounce_filter("one")), subject.add_filter(bounce_filter("two"))
    [before] = record(subject.store, mail("m1", place(1), recipients=["x@example.com"], filters=[first]))
    with subject.store.begin() as uow:
        uow.mark_settled([place(1)])
        uow.commit()
    counts = subject.counts()

    # Even where it now reads differently: the place is done.
    [again] = record(subject.store, mail("other", place(1), recipients=["z@example.com"], filters=[first, second]))

    assert again == replace(before, events=0, forwards=0)
    assert subject.counts() == counts
    with subject.store.begin() as uow:
        assert uow.unsettled(_scan(1), 10) == []


def test_a_place_twice_in_one_batch_counts_once(subject: Subject) -> None:
    team = subject.add_filter(bounce_filter())
    twice = mail("m1", place(1), recipients=["x@example.com"], filters=[team])
    recorded = record(subject.store, twice, twice)

    assert [(entry.events, entry.forwards) for entry in recorded] == [(1, 1), (0, 0)]
    assert subject.counts() == {"messages": 1, "places": 1, "events": 1, "routes": 1, "forwards": 1, "outbox": 1}


@pytest.mark.parametrize(
    "elsewhere",
    [
        place(1, folder="Junk"),
        place(1, source="offers"),
        place(1, uidvalidity=8),
        MessageRef("offers", "INBOX", None, "uidl-1"),
    ],
    ids=["folder", "mailbox", "uidvalidity", "pop3"],
)
def test_a_mail_at_a_second_place_is_a_duplicate(subject: Subject, elsewhere: MessageRef) -> None:
    team = subject.add_filter(bounce_filter())
    first = mail("m1", place(1), recipients=["x@example.com"], filters=[team])
    [before] = record(subject.store, first)
    copy = mail("m1", elsewhere, recipients=["x@example.com"], filters=[team])
    [after] = record(subject.store, copy, now=NOW + timedelta(days=3))

    assert (before.duplicate, after.duplicate) == (False, True)
    assert (after.message_id, after.events, after.forwards) == (before.message_id, 0, 0)
    assert subject.counts() == {"messages": 1, "places": 2, "events": 1, "routes": 1, "forwards": 1, "outbox": 1}


def test_a_mail_twice_in_one_batch_is_a_duplicate_too(subject: Subject) -> None:
    team = subject.add_filter(bounce_filter())
    recorded = record(
        subject.store,
        mail("m1", place(1), recipients=["x@example.com"], filters=[team]),
        mail("m1", place(2), recipients=["x@example.com"], filters=[team]),
    )

    assert [(entry.duplicate, entry.events, entry.forwards) for entry in recorded] == [(False, 1, 1), (True, 0, 0)]
    assert subject.counts() == {"messages": 1, "places": 2, "events": 1, "routes": 1, "forwards": 1, "outbox": 1}


def test_a_duplicate_is_forwarded_for_a_new_filter_only(subject: Subject) -> None:
    old, new = subject.add_filter(bounce_filter("old")), subject.add_filter(bounce_filter("new"))
    record(subject.store, mail("m1", place(1), filters=[old]))
    [copy] = record(subject.store, mail("m1", place(1, folder="Junk"), filters=[old, new]))

    assert (copy.duplicate, copy.forwards) == (True, 1)
    assert subject.counts() == {"messages": 1, "places": 2, "routes": 2, "forwards": 2, "outbox": 2}
    claimed = subject.outbox.claim(10, NOW, LEASE)
    assert sorted(item.bounce_filter.name for item in claimed) == ["new", "old"]


def test_events_count_once_a_recipient(subject: Subject) -> None:
    recipients = ["x@example.com", "x@example.com", None, None, "y@example.com"]
    [recorded] = record(subject.store, mail("m1", recipients=recipients))
    assert recorded.events == subject.count("events") == 3


def test_two_mails_with_the_same_octets_stay_two(subject: Subject) -> None:
    record(subject.store, mail("m1", place(1), octets=b"same"), mail("m2", place(2), octets=b"same"))
    assert subject.counts() == {"messages": 2, "places": 2}


def test_an_empty_batch_is_nothing(subject: Subject) -> None:
    assert list(record(subject.store)) == []
    assert subject.counts() == {}


def test_a_mail_without_octets_is_stored(subject: Subject) -> None:
    team = subject.add_filter(bounce_filter())
    record(subject.store, mail(octets=b"", filters=[team]))
    [item] = subject.outbox.claim(1, NOW, LEASE)
    assert item.octets == b""


def test_a_forward_needs_the_whole_mail(subject: Subject) -> None:
    team = subject.add_filter(bounce_filter())
    with pytest.raises(ValueError, match="only 4 of 400 octets"):
        record(subject.store, mail(octets=b"Date", size_octets=400, filters=[team]))
    assert subject.counts() == {}


def test_the_cursor_comes_back_as_it_was_stored(subject: Subject) -> None:
    cursors = [Cursor("news", "INBOX", 7, 12), Cursor("news", "Junk", 7, 3), Cursor("offers", "INBOX", None, 0)]
    with subject.store.begin() as uow:
        assert uow.cursor("news", "INBOX") is None
        for cursor in (Cursor("news", "INBOX", 6, 99), *cursors):
            uow.advance(cursor)
        uow.commit()
    with subject.store.begin() as uow:
        assert [uow.cursor(cursor.source, cursor.folder) for cursor in cursors] == cursors
        assert uow.cursor("offers", "Junk") is None


def test_known_are_the_stored_and_the_quarantined(subject: Subject) -> None:
    record(
        subject.store, mail("m1", place(1)), mail("m2", place(2, folder="Junk")), mail("m3", place(3, uidvalidity=8))
    )
    with subject.store.begin() as uow:
        uow.quarantine(place(4), None, "not handed out", NOW)
        uow.commit()
    with subject.store.begin() as uow:
        assert uow.known(_scan(1, 2, 3, 4, 5)) == {"1", "4"}
        assert uow.known(_scan()) == frozenset()


def test_known_takes_any_number_of_mails(subject: Subject) -> None:
    record(subject.store, *(mail(f"m{uid}", place(uid)) for uid in (1, 20_000, 39_999)))
    with subject.store.begin() as uow:
        assert uow.known(_scan(*range(40_000))) == {"1", "20000", "39999"}


def test_unsettled_until_marked(subject: Subject) -> None:
    record(subject.store, *(mail(f"m{uid}", place(uid)) for uid in (3, 1, 2)), mail("m4", place(4, folder="Junk")))
    with subject.store.begin() as uow:
        uow.quarantine(place(5), b"broken", "broken", NOW)
        uow.commit()
    with subject.store.begin() as uow:
        assert sorted(uow.unsettled(_scan(), 10)) == [place(1), place(2), place(3)]
        assert len(uow.unsettled(_scan(), 2)) == 2
        assert uow.unsettled(_scan(uidvalidity=8), 10) == []
        uow.mark_settled([place(1), place(3), place(99), place(4, folder="Elsewhere")])
        uow.commit()
    with subject.store.begin() as uow:
        assert uow.unsettled(_scan(), 10) == [place(2)]
        assert uow.unsettled(_scan(folder="Junk"), 10) == [place(4, folder="Junk")]


def test_a_mail_that_is_stored_is_not_quarantined(subject: Subject) -> None:
    record(subject.store, mail("m1", place(1)))
    with subject.store.begin() as uow:
        uow.quarantine(place(1), b"late", "late", NOW)
        uow.commit()
    assert subject.counts() == {"messages": 1, "places": 1}


def test_quarantine_replaces_an_older_entry_and_ends_when_the_mail_is_stored(subject: Subject) -> None:
    for octets in (b"broken", None):
        with subject.store.begin() as uow:
            uow.quarantine(place(1), octets, "broken", NOW)
            uow.commit()
    assert subject.counts() == {"places": 1, "quarantine": 1}

    [recorded] = record(subject.store, mail("m1", place(1), recipients=["x@example.com"]))

    assert (recorded.duplicate, recorded.events) == (False, 1)
    assert subject.counts() == {"messages": 1, "places": 1, "events": 1}
    with subject.store.begin() as uow:
        assert uow.unsettled(_scan(), 10) == [place(1)]


def test_filters_are_all_there_by_id(subject: Subject) -> None:
    made = [subject.add_filter(bounce_filter(name, enabled=name != "off")) for name in ("b", "off", "a")]
    with subject.store.begin() as uow:
        assert [(found.id, found.name, found.enabled) for found in uow.filters()] == [
            (entry.id, entry.name, entry.enabled) for entry in made
        ]


def test_hostile_text_is_stored_and_stays_bounded(subject: Subject) -> None:
    hostile = "\0\ud800 é \U0001f4a9" + "x" * 1_000_000
    headers = {"Message-ID": hostile, "Subject": hostile, "From": "(" * 998 + hostile}
    odd = mail("m1", MessageRef("news", "A\0B\\", 7, "\ud800\\0041"), recipients=[hostile, None], headers=headers)
    odd = replace(odd, message=replace(odd.message, defects=(hostile,) * 1000))

    [recorded] = record(subject.store, odd)

    assert recorded.ref == odd.message.raw.ref
    with subject.store.begin() as uow:
        scan = Scan("news", "A\0B\\", 7, ("\ud800\\0041", "A", "\\"))
        assert uow.known(scan) == {"\ud800\\0041"}
        assert uow.unsettled(scan, 10) == [odd.message.raw.ref]
        uow.quarantine(place(2), hostile.encode("utf-8", "surrogatepass"), hostile, NOW)
        uow.commit()
    [again] = record(subject.store, odd)
    assert (again.events, again.message_id) == (0, recorded.message_id)


def test_the_fake_fails_on_demand() -> None:
    from bouncepoll.errors import StoreUnavailable

    store = FakeStore()
    store.failure = StoreUnavailable("the database is locked")
    with pytest.raises(StoreUnavailable, match="locked"), store.begin():
        pass
