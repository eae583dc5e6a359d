"""What FETCH and SEARCH answers say: the usual form at once, all others through imapclient's parser."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache
from typing import Any, NamedTuple

from imapclient.response_parser import parse_response

LARGEST_UID = 2**32 - 1
#: The start of an answer to our FETCH as nearly every server writes it, up to the mail's octets. Groups: its number,
#: whether it is a UIDFETCH (RFC 9586), UID, size, INTERNALDATE, offset, octets of the literal.
USUAL_FETCH = re.compile(
    rb"\* (\d{1,10}) (UID)?FETCH \("
    rb'(?:(?:UID (\d{1,10})|RFC822\.SIZE (\d{1,15})|INTERNALDATE "([^"\r\n]{0,40})") ){0,3}'
    rb"BODY\[\](?:<(\d{1,15})>)? \{(\d{1,15})\}\r\n"
)
_FETCH = re.compile(rb"\* (\d{1,10}) (UID)?FETCH (\(.*)", re.DOTALL | re.IGNORECASE)
LITERAL = re.compile(rb"\{(\d{1,20})\}\r\n\Z")
_ESEARCH = re.compile(
    rb"\* ESEARCH(?: \(TAG [^)]{0,80}\))?(?: UID)?"
    rb"(?: ALL ([\d:,]+)| PARTIAL \([-\d]+:[-\d]+ ([\d:,]+|NIL)\)| (?:MODSEQ|COUNT|MIN|MAX) \d+)*\s*\Z",
    re.IGNORECASE,
)
_SEARCH = re.compile(rb"\* SEARCH((?: \d+)*) ?(?:\(MODSEQ \d+\))?\s*\Z", re.IGNORECASE)
_MONTHS = {
    name: f"{number:02}"
    for number, name in enumerate(
        ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"), start=1
    )
}
_DATE_CHARACTERS = 26


class Fetched(NamedTuple):
    """One answer to FETCH; ``size_octets`` is what the server says, and servers are sometimes wrong."""

    uid: int
    octets: bytes
    size_octets: int
    internal_date: datetime | None


def fetch_items(pieces: Sequence[bytes]) -> tuple[int, dict[bytes, Any]] | None:
    """Return the UID and the items of an answer in any form; None when it is not to FETCH, or names no UID.

    ``pieces`` are its lines and literals in turn. Never by sequence number: an EXPUNGE between two answers gives that
    number to another mail.

    Raises:
        ValueError, LookupError, TypeError, RecursionError: it makes no sense.
    """
    head = _FETCH.match(pieces[0])
    if head is None:
        return None
    data: list[Any] = [
        (line[: line.rindex(b"\r\n")], literal) for line, literal in zip(pieces[::2], pieces[1::2], strict=False)
    ]
    data.append(pieces[-1].rstrip(b"\r\n"))
    if isinstance(data[0], tuple):
        data[0] = (head[3][: head[3].rindex(b"\r\n")], data[0][1])
    else:
        data[0] = head[3].rstrip(b"\r\n")
    (items,) = parse_response(data)
    if not isinstance(items, tuple):
        raise ValueError("an answer to FETCH without a list of items")  # noqa: TRY004 - it is the server's mistake.
    named = {
        name.upper(): value for name, value in zip(items[::2], items[1::2], strict=True) if isinstance(name, bytes)
    }
    uid = int(head[1]) if head[2] else named.get(b"UID")
    return (uid, named) if isinstance(uid, int) else None


def fetched(uid: int, item: dict[bytes, Any], first: int) -> Fetched | None:
    """Return what the items of a mail hold from offset ``first`` on; None when that is nothing and there is some."""
    name = b"BODY[]<%d>" % first
    octets = item.get(name)
    if octets is None and b"BODY[]" in item:
        # QUIRK: some servers ignore the range and send the whole mail.
        whole = item[b"BODY[]"]
        octets = whole[first:] if isinstance(whole, bytes) else None
    elif octets is None and name in item and first:
        octets = b""  # QUIRK: NIL for "there is no more", where RFC 9051 section 6.4.5 wants an empty string.
    elif isinstance(octets, int):
        octets = b"%d" % octets  # An atom of digits, which imapclient takes for a number.
    size_octets = item.get(b"RFC822.SIZE", 0)
    if not isinstance(octets, bytes) or not isinstance(size_octets, int):
        return None
    if not octets and first == 0 and size_octets:
        return None
    return Fetched(uid, octets, size_octets, moment(item.get(b"INTERNALDATE")))


@lru_cache(maxsize=4096)
def moment(internal_date: Any) -> datetime | None:
    """Return INTERNALDATE (RFC 9051 section 9, date-time) in UTC.

    None when it is no date: it is of no use for anything but people.
    """
    if not isinstance(internal_date, bytes) or len(internal_date) != _DATE_CHARACTERS:
        return None
    try:
        text = internal_date.decode("ascii")
        day = text[:2] if text[0] != " " else f"0{text[1]}"
        # ISO 8601 is what the standard library reads fastest, and mails come in tens of thousands.
        found = datetime.fromisoformat(f"{text[7:11]}-{_MONTHS[text[3:6].title()]}-{day}T{text[12:20]}{text[21:]}")
        return found if text.endswith("+0000") else found.astimezone(UTC)
    except (ValueError, KeyError, OverflowError):
        return None


def searched(line: bytes, limit: int) -> list[int] | None:
    """Return the UIDs an answer to SEARCH lists (RFC 9051 section 7.3.4, RFC 4731); None when it is something else.

    Raises:
        ValueError: it lists something else than numbers, or more than ``limit`` of them.
    """
    if line[:9].upper() == b"* ESEARCH":
        found = _ESEARCH.match(line)
        if found is None:
            raise ValueError("an answer to SEARCH that lists something else than numbers")
        wanted = found[1] or found[2] or b"NIL"
        return [] if wanted.upper() == b"NIL" else _expanded(wanted.split(b","), limit)
    if line[:8].upper() != b"* SEARCH":
        return None
    plain = _SEARCH.match(line)
    if plain is None:
        raise ValueError("an answer to SEARCH that lists something else than numbers")
    return [int(number) for number in plain[1].split()]


def _expanded(ranges: Iterable[bytes], limit: int) -> list[int]:
    uids: list[int] = []
    for part in ranges:
        first, _colon, last = part.partition(b":")
        low, high = sorted((int(first), int(last or first)))
        if high - low + len(uids) > limit:
            raise ValueError("an answer to SEARCH that lists more mails than the folder holds")
        uids.extend(range(low, high + 1))
    return uids


def uid_set(uids: Iterable[int]) -> str:
    """Return a compact sequence set (RFC 9051 section 9), such as ``1:5,7``."""
    ranges: list[list[int]] = []
    for uid in sorted(set(uids)):
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in ranges)
