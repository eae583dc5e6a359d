"""Column types, and text made fit for a column."""

import re
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from enum import StrEnum
from typing import TypeVar

from sqlalchemy import BigInteger, Column, DateTime, Dialect, Enum, Integer, String, Table, Text
from sqlalchemy.types import TypeDecorator, TypeEngine

_T = TypeVar("_T")
_CHUNK = 500
_MAX_INTEGER = 2**63 - 1
_ESCAPED = re.compile(r"\\([0-9a-f]{4})")
_TO_ESCAPE = re.compile("[\\\\\0\ud800-\udfff]")


class UtcDateTime(TypeDecorator[datetime]):
    """An aware time. SQLite keeps no zone, so everything is stored in UTC and comes back aware and in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time in UTC.

        Raises:
            ValueError: the time is naive.
        """
        if value is None:
            return None
        if value.tzinfo is None:
            raise ValueError(f"a time without a zone ({value.isoformat()}) cannot be stored")
        return value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """Return the time aware, in UTC."""
        if value is None:
            return None
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)


class ExactText(TypeDecorator[str]):
    """Text that comes back as it was given: a name at a mailbox, by which a mail has to be found there again.

    What no database takes (NUL, lone surrogates) is written as a backslash and four hexadecimal digits, and so is a
    backslash.
    """

    impl = Text
    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text escaped."""
        return None if value is None else escaped(value)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:  # noqa: ARG002
        """Return the text as it was given."""
        return None if value is None else _ESCAPED.sub(lambda found: chr(int(found[1], 16)), value)


def escaped(text: str) -> str:
    """Return text as ``ExactText`` stores it."""
    return _TO_ESCAPE.sub(lambda found: f"\\{ord(found[0]):04x}", text)


def row_id() -> TypeEngine[int]:
    """Return the type of a generated primary key: 64 bits; SQLite numbers rows only where it is called INTEGER."""
    return BigInteger().with_variant(Integer(), "sqlite")


def one_of(enumeration: type[StrEnum], name: str, *, check: bool = True) -> Enum:
    """Return the type of a column that holds a member's value as text, guarded by the CHECK constraint ``name``.

    Without ``check`` there is no constraint: SQLite adds none to a table there is.
    """
    return Enum(
        enumeration,
        name=name,
        native_enum=False,
        create_constraint=check,
        length=32,
        values_callable=lambda members: [member.value for member in members],
    )


def clean(text: str) -> str:
    """Return text without what no database takes: NUL (PostgreSQL refuses it) and lone surrogates (not UTF-8)."""
    if text.isascii() and "\0" not in text:
        return text
    return text.replace("\0", "").encode("utf-8", "ignore").decode()


def lengths_of(table: Table) -> dict[str, int | None]:
    """Return the longest text each column of text takes, in characters; None where there is no limit."""
    return {column.name: column.type.length for column in table.c if isinstance(column.type, String)}


def fitted(text: str | None, length: int | None) -> str | None:
    """Return text from a mail or a server cleaned and cut to a length."""
    # Cutting first bounds the work on hostile text; cleaning only makes it shorter.
    return None if text is None else clean(text[:length])


def fit(text: str | None, column: Column[str]) -> str | None:
    """Return text from a mail or a server cleaned and cut to the column's length."""
    return fitted(text, column.type.length if isinstance(column.type, String) else None)


def storable_time(at: datetime | None) -> datetime | None:
    """Return a time a mailbox gave, or None when it is naive or beyond the calendar's edge once it is in UTC."""
    if at is None or at.tzinfo is None:
        return None
    try:
        return at.astimezone(UTC)
    except OverflowError:
        return None


def storable_size(octets: int) -> int:
    """Return a size a server gave, bounded to what a column takes."""
    return max(0, min(octets, _MAX_INTEGER))


def storable_id(number: int) -> int:
    """Return an id somebody typed, bounded to what a column takes; no row ever has the bounds for an id."""
    return max(0, min(number, _MAX_INTEGER))


def chunks(values: Sequence[_T], size: int = _CHUNK) -> Iterator[Sequence[_T]]:
    """Yield the values in lists short enough for one statement."""
    return (values[start : start + size] for start in range(0, len(values), size))
