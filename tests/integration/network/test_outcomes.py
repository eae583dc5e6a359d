"""Single faults at the worst moment: what the process knows by then must not be forgotten, nor be laid on a mail."""

import random
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from bouncepoll.bootstrap import Application
from bouncepoll.errors import SourceUnavailable, StoreUnavailable
from bouncepoll.settings import load
from bouncepoll.sources.imap._connection import Connection
from bouncepoll.store.mailboxes import SqlMailboxes
from bouncepoll.store.outbox import SqlOutbox
from tests.integration.crash.scene import Scene, new_scene
from tests.integration.mailstream import made
from tests.integration.network.storm import LATER_MINUTES, PADDING, behind
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.faulty import CUT, FaultyProxy, Plan
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("network")]


@pytest.fixture
def scene(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> Scene:
    ready = new_scene(tmp_path, f"sqlite:///{tmp_path / 'bouncepoll.db'}", dovecot, postfix)
    ready.arrive(2)
    return ready


def _failing_once(inner: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function with its first call failing as it does when the database is gone."""
    left = [StoreUnavailable("the database is gone")]

    def call(*args: Any, **kwargs: Any) -> Any:
        if left:
            raise left.pop()
        return inner(*args, **kwargs)

    return call


def _drained(application: Application) -> bool:
    application.pausing.run(application.drain)
    return not application.pausing.paused


def test_a_poll_whose_success_cannot_be_noted_fails_like_any_other(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqlMailboxes, "note_success", _failing_once(SqlMailboxes.note_success))
    settings = load(scene.site.config, env={}, cwd=Path.cwd())
    with Application(settings) as application:
        outcome = application.poll("news")
        assert isinstance(outcome.error, StoreUnavailable)
        wait_until(lambda: application.poll("news").error is None, "the pause to end")


def test_a_connection_that_breaks_after_the_login_is_a_mailbox_out_of_reach(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    identify = Connection._identify

    def dropped_before(connection: Connection) -> None:
        connection.dialogue.drop()
        identify(connection)

    monkeypatch.setattr(Connection, "_identify", dropped_before)
    with Application(load(scene.site.config, env={}, cwd=Path.cwd())) as application:
        error = application.poll("news").error
    assert isinstance(error, SourceUnavailable)


def test_a_forward_whose_outcome_cannot_be_noted_is_not_sent_again(
    scene: Scene, postfix: Postfix, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(SqlOutbox, "settle", _failing_once(SqlOutbox.settle))
    settings = load(scene.site.config, env={}, cwd=Path.cwd())
    ahead = [timedelta(0)]
    with Application(settings, lambda: datetime.now(UTC) + ahead[0]) as application:
        assert all(application.poll(name).error is None for name in application.mailboxes)
        with pytest.raises(StoreUnavailable):
            application.drain()
        wait_until(lambda: _drained(application), "the pause to end")
        # The lease of what was in hand ends; by then the note is made up for.
        ahead[0] = timedelta(minutes=LATER_MINUTES)
        application.drain()
    wait_until(postfix.queue_empty, "Postfix to deliver everything")
    assert scene.doubled() == 0


class _Breaking(FaultyProxy):
    """Breaks the first connections at the same octet, which is in the middle of a long mail."""

    def _plan(self, number: int) -> Plan:
        return Plan(CUT if number <= 2 else None, towards_server=False, left=8000, rng=random.Random(number))


def test_a_connection_that_breaks_twice_puts_no_mail_in_quarantine(
    tmp_path: Path, dovecot: Dovecot, postfix: Postfix
) -> None:
    scene = new_scene(tmp_path, f"sqlite:///{tmp_path / 'bouncepoll.db'}", dovecot, postfix)
    mail = made(1, scene.filter_address)
    dovecot.append(scene.site.users["offers"], "INBOX", mail.octets + PADDING)
    proxy = _Breaking(dovecot.pop3_port, "breaking", {})
    try:
        proxy.disturb()
        config = tmp_path / "network.toml"
        config.write_text(behind({"pop3": proxy}, scene.site.config.read_text(encoding="utf-8")), encoding="utf-8")
        with Application(load(config, env={}, cwd=Path.cwd())) as application:
            for _ in range(4):
                application.poll("offers")
    finally:
        proxy.stop()
    assert proxy.cuts == 2
    assert scene.site.count("SELECT count(*) FROM messages") == 1
    assert scene.site.count("SELECT count(*) FROM quarantine") == 0
