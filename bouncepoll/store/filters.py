"""Bounce filters in the database."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any
from uuid import uuid4

from sqlalchemy import Connection, Row, insert, or_, select, text, update
from sqlalchemy.exc import IntegrityError

from bouncepoll.errors import UsageError
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.model.trust import TokenUse
from bouncepoll.model.verdict import Kind
from bouncepoll.ports import Clock
from bouncepoll.store.columns import chunks, clean
from bouncepoll.store.database import Database, commit
from bouncepoll.store.tables import filters

AddressForId = Callable[[int], str]

# Names and addresses are indexed, and a forward address is again in each outbox row. RFC 5321 section 4.5.3.1: a path
# has at most 256 octets.
_MAX_NAME_CHARS = 200
_MAX_ADDRESS_CHARS = 320
_MAX_DESCRIPTION_CHARS = 5000
_MAX_FORWARD_ADDRESSES = 1000


_ALL = select(filters).order_by(filters.c.id)
# As the driver has them: making filters of rows takes ten times as long as reading and comparing these.
_ALL_RAW = text(str(_ALL))

# The rows that were read last, and what was made of them: the same for whatever database they came from.
_last: tuple[Sequence[Row[Any]], Sequence[BounceFilter]] = ([], [])


def load(connection: Connection) -> Sequence[BounceFilter]:
    """Return all filters by id; the same objects as long as none was changed."""
    global _last  # noqa: PLW0603 - threads that meet here make the same of the same rows
    rows, made = _last
    found = connection.execute(_ALL_RAW).all()
    if found == rows:
        return made
    made = [_filter_of(row) for row in connection.execute(_ALL)]
    # Between two statements another process may change a filter.
    if connection.execute(_ALL_RAW).all() == found:
        _last = found, made
    return made


def load_some(connection: Connection, ids: Iterable[int]) -> dict[int, BounceFilter]:
    """Return the filters of those ids by id."""
    found = {}
    for some in chunks(sorted(set(ids))):
        for row in connection.execute(select(filters).where(filters.c.id.in_(some))):
            found[row.id] = _filter_of(row)
    return found


class SqlFilters:
    """The bounce filters, for an administrator."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock

    def all(self) -> Sequence[BounceFilter]:
        """Return all filters by id, disabled ones too."""
        with self._database.reading() as connection:
            return load(connection)

    def get(self, name_or_id_or_address: str | int) -> BounceFilter | None:
        """Return the filter of that name, else of that filter address, else of that id; None when there is none."""
        wanted = str(name_or_id_or_address).strip()
        with self._database.reading() as connection:
            found = load(connection)
        for matches in (
            lambda known: _key(known.name) == _key(wanted),
            lambda known: known.filter_address == wanted.lower(),
            lambda known: str(known.id) == wanted,
        ):
            for known in found:
                if matches(known):
                    return known
        return None

    def add(self, bounce_filter: BounceFilter, address_for_id: AddressForId | None = None) -> BounceFilter:
        """Store a new filter and return it with its id.

        Its filter address is made by ``address_for_id`` where it has none.

        Raises:
            UsageError: another filter has the name or the filter address, there is no filter address, or a text is too
                long.
        """
        return self.save([replace(bounce_filter, id=0)], address_for_id)[0]

    def replace(self, bounce_filter: BounceFilter) -> BounceFilter:
        """Store all fields of a filter anew; ``id`` and ``created_at`` stay.

        Raises:
            UsageError: there is none of that id; another one has the name or the filter address.
        """
        return self.save([bounce_filter])[0]

    def save(
        self, bounce_filters: Sequence[BounceFilter], address_for_id: AddressForId | None = None
    ) -> Sequence[BounceFilter]:
        """Add the filters whose id is 0 and replace the others: all of them, or none when one is wrong.

        Raises:
            UsageError: as for ``add`` and ``replace``.
        """
        saved = []
        with self._database.connect() as connection:
            for bounce_filter in bounce_filters:
                save_one = self._add if bounce_filter.id == 0 else self._replace
                try:
                    with connection.begin_nested():
                        saved.append(save_one(connection, bounce_filter, address_for_id))
                except IntegrityError as exc:
                    raise UsageError(_conflict(connection, bounce_filter)) from exc
            commit(connection)
        return saved

    def _add(self, connection: Connection, wanted: BounceFilter, address_for_id: AddressForId | None) -> BounceFilter:
        values = _values(wanted) | {"created_at": wanted.created_at or self._clock()}
        if not wanted.filter_address:
            if address_for_id is None:
                raise UsageError(f"filter {wanted.name!r} has no filter address; name one")
            # The column is unique and not empty, and the address is made of the id: something stands in for a moment.
            values["filter_address"] = f"{uuid4().hex}.invalid"
        number = connection.execute(insert(filters).values(values).returning(filters.c.id)).scalar_one()
        if not wanted.filter_address and address_for_id is not None:
            address = clean(address_for_id(number)).lower()
            connection.execute(update(filters).where(filters.c.id == number).values(filter_address=address))
        return _filter_of(connection.execute(select(filters).where(filters.c.id == number)).one())

    def _replace(self, connection: Connection, wanted: BounceFilter, _address: AddressForId | None) -> BounceFilter:
        changed = connection.execute(update(filters).where(filters.c.id == wanted.id).values(_values(wanted)))
        if changed.rowcount == 0:
            raise UsageError(f"there is no filter {wanted.id}; 'bouncepoll filter list' shows them")
        return _filter_of(connection.execute(select(filters).where(filters.c.id == wanted.id)).one())


def _conflict(connection: Connection, wanted: BounceFilter) -> str:
    query = select(filters).where(
        filters.c.id != wanted.id,
        or_(filters.c.name_key == _key(wanted.name), filters.c.filter_address == wanted.filter_address.lower()),
    )
    other = connection.execute(query.order_by(filters.c.id).limit(1)).one_or_none()
    if other is None:
        return f"the filter address made for filter {wanted.name!r} is in use; change the template, or name an address"
    if other.name_key == _key(wanted.name):
        return f"name: filter {other.id} is called {other.name!r} already; choose another name"
    return (
        f"filter address: {other.filter_address} belongs to filter {other.id}, {other.name!r}; choose another address"
    )


def _key(name: str) -> str:
    return clean(name).casefold()


def _refuse_too_long(wanted: BounceFilter) -> None:
    for what, length, limit in (
        ("name", len(wanted.name), _MAX_NAME_CHARS),
        ("filter address", len(wanted.filter_address), _MAX_ADDRESS_CHARS),
        ("description", len(wanted.description), _MAX_DESCRIPTION_CHARS),
        ("longest forward address", max(map(len, wanted.forward_to), default=0), _MAX_ADDRESS_CHARS),
    ):
        if length > limit:
            raise UsageError(
                f"filter {wanted.name[:50]!r}: the {what} has {length} characters; at most {limit} are allowed"
            )
    if len(wanted.forward_to) > _MAX_FORWARD_ADDRESSES:
        raise UsageError(
            f"filter {wanted.name!r}: {len(wanted.forward_to)} forward addresses; at most {_MAX_FORWARD_ADDRESSES} are "
            "allowed: forward to a mailing list"
        )


def _values(wanted: BounceFilter) -> dict[str, Any]:
    _refuse_too_long(wanted)
    return {
        "name": clean(wanted.name),
        "name_key": _key(wanted.name),
        "filter_address": clean(wanted.filter_address).lower(),
        "description": clean(wanted.description),
        "forward_to": [clean(address) for address in wanted.forward_to],
        "forward_kinds": sorted(kind.value for kind in wanted.forward_kinds),
        "forward_mode": wanted.forward_mode,
        "enabled": wanted.enabled,
        "tokens": wanted.tokens,
    }


def _filter_of(row: Row[Any]) -> BounceFilter:
    return BounceFilter(
        id=row.id,
        name=row.name,
        filter_address=row.filter_address,
        forward_to=tuple(row.forward_to),
        forward_kinds=frozenset(Kind(kind) for kind in row.forward_kinds),
        forward_mode=None if row.forward_mode is None else ForwardMode(row.forward_mode),
        description=row.description,
        enabled=row.enabled,
        created_at=row.created_at,
        tokens=None if row.tokens is None else TokenUse(row.tokens),
    )
