"""The header of a mail on its way out: taken apart without harm, and put together so that nothing can break out of it.

Every field made here goes through ``field`` or ``address_field``: no value can hold a line end, whatever a mail says.
"""

import re
from collections.abc import Iterable
from email.errors import MessageError
from email.header import Header, decode_header, make_header
from email.utils import getaddresses
from typing import NamedTuple

from bouncepoll.errors import DeliveryFailed
from bouncepoll.model.delivery import Outgoing

_MAX_HEADER_OCTETS = 256 * 1024
_MAX_FIELDS = 1000
_MAX_LINE_OCTETS = 990
_MAX_VALUE_CHARACTERS = 4096
_MAX_NAME_CHARACTERS = 200
_MAX_NESTED = 50
_WHITE_SPACE = b" \t"
_FIELD = re.compile(rb"([!-9;-~]{1,200})[ \t]*:(.*)", re.DOTALL)
_CONTROLS = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u202a-\u202e]+")
_MAILBOX = re.compile(r"[^\s@<>\"(),;:\\\[\]\x00-\x1f\x7f]{1,64}@[^\s@<>\"(),;:\\\x00-\x1f\x7f]{1,255}")


class Field(NamedTuple):
    """A header field as it stands in the mail: its name, and its octets, CRLF between its lines and none at the end."""

    name: str
    octets: bytes

    @property
    def value(self) -> str:
        """The value in one line, decoded (RFC 2047) where it can be."""
        raw = self.octets.partition(b":")[2][: 4 * _MAX_VALUE_CHARACTERS]
        try:
            text = raw.decode("utf-8")
        except UnicodeDecodeError:
            text = raw.decode("latin-1")
        text = " ".join(text.split())
        try:
            return one_line(str(make_header(decode_header(text))))
        except (MessageError, LookupError, ValueError):
            return one_line(text)


class Mail(NamedTuple):
    """A mail in its two halves; ``body`` has CRLF line ends. A mail without a header is all body."""

    fields: tuple[Field, ...]
    body: bytes


def with_crlf(octets: bytes) -> bytes:
    """Return the octets with CRLF line ends (RFC 5321 section 2.3.8); the same object when nothing is to be mended."""
    if octets.count(b"\n") == octets.count(b"\r\n") == octets.count(b"\r"):
        return octets
    # Three passes in C: one substitution a line would need many times the memory for a mail of empty lines.
    return octets.replace(b"\r\n", b"\n").replace(b"\r", b"\n").replace(b"\n", b"\r\n")


def without_envelope_line(octets: bytes) -> bytes:
    """Return the mail without the ``From `` line an mbox or a pipe put above it."""
    if not octets.startswith((b"From ", b">From ")):
        return octets
    return octets[_end_of_line(octets, 0) :]


def split(octets: bytes) -> Mail:
    """Take a mail apart. ``octets`` have CRLF line ends; what is no header field ends the header."""
    # Lines are put together once: thousands of them added one by one would take quadratic time.
    found: list[tuple[str, list[bytes]]] = []
    at = 0
    while at < min(len(octets), _MAX_HEADER_OCTETS) and len(found) < _MAX_FIELDS:
        below = _end_of_line(octets, at)
        line = octets[at:below].rstrip(b"\r\n")
        if line[:1] in _WHITE_SPACE and line and found:
            found[-1][1].append(line)
        elif (match := _FIELD.fullmatch(line)) is not None:
            found.append((match[1].decode("ascii"), [line]))
        else:
            at = at if line else below
            break
        at = below
    return Mail(tuple(Field(name, b"\r\n".join(lines)) for name, lines in found), octets[at:])


def starts_with_field(octets: bytes) -> bool:
    """Whether the first line is a header field, so that other fields may be put above it."""
    return _FIELD.match(octets[: _end_of_line(octets, 0)].rstrip(b"\r\n")) is not None


def folded(kept: Field) -> bytes:
    """Return a field of the mail fit to be sent: no NUL, no line over 998 octets, in ASCII where possible.

    MIME fields keep their octets: an encoded word has no place in a parameter (RFC 2047 section 5).
    """
    # Without the blanks before the colon that RFC 5322 section 4.5.8 lets nobody write any more.
    octets = kept.name.encode() + b":" + kept.octets.partition(b":")[2].replace(b"\0", b"")
    if not octets.isascii() and not kept.name.lower().startswith("content-"):
        return field(kept.name, kept.value)
    # A continuation of white space only would end the header for some receivers (RFC 5322 section 3.2.2).
    first, *more = octets.split(b"\r\n")
    lines = [first, *(line for line in more if line.strip(b" \t"))]
    if max(map(len, lines)) <= _MAX_LINE_OCTETS:
        return b"\r\n".join(lines) + b"\r\n"
    cut = [line[at : at + _MAX_LINE_OCTETS] for line in lines for at in range(0, len(line), _MAX_LINE_OCTETS)]
    return b"\r\n ".join(part for part in (piece.strip(b" \t") for piece in cut) if part) + b"\r\n"


def field(name: str, value: str) -> bytes:
    """Return an unstructured field (RFC 5322 section 2.2.1), encoded where it is not ASCII (RFC 2047)."""
    text = one_line(value)
    charset = "us-ascii" if text.isascii() else "utf-8"
    encoded = Header(text, charset, maxlinelen=76, header_name=name).encode(linesep="\r\n")
    if any(len(line) > _MAX_LINE_OCTETS for line in encoded.split("\r\n")):
        encoded = Header(text, "utf-8", maxlinelen=76, header_name=name).encode(linesep="\r\n")
    return f"{name}: {encoded}\r\n".encode()


def address_field(name: str, mailboxes: Iterable[tuple[str, str]]) -> bytes:
    """Return an address field, one mailbox (display name, bare address) a line."""
    return f"{name}: {',{}'.format(chr(13) + chr(10) + ' ').join(_mailbox(*one) for one in mailboxes)}\r\n".encode()


def mailboxes(fields: Iterable[Field], name: str, limit: int = 10) -> list[tuple[str, str]]:
    """Return display names and bare addresses of the fields ``name``, those that are addresses, at most ``limit``."""
    found: list[tuple[str, str]] = []
    for kept in fields:
        if kept.name.lower() == name.lower():
            # Taken apart before the words are decoded: a comma or bracket inside an encoded name is none.
            raw = kept.octets.partition(b":")[2][:_MAX_VALUE_CHARACTERS]
            text = _shallow(" ".join(raw.decode("utf-8", "replace").split()))
            found += [
                (_decoded(display), address.strip())
                for display, address in getaddresses([text])
                if is_mailbox(address.strip())
            ]
    return found[:limit]


def is_mailbox(address: str) -> bool:
    """Whether this is one bare address that may stand in a field or an envelope."""
    return _MAILBOX.fullmatch(address) is not None


def require_addresses(outgoing: Outgoing) -> None:
    """Make sure that no address of an envelope can break out of a command or a field.

    Raises:
        DeliveryFailed: one is no bare address; ``""`` is a reverse-path too.
    """
    paths = [*outgoing.forward_paths, *filter(None, [outgoing.reverse_path])]
    if not paths or not all(map(is_mailbox, paths)):
        raise DeliveryFailed("the envelope holds what is no bare address; mend the filter's feedback addresses")


def one_line(text: str) -> str:
    """Return text without control characters and direction marks, bounded."""
    clean = text[: 2 * _MAX_VALUE_CHARACTERS].encode("utf-8", "replace").decode()
    return " ".join(_CONTROLS.sub(" ", clean).split())[:_MAX_VALUE_CHARACTERS]


def _shallow(text: str) -> str:
    """Return an address list without its comments and groups where it has so many that they may be nested deep.

    The standard library takes them apart by recursion, one level a bracket or colon.
    """
    for marks in ("()", ":"):
        if text.count(marks[0]) > _MAX_NESTED:
            text = text.translate(dict.fromkeys(map(ord, marks), " "))
    return text


def _decoded(display: str) -> str:
    try:
        return one_line(str(make_header(decode_header(display))))[:_MAX_NAME_CHARACTERS]
    except (MessageError, LookupError, ValueError):
        return one_line(display)[:_MAX_NAME_CHARACTERS]


def _mailbox(display: str, address: str) -> str:
    if not is_mailbox(address):
        raise ValueError("this is no bare address")
    name = one_line(display)
    if not name:
        return address
    if name.isascii():
        quoted = name.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{quoted}" <{address}>'
    return f"{Header(name, 'utf-8', maxlinelen=70).encode(linesep=chr(13) + chr(10))} <{address}>"


def _end_of_line(octets: bytes, at: int) -> int:
    end = octets.find(b"\n", at)
    return len(octets) if end < 0 else end + 1
