"""Several machines that share one set of mailboxes: who lives, and who polls what."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class Lease:
    """The right to poll one mailbox until ``lease_until`` (by the database's clock).

    ``epoch`` grows whenever the right passes on: what a former holder does late is known by it, and refused.
    """

    source: str
    owner: str
    epoch: int
    lease_until: datetime


@dataclass(frozen=True, slots=True)
class Node:
    """A process that shares mailboxes: ``id`` is of this process alone, ``sources`` are the mailboxes it could poll."""

    id: str
    name: str
    version: str
    sources: frozenset[str]


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node as the others know it; ``alive``: it was heard of within its lease."""

    node: Node
    started_at: datetime
    seen_at: datetime
    alive_until: datetime
    alive: bool


@dataclass(frozen=True, slots=True)
class LeaseRecord:
    """A mailbox as all nodes know it; ``owner`` is None when nobody has it, ``valid`` says that the lease runs."""

    source: str
    owner: str | None
    epoch: int
    lease_until: datetime | None
    valid: bool


@dataclass(frozen=True, slots=True)
class ClusterView:
    """All nodes and all mailboxes at one moment, by the database's clock."""

    at: datetime
    nodes: tuple[NodeRecord, ...]
    leases: tuple[LeaseRecord, ...]
