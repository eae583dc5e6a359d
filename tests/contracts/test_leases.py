"""What every ``Leases`` keeps: PostgreSQL and the fake. A lease of no length has run out as soon as it is there."""

import threading
from collections.abc import Iterator, Sequence
from datetime import timedelta

import pytest

from bouncepoll.model.cluster import Lease, LeaseRecord, Node
from bouncepoll.ports import Leases
from bouncepoll.store import open_store, schema
from bouncepoll.testing import FakeClock, FakeLeases
from tests.contracts.storing import NOW, POSTGRESQL
from tests.servers.postgresql import PostgreSQL

LEASE = timedelta(minutes=1)
OVER = timedelta(0)


@pytest.fixture(params=["fake", POSTGRESQL])
def leases(request: pytest.FixtureRequest) -> Iterator[Leases]:
    if request.param == "fake":
        yield FakeLeases(FakeClock(NOW))
        return
    server: PostgreSQL = request.getfixturevalue("postgresql")
    url = server.new_database()
    schema.upgrade(url)
    # The nodes' clocks do not matter: this one stands still.
    opened = open_store(url, clock=FakeClock(NOW))
    yield opened.leases
    opened.close()


def node(name: str, *sources: str) -> Node:
    return Node(f"{name}:1:abc", name, "1.0", frozenset(sources))


def names(found: Sequence[Lease]) -> list[tuple[str, str, int]]:
    return [(lease.source, lease.owner, lease.epoch) for lease in found]


def records(leases: Leases) -> list[tuple[str, str | None, int, bool]]:
    return [(r.source, r.owner, r.epoch, r.valid) for r in leases.status().leases]


def test_what_nobody_has_can_be_claimed_once(leases: Leases) -> None:
    assert leases.claim("a", [], LEASE) == []
    assert names(leases.claim("a", ["news", "ads"], LEASE)) == [("ads", "a", 1), ("news", "a", 1)]
    assert names(leases.claim("b", ["news", "offers"], LEASE)) == [("offers", "b", 1)]
    assert names(leases.claim("a", ["news"], LEASE)) == []
    assert records(leases) == [("ads", "a", 1, True), ("news", "a", 1, True), ("offers", "b", 1, True)]


def test_a_lease_runs_by_the_time_of_the_leases(leases: Leases) -> None:
    [lease] = leases.claim("a", ["news"], LEASE)
    at = leases.status().at
    assert timedelta(seconds=30) < lease.lease_until - at <= LEASE
    [renewed] = leases.renew("a", LEASE * 2)
    assert renewed.epoch == lease.epoch
    assert renewed.lease_until > lease.lease_until


def test_what_ran_out_passes_on_with_a_higher_epoch(leases: Leases) -> None:
    leases.claim("a", ["ads", "news"], OVER)
    assert records(leases) == [("ads", "a", 1, False), ("news", "a", 1, False)]
    assert names(leases.claim("b", ["news"], LEASE)) == [("news", "b", 2)]
    # The former holder is told by what it does not get back; what nobody took is still its own.
    assert names(leases.renew("a", LEASE)) == [("ads", "a", 1)]
    assert names(leases.claim("b", ["ads"], LEASE)) == []
    leases.renew("b", OVER)
    assert names(leases.claim("a", ["news"], LEASE)) == [("news", "a", 3)]


def test_who_claims_again_what_it_let_run_out_has_a_higher_epoch_too(leases: Leases) -> None:
    leases.claim("a", ["news"], OVER)
    assert names(leases.claim("a", ["news"], LEASE)) == [("news", "a", 2)]


def test_what_is_released_can_be_claimed_at_once(leases: Leases) -> None:
    leases.claim("a", ["ads", "news", "offers"], LEASE)
    leases.release("b", ["ads"])
    leases.release("a", ["news", "unheard-of"])
    assert leases.status().leases == (
        LeaseRecord("ads", "a", 1, leases.status().leases[0].lease_until, valid=True),
        LeaseRecord("news", None, 1, None, valid=False),
        LeaseRecord("offers", "a", 1, leases.status().leases[2].lease_until, valid=True),
    )
    assert names(leases.claim("b", ["news"], LEASE)) == [("news", "b", 2)]
    leases.release("a")
    assert names(leases.claim("b", ["ads", "offers"], LEASE)) == [("ads", "b", 2), ("offers", "b", 2)]
    assert leases.renew("a", LEASE) == []


def test_a_node_lives_as_long_as_it_is_heard_of(leases: Leases) -> None:
    leases.heartbeat(node("two", "news"), LEASE)
    leases.heartbeat(node("one", "ads", "news"), OVER)
    [first, second] = leases.status().nodes
    assert (first.node, first.alive, second.node, second.alive) == (
        node("one", "ads", "news"),
        False,
        node("two", "news"),
        True,
    )
    leases.heartbeat(node("one", "ads"), LEASE)
    again = leases.status().nodes[0]
    assert (again.node.sources, again.alive, again.started_at) == (frozenset({"ads"}), True, first.started_at)
    assert again.seen_at >= first.seen_at
    leases.forget("two:1:abc")
    leases.forget("nobody")
    assert [record.node.name for record in leases.status().nodes] == ["one"]


def test_where_nobody_is_silent_nothing_is_ended(leases: Leases) -> None:
    assert leases.end_silent(timedelta(minutes=1)) == 0


def test_of_several_that_claim_at_once_one_gets_each(leases: Leases) -> None:
    sources = [f"box{number}" for number in range(20)]
    begin = threading.Barrier(4)
    taken: dict[str, list[str]] = {}

    def claim(owner: str) -> None:
        begin.wait(10)
        taken[owner] = [lease.source for lease in leases.claim(owner, sources, LEASE)]

    threads = [threading.Thread(target=claim, args=(f"node{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    left = leases.claim("last", sources, LEASE)
    assert sorted(
        [source for found in taken.values() for source in found] + [lease.source for lease in left]
    ) == sorted(sources)
    assert {record.epoch for record in leases.status().leases} == {1}
