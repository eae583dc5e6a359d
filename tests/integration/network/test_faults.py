"""The network fails in every way at random while mails keep coming, and the servers are restarted meanwhile."""

import os
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.integration.network.storm import LATER_MINUTES, Running, Servers, Storm, new_storm
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.postgresql import PostgreSQL

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("network")]

LONG = bool(os.environ.get("BOUNCEPOLL_RELIABILITY"))
#: In all three folders together.
MAILS = 3000 if LONG else 120
_RESTART_EVERY = 150 if LONG else 40
_SEED = 20261125
# After the database was cut off, everything rests for up to a minute.
_PATIENCE_S = 240.0 if LONG else 90.0
#: A process that has done as much as this once needs no more memory for the rest.
_GROWTH_OCTETS = 12 * 1024**2
#: Standard streams, the pool, two mailboxes, the next hop; SQLite has three files a connection.
_MOST_DESCRIPTORS = 40


@pytest.mark.parametrize("database", ["sqlite", "postgresql"] if LONG else ["postgresql"])
def test_everything_is_counted_once_whatever_the_network_does(
    database: str,
    tmp_path: Path,
    dovecot: Dovecot,
    postfix: Postfix,
    request: pytest.FixtureRequest,
    record_property: Callable[[str, object], None],
) -> None:
    server: PostgreSQL | None = request.getfixturevalue("postgresql") if database == "postgresql" else None
    threads = threading.active_count()
    with new_storm(tmp_path, Servers(dovecot, postfix, server), _SEED) as storm:
        with storm.running() as running:
            looks = _weather(storm, running)
        _check(storm, running, looks)
        doubled = storm.doubled()
        cuts = storm.proxies["smtp"].cuts + storm.restarts["Postfix"]
        figures = f"{database}: {storm.figures()}, 0 lost, 0 counted twice, {doubled} forwarded twice"
    record_property("figures", figures)
    sys.stderr.write(f"{figures}\n")
    # Only where the connection to the next hop broke between the final dot and its reply, which nobody else sees.
    assert doubled <= cuts
    assert threading.active_count() == threads


def _weather(storm: Storm, running: Running) -> list[dict[str, Any]]:
    """Let everything arrive through the faulty network, and return what the process said of itself meanwhile."""
    storm.arrive(1)
    assert running.tell("round", 0)["well"]
    storm.disturb()
    looks = [running.tell("start")]
    while len(storm.scene.sent) < MAILS:
        storm.arrive(storm.rng.randrange(1, 8))
        if len(storm.scene.sent) // _RESTART_EVERY > storm.restarts.total():
            storm.restart_one()
        storm.pause(storm.rng.uniform(0.0, 0.3))
        looks.append(running.tell("look"))
    wait_until(lambda: storm.left() < MAILS // 10, "most of the mails to get through", _PATIENCE_S)
    looks.append(running.tell("look"))
    storm.calm()
    looks.append(running.tell("halt"))
    storm.finish(running)
    looks.append(running.tell("round", LATER_MINUTES))
    looks.append(running.tell("end"))
    return looks


def _check(storm: Storm, running: Running, looks: list[dict[str, Any]]) -> None:
    before, after = running.first, looks[-1]
    assert after["mistakes"] == []
    assert looks[-2]["well"]
    storm.scene.check_counts()
    assert after["connections"] == 0
    assert after["threads"] == before["threads"]
    assert after["descriptors"] == before["descriptors"]
    assert max(sum(look["descriptors"].values()) for look in looks) <= _MOST_DESCRIPTORS
    assert after["resident"] - looks[len(looks) * 2 // 3]["resident"] < _GROWTH_OCTETS
    # It was a bad day, and in the long run every connection had its share.
    cuts = {name: proxy.cuts for name, proxy in storm.proxies.items()}
    assert sum(cuts.values()) > len(storm.scene.sent) // 12, storm.figures()
    assert not LONG or all(cuts.values()), storm.figures()
    assert after["failures"].get("news"), after["failures"]
    assert after["failures"].get("offers"), after["failures"]
    assert len(storm.restarts) == len(storm.servers.all)
