"""What a mail is, and why we think so."""

from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import NamedTuple

from bouncepoll.model.report import RecipientReport
from bouncepoll.model.status import Permanence


class Kind(StrEnum):
    """What a mail is."""

    BOUNCE = "bounce"
    DELAY = "delay"
    DELIVERED = "delivered"
    COMPLAINT = "complaint"
    NOT_SPAM = "not_spam"
    VACATION = "vacation"
    AUTO_REPLY = "auto_reply"
    CHALLENGE = "challenge"
    RECEIPT = "receipt"
    UNSUBSCRIBE = "unsubscribe"
    LOOP = "loop"
    REPORT = "report"
    BULK = "bulk"
    REPLY = "reply"
    UNKNOWN = "unknown"


class Reason(StrEnum):
    """Why a mail was not delivered, or not yet."""

    AUTH_FAILURE = "auth_failure"
    BAD_REPUTATION = "bad_reputation"
    BLOCKED = "blocked"
    CONTENT_ERROR = "content_error"
    EMAIL_TOO_LARGE = "email_too_large"
    EXPIRED = "expired"
    FAILED_STARTTLS = "failed_starttls"
    FILTERED = "filtered"
    HAS_MOVED = "has_moved"
    HOST_UNKNOWN = "host_unknown"
    MAILBOX_FULL = "mailbox_full"
    MAILER_ERROR = "mailer_error"
    NETWORK_ERROR = "network_error"
    NO_RELAYING = "no_relaying"
    NOT_ACCEPT = "not_accept"
    NOT_COMPLIANT_RFC = "not_compliant_rfc"
    ON_HOLD = "on_hold"
    POLICY_VIOLATION = "policy_violation"
    RATE_LIMITED = "rate_limited"
    REJECTED = "rejected"
    REQUIRE_PTR = "require_ptr"
    SECURITY_ERROR = "security_error"
    SPAM_DETECTED = "spam_detected"
    SUPPRESSED = "suppressed"
    SUSPEND = "suspend"
    SYNTAX_ERROR = "syntax_error"
    SYSTEM_ERROR = "system_error"
    SYSTEM_FULL = "system_full"
    UNDEFINED = "undefined"
    USER_UNKNOWN = "user_unknown"
    VIRUS_DETECTED = "virus_detected"


class Severity(StrEnum):
    """What a policy makes of a bounce: ``hard`` when the address or its domain is dead, ``soft`` otherwise."""

    HARD = "hard"
    SOFT = "soft"


class Evidence(NamedTuple):
    """Enough to argue with: who decided, by which rule, on which text, found where.

    ``where`` names a header field, a report field or a part (``"Diagnostic-Code"``, ``"Subject"``, ``"part 1"``).
    """

    detector: str
    rule_id: str | None = None
    matched_text: str | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Absence:
    """What an automatic reply states beside being one; None and ``()`` mean: it does not say, or not clearly.

    ``away_until`` is the last day of the absence, ``back_on`` the first day after it. ``left``: the person does not
    work there any more, or gave up the address. ``write_to`` are the addresses named to write to instead, at most five.
    """

    away_until: date | None = None
    back_on: date | None = None
    left: bool = False
    write_to: tuple[str, ...] = ()


class Finding(NamedTuple):
    """What a mail says of one recipient; ``recipient`` is None where it cannot be known.

    ``reason`` is set for bounces and delays, None for every other kind. ``report`` holds what was reported in detail,
    ``absence`` what an automatic reply states.
    """

    recipient: str | None
    kind: Kind
    reason: Reason | None
    permanence: Permanence
    evidence: Evidence
    report: RecipientReport | None = None
    absence: Absence | None = None


class Verdict(NamedTuple):
    """What a mail is. ``findings`` has at most one entry a recipient and is empty for a human reply."""

    kind: Kind
    findings: tuple[Finding, ...]
    evidence: Evidence


class Passage(NamedTuple):
    """A text that says why, and where it stands: what the rules are matched on."""

    text: str
    where: str


class Claim(NamedTuple):
    """What a detector read of one recipient, before the rules gave it a reason.

    ``kind`` None: the kind of the whole detection. ``passages`` stand in the order in which they are believed.
    ``where`` says where the address was found when the report itself does not name it.
    """

    report: RecipientReport
    kind: Kind | None = None
    passages: tuple[Passage, ...] = ()
    where: str | None = None


class Detection(NamedTuple):
    """What a detector read in a mail: who is reported, and as what. The reason is found by the rules.

    ``may_be`` names the kinds a rule may turn it into (a notice into a delay, an automatic reply into a vacation);
    with ``kind`` None it is a detection only if such a rule matches. ``shown_by`` is what gave the format away.
    ``led_by`` names the first fields of the rules that are asked (``subject``, ``opening``, ``text``), None: all rules.
    """

    kind: Kind | None
    claims: tuple[Claim, ...] = ()
    may_be: frozenset[Kind] = frozenset()
    shown_by: Passage | None = None
    led_by: frozenset[str] | None = None
