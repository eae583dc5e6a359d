"""What the database tells: stored mails, events, forwards, mails in quarantine and mailboxes, as read-only records.

Times are aware and in UTC. None always means: not known, or not yet.
"""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import Route
from bouncepoll.model.message import MessageRef
from bouncepoll.model.report import Action
from bouncepoll.model.status import Permanence
from bouncepoll.model.trust import Trust, TrustReason
from bouncepoll.model.verdict import Kind, Reason, Severity


class PlaceState(StrEnum):
    """What is known of a place: ``retry`` is read again by the next poll, ``discarded`` was given up by a person."""

    STORED = "stored"
    QUARANTINED = "quarantined"
    RETRY = "retry"
    DISCARDED = "discarded"


@dataclass(frozen=True, slots=True)
class PlaceRecord:
    """One place a mail was found at.

    ``duplicate``: the mail was known from another place. ``settled``: the mailbox did what ``on_done`` says.
    ``truncated``: only the first octets were fetched from here.
    """

    ref: MessageRef
    duplicate: bool
    settled: bool
    truncated: bool
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class EventRecord:
    """What one mail says of one recipient (None where it cannot be known); ``message_id`` is the stored mail's number.

    ``detector``, ``rule_id``, ``matched_text`` and ``where`` are the evidence. One whose ``trust`` is ``refused``
    counts for nothing and has no severity.
    """

    id: int
    message_id: int
    recorded_at: datetime
    recipient: str | None
    kind: Kind
    reason: Reason | None
    permanence: Permanence
    severity: Severity | None
    status: str | None
    reply_code: int | None
    action: Action | None
    remote_mta: str | None
    diagnostic: str | None
    detector: str
    rule_id: str | None
    matched_text: str | None
    where: str | None
    trust: Trust = Trust.UNCONFIRMED
    trust_reason: TrustReason | None = None


@dataclass(frozen=True, slots=True)
class MessageRecord:
    """A stored mail. ``message_id`` and ``original_message_id`` are header fields, with their angle brackets.

    ``from_address`` is the bare address of From, ``""`` when there is none. Long texts are cut.
    """

    id: int
    fingerprint: str
    kind: Kind
    message_id: str | None
    original_message_id: str | None
    from_address: str
    subject: str
    size_octets: int
    received_at: datetime | None
    recorded_at: datetime


@dataclass(frozen=True, slots=True)
class MessageDetail(MessageRecord):
    """A stored mail with everything that belongs to it; the last four fields of its own are the verdict's evidence."""

    defects: tuple[str, ...]
    routes: tuple[Route, ...]
    events: tuple[EventRecord, ...]
    places: tuple[PlaceRecord, ...]
    detector: str
    rule_id: str | None
    matched_text: str | None
    where: str | None


@dataclass(frozen=True, slots=True)
class OutboxRecord:
    """One recipient's copy of a forward; ``last_reply`` is the next hop's last answer, ``message_id`` a number."""

    id: int
    message_id: int
    filter_id: int
    forward_path: str
    state: OutboxState
    attempts: int
    created_at: datetime
    next_attempt_at: datetime
    lease_until: datetime | None
    finished_at: datetime | None
    last_reply: str | None


@dataclass(frozen=True, slots=True)
class QuarantineRecord:
    """A mail that could not be processed. ``size_octets`` is how much of it is kept, None when nothing is.

    ``attempts`` counts the failures; ``retry``: the next poll reads it again.
    """

    id: int
    ref: MessageRef
    error: str
    created_at: datetime
    attempts: int
    retry: bool
    size_octets: int | None


@dataclass(frozen=True, slots=True)
class MailboxState:
    """How a mailbox fares; ``failures`` counts the failed polls since the last good one."""

    source: str
    last_poll_at: datetime
    last_success_at: datetime | None
    failures: int
    last_error: str | None
    next_poll_at: datetime


@dataclass(frozen=True, slots=True)
class RetentionCounts:
    """What retention deleted: raw mails, events, finished forwards, and mails stripped of what they say of people."""

    blobs: int = 0
    events: int = 0
    forwards: int = 0
    messages: int = 0


@dataclass(frozen=True, slots=True)
class ReprocessRun:
    """A revision of stored mails; ``after_id`` is the last mail it is through with, ``changed`` counts mails."""

    id: int
    started_at: datetime
    after_id: int
    changed: int
    finished_at: datetime | None
