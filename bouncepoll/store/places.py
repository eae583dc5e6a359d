"""Places: where mails were found, and what is known of each."""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Integer, Row, Select, and_, bindparam, select, update

from bouncepoll.errors import MessageUnreadable
from bouncepoll.model.mailbox import Scan
from bouncepoll.model.message import MessageRef
from bouncepoll.model.records import PlaceState
from bouncepoll.store.columns import chunks, escaped
from bouncepoll.store.tables import AWAITING_RETRY, UNSETTLED, places

#: Instead of the UIDVALIDITY of a source that has none.
NO_UIDVALIDITY = 0

# PostgreSQL indexes rows of at most 2,704 octets. A unique-id has at most 70 (RFC 1939 section 7).
_MAX_PLACE_OCTETS = 2600


def ref_of(row: Row[Any]) -> MessageRef:
    """Return the place of a row that has its four columns."""
    return MessageRef(row.source, row.folder, row.uidvalidity or None, row.uid)


def values_of(ref: MessageRef) -> dict[str, Any]:
    """Return the four columns of a place.

    Raises:
        MessageUnreadable: the mailbox gave the mail a name that is too long to be indexed.
    """
    length = sum(len(escaped(name).encode()) for name in (ref.source, ref.folder, ref.uid))
    if length > _MAX_PLACE_OCTETS:
        raise MessageUnreadable(
            f"{ref.source}: a mail's place there has {length} octets, and at most {_MAX_PLACE_OCTETS} can be stored; "
            "give the mailbox or the folder a shorter name"
        )
    return {
        "source": ref.source,
        "folder": ref.folder,
        "uidvalidity": ref.uidvalidity or NO_UIDVALIDITY,
        "uid": ref.uid,
    }


# Of one folder under one UIDVALIDITY. What every poll asks is built once: that costs more than asking it.
_IN_FOLDER = and_(*(places.c[name] == bindparam(f"of_{name}") for name in ("source", "folder", "uidvalidity")))
_KNOWN = select(places.c.uid).where(
    _IN_FOLDER, places.c.uid.in_(bindparam("uids", expanding=True)), places.c.state != PlaceState.RETRY
)
_UNSETTLED = (
    select(places.c.uid).where(_IN_FOLDER, UNSETTLED).order_by(places.c.id).limit(bindparam("at_most", type_=Integer))
)
_AWAITING_RETRY = select(places.c.uid).where(_IN_FOLDER, AWAITING_RETRY)


def _folder(source: str, folder: str, uidvalidity: int | None) -> dict[str, Any]:
    """Return what ``_IN_FOLDER`` asks for."""
    return {"of_source": source, "of_folder": folder, "of_uidvalidity": uidvalidity or NO_UIDVALIDITY}


def find(connection: Connection, refs: Iterable[MessageRef]) -> dict[MessageRef, Row[Any]]:
    """Return what is known (id, message_id, state, duplicate) of those places that are known."""
    found = {}
    columns = [places.c[name] for name in ("source", "folder", "uidvalidity", "uid")]
    columns += [places.c[name] for name in ("id", "message_id", "state", "duplicate")]
    for condition in _conditions(refs):
        for row in connection.execute(select(*columns).where(condition)):
            found[ref_of(row)] = row
    return found


def known(connection: Connection, scan: Scan) -> frozenset[str]:
    """Return those UIDs of the scan that need no fetching; see ``ports.UnitOfWork.known``."""
    found: set[str] = set()
    this = _folder(scan.source, scan.folder, scan.uidvalidity)
    for uids in chunks(scan.uids):
        found.update(connection.scalars(_KNOWN, {**this, "uids": uids}))
    return frozenset(found)


def unsettled(connection: Connection, scan: Scan, limit: int) -> Sequence[MessageRef]:
    """Return stored places the mailbox was not told about; see ``ports.UnitOfWork.unsettled``."""
    this = _folder(scan.source, scan.folder, scan.uidvalidity)
    return [scan.ref(uid) for uid in connection.scalars(_UNSETTLED, {**this, "at_most": limit})]


def mark_settled(connection: Connection, refs: Iterable[MessageRef]) -> None:
    """Remember that the mailbox did what it was told; see ``ports.UnitOfWork.mark_settled``."""
    for condition in _conditions(refs):
        connection.execute(update(places).where(condition).values(settled=True))


def lowest_retry(connection: Connection, source: str, folder: str, uidvalidity: int | None) -> int | None:
    """Return the lowest UID of that folder which is to be read again; None when there is none.

    UIDs that are no numbers (POP3) do not count.
    """
    found = connection.scalars(_AWAITING_RETRY, _folder(source, folder, uidvalidity))
    return min((int(uid) for uid in found if uid.isdecimal()), default=None)


def stored_ids(refs: Iterable[MessageRef]) -> Iterator[Select[tuple[int]]]:
    """Yield queries that together give the ids of those of these places whose mails are stored."""
    for condition in _conditions(refs):
        yield select(places.c.id).where(condition, places.c.state == PlaceState.STORED)


def _conditions(refs: Iterable[MessageRef]) -> Iterator[ColumnElement[bool]]:
    """Yield conditions that together name these places, each short enough for one statement."""
    by_folder: defaultdict[tuple[str, str, int], set[str]] = defaultdict(set)
    for ref in refs:
        by_folder[ref.source, ref.folder, ref.uidvalidity or NO_UIDVALIDITY].add(ref.uid)
    columns = (places.c.source, places.c.folder, places.c.uidvalidity)
    for folder, uids in by_folder.items():
        in_this = [column == value for column, value in zip(columns, folder, strict=True)]
        for chunk in chunks(sorted(uids)):
            yield and_(*in_this, places.c.uid.in_(chunk))
