"""The process dies at random instants, again and again, while mails keep coming."""

import os
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.integration.crash.scene import new_scene
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.postgresql import PostgreSQL

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("crash")]

LONG = bool(os.environ.get("BOUNCEPOLL_RELIABILITY"))
KILLS = 100 if LONG else 6
#: A process needs about a second to start; a poll of what came meanwhile takes less than another.
_LONGEST_LIFE_S = 2.5


@pytest.mark.parametrize("database", ["sqlite", "postgresql"] if LONG else ["postgresql"])
def test_deaths_at_random_instants(
    database: str,
    tmp_path: Path,
    dovecot: Dovecot,
    postfix: Postfix,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    server: PostgreSQL | None = request.getfixturevalue("postgresql") if database == "postgresql" else None
    url = server.new_database() if server else f"sqlite:///{tmp_path / 'bouncepoll.db'}"
    scene = new_scene(tmp_path, url, dovecot, postfix)
    rng = random.Random(20261125)
    killed = 0
    for _ in range(KILLS):
        scene.arrive(rng.randrange(1, 12))
        process = scene.start()
        try:
            _, said = process.communicate(timeout=rng.uniform(0.3, _LONGEST_LIFE_S))
            assert process.returncode == 0, said.decode()
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
            killed += 1
        scene.outlive_leases()
    scene.settle_down()
    scene.check_counts()
    doubled = scene.doubled()
    figures = f"{database}: {killed} kills, {len(scene.sent)} mails, 0 lost, 0 counted twice, {doubled} forwarded twice"
    record_property("figures", figures)
    sys.stderr.write(f"{figures}\n")
    assert killed > KILLS // 3
    # Each death may fall into the one window in which the next hop has the mail and we cannot know it.
    assert doubled <= killed
