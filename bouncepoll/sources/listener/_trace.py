"""The trace fields a mail gets when it is accepted (RFC 5321 section 4.4), and its octets as they are kept."""

import re
from dataclasses import dataclass
from datetime import datetime
from email.utils import format_datetime

from bouncepoll.model.message import Envelope

_STRANGE = re.compile(r"[^A-Za-z0-9.:_\[\]-]")


@dataclass(frozen=True, slots=True)
class Client:
    """Who brings a mail: its address (None: a local socket), what it calls itself, and how it speaks (RFC 3848)."""

    address: str | None
    hello: str
    protocol: str


def traced(octets: bytes, envelope: Envelope, client: Client, hostname: str, uid: str, at: datetime) -> bytes:
    """Return a mail as it is kept: our trace fields first, and line ends that are CRLF only.

    An envelope line of an mbox (``From …``) and a first line that would continue our fields are kept harmless.
    """
    content = with_crlf(octets)
    if content.startswith((b"From ", b">From ")):
        content = b"X-Mailbox-Line: " + content
    elif content[:1] in {b" ", b"\t"}:
        content = b"\r\n" + content
    paths = envelope.forward_paths
    # RFC 5321 section 7.6: with several recipients, none is told of the others.
    for_clause = f"\r\n\tfor <{paths[0]}>" if len(paths) == 1 else ""
    place = "local" if client.address is None else _address_literal(client.address)
    fields = (
        f"Return-Path: <{envelope.reverse_path}>\r\n"
        f"Received: from {_harmless(client.hello)} ({place})\r\n"
        f"\tby {hostname} with {client.protocol} id {uid}{for_clause};\r\n"
        f"\t{format_datetime(at)}\r\n"
    )
    return fields.encode() + content


def with_crlf(octets: bytes) -> bytes:
    """Return octets whose lines end with CRLF: a bare CR or LF (RFC 5321 section 2.3.8) becomes one too."""
    if octets.count(b"\n") == octets.count(b"\r\n") == octets.count(b"\r"):
        return octets
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def _address_literal(address: str) -> str:
    return f"[IPv6:{_harmless(address)}]" if ":" in address else f"[{_harmless(address)}]"


def _harmless(text: str) -> str:
    return _STRANGE.sub("?", text[:255]) or "?"
