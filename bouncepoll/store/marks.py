"""Times the program remembers between its runs, by name."""

from collections.abc import Mapping
from datetime import datetime

from sqlalchemy import select

from bouncepoll.store.database import Database, insert_into
from bouncepoll.store.tables import marks


class SqlMarks:
    """A few named times."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def all(self) -> Mapping[str, datetime]:
        """Return all times by name."""
        with self._database.reading() as connection:
            return {row.name: row.at for row in connection.execute(select(marks))}

    def set(self, times: Mapping[str, datetime]) -> None:
        """Remember times, in one transaction."""
        with self._database.writing() as connection:
            for name, at in sorted(times.items()):
                insert = insert_into(connection, marks).values(name=name, at=at)
                connection.execute(
                    insert.on_conflict_do_update(index_elements=["name"], set_={"at": insert.excluded.at})
                )
