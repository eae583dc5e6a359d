"""Forwarding: what waits in the outbox, what is handed to a backend, what it answered."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.status import SmtpReply


class OutboxState(StrEnum):
    """The state of one recipient's copy: ``dead`` is a dead letter, kept until an administrator retries or drops it."""

    QUEUED = "queued"
    SENT = "sent"
    DEAD = "dead"


@dataclass(frozen=True, slots=True)
class OutboxRecipient:
    """One forward-path of an outbox item; ``attempts`` counts the tries made before this claim."""

    id: int
    forward_path: str
    attempts: int


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """A mail that waits to be forwarded for one filter, claimed by one drainer until its lease ends.

    ``octets`` is the whole mail as it was fetched. ``fingerprint`` makes the forward's Message-ID stable, so a receiver
    can drop a second copy. ``created_at`` is when it was queued. ``lease_until`` is the end of the lease, and the token
    that tells a later claim of the same item apart; None where nobody compares it.
    """

    recipients: tuple[OutboxRecipient, ...]
    bounce_filter: BounceFilter
    fingerprint: str
    octets: bytes
    created_at: datetime
    lease_until: datetime | None = None


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A mail ready to be handed over, with CRLF line ends; ``""`` is the null reverse-path."""

    reverse_path: str
    forward_paths: tuple[str, ...]
    octets: bytes


@dataclass(frozen=True, slots=True)
class DeliveryResult:
    """What the next hop said of one forward-path: 2xx delivered, 4xx try again, 5xx never."""

    forward_path: str
    reply: SmtpReply
