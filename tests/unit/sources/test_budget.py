"""Connections and rests of accounts, with a clock that stands still."""

import random
import threading
from dataclasses import dataclass

import pytest

from bouncepoll.errors import SourceUnavailable
from bouncepoll.sources import _budget
from bouncepoll.sources._budget import Account, Budget


@dataclass(frozen=True)
class Mailbox:
    host: str = "imap.example.org"
    username: str = "news@example.org"
    max_connections: int = 2
    timeout: float = 0.01


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def budget(clock: Clock) -> Budget:
    return Budget(clock, random.Random(7))


def test_an_account_is_a_login_at_a_server(budget: Budget) -> None:
    account = budget.account(Mailbox())
    assert budget.account(Mailbox(host="IMAP.example.org", username="News@example.org")) is account
    assert budget.account(Mailbox(username="shop@example.org")) is not account
    assert budget.account(Mailbox(host="pop.example.org")) is not account


def test_no_more_connections_than_allowed_over_all_mailboxes(budget: Budget) -> None:
    account = budget.account(Mailbox())
    first = account.lease("news", Mailbox())
    second = account.lease("offers", Mailbox())
    with pytest.raises(
        SourceUnavailable, match=r"^spam: all 2 connections of news@example\.org .*raise max_conn"
    ) as got:
        account.lease("spam", Mailbox())
    assert got.value.retry_after_s is None
    first.release()
    first.release()
    assert account.in_use == 1
    account.lease("spam", Mailbox()).release()
    second.release()
    assert account.in_use == 0


def test_the_least_limit_of_an_account_counts(budget: Budget) -> None:
    account = budget.account(Mailbox())
    account.lease("news", Mailbox(max_connections=1))
    with pytest.raises(SourceUnavailable, match="all 1 connections"):
        account.lease("offers", Mailbox(max_connections=9))


def test_a_connection_that_becomes_free_is_waited_for(budget: Budget) -> None:
    account = budget.account(Mailbox())
    held = [account.lease("news", Mailbox()), account.lease("news", Mailbox())]
    got: list[_budget.Lease] = []
    thread = threading.Thread(target=lambda: got.append(account.lease("offers", Mailbox(timeout=20))))
    thread.start()
    held[0].release()
    thread.join(20)
    assert len(got) == 1
    assert account.in_use == 2


def test_who_waits_for_mails_leaves_a_connection_to_those_who_poll(budget: Budget) -> None:
    account = budget.account(Mailbox())
    account.lease("news", Mailbox(), wait=False)
    with pytest.raises(SourceUnavailable, match="in use"):
        account.lease("offers", Mailbox(), wait=False)
    account.lease("news", Mailbox())
    only = Mailbox("other.example.org", max_connections=1)
    with pytest.raises(SourceUnavailable, match="in use"):
        budget.account(only).lease("news", only, wait=False)


def test_an_account_that_has_to_rest_connects_nowhere(budget: Budget, clock: Clock) -> None:
    account = budget.account(Mailbox())
    lease = account.lease("news", Mailbox())
    lease.rest(None)
    assert account.rest_left_s() == 0
    lease.rest(100)
    # A shorter one later does not shorten it.
    lease.rest(1)
    left_s = account.rest_left_s()
    assert 100 <= left_s <= 110
    with pytest.raises(SourceUnavailable, match=r"offers: imap\.example\.org asked for a rest") as caught:
        account.lease("offers", Mailbox())
    assert caught.value.retry_after_s == left_s
    budget.account(Mailbox(username="shop@example.org")).lease("shop", Mailbox(username="shop@example.org"))
    clock.now += left_s
    account.lease("offers", Mailbox())


def test_rests_differ_a_bit_and_have_an_end(clock: Clock) -> None:
    rests = set()
    for seed in range(20):
        account = Account(clock, random.Random(seed))
        account.rest(10**9)
        rests.add(account.rest_left_s())
        assert 86400 <= account.rest_left_s() <= 86400 * 1.1
    assert len(rests) == 20


def test_made_up_accounts_do_not_fill_the_memory(budget: Budget, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_budget, "_MAX_ACCOUNTS", 3)
    for number in range(10):
        budget.account(Mailbox(username=f"user{number}"))
    assert len(budget._accounts) <= 3


def test_a_process_has_one_budget() -> None:
    assert _budget.process_budget() is _budget.process_budget()
    mailbox = Mailbox("one-budget.example.org")
    lease = _budget.lease("news", mailbox)
    assert _budget.process_budget().account(mailbox).in_use == 1
    lease.release()
