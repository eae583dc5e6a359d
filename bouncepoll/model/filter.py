"""Bounce filters, and how a mail finds its filter."""

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from bouncepoll.model.trust import TokenUse
from bouncepoll.model.verdict import Kind

#: What is forwarded when a filter does not say otherwise: what a person wrote, and what nobody understood.
DEFAULT_FORWARD_KINDS = frozenset({Kind.REPLY, Kind.UNKNOWN})


class ForwardMode(StrEnum):
    """How a mail is forwarded: own From (``rewrite``), octets unchanged (``redirect``), or as attachment."""

    REWRITE = "rewrite"
    REDIRECT = "redirect"
    ATTACH = "attach"


@dataclass(frozen=True, slots=True)
class BounceFilter:
    """A bounce filter: an address mails come back to, and the feedback addresses the human ones are forwarded to.

    ``filter_address`` is lower case, either ``local@domain`` or ``@domain`` (a catch-all). ``forward_mode`` None means
    the mode of the configuration, and so does ``tokens`` None. ``id`` is 0 for a filter that was not stored yet.
    """

    id: int
    name: str
    filter_address: str
    forward_to: tuple[str, ...] = ()
    forward_kinds: frozenset[Kind] = DEFAULT_FORWARD_KINDS
    forward_mode: ForwardMode | None = None
    description: str = ""
    enabled: bool = True
    created_at: datetime | None = None
    tokens: TokenUse | None = None

    def forwards(self, kind: Kind) -> bool:
        """Whether a mail of this kind is forwarded."""
        return self.enabled and bool(self.forward_to) and kind in self.forward_kinds and kind is not Kind.LOOP


@dataclass(frozen=True, slots=True)
class Route:
    """The filter a mail belongs to, and what showed it.

    ``matched_by`` says which address of which field matched and how (``"Delivered-To: news+f3@example.org (full)"``).
    ``mailing_id`` and ``recipient_id`` come from a token; ``verified`` is true when its signature was right.
    """

    filter_id: int
    matched_by: str
    mailing_id: str | None = None
    recipient_id: str | None = None
    verified: bool = False
