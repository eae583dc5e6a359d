"""A mail as it was fetched, and as it was read."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, NamedTuple

from bouncepoll.model.fingerprint import fingerprint


@dataclass(frozen=True, slots=True, order=True)
class MessageRef:
    """The place of a mail: mailbox, folder, UIDVALIDITY and UID (RFC 9051 section 2.3.1.1).

    ``uid`` is the IMAP UID, the POP3 unique-id (RFC 1939 UIDL) or a file name; ``uidvalidity`` is None but for IMAP.
    """

    source: str
    folder: str
    uidvalidity: int | None
    uid: str

    def __str__(self) -> str:
        validity = "" if self.uidvalidity is None else f";{self.uidvalidity}"
        return f"{self.source}/{self.folder}{validity}/{self.uid}"


@dataclass(frozen=True, slots=True)
class Envelope:
    """The envelope (RFC 5321 section 2.3.1) of a mail that came by SMTP or LMTP; ``""`` is the null reverse-path."""

    reverse_path: str
    forward_paths: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RawMessage:
    """The octets of a mail, or only its first ones.

    ``size_octets`` is the size of the whole mail; where ``octets`` is shorter, the rest stayed at the source.
    ``received_at`` is the time the mailbox took the mail (IMAP INTERNALDATE), aware, or None when it does not say.
    """

    ref: MessageRef
    octets: bytes
    size_octets: int
    received_at: datetime | None = None
    envelope: Envelope | None = None

    @property
    def truncated(self) -> bool:
        """Whether the rest of the mail stayed at the source."""
        return len(self.octets) < self.size_octets


class Header(NamedTuple):
    """A header field: its name as written, its value unfolded and decoded (RFC 2047), without CR, LF and NUL."""

    name: str
    value: str


class Part(NamedTuple):
    """One MIME part, in the order of a depth-first walk.

    ``path`` counts from ``"1"`` as IMAP does (RFC 9051 section 6.4.5). ``text`` is the decoded content of text/*, of
    the report types (message/delivery-status, message/feedback-report, …) and of text/rfc822-headers; None elsewhere.
    ``returned`` is true for everything inside a returned (embedded) mail: nothing there was said by who sent this mail.
    """

    path: str
    content_type: str
    charset: str | None
    disposition: str | None
    filename: str | None
    headers: Sequence[Header]
    text: str | None
    size_octets: int
    returned: bool = False


@dataclass(frozen=True, slots=True)
class Message:
    """A mail as it was read. ``defects`` says in words what was broken or cut off; it is empty for a clean mail.

    ``returned_headers`` are those of the first returned mail (message/rfc822, text/rfc822-headers, message/global, …),
    empty when there is none. ``fingerprint`` is 64 hexadecimal digits (SHA-256) and identifies the mail when a server
    rebuilds its MIME or gives it another UID. ``index`` is ``first_values(headers)``, for whoever has it already.
    """

    raw: RawMessage
    headers: Sequence[Header]
    parts: tuple[Part, ...]
    returned_headers: Sequence[Header]
    defects: tuple[str, ...]
    fingerprint: str
    index: Mapping[str, str] | None = field(default=None, repr=False, compare=False)

    def __post_init__(self) -> None:
        # Some thirty fields are asked for in each mail: one index instead of thirty walks over the headers.
        if self.index is None:
            object.__setattr__(self, "index", first_values(self.headers))

    if not TYPE_CHECKING:  # or every misspelt attribute would have a type

        def __getattr__(self, name: str) -> str:
            # Only called for what was not set, see ``read_message``. Threads that meet here compute the same.
            if name != "fingerprint":
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
            texts = [part.text for part in self.parts if part.text and not part.returned]
            object.__setattr__(self, name, fingerprint(self.index, texts, self.raw.octets))
            return self.fingerprint

    def header(self, name: str) -> str | None:
        """Return the value of the first field called ``name``, in any case, or None."""
        return self.index.get(name.casefold()) if self.index else None

    def header_values(self, name: str) -> Iterator[str]:
        """Yield the values of all fields called ``name``, in any case, first to last."""
        return values_of(self.headers, name) if self.index and name.casefold() in self.index else iter(())

    @property
    def message_id(self) -> str | None:
        """The Message-ID with its angle brackets, or None."""
        return _message_id(self.header("Message-ID"))

    @property
    def original_message_id(self) -> str | None:
        """The Message-ID of the returned mail, else the mail this one answers (In-Reply-To, References), or None."""
        for value in (
            next(values_of(self.returned_headers, "Message-ID"), None),
            self.header("In-Reply-To"),
            (self.header("References") or "").split()[-1:],
        ):
            found = _message_id(value[0] if isinstance(value, list) and value else value)
            if found:
                return found
        return None


def read_message(
    raw: RawMessage,
    headers: Sequence[Header],
    parts: tuple[Part, ...],
    returned_headers: Sequence[Header],
    defects: tuple[str, ...],
    index: Mapping[str, str],
) -> Message:
    """Return a message whose fingerprint is computed when it is first asked for; ``index`` is that of ``headers``.

    A mail that is only classified, or classified again, needs none.
    """
    message = object.__new__(Message)
    put = object.__setattr__
    put(message, "raw", raw)
    put(message, "headers", headers)
    put(message, "parts", parts)
    put(message, "returned_headers", returned_headers)
    put(message, "defects", defects)
    put(message, "index", index)
    return message


def first_values(headers: Sequence[Header]) -> dict[str, str]:
    """Return the value of the first field of each name; the names are casefolded."""
    return {name.casefold(): value for name, value in reversed(headers)}


def values_of(headers: Iterable[Header], name: str) -> Iterator[str]:
    """Yield the values of the fields of ``headers`` called ``name``, in any case, first to last."""
    wanted = name.casefold()
    return (header.value for header in headers if header.name.casefold() == wanted)


def _message_id(value: str | list[str] | None) -> str | None:
    if not isinstance(value, str):
        return None
    start = value.find("<")
    end = value.find(">", start)
    found = value[start : end + 1] if 0 <= start < end else value.strip()
    return found[:998] or None
