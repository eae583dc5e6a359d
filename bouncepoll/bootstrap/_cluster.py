"""Several machines: each node tells that it lives, takes its share of the mailboxes, and lets go of what is too much.

Everything goes by the database's clock. A node that was frozen, or cut off from the database, finds out what it lost
when it comes back; what it does before that is refused by the fence (see ``bouncepoll.store.leases``).
"""

import os
import re
import secrets
import socket
import threading
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta

import structlog

from bouncepoll import __version__
from bouncepoll.bootstrap import Application, PollOutcome
from bouncepoll.bootstrap._clockwatch import SharedClock, elapsed_s
from bouncepoll.bootstrap._sharing import share_out
from bouncepoll.errors import LeaseLost, StoreUnavailable
from bouncepoll.model.cluster import ClusterView, Lease, Node
from bouncepoll.ports import Leases
from bouncepoll.store import open_store

log = structlog.get_logger()

#: A sign of life is given so many times within a lease.
_BEATS = 6
_LONGEST_BEAT_S = 10.0


def new_node(name: str, sources: Collection[str]) -> Node:
    """Return this process as a node; no other ever has its id."""
    return Node(f"{name}:{os.getpid()}:{secrets.token_hex(4)}", name, __version__, frozenset(sources))


class Membership:
    """This node's part in sharing the mailboxes, from ``start`` to ``leave``. Used by several threads."""

    def __init__(
        self,
        leases: Leases,
        node: Node,
        lease_s: float,
        clock: SharedClock,
        *,
        silence_s: float = 60.0,
        elapsed_s: Callable[[], float] = elapsed_s,
        close: Callable[[], None] = lambda: None,
    ) -> None:
        """``silence_s``: who is silent for so long within a transaction is frozen. ``close`` is called at the end."""
        self.node = node
        self._close = close
        self._leases = leases
        self._lease = timedelta(seconds=lease_s)
        self._silence = timedelta(seconds=silence_s)
        self._beat_s = min(lease_s / _BEATS, _LONGEST_BEAT_S)
        self._clock = clock
        self._elapsed_s = elapsed_s
        self._guard = threading.Lock()
        self._held: dict[str, Lease] = {}
        self._surplus: frozenset[str] = frozenset()
        self._renewed_s = float("-inf")
        # What ``gained`` was called for; of the one thread.
        self._begun: set[str] = set()
        #: Whether this is the one of the nodes that does what one is enough for.
        self.leads = False
        self._retiring = False
        self._reachable = True
        self._stop = threading.Event()
        self._asked = threading.Event()
        self._thread: threading.Thread | None = None
        self._gained: Callable[[Sequence[str]], None] = lambda _names: None
        self._lost: Callable[[str], None] = lambda _name: None
        self._polling: Callable[[str], bool] = lambda _name: False

    def start(
        self, gained: Callable[[Sequence[str]], None], lost: Callable[[str], None], polling: Callable[[str], bool]
    ) -> None:
        """Take a share, and keep it up to date.

        ``gained`` and ``lost`` are called, by a thread of its own, with names of mailboxes, and must not take long:
        leases end meanwhile. ``gained`` is called again when it raised ``StoreUnavailable``. What is being polled, as
        ``polling`` tells, is given away afterwards only.
        """
        self._gained, self._lost, self._polling = gained, lost, polling
        self._thread = threading.Thread(target=self._run, name="cluster", daemon=True)
        self._thread.start()

    def lease_of(self, name: str) -> Lease | None:
        """Return the right to poll a mailbox; None when this node does not have it, or is about to give it away."""
        with self._guard:
            if name in self._surplus or self._elapsed_s() - self._renewed_s >= self._lease.total_seconds():
                return None
            return self._held.get(name)

    def holds(self, lease: Lease) -> bool:
        """Whether this right still is this node's, as far as it knows."""
        found = self.lease_of(lease.source)
        return found is not None and found.epoch == lease.epoch

    def retire(self) -> None:
        """Begin to leave: take nothing more, and let the others have at once what is not being polled."""
        self._retiring = True
        self._asked.set()

    def leave(self, timeout_s: float = 2.0) -> None:
        """Let go of everything; what still runs cannot store anything more."""
        self._retiring = True
        self._stop.set()
        self._asked.set()
        if self._thread is not None:
            self._thread.join(timeout_s)
        with self._guard:
            self._held, self._surplus = {}, frozenset()
        failure = self._let_go()
        if failure is None:
            log.info("cluster_left", node=self.node.id)
        else:
            log.warning("cluster_not_left", error=failure, advice="the others take over when the leases end")
        self._close()

    def _let_go(self) -> str | None:
        """Let go of everything; why not, where the database cannot be told. It is not waited for."""
        if not self._reachable or (self._thread is not None and self._thread.is_alive()):
            return "the database does not answer"
        try:
            self._leases.release(self.node.id)
            self._leases.forget(self.node.id)
        except StoreUnavailable as exc:
            return str(exc)
        return None

    def beat(self) -> None:
        """Give a sign of life and bring the share up to date; a database that cannot be reached is tried again."""
        try:
            self._beat()
        except StoreUnavailable as exc:
            if self._reachable:
                log.error("cluster_unreachable", error=str(exc))  # noqa: TRY400 - it says all.
            self._reachable = False
        else:
            if not self._reachable:
                log.warning("cluster_reachable")
            self._reachable = True

    def _run(self) -> None:
        log.info("cluster_joined", node=self.node.id, lease_s=self._lease.total_seconds())
        while not self._stop.is_set():
            try:
                self.beat()
            except Exception:
                log.exception("cluster_failed_unexpectedly")
            self._asked.wait(self._beat_s)
            self._asked.clear()

    def _beat(self) -> None:
        begun_s = self._elapsed_s()
        view = self._view()
        held = {
            record.source: Lease(record.source, self.node.id, record.epoch, record.lease_until)
            for record in view.leases
            if record.owner == self.node.id and record.lease_until is not None
        }
        living = [record.node.id for record in view.nodes if record.alive]
        self.leads = not self._retiring and self.node.id == min(living, default=None)
        if self.leads and (ended := self._leases.end_silent(self._silence)):
            log.warning("silent_transactions_ended", count=ended)
        share = self._share(view)
        if wanted := share - held.keys():
            held |= {lease.source: lease for lease in self._leases.claim(self.node.id, wanted, self._lease)}
        self._take_over(held, frozenset(held.keys() - share), begun_s)
        # Asked after nobody can begin to poll them any more.
        if idle := [name for name in self._surplus if not self._polling(name)]:
            self._leases.release(self.node.id, idle)
            with self._guard:
                self._held = {name: lease for name, lease in self._held.items() if name not in idle}
                self._surplus -= frozenset(idle)
            log.info("mailboxes_given_away", mailboxes=sorted(idle))

    def _view(self) -> ClusterView:
        """Give a sign of life, and return how everything stands."""
        asked_s = self._elapsed_s()
        if self._retiring:
            self._leases.forget(self.node.id)
            self._leases.renew(self.node.id, self._lease)
            asked_s = self._elapsed_s()
            view = self._leases.status()
        else:
            view = self._leases.heartbeat(self.node, self._lease)
        self._clock.note(view.at, asked_s, self._elapsed_s())
        return view

    def _share(self, view: ClusterView) -> frozenset[str]:
        if self._retiring:
            return frozenset()
        nodes = {record.node.id: record.node.sources for record in view.nodes if record.alive}
        owners = {record.source: record.owner for record in view.leases if record.valid and record.owner is not None}
        target = share_out(nodes | {self.node.id: self.node.sources}, owners)
        return frozenset(source for source, node in target.items() if node == self.node.id)

    def _take_over(self, held: dict[str, Lease], surplus: frozenset[str], begun_s: float) -> None:
        with self._guard:
            # Also what is ours again by now: another node had it in between.
            still = {(lease.source, lease.epoch) for lease in held.values()}
            taken_from_us = [name for name, lease in self._held.items() if (name, lease.epoch) not in still]
            self._held, self._surplus, self._renewed_s = held, surplus, begun_s
        if taken_from_us:
            log.warning("leases_lost", mailboxes=sorted(taken_from_us))
        ours = held.keys() - surplus
        for name in sorted(self._begun - ours):
            self._begun.discard(name)
            self._lost(name)
        if gained := sorted(ours - self._begun):
            log.info("leases_gained", mailboxes=gained)
            self._gained(gained)
            self._begun.update(gained)


@contextmanager
def kept(leases: Leases, lease: Lease, lease_s: float) -> Iterator[Callable[[], bool]]:
    """Renew one lease until the end of the block, and then let go of it; yields whether it is still held.

    For a command that polls a mailbox once and takes no share.
    """
    over, lost = threading.Event(), threading.Event()

    def renew() -> None:
        while not over.wait(min(lease_s / _BEATS, _LONGEST_BEAT_S)):
            try:
                renewed = leases.renew(lease.owner, timedelta(seconds=lease_s))
            except StoreUnavailable as exc:
                # What is polled meanwhile is stored only if nobody else has the mailbox.
                log.debug("lease_not_renewed", mailbox=lease.source, error=str(exc))
                continue
            if not any((found.source, found.epoch) == (lease.source, lease.epoch) for found in renewed):
                lost.set()

    thread = threading.Thread(target=renew, name=f"lease:{lease.source}", daemon=True)
    thread.start()
    try:
        yield lambda: not lost.is_set()
    finally:
        over.set()
        thread.join(_LONGEST_BEAT_S)
        try:
            leases.release(lease.owner, [lease.source])
        except StoreUnavailable as exc:
            log.warning("lease_not_released", mailbox=lease.source, error=str(exc))


def membership_of(application: Application, mailboxes: Collection[str]) -> Membership | None:
    """Return this process's part in sharing these mailboxes; None with SQLite, where it is the only one."""
    if application.store.file is not None:
        return None
    settings = application.settings.cluster
    # Connections of its own: signs of life must not wait for polls.
    store = open_store(
        application.settings.database.url, clock=application.clock, idle_timeout_s=settings.idle_timeout_s
    )
    node = new_node(node_name(application), mailboxes)
    return Membership(
        store.leases,
        node,
        settings.lease,
        application.shared,
        silence_s=settings.idle_timeout_s,
        close=store.close,
    )


def poll_once(
    application: Application, name: str, on_progress: Callable[[int, int], None] = lambda _done, _total: None
) -> PollOutcome:
    """Poll a mailbox once, unless another node has it just now: that is then the outcome."""
    if application.store.file is not None:
        return application.poll(name, on_progress=on_progress)
    lease_s = application.settings.cluster.lease
    leases = application.store.leases
    application.mailbox(name)
    me = new_node(node_name(application), ())
    for lease in leases.claim(me.id, [name], timedelta(seconds=lease_s)):
        with kept(leases, lease, lease_s) as held:
            return application.poll(name, should_stop=lambda: not held(), on_progress=on_progress, lease=lease)
    found = next((record for record in leases.status().leases if record.source == name and record.valid), None)
    who = "another process" if found is None else f"node {found.owner}"
    error = LeaseLost(
        f"{name}: {who} has this mailbox and polls it; it was not polled here ('bouncepoll cluster status' shows who "
        "has what)"
    )
    return PollOutcome(name, None, error, application.clock() + timedelta(seconds=lease_s))


def node_name(application: Application) -> str:
    """Return what this machine is called."""
    named = application.settings.cluster.node
    return named or re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "node"
