"""Two nodes share mailboxes, through PgBouncer: one is frozen and goes on, one is killed, one ends, a command looks on.

The long form with many is in ``test_many.py``.
"""

import json
from pathlib import Path

import pytest

from bouncepoll.bootstrap import Application
from bouncepoll.bootstrap._cluster import poll_once
from bouncepoll.bootstrap._cluster_status import cluster_status
from tests.contracts.storing import new_url
from tests.integration.cluster.scene import new_scene
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.pgbouncer import PgBouncer

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("cluster")]

MAILBOXES = 6
MAILS = 30
LEASE_S = 2


def test_nodes_share_and_stand_in_for_each_other(
    tmp_path: Path, dovecot: Dovecot, pgbouncer: PgBouncer, request: pytest.FixtureRequest
) -> None:
    direct_url = new_url("postgresql", request, tmp_path)
    with new_scene(tmp_path, pgbouncer.url(direct_url), direct_url, dovecot) as scene:
        scene.set_up(MAILBOXES, lease_s=LEASE_S, poll_s=10, idle=True, workers=0)
        a, b = scene.start("a"), scene.start("b")
        scene.wait_for_shares(a=3, b=3)

        # Frozen with mails in hand, as good as any time.
        scene.arrive(MAILS)
        wait_until(lambda: scene.stored() > 0, "the first mails to be stored")
        a.freeze()
        scene.wait_for_shares(b=MAILBOXES)
        scene.arrive(MAILS)
        scene.wait_for_all()

        a.thaw()
        wait_until(lambda: len(a.events("leases_lost")) == 1, "the node to find out what it lost")
        assert len(a.events("leases_lost")[0]["mailboxes"]) == 3
        scene.wait_for_shares(a=3, b=3)

        with Application(scene.settings()) as application:
            told = cluster_status(application)
            outcome = poll_once(application, "box000")
        assert [(node.name, node.alive, len(node.mailboxes)) for node in told.nodes] == [("a", True, 3), ("b", True, 3)]
        assert {mailbox.node for mailbox in told.mailboxes} == {a.id, b.id}
        assert all(mailbox.lease_until is not None and mailbox.lease_until > told.at for mailbox in told.mailboxes)
        assert outcome.report is None
        assert f"node {told.mailboxes[0].node} has this mailbox" in str(outcome.error)

        scene.arrive(MAILS)
        wait_until(lambda: scene.stored() > 2 * MAILS, "some of the mails to be stored")
        b.kill()
        scene.wait_for_shares(a=MAILBOXES)
        told_b = next(
            node for node in json.loads(scene.run("cluster", "status", "--json"))["nodes"] if node["name"] == "b"
        )
        assert (told_b["alive"], told_b["mailboxes"]) == (False, [])
        scene.wait_for_all()

        a.stop()
        assert scene.shares() == {}
        in_hand = scene.settle_down()
        scene.check_counts()
        # Only what the killed node was just sending may have come twice; a frozen one goes on where it was.
        assert scene.doubled() <= in_hand <= 1
        # Nobody had two of them at once, or a late write would have shown up as an error of the database.
        assert not b.events("job_failed")
        assert not a.events("job_failed")
