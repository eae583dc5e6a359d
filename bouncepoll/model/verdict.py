"""What a mail is, and why we think so."""

from dataclasses import dataclass
from enum import StrEnum

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


@dataclass(frozen=True, slots=True)
class Evidence:
    """Enough to argue with: who decided, by which rule, on which text, found where.

    ``where`` names a header field, a report field or a part (``"Diagnostic-Code"``, ``"Subject"``, ``"part 1"``).
    """

    detector: str
    rule_id: str | None = None
    matched_text: str | None = None
    where: str | None = None


@dataclass(frozen=True, slots=True)
class Finding:
    """What a mail says of one recipient; ``recipient`` is None where it cannot be known.

    ``reason`` is set for bounces and delays, None for every other kind. ``report`` holds what was reported in detail.
    """

    recipient: str | None
    kind: Kind
    reason: Reason | None
    permanence: Permanence
    evidence: Evidence
    report: RecipientReport | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a mail is. ``findings`` has at most one entry a recipient and is empty for a human reply."""

    kind: Kind
    findings: tuple[Finding, ...]
    evidence: Evidence
