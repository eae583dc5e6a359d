"""How several machines share the mailboxes: who lives, who has what, and how late they are."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from bouncepoll.bootstrap import Application
from bouncepoll.model.cluster import ClusterView, LeaseRecord
from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.records import MailboxState


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """A node; one that is not ``alive`` was killed, is frozen, or cannot reach the database."""

    id: str
    name: str
    version: str
    alive: bool
    started_at: datetime
    seen_at: datetime
    alive_until: datetime
    mailboxes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class MailboxStatus:
    """A mailbox; ``node`` is the id of who has it now, None for nobody. ``late_s``: since when it should be polled."""

    mailbox: str
    node: str | None
    lease_until: datetime | None
    epoch: int
    next_poll_at: datetime | None
    late_s: float
    failures: int


@dataclass(frozen=True, slots=True)
class ClusterStatus:
    """Everything at one moment of the database's clock; ``shared`` is False with SQLite, which has one process.

    ``lag_s`` is how late the latest mailbox is; ``outbox`` counts the recipients of forwards that are not sent.
    """

    at: datetime
    shared: bool
    lag_s: float
    nodes: tuple[NodeStatus, ...]
    mailboxes: tuple[MailboxStatus, ...]
    outbox: Mapping[OutboxState, int]


def cluster_status(application: Application) -> ClusterStatus:
    """Look at the database.

    Raises:
        StoreUnavailable: it cannot be read.
    """
    store = application.store
    shared = store.file is None
    view = store.leases.status() if shared else ClusterView(application.clock(), (), ())
    states = {state.source: state for state in store.mailboxes.all()}
    leases = {record.source: record for record in view.leases}
    polled = {source for record in view.nodes if record.alive for source in record.node.sources}
    held = {record.source for record in view.leases if record.valid}
    mailboxes = tuple(
        _mailbox(name, leases.get(name), states.get(name), view.at)
        for name in sorted({*application.mailboxes, *polled, *held})
    )
    nodes = tuple(
        NodeStatus(
            record.node.id,
            record.node.name,
            record.node.version,
            record.alive,
            record.started_at,
            record.seen_at,
            record.alive_until,
            tuple(mailbox.mailbox for mailbox in mailboxes if mailbox.node == record.node.id),
        )
        for record in view.nodes
    )
    lag_s = max((mailbox.late_s for mailbox in mailboxes), default=0.0)
    return ClusterStatus(view.at, shared, lag_s, nodes, mailboxes, store.gauges().outbox)


def _mailbox(name: str, lease: LeaseRecord | None, state: MailboxState | None, at: datetime) -> MailboxStatus:
    due = None if state is None else state.next_poll_at
    late = timedelta(0) if due is None else max(at - due, timedelta(0))
    return MailboxStatus(
        name,
        lease.owner if lease is not None and lease.valid else None,
        None if lease is None else lease.lease_until,
        0 if lease is None else lease.epoch,
        due,
        round(late.total_seconds(), 1),
        0 if state is None else state.failures,
    )
