"""The database fails under the running service, or its clock is set: one line, nothing lost, nothing doubled."""

from pathlib import Path

import pytest

from tests.integration.faults.clock import faketime
from tests.integration.faults.disk import small_disk
from tests.integration.faults.scene import Scene
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("end-to-end")]


def test_a_full_disk(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> None:
    with small_disk(tmp_path / "disk") as disk:
        scene = Scene(tmp_path, f"sqlite:///{disk.folder / 'bouncepoll.db'}", dovecot, postfix)
        with scene.serving():
            disk.fill(scene.pid)
            scene.put(10, 400_000)
            scene.paused(1, "full")
            disk.free(scene.pid)
            scene.resumed(1)
            scene.all_is_done()


def test_the_clock_is_set_back_and_ahead(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> None:
    clock = faketime(tmp_path)
    scene = Scene(tmp_path, f"sqlite:///{tmp_path / 'bouncepoll.db'}", dovecot, postfix)
    with scene.serving(clock.env):
        for jumps, offset in enumerate(("-3600", "+86400"), 1):
            clock.set(offset)
            scene.put(5)
            scene.all_is_done()
            scene.jumped(jumps)
        assert scene.events("mailbox_failed", "job_failed", "polls_paused") == []
    assert [round(event["jump_s"], -1) for event in scene.events("clock_jumped")] == [-3600, 90000]
