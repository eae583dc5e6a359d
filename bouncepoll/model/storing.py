"""What is stored of a mail, and what is stored anew when it is classified again."""

from dataclasses import dataclass
from datetime import datetime

from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.message import Message, MessageRef, RawMessage
from bouncepoll.model.records import EventRecord
from bouncepoll.model.trust import Trust, TrustReason
from bouncepoll.model.verdict import Finding, Kind, Severity, Verdict


@dataclass(frozen=True, slots=True)
class Judged:
    """A finding and what the policy makes of it (None for kinds that are no bounce, and for what is refused).

    ``token`` names the token that vouches for it, where one does (``verified``): it counts once a kind, by
    whoever stores it first.
    """

    finding: Finding
    severity: Severity | None
    trust: Trust = Trust.UNCONFIRMED
    trust_reason: TrustReason | None = None
    token: str | None = None

    def refused(self, reason: TrustReason) -> "Judged":
        """Return the finding as one that counts for nothing, whatever it says."""
        return Judged(self.finding, None, Trust.REFUSED, reason)


@dataclass(frozen=True, slots=True)
class Entry:
    """Everything known of one mail, ready to be stored in one transaction.

    ``forwards`` are the filters whose feedback addresses get the mail; ``message.raw`` is complete when there are any.
    """

    message: Message
    verdict: Verdict
    judged: tuple[Judged, ...]
    routes: tuple[Route, ...]
    forwards: tuple[BounceFilter, ...]


@dataclass(frozen=True, slots=True)
class Recorded:
    """What storing one entry did: ``duplicate`` when the mail was known from another place.

    ``events`` are those that count: none that is refused.
    """

    ref: MessageRef
    message_id: int
    duplicate: bool
    events: int
    forwards: int


@dataclass(frozen=True, slots=True)
class Selection:
    """Which stored mails are meant; None: any. ``since`` (inclusive) and ``until`` are times of recording."""

    since: datetime | None = None
    until: datetime | None = None
    kind: Kind | None = None
    filter_id: int | None = None
    source: str | None = None


@dataclass(frozen=True, slots=True)
class StoredMail:
    """A stored mail with what was found in it; ``raw`` is None when its octets are older than the retention time.

    ``tokens_required``: one of the filters it belongs to wants a token.
    """

    id: int
    raw: RawMessage | None
    kind: Kind
    events: tuple[EventRecord, ...]
    tokens_required: bool = False


@dataclass(frozen=True, slots=True)
class Revision:
    """What the stored mail ``message_id`` is by the rules of now."""

    message_id: int
    verdict: Verdict
    judged: tuple[Judged, ...]
