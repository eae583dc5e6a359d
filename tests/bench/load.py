"""What the database takes for a million stored mails, and how long what is asked of it takes then.

``python -m tests.bench.load [MAILS] [sqlite|postgresql ...]``: fills a database (200 mailboxes, 500 filters), does each
piece of work of ``tests/integration/load`` three times, and prints the quickest.
"""

import os
import sys
import tempfile
import time
from contextlib import ExitStack, closing
from pathlib import Path

from sqlalchemy import text

from bouncepoll.store import SqlStore, schema
from bouncepoll.store.database import Database
from bouncepoll.testing import FakeClock
from tests.integration.load.filling import NOW, fill
from tests.integration.load.test_bounded import BOUNDED, GROWING
from tests.servers.postgresql import PostgreSQL

_ROUNDS = 3


def _size_octets(database: Database) -> int:
    if database.file is not None:
        return database.file.stat().st_size
    with database.reading() as connection:
        return int(connection.execute(text("SELECT pg_database_size(current_database())")).scalar_one())


def _run(kind: str, url: str, mails: int) -> None:
    schema.upgrade(url)
    with closing(Database(url)) as database:
        begun = time.monotonic()
        fill(database, mails)
        took_s = time.monotonic() - begun
        print(f"{kind}: {mails:,} mails in {took_s:.0f} s; {_size_octets(database) / 1e6:,.0f} MB", end="; ")
        print(f"load average {os.getloadavg()[0]:.1f}", flush=True)
        store = SqlStore(database, FakeClock(NOW))
        for name, work in (BOUNDED | {name: work for name, (work, _why) in GROWING.items()}).items():
            times = []
            for _round in range(_ROUNDS):
                begun = time.monotonic()
                work(store)
                times.append(time.monotonic() - begun)
            print(f"  {name:32} {min(times) * 1000:10.1f} ms", flush=True)


def main() -> None:
    """Run it, on both databases unless one is named."""
    mails = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    for kind in sys.argv[2:] or ["sqlite", "postgresql"]:
        with ExitStack() as stack:
            if kind == "sqlite":
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bp-load-")))
                url = f"sqlite:///{folder / 'mails.db'}"
            else:
                url = stack.enter_context(PostgreSQL.running()).new_database()
            _run(kind, url, mails)


if __name__ == "__main__":
    main()
