"""What the sender of a mail wrote: the text the detectors and rules read."""

import html
import re
from functools import lru_cache

from bouncepoll.classify import linear
from bouncepoll.classify.address import normalise
from bouncepoll.model.message import Message, Part
from bouncepoll.model.reading import Reading

#: Characters of text looked at; a notice says what it has to say long before.
TEXT_LIMIT = 65_536
_HTML_LIMIT = 262_144
_USUAL_CHARACTERS = 200

# Where a returned mail begins in the text of a notice. Sources, in order: Exim, qmail, Gmail, sendmail 5 and 8,
# Exchange, Postfix 1, IMail, InterScan, m-FILTER, X.400 gateways, Zoho; then the first trace field of an inline copy.
_RETURNED = linear.compile(
    r"(?im)^[ \t]*(?:"
    r"-{2,}[^\n]{0,30}(?:copy of (?:the|your) (?:message|mail|body)|below this line|original (?:message|mail)"
    r"|unsent message|returned (?:message|mail)|message header|header of the original|undelivered message"
    r"|text of your message|message text follows|message body follows|forwarded message|message follows)[^\n]*$"
    r"|-{3,} ?(?:message|original) ?-{3,}[^\n]*$"
    r"|(?:original (?:message|mail) (?:headers?|follows)|your original message|unsent message|copy of your message"
    r"|original message header|(?:the )?(?:full )?(?:header|text) of (?:the|your) (?:original )?message"
    r"|message (?:headers?|contents?|body) (?:follows?)|returned message follows|undelivered message headers?"
    r"|original message content)\b[^\n]{0,40}:?[ \t]*\r?$"
    r"|(?:Received: ?(?:from|by|\()|Return-Path: ?<|DKIM-Signature: |MIME-Version: ?1|ARC-Seal: )"
    r")"
)
_COMMENT = linear.compile(r"(?s)<!--.*?-->")
_INVISIBLE = linear.compile(r"(?is)<(?:style|script|head|title)\b.*?</(?:style|script|head|title)\s*>")
# Each of these stops at the next angle bracket, so ``re`` is linear as well, and costs less.
_BREAK = re.compile(r"(?ai)<(?:br|/?p|/?div|/?tr|/?li|/?ul|/?table|/?h[1-6]|/?pre|/?blockquote|hr)\b[^<>]*>")
_CELL = re.compile(r"(?ai)</?t[dh]\b[^<>]*>")
_TAG = re.compile(r"<[/!?a-zA-Z][^<>]*>")
_BLANKS = re.compile(r"[ \t\xa0]+")
_BLANK_LINES = re.compile(r"\n[ \t]*+(?>(?:\n[ \t]*+)+)")


def read(message: Message) -> Reading:
    """Prepare a mail for the detectors."""
    text, where = _text_of(message)
    # Where the returned mail is a part of its own, the text does not hold another copy.
    start = len(text) if message.returned_headers else _start_of_returned(text)
    return Reading(
        message=message,
        text=text[:start],
        returned_text=text[start:],
        where=where,
        subject=(message.header("Subject") or "")[:1000],
        sender=_sender(message.header("From") or ""),
    )


def _sender(written: str) -> str:
    """Return the address of a From field in lower case, ``""`` when there is none."""
    return _usual_sender(written) if len(written) <= _USUAL_CHARACTERS else (normalise(written) or "").lower()


@lru_cache(512)
def _usual_sender(written: str) -> str:
    # Most reports come from few servers, and each signs them all alike.
    return (normalise(written) or "").lower()


def collapse(text: str, limit: int) -> str:
    """Return the first ``limit`` characters of ``text`` with each run of white space as one space."""
    return " ".join(text[: limit * 2].split())[:limit]


def html_to_text(source: str) -> str:
    """Return the visible text of the first 256 KiB of HTML, block elements as lines; linear in its size."""
    text = source[:_HTML_LIMIT]
    if "<!--" in text:
        text = _COMMENT.sub(" ", text)
    lowered = text.lower()
    if any(tag in lowered for tag in ("</style", "</script", "</head", "</title")):
        text = _INVISIBLE.sub(" ", text)
    text = text.replace("\r", "")
    if "<br" in lowered or "<p" in lowered or "<div" in lowered:
        lowered = text.lower()
    if "<br" in lowered or "<p" in lowered or "<div" in lowered:
        text = _BREAK.sub("\n", text.replace("\n", " "))
    text = html.unescape(_TAG.sub("", _CELL.sub(" ", text)))
    return _BLANK_LINES.sub("\n\n", _BLANKS.sub(" ", text)).strip()


def _text_of(message: Message) -> tuple[str, str]:
    """Return the first text part that says something, plain before HTML, and its place."""
    markup: Part | None = None
    for part in message.parts:
        if part.returned or not part.text or (part.disposition == "attachment" and part.filename):
            continue
        if part.content_type == "text/plain" and not part.text.isspace():
            return part.text[:TEXT_LIMIT].replace("\r\n", "\n").replace("\r", "\n"), f"part {part.path}"
        if part.content_type == "text/html" and markup is None:
            markup = part
    if markup is None or markup.text is None:
        return "", "text"
    return html_to_text(markup.text)[:TEXT_LIMIT], f"part {markup.path}"


def _start_of_returned(text: str) -> int:
    """Return the index at which a returned mail begins in ``text``; its length when there is none."""
    match = _RETURNED.search(text)
    return match.start() if match else len(text)
