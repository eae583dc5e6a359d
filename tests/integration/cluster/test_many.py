"""Four nodes, 200 mailboxes, 20,000 mails, through PgBouncer; nodes are killed, frozen and added meanwhile."""

import os
import random
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import trustme

from tests.contracts.storing import new_url
from tests.integration.cluster.scene import Scene, new_scene
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.pgbouncer import PgBouncer

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("cluster")]

MAILBOXES = 200
#: First by one node, then by four, then while nodes come and go.
ALONE, TOGETHER, MEANWHILE = 4000, 4000, 12_000
ROUNDS = 6
LEASE_S = 6
PATIENCE_S = 240.0


@pytest.fixture
def large_dovecot(authority: trustme.CA, ca_file: Path) -> Iterator[Dovecot]:
    """Return a Dovecot that takes as many sessions as four nodes open."""
    with Dovecot.running(authority, ca_file, settings="default_process_limit = 1000") as server:
        yield server


def test_many_nodes_lose_and_double_nothing(
    tmp_path: Path,
    large_dovecot: Dovecot,
    pgbouncer: PgBouncer,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    direct_url = new_url("postgresql", request, tmp_path)
    with new_scene(tmp_path, pgbouncer.url(direct_url), direct_url, large_dovecot) as scene:
        scene.set_up(MAILBOXES, lease_s=LEASE_S, poll_s=15, idle=False, workers=1)
        alone = _drain(scene, ALONE, "a")
        together = _drain(scene, TOGETHER, "b", "c", "d", "e")
        story = Story(scene)
        for number in range(ROUNDS):
            scene.arrive(MEANWHILE // ROUNDS)
            story.go_on(number)
        scene.wait_for_all(PATIENCE_S)
        shares = sorted(scene.shares().values())
        story.stop()
        in_hand = scene.settle_down()
        scene.check_counts()
        doubled = scene.doubled()
        figures = (
            f"{len(scene.nodes)} nodes, {MAILBOXES} mailboxes, {len(scene.sent)} mails; {story.killed} killed, "
            f"{story.frozen} frozen, {story.added} added meanwhile, {story.refused} late writes refused; 0 lost, "
            f"0 counted twice, {doubled} forwarded twice ({in_hand} were in hand); taken over after at most "
            f"{story.slowest_s:.1f} s with a lease of {LEASE_S} s; last shares {shares}; "
            f"{alone:.0f} mails/s by one node, {together:.0f} by four ({together / alone:.2f} times, on {os.cpu_count()} "
            f"cores shared with the servers)"
        )
        record_property("figures", figures)
        sys.stderr.write(f"{figures}\n")
        assert doubled <= in_hand <= story.killed
        assert shares[-1] - shares[0] <= 1


def _drain(scene: Scene, mails: int, *names: str) -> float:
    """Return how many mails of a backlog a second fresh nodes store together, from the first one to the last."""
    before = scene.stored()
    scene.arrive(mails)
    nodes = [scene.start(name) for name in names]
    wait_until(lambda: scene.stored() > before, "the first mail of a backlog", PATIENCE_S)
    begun = time.monotonic()
    scene.wait_for_all(PATIENCE_S)
    took_s = time.monotonic() - begun
    if len(nodes) == 1:
        nodes[0].stop()
    return mails / took_s


class Story:
    """What happens to the nodes while mails come."""

    def __init__(self, scene: Scene) -> None:
        self._scene = scene
        self._random = random.Random(20261125)
        self._living = [node for node in scene.nodes if node.process.poll() is None]
        self.killed = self.frozen = self.added = 0
        self.slowest_s = 0.0

    @property
    def refused(self) -> int:
        """How many polls found out that another node had their mailbox."""
        return sum(len(node.events("lease_lost")) for node in self._scene.nodes)

    def go_on(self, number: int) -> None:
        """Freeze a node, or kill it and add another one, in the middle of what came."""
        stored = self._scene.stored()
        wait_until(lambda: self._scene.stored() > stored, "some mails of the round", PATIENCE_S)
        victim = self._random.choice(self._living)
        victim_id = victim.id
        begun = time.monotonic()
        if number % 2:
            victim.kill()
            self.killed += 1
            self._living.remove(victim)
            self._wait_for_others(victim_id, begun)
            self._add(f"n{number}")
        else:
            victim.freeze()
            self.frozen += 1
            self._wait_for_others(victim_id, begun)
            victim.thaw()
        self._wait_for_balance()

    def stop(self) -> None:
        """End all nodes that live."""
        for node in self._living:
            node.stop()

    def _add(self, name: str) -> None:
        self._living.append(self._scene.start(name))
        self.added += 1

    def _wait_for_others(self, victim_id: str, begun: float) -> None:
        """Wait until others have everything of a node that gives no sign of life."""
        query = "SELECT count(*) FROM leases WHERE owner = :owner"
        wait_until(lambda: self._scene.count(query, owner=victim_id) == 0, "its mailboxes to be taken over", PATIENCE_S)
        self.slowest_s = max(self.slowest_s, time.monotonic() - begun)

    def _wait_for_balance(self) -> None:
        def balanced() -> bool:
            shares = self._scene.shares()
            return (
                shares.keys() == {node.name for node in self._living}
                and sum(shares.values()) == MAILBOXES
                and max(shares.values()) - min(shares.values()) <= 1
            )

        wait_until(balanced, f"even shares; there are {self._scene.shares()}", PATIENCE_S)
