"""How far each finding of a mail is believed: by its token, by the receiving host's word, by the mail it returns."""

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from typing import Literal, NamedTuple

from bouncepoll.model.message import Message, values_of
from bouncepoll.model.storing import Judged
from bouncepoll.model.trust import TokenReading, TokenUse, Trust, TrustReason
from bouncepoll.model.verdict import Finding, Kind
from bouncepoll.policy.authentication import Outcome, outcome
from bouncepoll.policy.severity import severity

#: Whether a token is about an address.
Names = Callable[[TokenReading, str], bool]

_MAX_CHARS = 2000
_MAX_VALUES = 10
_MAX_ADDRESSES = 10
#: Kinds that may move a recipient's state, and the one that announces it.
_MOVING = frozenset({Kind.BOUNCE, Kind.DELAY, Kind.COMPLAINT, Kind.UNSUBSCRIBE})
#: Kinds whose mails return what they speak of.
_RETURNING = frozenset({Kind.BOUNCE, Kind.DELAY, Kind.DELIVERED, Kind.COMPLAINT})
#: Of several faulty tokens the one that came furthest is told.
_TELLING = (TrustReason.OLD, TrustReason.FUTURE, TrustReason.FORGED)
_SENDER_FIELDS = frozenset(
    {"from", "sender", "return-path", "errors-to", "message-id", "list-id", "list-unsubscribe", "dkim-signature"}
)
_DOMAIN = re.compile(r"(?:@|//|<|(?:^|[\s;])d=)\s*([A-Za-z0-9_-]{1,63}(?:\.[A-Za-z0-9_-]{1,63}){1,20})")
_ADDRESS = re.compile(r"[^\s<>,;:()\"]{1,64}@[^\s<>,;:()\"]{1,255}")
_MAILBOX = re.compile(r"(?:[^<>]*<[^<>@\s]{1,64}@([^<>@\s]{1,255})>\s*|\s*[^<>@\s,]{1,64}@([^<>@\s,]{1,255})\s*)")


@dataclass(frozen=True, slots=True)
class TrustRules:
    """What is set for all filters; ``use`` is for those that do not say otherwise, and for mails of no filter.

    ``authserv_ids`` and ``sender_domains`` are lower case. ``on_fail``: whether a report the receiving host calls
    unauthenticated is only marked, or refused.
    """

    use: TokenUse = TokenUse.PREFERRED
    authserv_ids: frozenset[str] = frozenset()
    on_fail: Literal["mark", "distrust"] = "mark"
    sender_domains: frozenset[str] = field(default_factory=frozenset)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The tokens of a mail; ``filter_ids`` are the filters one has to be for, ``names`` tells whom one is about."""

    use: TokenUse
    readings: Sequence[TokenReading] = ()
    filter_ids: Collection[int] = ()
    names: Names = field(default=lambda _reading, _address: False)


def weigh(
    message: Message, findings: Sequence[Finding], tokens: Tokens, rules: TrustRules, domains: Collection[str]
) -> tuple[Judged, ...]:
    """Return the findings with how far each is believed; ``domains`` are those the filters' mails are sent from."""
    if not findings:
        return ()
    result, from_domain = _said(message, rules)
    original: tuple[Trust, TrustReason | None] = (Trust.UNCONFIRMED, None)
    if findings[0].kind in _RETURNING or any(finding.kind in _RETURNING for finding in findings):
        original = _original(message, {*rules.sender_domains, *domains})
    mail = _Mail(message, len(findings) == 1, result, from_domain, *original)
    return tuple([_weighed(mail, finding, tokens, rules) for finding in findings])


def with_tokens_required(judged: Sequence[Judged]) -> tuple[Judged, ...]:
    """Return findings of a mail for a filter found later that requires tokens: those without one are refused."""
    return tuple(
        entry if entry.trust in (Trust.VERIFIED, Trust.REFUSED) else entry.refused(TrustReason.MISSING)
        for entry in judged
    )


class _Mail(NamedTuple):
    """What is known of a mail for all of its findings; ``alone``: there is only one."""

    message: Message
    alone: bool
    result: Outcome
    from_domain: str | None
    trust: Trust
    reason: TrustReason | None


def _weighed(mail: _Mail, finding: Finding, tokens: Tokens, rules: TrustRules) -> Judged:
    fault: TrustReason | None = None
    if tokens.use is not TokenUse.OFF:
        found = _vouched(mail, finding, tokens)
        if not isinstance(found, TrustReason):
            reading, recipient = found
            named = finding if recipient == finding.recipient else finding._replace(recipient=recipient)
            return Judged(named, severity(finding), Trust.VERIFIED, None, reading.identity)
        fault = found
        misused = fault is TrustReason.OTHER_RECIPIENT and finding.kind in _MOVING
        if misused or tokens.use is TokenUse.REQUIRED:
            return Judged(finding, None, Trust.REFUSED, fault)
    trust, reason = _unsigned(mail, finding)
    if reason is TrustReason.UNAUTHENTICATED and rules.on_fail == "distrust":
        return Judged(finding, None, Trust.REFUSED, reason)
    told = reason if fault in (None, TrustReason.MISSING) else fault
    return Judged(finding, severity(finding), trust, told)


def _vouched(mail: _Mail, finding: Finding, tokens: Tokens) -> tuple[TokenReading, str | None] | TrustReason:
    """Return the token that vouches for a finding and the address it is about, or why none does."""
    if not tokens.readings:
        return TrustReason.MISSING
    valid = [reading for reading in tokens.readings if reading.valid]
    if not valid:
        faults = {reading.fault for reading in tokens.readings}
        return next(fault for fault in _TELLING if fault in faults)
    meant = [found for found in valid if found.claims is not None and found.claims.filter_id in tokens.filter_ids]
    if not meant:
        return TrustReason.OTHER_FILTER
    addresses = tuple(dict.fromkeys(_addresses(mail, finding)))
    for reading in meant:
        for address in addresses:
            if tokens.names(reading, address):
                return reading, address
        if mail.alone and finding.recipient is None:
            # It names nobody (a redacted complaint): the token says whom it is about, by its recipient's id at least.
            return reading, None
    return TrustReason.OTHER_RECIPIENT


def _addresses(mail: _Mail, finding: Finding) -> Iterator[str]:
    """Yield the addresses a finding may be about; whom the returned mail was sent to speaks for one that is alone.

    A mail that was forwarded comes back from an address nobody here knows: the token tells whose it is.
    """
    if finding.recipient is not None:
        yield finding.recipient
    if finding.report is not None:
        yield from (a for a in (finding.report.original_recipient, finding.report.final_recipient) if a is not None)
    if mail.alone:
        for name in ("To", "Cc"):
            for value in islice(values_of(mail.message.returned_headers, name), _MAX_VALUES):
                yield from islice(_ADDRESS.findall(value[:_MAX_CHARS]), _MAX_ADDRESSES)


def _unsigned(mail: _Mail, finding: Finding) -> tuple[Trust, TrustReason | None]:
    """Return how far a finding is believed that no token vouches for."""
    if mail.result is Outcome.FAILED:
        return Trust.UNCONFIRMED, TrustReason.UNAUTHENTICATED
    recipient_domain = (finding.recipient or "").rpartition("@")[2].lower()
    if mail.result is Outcome.PASSED and mail.from_domain and _aligned(recipient_domain, mail.from_domain):
        return Trust.CONFIRMED, None
    # Automatic replies and the like return nothing.
    return (mail.trust, mail.reason) if finding.kind in _RETURNING else (Trust.UNCONFIRMED, None)


def _said(message: Message, rules: TrustRules) -> tuple[Outcome, str | None]:
    """Return the receiving host's word, and the domain of From it is about."""
    if not rules.authserv_ids:
        return Outcome.NONE, None
    values = list(islice(message.header_values("From"), 2))
    match = _MAILBOX.fullmatch(values[0][:_MAX_CHARS]) if len(values) == 1 else None
    from_domain = None if match is None else (match[1] or match[2]).lower().rstrip(".")
    return outcome(message.headers, rules.authserv_ids, from_domain), from_domain


def _original(message: Message, domains: Collection[str]) -> tuple[Trust, TrustReason | None]:
    """Return what the returned mail speaks for: one that names a domain of ours as its sender's was ours, it seems."""
    if not domains:
        return Trust.UNCONFIRMED, None
    if not message.returned_headers:
        return Trust.UNCONFIRMED, TrustReason.NO_ORIGINAL
    for name, value in message.returned_headers:
        if name.casefold() in _SENDER_FIELDS:
            text = value[:_MAX_CHARS].lower()
            named = [domain for domain in domains if domain in text]
            if named and any(_is_in(match[1], named) for match in islice(_DOMAIN.finditer(text), _MAX_ADDRESSES)):
                return Trust.CONFIRMED, None
    return Trust.UNCONFIRMED, TrustReason.FOREIGN_ORIGINAL


def _is_in(found: str, domains: Collection[str]) -> bool:
    return any(found == domain or found.endswith(f".{domain}") for domain in domains)


def _aligned(recipient_domain: str, from_domain: str) -> bool:
    """Whether a report comes from the domain it speaks of, or from a host in it."""
    return bool(recipient_domain) and (from_domain == recipient_domain or from_domain.endswith(f".{recipient_domain}"))
