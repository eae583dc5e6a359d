"""Leases in memory."""

import threading
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import timedelta

from bouncepoll.model.cluster import ClusterView, Lease, LeaseRecord, Node, NodeRecord
from bouncepoll.ports import Clock


class FakeLeases:
    """The ``ports.Leases`` by a clock of the test's."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._nodes: dict[str, NodeRecord] = {}
        self._leases: dict[str, LeaseRecord] = {}

    def heartbeat(self, node: Node, lease: timedelta) -> ClusterView:
        """Note that a node lives, renew its leases, and return how everything stands."""
        now = self._clock()
        with self._lock:
            known = self._nodes.get(node.id)
            started_at = now if known is None else known.started_at
            self._nodes[node.id] = NodeRecord(node, started_at, now, now + lease, alive=True)
        self.renew(node.id, lease)
        return self.status()

    def claim(self, owner: str, sources: Collection[str], lease: timedelta) -> Sequence[Lease]:
        """Return those of the mailboxes that ``owner`` has from now on."""
        with self._lock:
            taken = []
            for source in sorted(sources):
                found = self._leases.get(source, LeaseRecord(source, None, 0, None, valid=False))
                if not self._runs(found):
                    taken.append(self._lease(source, owner, found.epoch + 1, lease))
            return taken

    def renew(self, owner: str, lease: timedelta) -> Sequence[Lease]:
        """Have all leases of ``owner`` run from now on, and return them."""
        with self._lock:
            mine = [found for found in self._leases.values() if found.owner == owner]
            return [self._lease(f.source, owner, f.epoch, lease) for f in sorted(mine, key=lambda f: f.source)]

    def release(self, owner: str, sources: Collection[str] | None = None) -> None:
        """Let go of these mailboxes, all when None."""
        with self._lock:
            for source, found in self._leases.items():
                if found.owner == owner and (sources is None or source in sources):
                    self._leases[source] = replace(found, owner=None, lease_until=None)

    def forget(self, node_id: str) -> None:
        """Forget a node that ends."""
        with self._lock:
            self._nodes.pop(node_id, None)

    def end_silent(self, silence: timedelta) -> int:
        """Return 0: here are no transactions that could be silent."""
        return 0

    def status(self) -> ClusterView:
        """Return all nodes and all mailboxes."""
        now = self._clock()
        with self._lock:
            living = [replace(found, alive=found.alive_until > now) for found in self._nodes.values()]
            held = [replace(found, valid=self._runs(found)) for found in self._leases.values()]
        return ClusterView(
            now,
            tuple(sorted(living, key=lambda found: (found.node.name, found.node.id))),
            tuple(sorted(held, key=lambda found: found.source)),
        )

    def _lease(self, source: str, owner: str, epoch: int, lease: timedelta) -> Lease:
        until = self._clock() + lease
        self._leases[source] = LeaseRecord(source, owner, epoch, until, valid=True)
        return Lease(source, owner, epoch, until)

    def _runs(self, found: LeaseRecord) -> bool:
        return found.owner is not None and found.lease_until is not None and found.lease_until > self._clock()
