"""What servers say when it is too much for them, and for how long they then want to be left alone."""

import re

#: No answer keeps an account at rest for longer than this.
LONGEST_REST_S = 86400.0
# "Request is throttled. Suggested Backoff Time: 299910 milliseconds" is Exchange Online and Amazon WorkMail.
_SUGGESTED = re.compile(r"back-?off time:?\s*(\d{1,12})\s*(milliseconds|ms|seconds|s)?\b", re.IGNORECASE)
# RFC 5530 section 3 and RFC 3206 section 4; how long is not said there. The first that fits counts.
_RESTS = tuple(
    (re.compile(pattern, re.IGNORECASE), rest_s)
    for pattern, rest_s in (
        (r"bandwidth limit", 3600.0),  # Gmail, beside [OVERQUOTA]: so much a day.
        (r"\[(THROTTLED|LIMIT)\b|throttl", 300.0),
        (r"too many (simultaneous |concurrent )?(connections|sessions|logins)", 120.0),
        (r"\[(UNAVAILABLE|SYS/TEMP|LOGIN-DELAY)\b|server (is )?(too )?(busy|unavailable)", 60.0),
        (r"\[IN-?USE\]|maildrop .{0,20}locked", 30.0),
    )
)
# Everything is refused for a while, whatever is asked.
_BUSY = re.compile(
    r"\[(LIMIT|THROTTLED)\]|throttl|back-?off|too many|server (is )?(too )?busy|bandwidth limit", re.IGNORECASE
)
_TEMPORARY = re.compile(r"\[(UNAVAILABLE|INUSE|IN-USE|SYS/TEMP|LOGIN-DELAY)\b|try again|temporar", re.IGNORECASE)
_QUOTA = re.compile(r"\[OVERQUOTA\]", re.IGNORECASE)
_NOT_CONNECTED = re.compile(r"user is authenticated but not connected", re.IGNORECASE)


def rest_s(text: str) -> float | None:
    """Return how long to leave the account alone after this answer, in seconds; None when it asks for no rest."""
    suggested = _SUGGESTED.search(text)
    if suggested:
        unit_s = 1.0 if (suggested[2] or "ms").lower() in ("s", "seconds") else 0.001
        return min(int(suggested[1]) * unit_s, LONGEST_REST_S)
    return next((rest for pattern, rest in _RESTS if pattern.search(text)), None)


def busy(text: str) -> bool:
    """Whether the server refuses everything for a while."""
    return bool(_BUSY.search(text))


def temporary(text: str) -> bool:
    """Whether the server says that it may work later."""
    return bool(_TEMPORARY.search(text))


def over_quota(text: str) -> bool:
    """Whether a folder is full (RFC 5530); Gmail's bandwidth limit, which has the same code, is ``busy``."""
    return bool(_QUOTA.search(text)) and not busy(text)


def mend(text: str) -> str | None:
    """Return what to do about an answer that is known to mislead; None for all others."""
    if _NOT_CONNECTED.search(text):
        return (
            "the login worked, but it opens no mailbox: the token lacks the IMAP or POP scope, or the app has no right "
            "on this mailbox; an administrator grants it with New-ServicePrincipal and Add-MailboxPermission "
            "-AccessRights FullAccess in Exchange Online PowerShell, and it takes up to an hour to work"
        )
    return None
