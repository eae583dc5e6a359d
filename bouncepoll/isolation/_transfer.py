"""What goes from process to process: mails there, what is known of them back.

Pickled, since both ends are one program; but what comes back is made by a process that read hostile mails, so only the
classes of an answer are built from it. Of a mail goes back what the store and the listener ask for, not its text.
"""

import io
import pickle  # nosec B403
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta, timezone
from operator import attrgetter
from typing import Any

from bouncepoll.analysis import Unprocessed
from bouncepoll.model.filter import BounceFilter, ForwardMode, Route
from bouncepoll.model.message import Envelope, Header, Message, MessageRef, RawMessage, first_values
from bouncepoll.model.report import Action, RecipientReport
from bouncepoll.model.status import EnhancedStatus, Permanence, SmtpReply
from bouncepoll.model.storing import Entry, Judged
from bouncepoll.model.trust import TokenUse, Trust, TrustReason
from bouncepoll.model.verdict import Absence, Evidence, Finding, Kind, Reason, Severity, Verdict

#: Header fields that are asked for after a mail was read.
_KEPT = frozenset({"from", "subject", "message-id", "in-reply-to", "references", "received"})
_KEPT_RETURNED = frozenset({"message-id"})


@dataclass(frozen=True, slots=True)
class Request:
    """Mails to be read; ``filters`` None: those of the request before."""

    raws: tuple[RawMessage, ...]
    filters: tuple[BounceFilter, ...] | None
    default_filter: str | None


@dataclass(frozen=True, slots=True)
class Digest:
    """What is left of a mail that was read: an ``Entry`` whose message has neither octets nor parts."""

    headers: tuple[Header, ...]
    returned_headers: tuple[Header, ...]
    defects: tuple[str, ...]
    fingerprint: str
    rest: tuple[Any, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One entry for each mail of a request, in order; ``logged`` are the log events meanwhile, with their levels."""

    digests: tuple[Digest | Unprocessed, ...]
    logged: tuple[tuple[str, dict[str, Any]], ...] = ()


@dataclass(frozen=True, slots=True)
class Failed:
    """Nothing was read, and no mail is to blame: the configuration is wrong, or it may work later (``transient``)."""

    faults: tuple[str, ...]
    transient: bool


_DATACLASSES = (
    *(Request, Digest, Answer, Failed, RawMessage, MessageRef, Envelope, BounceFilter, Route),
    *(Absence, Judged),
)
_ENUMS = (Action, ForwardMode, Kind, Permanence, Reason, Severity, TokenUse, Trust, TrustReason)
_KNOWN = {
    (known.__module__, known.__qualname__): known
    for known in (
        *_DATACLASSES,
        *(Header, Unprocessed, EnhancedStatus, RecipientReport, SmtpReply, Evidence, Finding, Verdict),
        *_ENUMS,
        *(frozenset, date, datetime, timedelta, timezone),
    )
}
# All fields of an entry but the message, whatever they are.
_rest_of: Callable[[Entry], tuple[Any, ...]] = attrgetter(*(f.name for f in fields(Entry) if f.name != "message"))


def dumps(content: Request | Answer | Failed) -> bytes:
    """Return what ``loads`` makes the content of again."""
    buffer = io.BytesIO()
    _Pickler(buffer, 5).dump(content)
    return buffer.getvalue()


def loads(octets: bytes) -> Any:
    """Return what was given to ``dumps``.

    Raises:
        ValueError: these are no octets of ``dumps``.
    """
    try:
        return _Unpickler(io.BytesIO(octets)).load()
    except (pickle.UnpicklingError, EOFError, TypeError, AttributeError, IndexError, KeyError) as exc:
        raise ValueError(f"a worker's answer cannot be read: {exc}") from exc


def digest_of(entry: Entry) -> Digest:
    """Return what of an entry goes back to the process that stores it."""
    message = entry.message
    return Digest(
        tuple(header for header in message.headers if header.name.casefold() in _KEPT),
        tuple(header for header in message.returned_headers if header.name.casefold() in _KEPT_RETURNED),
        message.defects,
        message.fingerprint,
        _rest_of(entry),
    )


def entry_of(digest: Digest, raw: RawMessage) -> Entry:
    """Return the entry of a mail that another process read; its message has no parts."""
    index = first_values(digest.headers)
    headers, returned, defects = digest.headers, digest.returned_headers, digest.defects
    return Entry(Message(raw, headers, (), returned, defects, digest.fingerprint, index), *digest.rest)


def entries(answers: Sequence[Digest | Unprocessed], raws: Sequence[RawMessage]) -> list[Entry | Unprocessed]:
    """Return what each mail is, or why it cannot be said."""
    return [
        answer if isinstance(answer, Unprocessed) else entry_of(answer, raw)
        for answer, raw in zip(answers, raws, strict=True)
    ]


def _reducer(known: type[Any]) -> Callable[[Any], tuple[Any, ...]]:
    names = [field.name for field in fields(known)]
    values = attrgetter(*names)
    if len(names) == 1:
        return lambda content: (known, (values(content),))
    return lambda content: (known, values(content))


class _Pickler(pickle.Pickler):
    # Slotted dataclasses are pickled field by field in Python otherwise, which costs more than reading a mail's header;
    # members of an enumeration by "getattr" before Python 3.11.5.
    dispatch_table = {  # noqa: RUF012 - pickle asks for this name.
        **{known: _reducer(known) for known in _DATACLASSES},
        **dict.fromkeys(_ENUMS, lambda member: (type(member), (member.value,))),
    }


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        known = _KNOWN.get((module, name))
        if known is None:
            raise pickle.UnpicklingError(f"{module}.{name} is no part of an answer")
        return known
