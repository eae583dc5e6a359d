"""Where a mail that comes back may carry a token: an address it was sent to, or a header field of the mail returned."""

from collections.abc import Iterator, Sequence
from datetime import datetime
from itertools import islice

from bouncepoll.model.message import Message
from bouncepoll.model.trust import TokenReading
from bouncepoll.resolve.index import FIELDS
from bouncepoll.resolve.tokens import PREFIX, TokenKeys, tokens_in

#: Of one mail at most so many tokens are looked at: each costs some HMACs.
MAX_TOKENS = 8
_MAX_VALUE_CHARS = 4096
_MAX_VALUES = 20
# The mail itself: what it was sent to, and what an automatic reply answers. SRS and BATV keep what they wrap readable,
# so a token inside one is found as it is.
_OWN = (*FIELDS, "In-Reply-To", "References", "X-Failed-Recipients")
# The mail it returns: the Message-ID, and where the report was to go.
_RETURNED = ("message-id", "return-path", "sender", "errors-to", "references")


def read_tokens(message: Message, keys: TokenKeys, headers: Sequence[str], now: datetime) -> tuple[TokenReading, ...]:
    """Return the tokens of a mail, each once, at most ``MAX_TOKENS``: the envelope's first, then those of its fields.

    ``headers`` are further fields of the returned mail that may carry one.
    """
    if not _may_hold_one(message):
        return ()
    found: dict[str, TokenReading] = {}
    for where, value in _values(message, headers):
        for text in tokens_in(value[:_MAX_VALUE_CHARS], MAX_TOKENS):
            if text.lower() not in found:
                found[text.lower()] = keys.read(text, now, where)
        if len(found) >= MAX_TOKENS:
            break
    return tuple(islice(found.values(), MAX_TOKENS))


def _may_hold_one(message: Message) -> bool:
    """Whether there is anything that looks like a token: in most mails nothing does, and that is found out quickly."""
    envelope = message.raw.envelope
    values = [value for _name, value in message.headers]
    values += [value for _name, value in message.returned_headers]
    return PREFIX in "\n".join([*values, *(envelope.forward_paths if envelope is not None else ())]).lower()


def _values(message: Message, headers: Sequence[str]) -> Iterator[tuple[str, str]]:
    if message.raw.envelope is not None:
        for path in message.raw.envelope.forward_paths:
            yield "RCPT TO", path
    for field in _OWN:
        for value in islice(message.header_values(field), _MAX_VALUES):
            yield field, value
    for value in islice(message.header_values("Received"), _MAX_VALUES):
        yield "Received", value
    if message.returned_headers:
        wanted = {*_RETURNED, *(name.casefold() for name in headers)}
        for name, value in message.returned_headers:
            if name.casefold() in wanted:
                yield f"returned {name}", value
