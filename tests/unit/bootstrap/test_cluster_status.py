"""What ``cluster status`` tells where there is one process, and how it looks with several."""

import json
from datetime import timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bouncepoll.bootstrap import Application
from bouncepoll.bootstrap._cluster import membership_of, poll_once
from bouncepoll.bootstrap._cluster_status import ClusterStatus, MailboxStatus, NodeStatus, cluster_status
from bouncepoll.cli import cluster
from bouncepoll.cli._output import print_json
from bouncepoll.model.delivery import OutboxState
from bouncepoll.settings import load
from bouncepoll.testing import FakeClock
from tests.contracts.storing import NOW

_CONFIGURATION = """\
[database]
url = "sqlite:///{folder}/bouncepoll.db"
[mailboxes.news]
host = "localhost"
port = 1
username = "news@example.org"
auth.password = "secret"
"""


@pytest.fixture
def application(tmp_path: Path) -> Application:
    (tmp_path / "config.toml").write_text(_CONFIGURATION.format(folder=tmp_path), encoding="utf-8")
    return Application(load(None, env={}, cwd=tmp_path), FakeClock(NOW))


def test_with_sqlite_there_is_one_process(application: Application) -> None:
    with application:
        application.store.mailboxes.note_failure("news", "no", NOW, NOW - timedelta(seconds=90))
        told = cluster_status(application)
        assert membership_of(application, ["news"]) is None
    assert told == ClusterStatus(
        NOW,
        shared=False,
        lag_s=90.0,
        nodes=(),
        mailboxes=(MailboxStatus("news", None, None, 0, NOW - timedelta(seconds=90), 90.0, 1),),
        outbox={OutboxState.QUEUED: 0, OutboxState.DEAD: 0},
    )


def test_with_sqlite_a_poll_needs_no_lease(application: Application) -> None:
    with application, capture_logs():
        outcome = poll_once(application, "news")
    # Nobody listens at port 1: it was tried.
    assert outcome.error is not None
    assert "localhost" in str(outcome.error)


def test_how_it_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    later = NOW + timedelta(minutes=1)
    told = ClusterStatus(
        NOW,
        shared=True,
        lag_s=75.2,
        nodes=(
            NodeStatus("a:1:x", "a", "1.0", True, NOW, NOW, later, ("news",)),
            NodeStatus("b:2:y", "b", "1.0", False, NOW, NOW, NOW, ()),
        ),
        mailboxes=(
            MailboxStatus("news", "a:1:x", later, 3, later, 0.0, 0),
            MailboxStatus("offers", None, None, 1, NOW, 75.2, 2),
        ),
        outbox={OutboxState.QUEUED: 4, OutboxState.DEAD: 1},
    )
    cluster.show(told)
    lines = capsys.readouterr().out.splitlines()
    [alive, silent, news, offers] = [line for line in lines if line.startswith("│")]
    assert "alive" in alive
    assert "silent: killed, frozen or cut off" in silent
    assert "a:1:x" in news
    assert "75" in offers
    assert lines[-2:] == ["late: 1 mailboxes, the latest by 75 s", "outbox: 4 wait, 1 dead letters"]
    print_json(told)
    printed = json.loads(capsys.readouterr().out)
    assert (printed["shared"], printed["lag_s"], printed["outbox"]) == (True, 75.2, {"queued": 4, "dead": 1})
    assert printed["mailboxes"][0]["lease_until"] == later.isoformat()


def test_with_sqlite_it_is_said_first(capsys: pytest.CaptureFixture[str]) -> None:
    cluster.show(ClusterStatus(NOW, shared=False, lag_s=0.0, nodes=(), mailboxes=(), outbox={}))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("SQLite: one process polls")
    assert lines[-2:] == ["late: no mailbox", "outbox: 0 wait, 0 dead letters"]
