"""Whether a finding is believed, and why not; what a signed token says (docs/trust.md)."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum


class TokenUse(StrEnum):
    """Whether tokens are looked at, and whether a finding without one counts."""

    OFF = "off"
    PREFERRED = "preferred"
    REQUIRED = "required"


class Trust(StrEnum):
    """How far a finding is believed, the best first; one that is ``refused`` is recorded and counts for nothing.

    ``verified``: a signed token named this recipient. ``confirmed``: the returned mail looks like one of ours, or the
    receiving host says that the recipient's domain sent the report. ``unconfirmed``: nothing speaks for it.
    """

    VERIFIED = "verified"
    CONFIRMED = "confirmed"
    UNCONFIRMED = "unconfirmed"
    REFUSED = "refused"


class TrustReason(StrEnum):
    """Why a finding is not believed more; the token's faults, then the mail's."""

    MISSING = "no_token"
    FORGED = "forged_token"
    OLD = "old_token"
    FUTURE = "future_token"
    OTHER_FILTER = "other_filter"
    OTHER_RECIPIENT = "other_recipient"
    REPLAYED = "replayed_token"
    UNAUTHENTICATED = "unauthenticated"
    FOREIGN_ORIGINAL = "foreign_original"
    NO_ORIGINAL = "no_original"


@dataclass(frozen=True, slots=True)
class TokenClaims:
    """What a token says: one mail of a mailing, for one recipient, sent on a day (UTC).

    ``recipient_tag`` stands for the recipient's address: only who has the key can compare it. ``mailing_id`` and
    ``recipient_id`` are the sending system's own, None where it gave none.
    """

    filter_id: int
    issued_on: date
    recipient_tag: bytes
    mailing_id: str | None = None
    recipient_id: str | None = None


@dataclass(frozen=True, slots=True)
class TokenReading:
    """A token as it was found: ``claims`` are to be believed when ``fault`` is None.

    ``key_number`` is the key that signed it, the first one is 1. ``where`` is the field it stood in, ``identity``
    names the token in the database, without telling what it says.
    """

    text: str
    where: str
    identity: str
    claims: TokenClaims | None = None
    fault: TrustReason | None = None
    key_number: int | None = None

    @property
    def valid(self) -> bool:
        """Whether one of the keys signed it, and it is neither too old nor from the future."""
        return self.claims is not None and self.fault is None
