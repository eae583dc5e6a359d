"""Reads the status codes and the host out of a diagnostic text."""

import re
from functools import lru_cache
from typing import NamedTuple

from bouncepoll.classify import linear
from bouncepoll.model.status import EnhancedStatus, SmtpReply

_LIMIT = 4096
# Patterns that look at a few characters from each place cost less by ``re``; none of them can backtrack far. Each
# begins with the digit, which ``re`` finds by itself; what stands before it is looked at from behind it.
# A reply code with the enhanced code behind it (RFC 2034), as "550 5.1.1", "550-5.1.1", "#550 5.1.1", "550 #5.1.0".
_BOTH = re.compile(
    r"([245](?<![\d.][245])[0-5]\d)[ \t\r\n:-]{1,3}[\[(<]?#?([245]\.\d{1,3}\.\d{1,3})(?:[^\d.]|\.?(?:[^\d]|$)|$)"
)
_REPLY = re.compile(r"([245](?<![^\s:;,(\[<>'\"#=*][245])[0-5]\d)(?:[ \t-][^\d\s]|[ \t]*[\r\n:;,)\]'\"#]|[ \t]*$)")
_ENHANCED = re.compile(r"([245](?<![\w./][245])\.\d{1,3}\.\d{1,3})(?:[^\d.\w]|\.(?:[^\d]|$)|$)")
# Postfix: "host NAME[ADDR] said:"; Exim: "host NAME [ADDR]:"; sendmail: "while talking to NAME"; qmail: "ADDR does not
# like recipient"; Gmail: "by NAME. [ADDR]"; Exchange: "Remote Server returned", "NAME gave this error".
_BEFORE_HOST = (
    "host ",
    "by ",
    "while talking to ",
    "connected to ",
    "connect to ",
    "conversation with ",
    "message to ",
    "relay=",
)
_WORDS_OF_THEIR_OWN = frozenset({"host ", "by "})
_NAME = re.compile(r"(?i)([\w-]+(?:\.[\w-]+)+)\.?(?: ?[\[(:,]| said|$)")
_GAVE = linear.compile(r"(?i)([a-z0-9_-]+(?:\.[a-z0-9_-]+)+) (?:gave this error|said|rejected your message)")
_GENERIC_DETAIL = frozenset({(0, 0)})


class Diagnosis(NamedTuple):
    """What a text says in codes; None where it does not."""

    reply: SmtpReply | None = None
    status: EnhancedStatus | None = None
    host: str | None = None


def read(text: str, *, wants_host: bool = True) -> Diagnosis:
    """Read the first 4 KiB of a diagnostic text. A reply code next to its enhanced code is believed first.

    ``wants_host``: False where the host is known already, which saves the search.
    """
    text = text[:_LIMIT]
    named = host(text) if wants_host else None
    both = _BOTH.search(text)
    if both:
        status = _status(both[2])
        return Diagnosis(_reply(both, text, status), status, named)
    reply = _REPLY.search(text)
    found = _ENHANCED.search(text) if "." in text else None
    status = _status(found[1]) if found else None
    if reply and int(reply[1]) < 400:
        reply = None
    return Diagnosis(_reply(reply, text, status) if reply else None, status, named)


_status = lru_cache(1024)(EnhancedStatus.parse)


def _reply(match: "re.Match[str]", text: str, status: EnhancedStatus | None) -> SmtpReply:
    """Return the reply that begins at the first group, its lines joined; what stands before it was said by others."""
    said = " ".join(text[match.end(1) :].split())
    return SmtpReply(int(match[1]), said.lstrip("-: "), status)


def host(text: str) -> str | None:
    """Return the name of the host that refused, where the text names it the way Postfix, Exim or sendmail do."""
    text = text[:_LIMIT]
    name = _named_host(text)
    if name is None and (" gave this" in text or " said" in text or " rejected your" in text):
        match = _GAVE.search(text)
        name = match[1] if match is not None else None
    return name.lower() if name is not None else None


def _named_host(text: str) -> str | None:
    """Return the first name that stands behind one of the words."""
    lowered = text.lower() if text.isascii() else text
    first: tuple[int, re.Match[str]] | None = None
    for word in _BEFORE_HOST:
        at = lowered.find(word)
        while at >= 0 and (first is None or at < first[0]):
            is_word = word not in _WORDS_OF_THEIR_OWN or at == 0 or not _is_of_a_word(lowered[at - 1])
            match = _NAME.match(text, at + len(word)) if is_word else None
            if match is not None:
                first = at, match
                break
            at = lowered.find(word, at + 1)
    return first[1][1] if first is not None else None


def _is_of_a_word(character: str) -> bool:
    return character.isalnum() or character == "_"


def is_generic(status: EnhancedStatus | None) -> bool:
    """Whether a status says no more than its class (``5.0.0``, RFC 3463 section 3.1) or nothing at all."""
    return status is None or (status.subject, status.detail) in _GENERIC_DETAIL


def better_status(stated: EnhancedStatus | None, spoken: EnhancedStatus | None) -> EnhancedStatus | None:
    """Return the more telling of a Status field and of the code in the diagnostic, the field when both tell."""
    return spoken if is_generic(stated) and spoken is not None else stated
