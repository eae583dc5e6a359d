"""What every ``ports.Outbox`` promises: the fake, SQLite, PostgreSQL."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import pytest

from bouncepoll.model.delivery import DeliveryResult, OutboxItem
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.status import SmtpReply
from tests.contracts.storing import (
    LEASE,
    NOW,
    POSTGRESQL,
    Subject,
    answers,
    bounce_filter,
    fake_subject,
    mail,
    new_store,
    place,
    record,
    sql_subject,
)

LATER = NOW + timedelta(hours=1)


@dataclass
class Post:
    """An outbox with a filter that forwards to two addresses."""

    subject: Subject
    team: BounceFilter = field(init=False)

    def __post_init__(self) -> None:
        self.team = self.subject.add_filter(bounce_filter("spring", "a@example.net", "b@example.net"))

    def queue(self, *marks: str) -> None:
        """Queue a forward of each of these mails, one second after the other."""
        for number, mark in enumerate(marks):
            entry = mail(mark, place(mark), filters=[self.team])
            record(self.subject.store, entry, now=NOW + timedelta(seconds=number - len(marks)))

    def claim(self, limit: int = 10, after: timedelta = timedelta(0)) -> list[OutboxItem]:
        """Claim what is due that long after ``NOW``."""
        return list(self.subject.outbox.claim(limit, NOW + after, LEASE))

    def settle(self, item: OutboxItem, code: int, after: timedelta | None = None) -> None:
        """Settle all recipients with one code; a failure is tried again that long after ``NOW``, or never."""
        due = None if after is None else NOW + after
        self.subject.outbox.settle(item, answers(item, code), {r.id: due for r in item.recipients}, NOW)


@pytest.fixture(params=["fake", "sqlite", POSTGRESQL])
def post(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Post]:
    if request.param == "fake":
        yield Post(fake_subject())
        return
    store = new_store(request.param, request, tmp_path)
    try:
        yield Post(sql_subject(store))
    finally:
        store.close()


def test_an_item_has_everything_a_backend_needs(post: Post) -> None:
    octets = b"Subject: \xff\0\r\n\r\n" + bytes(range(256)) * 100
    entry = mail("m1", octets=octets, filters=[post.team])
    record(post.subject.store, entry, now=NOW - timedelta(minutes=1))

    [item] = post.claim()

    assert item.octets == octets
    assert item.bounce_filter.id == post.team.id
    assert item.bounce_filter.forward_to == ("a@example.net", "b@example.net")
    assert item.fingerprint == entry.message.fingerprint
    assert item.created_at == NOW - timedelta(minutes=1)
    assert item.created_at.utcoffset() == timedelta(0)
    assert item.lease_until == NOW + LEASE
    assert [(r.forward_path, r.attempts) for r in item.recipients] == [("a@example.net", 0), ("b@example.net", 0)]


def test_the_longest_due_come_first_and_no_more_than_asked_for(post: Post) -> None:
    post.queue("m1", "m2", "m3")
    found = [[item.octets.split()[-1] for item in post.claim(2)] for _ in range(3)]
    assert found == [[b"m1", b"m2"], [b"m3"], []]


def test_nothing_is_due_before_its_time(post: Post) -> None:
    record(post.subject.store, mail("m1", filters=[post.team]), now=LATER)
    assert post.claim() == []
    assert len(post.claim(after=timedelta(hours=1))) == 1


def test_nothing_is_claimed_by_two(post: Post) -> None:
    post.queue("m1")
    assert len(post.claim()) == 1
    assert post.claim() == []
    assert post.claim(after=LEASE - timedelta(seconds=1)) == []


def test_what_is_sent_is_never_claimed_again(post: Post) -> None:
    post.queue("m1")
    [item] = post.claim()
    post.settle(item, 250)
    assert post.claim(after=timedelta(days=30)) == []


def test_a_deferred_one_comes_again_when_it_is_due(post: Post) -> None:
    post.queue("m1")
    [item] = post.claim()
    post.settle(item, 451, after=timedelta(minutes=1))

    assert post.claim(after=timedelta(seconds=59)) == []
    [again] = post.claim(after=timedelta(minutes=1))
    assert [(r.id, r.attempts) for r in again.recipients] == [(r.id, 1) for r in item.recipients]
    assert again.created_at == item.created_at


@pytest.mark.parametrize("code", [451, 550])
def test_what_is_not_to_be_tried_again_is_dead(post: Post, code: int) -> None:
    post.queue("m1")
    [item] = post.claim()
    post.settle(item, code)
    assert post.claim(after=timedelta(days=30)) == []


def test_each_recipient_has_a_fate_of_its_own(post: Post) -> None:
    post.queue("m1")
    [item] = post.claim()
    first, second = item.recipients
    results = {
        first.id: DeliveryResult(first.forward_path, SmtpReply(250, "taken")),
        second.id: DeliveryResult(second.forward_path, SmtpReply(451, "later")),
    }
    post.subject.outbox.settle(item, results, {second.id: NOW}, NOW)

    [again] = post.claim()
    assert [r.forward_path for r in again.recipients] == ["b@example.net"]


def test_a_recipient_without_a_result_stays_leased(post: Post) -> None:
    post.queue("m1")
    [item] = post.claim()
    first = item.recipients[0]
    post.subject.outbox.settle(item, {first.id: DeliveryResult(first.forward_path, SmtpReply(250))}, {}, NOW)

    assert post.claim() == []
    [again] = post.claim(after=LEASE)
    assert [r.forward_path for r in again.recipients] == ["b@example.net"]


def test_a_result_of_another_item_is_no_business_of_this_one(post: Post) -> None:
    post.queue("m1", "m2")
    first, second = post.claim()
    post.subject.outbox.settle(first, answers(second, 250), {}, NOW)
    assert len(post.claim(after=LEASE)) == 2


def test_an_expired_lease_lets_another_one_claim(post: Post) -> None:
    post.queue("m1")
    [lost] = post.claim()
    [taken] = post.claim(after=LEASE)
    assert [r.id for r in taken.recipients] == [r.id for r in lost.recipients]
    assert taken.lease_until == NOW + 2 * LEASE


@pytest.mark.parametrize(("code", "retry_after"), [(451, timedelta(0)), (550, None)])
def test_who_lost_the_lease_cannot_release_or_bury_the_item(
    post: Post, code: int, retry_after: timedelta | None
) -> None:
    post.queue("m1")
    [lost] = post.claim()
    [taken] = post.claim(after=LEASE)

    post.settle(lost, code, retry_after)

    assert post.claim(after=LEASE) == []
    post.settle(taken, 451, after=2 * LEASE)
    [again] = post.claim(after=2 * LEASE)
    assert {r.attempts for r in again.recipients} == {1}


def test_what_was_delivered_counts_though_the_lease_was_lost(post: Post) -> None:
    # The receiver has it: whoever claimed it since may deliver it once more, but must not try again for days.
    post.queue("m1")
    [lost] = post.claim()
    [taken] = post.claim(after=LEASE)

    post.settle(lost, 250)
    post.settle(taken, 451, after=2 * LEASE)

    assert post.claim(after=timedelta(days=30)) == []


def test_settling_twice_changes_nothing(post: Post) -> None:
    post.queue("m1")
    [item] = post.claim()
    post.settle(item, 451, after=timedelta(hours=1))
    post.settle(item, 550)
    [again] = post.claim(after=timedelta(hours=1))
    assert {r.attempts for r in again.recipients} == {1}


def test_one_mail_for_two_filters_is_two_items(post: Post) -> None:
    other = post.subject.add_filter(bounce_filter("other", "a@example.net", "a@example.net"))
    record(post.subject.store, mail("m1", filters=[post.team, other]))
    items = post.claim()
    assert sorted((item.bounce_filter.name, len(item.recipients)) for item in items) == [("other", 1), ("spring", 2)]
    assert len({item.fingerprint for item in items}) == 1


def test_an_empty_outbox_has_nothing(post: Post) -> None:
    assert post.claim() == []
    record(post.subject.store, mail("m1"))
    assert post.claim(after=timedelta(days=1)) == []
