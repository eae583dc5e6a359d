"""Many rows in one statement, at the driver's speed.

SQLAlchemy prepares each value of each row anew, which costs more than storing it. Here a statement is compiled once a
dialect, and what all rows share is prepared once a call; the columns' own types still do the preparing.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, TypeAlias

from sqlalchemy import Connection, Dialect, Table
from sqlalchemy.dialects import postgresql, sqlite

from bouncepoll.store.database import insert_into

Insert: TypeAlias = postgresql.Insert | sqlite.Insert
_Prepare: TypeAlias = Callable[[Any], Any]


@dataclass(frozen=True, slots=True)
class BulkInsert:
    """An INSERT into ``table`` of columns ``given`` row by row and columns ``shared`` by all rows of a call.

    ``on_conflict`` adds the clause of that name, which must bring no parameters of its own.
    """

    table: Table
    given: tuple[str, ...]
    shared: tuple[str, ...]
    on_conflict: Callable[[Insert], Insert]

    def __call__(self, connection: Connection, rows: Iterable[Mapping[str, Any]], **shared: Any) -> None:
        """Insert rows by name of column; do nothing where there are none."""
        plan = _plan_of(self, connection)
        common = {name: plan.prepare[name](value) if name in plan.prepare else value for name, value in shared.items()}
        prepared = []
        for row in rows:
            values = {**row, **common}
            for name, prepare in plan.prepare_given:
                values[name] = prepare(values[name])
            prepared.append(plan.arrange(values))
        if prepared:
            connection.exec_driver_sql(plan.sql, prepared)


@dataclass(frozen=True, slots=True)
class _Plan:
    """A compiled statement; ``arrange`` brings the values of a row into the form the driver takes."""

    sql: str
    prepare: Mapping[str, _Prepare]
    prepare_given: tuple[tuple[str, _Prepare], ...]
    arrange: Callable[[dict[str, Any]], Any]


# One plan serves all connections of a dialect: what the types make of a value depends on nothing else.
_plans: dict[tuple[BulkInsert, str], _Plan] = {}


def _plan_of(bulk: BulkInsert, connection: Connection) -> _Plan:
    key = bulk, connection.dialect.name
    plan = _plans.get(key)
    if plan is None:
        statement = bulk.on_conflict(insert_into(connection, bulk.table))
        plan = _plans[key] = _compiled(bulk, statement, connection.dialect)
    return plan


def _compiled(bulk: BulkInsert, statement: Insert, dialect: Dialect) -> _Plan:
    names = (*bulk.given, *bulk.shared)
    compiled = statement.compile(dialect=dialect, column_keys=names)
    found = {name: bulk.table.c[name].type.dialect_impl(dialect).bind_processor(dialect) for name in names}
    prepare = {name: function for name, function in found.items() if function is not None}
    # Drivers take values by position (sqlite3) or by name (psycopg).
    order = getattr(compiled, "positiontup", None)
    return _Plan(
        str(compiled),
        prepare,
        tuple((name, prepare[name]) for name in bulk.given if name in prepare),
        itemgetter(*order) if order else dict,
    )
