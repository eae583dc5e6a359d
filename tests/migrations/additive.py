"""What of a schema a program before a migration would miss or stumble over."""

import re
from typing import Any

from sqlalchemy import Connection, inspect

from bouncepoll.store import schema

#: Tables by name; of each its columns, and its constraints as texts.
Description = dict[str, dict[str, Any]]


def described(connection: Connection) -> Description:
    """Return the tables, their columns and the constraints a row has to keep."""
    found = inspect(connection)
    return {
        table: {
            "columns": {column["name"]: column for column in found.get_columns(table)},
            "primary key": tuple(found.get_pk_constraint(table)["constrained_columns"]),
            "unique": {
                *(tuple(one["column_names"]) for one in found.get_unique_constraints(table)),
                *(tuple(one["column_names"]) for one in found.get_indexes(table) if one["unique"]),
            },
            "foreign keys": {
                (*one["constrained_columns"], one["referred_table"]) for one in found.get_foreign_keys(table)
            },
            "checks": {str(one["name"]): one["sqltext"] for one in found.get_check_constraints(table)},
        }
        for table in found.get_table_names()
        if table != schema.VERSION_TABLE
    }


def faults(before: Description, after: Description) -> list[str]:
    """Return one line for each thing a program made for ``before`` cannot live with in ``after``."""
    found = [f"table {table} is gone" for table in before.keys() - after.keys()]
    for table in before.keys() & after.keys():
        found += [f"{table}: {fault}" for fault in _table(before[table], after[table])]
    return sorted(found)


def _table(old: dict[str, Any], new: dict[str, Any]) -> list[str]:
    found = []
    for name, column in old["columns"].items():
        if name not in new["columns"]:
            found.append(f"column {name} is gone")
            continue
        other = new["columns"][name]
        if repr(column["type"]) != repr(other["type"]):
            found.append(f"column {name} has another type")
        if column["nullable"] and not other["nullable"]:
            found.append(f"column {name} must be given now")
    for name in new["columns"].keys() - old["columns"].keys():
        column = new["columns"][name]
        if not column["nullable"] and column["default"] is None and not column.get("computed"):
            found.append(f"new column {name} must be given and has no default")
    if old["primary key"] != new["primary key"]:
        found.append("the primary key is another one")
    # Inserts name what is unique (ON CONFLICT), so none may go either.
    found += [f"unique {', '.join(one)} is new or gone" for one in old["unique"] ^ new["unique"]]
    # One of a new column does not bind a row without it.
    bound = [one for one in new["foreign keys"] - old["foreign keys"] if set(one[:-1]) & old["columns"].keys()]
    found += [f"foreign key {', '.join(one)} is new" for one in bound]
    for name, text in new["checks"].items():
        if name not in old["checks"]:
            if any(re.search(rf"\b{column}\b", text) for column in old["columns"]):
                found.append(f"check {name} is new")
        elif not _wider(old["checks"][name], text):
            found.append(f"check {name} is another one")
    return found


def _wider(old: str, new: str) -> bool:
    """Whether a CHECK is the same, but for words it allows in addition."""
    words = re.compile(r"'([^']*)'")
    return set(words.findall(old)) <= set(words.findall(new)) and _shape(old) == _shape(new)


def _shape(text: str) -> str:
    listed = re.sub(r"(?:'[^']*'(?:::[\w ]+)?\s*,?\s*)+", "'", text)
    return "".join(listed.split())
