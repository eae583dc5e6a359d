"""Databases without a schema, and a program that needs a version more than there is."""

import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from bouncepoll.store import schema
from tests.contracts.storing import DATABASES
from tests.servers.postgresql import PostgreSQL

NewUrl = Callable[[], str]
#: Takes what the next migration does, and what it declares; inside, this program is the one that needs it.
NextVersion = Callable[..., AbstractContextManager[None]]

_NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "later"
down_revision = "{head}"
{declared}


def upgrade():
    {does}
"""


@pytest.fixture(params=DATABASES)
def new_url(request: pytest.FixtureRequest, tmp_path: Path) -> NewUrl:
    """Return a function that gives the URL of an empty database."""
    if request.param == "sqlite":
        numbers = iter(range(100))
        return lambda: f"sqlite:///{tmp_path / f'{next(numbers)}.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database


@pytest.fixture
def next_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> NextVersion:
    """Return a function that turns this program into the next one, for a while."""
    head = schema.HEAD

    @contextmanager
    def next_program(does: str, declared: str = "", folder: str = "100% later") -> Iterator[None]:
        there = tmp_path / folder
        shutil.copytree(schema.migrations_folder(), there, dirs_exist_ok=True)
        (there / "versions" / "v9999_later.py").write_text(_NEXT.format(head=head, declared=declared, does=does))
        with monkeypatch.context() as patch:
            patch.setattr(schema, "HEAD", "later")
            patch.setattr(schema, "migrations_folder", lambda: there)
            yield

    return next_program
