"""One node among others, beat by beat: no thread, no time that passes."""

from collections.abc import Collection, Sequence
from datetime import datetime, timedelta

import pytest
from structlog.testing import capture_logs

from bouncepoll.bootstrap import system_clock
from bouncepoll.bootstrap._clockwatch import SharedClock
from bouncepoll.bootstrap._cluster import Membership, kept, new_node
from bouncepoll.errors import StoreUnavailable
from bouncepoll.model.cluster import Lease
from bouncepoll.testing import FakeClock, FakeLeases
from tests.contracts.storing import NOW
from tests.servers import wait_until

LEASE_S = 60.0
BOXES = ["ads", "jobs", "news", "offers"]


class Room:
    """Nodes in one room, with one clock for the database and for how time goes by."""

    def __init__(self) -> None:
        self.clock = FakeClock(NOW)
        self.leases = FakeLeases(self.clock)

    def elapsed_s(self) -> float:
        return (self.clock() - NOW).total_seconds()


class Member:
    """A node and what it was told."""

    def __init__(self, room: Room, name: str, boxes: Collection[str] = BOXES, leases: "Broken | None" = None) -> None:
        self.shared = SharedClock(lambda: NOW + timedelta(days=3), room.elapsed_s)
        self.closed = 0
        self.membership = Membership(
            room.leases if leases is None else leases,
            new_node(name, boxes),
            LEASE_S,
            self.shared,
            elapsed_s=room.elapsed_s,
            close=self._close,
        )
        self.boxes: list[str] = []
        self.polling: set[str] = set()
        # The thread is not begun: the tests give the beats.
        self.membership._gained = self.boxes.extend
        self.membership._lost = self.boxes.remove
        self.membership._polling = lambda box: box in self.polling

    def _close(self) -> None:
        self.closed += 1

    def beat(self) -> list[str]:
        self.membership.beat()
        assert [box for box in BOXES if self.membership.lease_of(box) is not None] == sorted(self.boxes)
        return sorted(self.boxes)


class Broken(FakeLeases):
    """Leases in a database that may be gone."""

    gone = False

    def renew(self, owner: str, lease: timedelta) -> Sequence[Lease]:
        self._fail()
        return super().renew(owner, lease)

    def release(self, owner: str, sources: Collection[str] | None = None) -> None:
        self._fail()
        super().release(owner, sources)

    def _fail(self) -> None:
        if self.gone:
            raise StoreUnavailable("the server is gone")


@pytest.fixture
def room() -> Room:
    return Room()


def test_the_only_node_has_everything(room: Room) -> None:
    assert Member(room, "a").beat() == BOXES


def test_two_share(room: Room) -> None:
    a, b = Member(room, "a"), Member(room, "b")
    a.beat()
    assert b.beat() == []
    assert len(a.beat()) == 2
    assert sorted(a.boxes + b.beat()) == BOXES
    assert (a.beat(), b.beat()) == (a.boxes, b.boxes)


def test_what_is_being_polled_is_given_away_afterwards(room: Room) -> None:
    a, b = Member(room, "a"), Member(room, "b")
    a.polling = set(a.beat())
    leases = {box: a.membership.lease_of(box) for box in BOXES}
    b.beat()
    assert len(a.beat()) == 2
    given = [box for box in BOXES if box not in a.boxes]
    # The poll is told to stop; until it did, nobody else has the mailbox.
    for box, lease in leases.items():
        assert lease is not None
        assert a.membership.holds(lease) is (box not in given)
    assert b.beat() == []
    a.polling.clear()
    a.beat()
    assert b.beat() == given


def test_the_mailboxes_of_a_dead_node_are_taken_over_after_its_lease(room: Room) -> None:
    a, b = Member(room, "a"), Member(room, "b")
    for member in (a, b, a, b):
        member.beat()
    room.clock.advance(timedelta(seconds=LEASE_S - 1))
    assert len(b.beat()) == 2
    room.clock.advance(timedelta(seconds=2))
    assert b.beat() == BOXES


def test_who_was_frozen_finds_out_what_it_lost_and_goes_on(room: Room) -> None:
    a, b = Member(room, "a"), Member(room, "b")
    for member in (a, b, a, b):
        member.beat()
    lost = sorted(a.boxes)
    leases = [a.membership.lease_of(box) for box in lost]
    room.clock.advance(timedelta(seconds=LEASE_S + 1))
    # Before it has asked anybody, it begins nothing more.
    assert [a.membership.lease_of(box) for box in lost] == [None, None]
    b.beat()
    with capture_logs() as logs:
        assert a.beat() == []
    assert [entry["mailboxes"] for entry in logs if entry["event"] == "leases_lost"] == [lost]
    b.beat()
    assert len(a.beat()) == 2
    assert sorted(a.boxes + b.boxes) == BOXES
    for lease in leases:
        assert lease is not None
        assert not a.membership.holds(lease)


def test_who_was_frozen_finds_out_even_if_it_has_everything_back_at_once(room: Room) -> None:
    a, b = Member(room, "a"), Member(room, "b", ["news"])
    a.beat()
    before = a.membership.lease_of("news")
    room.clock.advance(timedelta(seconds=LEASE_S + 1))
    assert b.beat() == ["news"]
    b.membership.leave()
    with capture_logs() as logs:
        assert a.beat() == BOXES
    assert [entry["mailboxes"] for entry in logs if entry["event"] == "leases_lost"] == [["news"]]
    assert before is not None
    assert not a.membership.holds(before)


def test_what_ran_out_and_nobody_took_is_kept(room: Room) -> None:
    a = Member(room, "a")
    a.beat()
    leases = [a.membership.lease_of(box) for box in BOXES]
    room.clock.advance(timedelta(hours=1))
    assert a.beat() == BOXES
    assert [a.membership.lease_of(box) is not None and a.membership.lease_of(box) for box in BOXES] != leases
    assert all(lease is not None and a.membership.holds(lease) for lease in leases)


def test_who_ends_leaves_at_once_what_it_does_not_poll(room: Room) -> None:
    a, b = Member(room, "a"), Member(room, "b")
    for member in (a, b, a, b):
        member.beat()
    a.polling = {a.boxes[0]}
    a.membership.retire()
    assert a.beat() == []
    assert len(b.beat()) == 3
    a.membership.leave()
    assert a.closed == 1
    assert b.beat() == BOXES
    assert [record.node.name for record in room.leases.status().nodes] == ["b"]


def test_one_of_them_leads(room: Room) -> None:
    a, b = Member(room, "a"), Member(room, "b")
    assert not a.membership.leads
    for member in (a, b, a, b):
        member.beat()
    assert (a.membership.leads, b.membership.leads) == (True, False)
    a.membership.retire()
    a.beat()
    b.beat()
    assert (a.membership.leads, b.membership.leads) == (False, True)


def test_a_database_that_is_gone_is_told_once_and_holds_up_nothing(room: Room) -> None:
    leases = Broken(room.clock)
    a = Member(room, "a", leases=leases)
    a.beat()
    leases.gone = True
    with capture_logs() as logs:
        a.beat()
        a.beat()
        room.clock.advance(timedelta(seconds=LEASE_S))
        assert [a.membership.lease_of(box) for box in BOXES] == [None] * 4
        leases.gone = False
        a.beat()
    assert [entry["event"] for entry in logs] == ["cluster_unreachable", "cluster_reachable"]
    leases.gone = True
    with capture_logs() as logs:
        a.membership.leave()
        # Once it is known to be gone, nothing is tried.
        a.membership.beat()
        leases.gone = False
        a.membership.leave()
    assert [entry["error"] for entry in logs if entry["event"] == "cluster_not_left"] == [
        "the server is gone",
        "the database does not answer",
    ]


def test_who_could_not_begin_with_a_mailbox_is_asked_again(room: Room) -> None:
    a = Member(room, "a")
    begun: list[str] = []
    fails = [True]

    def gained(boxes: Sequence[str]) -> None:
        if fails.pop():
            raise StoreUnavailable("the server is gone")
        begun.extend(boxes)

    a.membership._gained = gained
    a.membership.beat()
    assert begun == []
    fails.append(False)
    a.membership.beat()
    assert begun == BOXES
    a.membership.beat()


def test_all_go_by_the_time_of_the_database(room: Room) -> None:
    a = Member(room, "a")
    assert a.shared() == NOW + timedelta(days=3)
    a.beat()
    assert a.shared() == NOW
    room.clock.advance(timedelta(seconds=5))
    assert a.shared() == NOW + timedelta(seconds=5)
    # Three days ahead: what is due in a minute is due in a minute by this clock too.
    assert a.shared.as_set(NOW + timedelta(seconds=65)) == datetime(2026, 11, 5, 10, 1, tzinfo=NOW.tzinfo)


def test_a_command_keeps_its_lease_while_it_polls_and_lets_go_of_it(room: Room) -> None:
    [lease] = room.leases.claim("a command", ["news"], timedelta(seconds=0))
    with kept(room.leases, lease, 0.05) as held:
        wait_until(lambda: room.leases.status().leases[0].valid, "the lease to be renewed")
        assert held()
    assert room.leases.status().leases[0].owner is None


def test_a_command_is_told_that_its_lease_is_lost(room: Room) -> None:
    [lease] = room.leases.claim("a command", ["news"], timedelta(seconds=0))
    [_other] = room.leases.claim("b", ["news"], timedelta(hours=1))
    with kept(room.leases, lease, 0.05) as held:
        wait_until(lambda: not held(), "the loss to be told")
    assert room.leases.status().leases[0].owner == "b"


def test_the_thread_beats_until_the_node_leaves() -> None:
    """In real time, with a short lease: it joins, survives a mistake of ours, retires when asked, and leaves."""
    leases = Broken(system_clock)
    membership = Membership(leases, new_node("a", BOXES), 0.3, SharedClock(system_clock))
    boxes: list[str] = []
    mistakes = [KeyError("a mistake")]

    def gained(names: Sequence[str]) -> None:
        if mistakes:
            raise mistakes.pop()
        boxes.extend(names)

    with capture_logs() as logs:
        membership.start(gained, boxes.remove, lambda box: box == "news")
        wait_until(lambda: boxes == BOXES, "all mailboxes")
        membership.retire()
        wait_until(lambda: boxes == [], "none of them")
        # What is being polled is kept until the end.
        wait_until(lambda: [r.source for r in leases.status().leases if r.owner is not None] == ["news"], "the rest")
        membership.leave()
    assert [record.owner for record in leases.status().leases] == [None] * 4
    events = [entry["event"] for entry in logs]
    assert (events[0], events[-1]) == ("cluster_joined", "cluster_left")
    assert events.count("cluster_failed_unexpectedly") == 1


def test_what_a_command_cannot_tell_the_database_ends_by_itself(room: Room) -> None:
    leases = Broken(room.clock)
    [lease] = leases.claim("a command", ["news"], timedelta(hours=1))
    leases.gone = True
    with capture_logs() as logs, kept(leases, lease, 0.05) as held:
        wait_until(lambda: bool(logs), "a renewal that fails")
        assert held()
    assert {entry["event"] for entry in logs} == {"lease_not_renewed", "lease_not_released"}
