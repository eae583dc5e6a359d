"""A delivery status notification, with the field names of RFC 3464."""

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from bouncepoll.model.status import EnhancedStatus, SmtpReply


class Action(StrEnum):
    """What the reporting MTA did (RFC 3464 section 2.3.3)."""

    FAILED = "failed"
    DELAYED = "delayed"
    DELIVERED = "delivered"
    RELAYED = "relayed"
    EXPANDED = "expanded"


class RecipientReport(NamedTuple):
    """What is reported of one recipient (RFC 3464 section 2.3). Addresses are bare, without ``rfc822;`` and brackets.

    ``reply`` is the reply of the remote server where the diagnostic holds one. ``status`` may come from the text when
    the report has no Status field. None always means: the mail does not say.
    """

    final_recipient: str | None = None
    original_recipient: str | None = None
    action: Action | None = None
    status: EnhancedStatus | None = None
    reply: SmtpReply | None = None
    diagnostic_type: str | None = None
    diagnostic_code: str | None = None
    remote_mta: str | None = None

    @property
    def recipient(self) -> str | None:
        """The address the mail was sent to: the original recipient before the final one (RFC 3464 section 2.3.1)."""
        return self.original_recipient or self.final_recipient


@dataclass(frozen=True, slots=True)
class DeliveryReport:
    """A whole report: the per-message fields (RFC 3464 section 2.2) and one entry a recipient."""

    reporting_mta: str | None = None
    original_envelope_id: str | None = None
    recipients: tuple[RecipientReport, ...] = ()
