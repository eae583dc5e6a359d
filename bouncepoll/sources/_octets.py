"""What sources make of octets: line ends as on the wire, the part that is analysed, names that can be stored."""

import hashlib
from dataclasses import replace

from bouncepoll.errors import MessageUnreadable
from bouncepoll.model.message import MessageRef, RawMessage

# RFC 1939 section 7 allows 70 for a unique-id; some servers take more. File names have up to 255.
_MAX_UID_CHARACTERS = 200


def with_crlf(octets: bytes) -> bytes:
    """Return octets with each bare LF, as files have it, made CR LF, as mails have it (RFC 5322 section 2.1)."""
    if b"\r\n" in octets:
        octets = octets.replace(b"\r\n", b"\n")
    return octets.replace(b"\n", b"\r\n")


def beginning(raw: RawMessage, limit_octets: int) -> RawMessage:
    """Return a mail with at most so many octets of it; ``size_octets`` still says that there are more."""
    if len(raw.octets) <= limit_octets:
        return raw
    return replace(raw, octets=raw.octets[:limit_octets], size_octets=max(raw.size_octets, len(raw.octets)))


def too_large(ref: MessageRef, size_octets: int, max_octets: int) -> MessageUnreadable:
    """Return the error for a mail that is larger than what is fetched whole."""
    return MessageUnreadable(
        f"{ref}: {size_octets} octets are more than max_octets ({max_octets}); raise it to forward such mails"
    )


def storable_uid(name: str) -> str:
    """Return a name given by others as it is, or the digest of one no database could keep."""
    if len(name) <= _MAX_UID_CHARACTERS and name.isprintable():
        return name
    return hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()
