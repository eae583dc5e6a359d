"""A real PostgreSQL that is gone for a while: the client is put off, and what it brings later is stored."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from bouncepoll.bootstrap import system_clock
from bouncepoll.store import SqlStore, open_store
from tests.contracts.storing import count, new_url
from tests.integration.listener.conftest import SPRING, listening, numbered
from tests.servers.postgresql import PostgreSQL

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postgresql")]


@pytest.fixture
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return new_url("postgresql", request, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[SqlStore]:
    opened = open_store(url, clock=system_clock)
    opened.filters.add(replace(SPRING, id=0))
    yield opened
    opened.close()


def test_a_database_that_is_gone_for_a_while(store: SqlStore, url: str, postgresql: PostgreSQL) -> None:
    name = url.rpartition("/")[2].partition("?")[0]
    with listening(store, filters=store.filters.all) as running, running.connect() as client:
        assert client.deliver(octets=numbered(1)).startswith("250")
        client.begin("news@example.org")
        postgresql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS false")
        postgresql.end_sessions(url)
        assert client.data(numbered(2)) == "451 4.3.0 Try again later"
        assert client.begin("nobody@example.org") == ["451 4.3.0 Try again later"]
        postgresql.execute(f"ALTER DATABASE {name} ALLOW_CONNECTIONS true")
        assert client.begin("nobody@example.org")[0].startswith("550 5.1.1")
        assert client.deliver(octets=numbered(2)).startswith("250")
        assert client.deliver(octets=numbered(1)).startswith("250")
    assert count(store, "messages") == 2
    assert count(store, "places") == 3
    assert count(store, "outbox") == 2
