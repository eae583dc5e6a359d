"""The drain: what is handed over, tried again, and given up."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from bouncepoll.deliver.drain import DrainReport, RetryPolicy, drain
from bouncepoll.errors import BouncepollError, DeliveryDeferred, DeliveryFailed, StoreUnavailable
from bouncepoll.model.delivery import DeliveryResult, OutboxItem, OutboxRecipient, Outgoing
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.status import SmtpReply
from bouncepoll.testing.backend import FakeBackend

NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)
POLICY = RetryPolicy(first_s=60, factor=2, max_s=600, max_age_s=86400)


def item(number: int = 1, *paths: str, attempts: int = 0, age: timedelta = timedelta(0)) -> OutboxItem:
    recipients = tuple(
        OutboxRecipient(10 * number + i, path, attempts) for i, path in enumerate(paths or ("team@example.net",))
    )
    team = BounceFilter(1, "spring", "reply_1@example.org")
    return OutboxItem(recipients, team, f"print{number}", b"Subject: x\r\n\r\nhello\r\n", NOW - age, None)


class Box:
    """An outbox that gives its items once, and remembers what became of them."""

    def __init__(self, *items: OutboxItem) -> None:
        self.waiting = list(items)
        self.leases: list[timedelta] = []
        self.codes: dict[int, int] = {}
        self.texts: dict[int, str] = {}
        self.retry_at: dict[int, datetime | None] = {}
        self.failure: BouncepollError | None = None

    def claim(self, limit: int, now: datetime, lease: timedelta) -> Sequence[OutboxItem]:
        self.leases.append(lease)
        claimed, self.waiting = self.waiting[:limit], self.waiting[limit:]
        return claimed

    def settle(
        self,
        item: OutboxItem,
        results: Mapping[int, DeliveryResult],
        retry_at: Mapping[int, datetime | None],
        now: datetime,
    ) -> None:
        if self.failure is not None:
            raise self.failure
        self.codes |= {number: result.reply.code for number, result in results.items()}
        self.texts |= {number: result.reply.text for number, result in results.items()}
        self.retry_at |= retry_at


def as_is(item: OutboxItem) -> Outgoing:
    return Outgoing("", tuple(recipient.forward_path for recipient in item.recipients), item.octets)


def run(
    box: Box,
    backend: FakeBackend,
    prepare: Callable[[OutboxItem], Outgoing] = as_is,
    clock: Callable[[], datetime] = lambda: NOW,
    stop: Callable[[], bool] = lambda: False,
) -> DrainReport:
    return drain(box, backend, prepare, clock=clock, policy=POLICY, stop=stop, rng=random.Random(1))


def test_everything_due_goes_out_in_several_claims() -> None:
    box, backend = Box(*(item(number) for number in range(1, 26))), FakeBackend()
    assert run(box, backend).sent == 25
    assert len(backend.sent) == 25
    assert set(box.codes.values()) == {250}
    assert len(box.leases) > 2


def test_each_recipient_has_an_outcome_of_its_own() -> None:
    box = Box(item(1, "a@example.net", "b@example.net", "c@example.net"))
    backend = FakeBackend({"b@example.net": SmtpReply(450, "later"), "c@example.net": SmtpReply(550, "never")})
    report = run(box, backend)
    assert (report.sent, report.deferred, report.dead) == (1, 1, 1)
    assert box.codes == {10: 250, 11: 450, 12: 550}
    assert box.retry_at[10] is None
    assert box.retry_at[12] is None
    assert timedelta(seconds=48) <= (box.retry_at[11] or NOW) - NOW <= timedelta(seconds=72)


@pytest.mark.parametrize(("attempts", "seconds"), [(1, 60), (2, 120), (4, 480), (5, 600), (10**6, 600)])
def test_the_pause_grows_up_to_its_limit_and_spreads(attempts: int, seconds: float) -> None:
    rng = random.Random(2)
    pauses = {POLICY.delay_s(attempts, rng) for _ in range(200)}
    assert len(pauses) > 100
    assert 0.8 * seconds <= min(pauses) < max(pauses) <= 1.2 * seconds


def test_what_is_too_old_becomes_a_dead_letter_after_its_last_try() -> None:
    box = Box(item(1, age=timedelta(days=1), attempts=9), item(2, age=timedelta(hours=23), attempts=9))
    report = run(box, FakeBackend(failure=DeliveryDeferred("nobody there")))
    assert (report.deferred, report.dead) == (1, 1)
    assert box.retry_at[10] is None
    assert box.retry_at[20] is not None
    assert box.texts[10] == "nobody there"


def test_a_mail_that_is_refused_for_good_or_breaks_holds_up_no_other() -> None:
    def prepare(one: OutboxItem) -> Outgoing:
        if one.fingerprint == "print1":
            raise DeliveryFailed("no recipient")
        if one.fingerprint == "print2":
            raise RuntimeError("a mistake")
        return as_is(one)

    box, backend = Box(item(1), item(2), item(3)), FakeBackend()
    report = run(box, backend, prepare)
    assert (report.sent, report.dead) == (1, 2)
    assert box.codes == {10: 554, 20: 554, 30: 250}
    assert box.texts[10] == "no recipient"
    assert "RuntimeError" in box.texts[20]


def test_a_recipient_without_an_answer_is_deferred_never_taken_for_sent() -> None:
    class Silent(FakeBackend):
        def send(self, outgoing: Outgoing) -> Sequence[DeliveryResult]:
            return super().send(outgoing)[:1]

    box = Box(item(1, "a@example.net", "b@example.net"))
    report = run(box, Silent())
    assert (report.sent, report.deferred) == (1, 1)
    assert box.codes == {10: 250, 11: 451}


def test_a_failing_database_is_not_hidden() -> None:
    box = Box(item())
    box.failure = StoreUnavailable("locked")
    with pytest.raises(StoreUnavailable):
        run(box, FakeBackend())
    with pytest.raises(StoreUnavailable):
        run(Box(item()), FakeBackend(failure=StoreUnavailable("gone")))


def test_nothing_is_claimed_that_is_not_begun() -> None:
    backend = FakeBackend()
    box = Box(item(1), item(2), item(3))
    run(box, backend, stop=lambda: bool(backend.sent))
    assert len(box.waiting) == 2


def test_stop_ends_between_two_mails() -> None:
    backend = FakeBackend()
    assert run(Box(item(1), item(2), item(3)), backend, stop=lambda: bool(backend.sent)).sent == 1


def test_what_was_claimed_before_a_long_sleep_is_left_to_whoever_has_it_now() -> None:
    """A node that is frozen between claim and hand-over, longer than its lease."""
    leased = [replace(item(number), lease_until=NOW + timedelta(minutes=30)) for number in (1, 2, 3)]
    box, backend = Box(*leased), FakeBackend()
    times = iter([NOW, NOW, NOW, NOW, NOW + timedelta(minutes=30)])
    assert run(box, backend, clock=lambda: next(times, NOW)).sent == 2
    assert [outgoing.octets for outgoing in backend.sent] == [leased[0].octets] * 2
    assert 20 not in box.codes
