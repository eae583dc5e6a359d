"""The process dies at one named step, and the next run makes it good; looked at after each death, on both databases."""

from pathlib import Path

import pytest

from tests.integration.crash.runner import POINTS, WINDOW
from tests.integration.crash.scene import new_scene
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.postgresql import PostgreSQL

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("crash")]

_MAILS = 14


@pytest.mark.parametrize("database", ["sqlite", "postgresql"])
@pytest.mark.parametrize("number", [1, 3])
@pytest.mark.parametrize("point", POINTS)
def test_a_death_at_any_step_loses_and_doubles_nothing(
    point: str,
    number: int,
    database: str,
    tmp_path: Path,
    dovecot: Dovecot,
    postfix: Postfix,
    request: pytest.FixtureRequest,
) -> None:
    server: PostgreSQL | None = request.getfixturevalue("postgresql") if database == "postgresql" else None
    url = server.new_database() if server else f"sqlite:///{tmp_path / 'bouncepoll.db'}"
    scene = new_scene(tmp_path, url, dovecot, postfix)
    scene.arrive(_MAILS)
    assert scene.poll(f"{point}:{number}") == -9, "the point was not reached"
    scene.settle_down()
    scene.check_counts()
    assert scene.doubled() == (1 if point in WINDOW else 0)
