"""The process dies at each named step of a mail's life, one after the other, and the next run makes it good."""

from pathlib import Path

import pytest

from tests.integration.crash.runner import POINTS, WINDOW
from tests.integration.crash.scene import new_scene
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("crash")]


def test_deaths_at_all_steps_in_a_row(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> None:
    scene = new_scene(tmp_path, f"sqlite:///{tmp_path / 'bouncepoll.db'}", dovecot, postfix)
    for point in POINTS:
        scene.arrive(5)
        assert scene.poll(f"{point}:2") == -9, f"{point} was not reached"
        scene.outlive_leases()
    scene.settle_down()
    scene.check_counts()
    assert scene.doubled() == len(WINDOW)
