"""A SQLite store for each test."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bouncepoll.store import SqlStore
from tests.contracts.storing import new_store


@pytest.fixture
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SqlStore]:
    opened = new_store("sqlite", request, tmp_path, busy_timeout_s=0.05)
    yield opened
    opened.close()


@pytest.fixture
def file(store: SqlStore) -> Path:
    assert store.file is not None
    return store.file
