"""A PostgreSQL and a PgBouncer in front of it. The long form is run by ``make test-reliability`` only."""

import os
from collections.abc import Iterator

import pytest

from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgresql import PostgreSQL

collect_ignore = [] if os.environ.get("BOUNCEPOLL_RELIABILITY") else ["test_many.py"]


@pytest.fixture(scope="session")
def pgbouncer(postgresql: PostgreSQL) -> Iterator[PgBouncer]:
    """Return a private PgBouncer, pooling transactions."""
    with PgBouncer.running(postgresql) as pooler:
        yield pooler
