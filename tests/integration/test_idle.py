"""``bouncepoll serve`` with IDLE: a mail is read when it comes, not when the next poll is due."""

import json
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from tests.integration.mailstream import made
from tests.servers import end, wait_until
from tests.servers.dovecot import Dovecot, DovecotUser

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("dovecot")]


def configured(folder: Path, dovecot: Dovecot, user: DovecotUser, more: str = "") -> list[str]:
    """Return the command line of a bouncepoll that polls one mailbox once an hour."""
    (folder / "config.toml").write_text(
        f'[instance]\nid = "idle"\n[database]\nurl = "sqlite:///{folder}/mails.db"\n'
        f'[log]\nlevel = "info"\nformat = "json"\n'
        f'[mailboxes.news]\nhost = "localhost"\nport = {dovecot.imaps_port}\nca_file = "{dovecot.ca_file}"\n'
        f'username = "{user.name}"\nauth.password = "{user.password}"\npoll = "1h"\n{more}'
    )
    return [sys.executable, "-m", "bouncepoll", "--config", str(folder / "config.toml")]


@contextmanager
def serving(command: list[str], log: Path) -> "Iterator[subprocess.Popen[bytes]]":
    with log.open("wb") as output:
        process = subprocess.Popen([*command, "serve"], stdout=output, stderr=output)
    try:
        yield process
    finally:
        end(process)


def events(log: Path) -> list[str]:
    lines = log.read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["event"] for line in lines if line.startswith("{")]


def stored(folder: Path) -> int:
    with closing(sqlite3.connect(folder / "mails.db")) as connection:
        return int(connection.execute("SELECT count(*) FROM messages").fetchone()[0])


def test_mails_are_read_when_they_come_and_the_end_is_quick(tmp_path: Path, dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    dovecot.append(user, "INBOX", made(0, "f@example.org").octets)
    log = tmp_path / "log"
    with serving(configured(tmp_path, dovecot, user), log) as process:
        wait_until(lambda: "mailbox_watched" in events(log), "the watch")
        wait_until(lambda: stored(tmp_path) == 1, "the first mail")
        for number in (1, 2):
            dovecot.append(user, "INBOX", made(number, "f@example.org").octets)
            wait_until(lambda number=number: stored(tmp_path) == number + 1, f"mail {number}")  # type: ignore[misc] # It is no loop variable.
        begun = time.monotonic()
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
        took_s = time.monotonic() - begun
    assert took_s < 3
    assert events(log)[-1] == "service_stopped"
    assert len(dovecot.mails(user, "Processed")) == 3
    # Both connections logged out.
    wait_until(lambda: _logged_out(dovecot, user) >= 3, "the logouts")


def _logged_out(dovecot: Dovecot, user: DovecotUser) -> int:
    return sum(f"imap({user.name})" in line and "Logged out" in line for line in dovecot.log().splitlines())


@pytest.mark.parametrize("more", ['idle = "0s"\n', 'folders = ["INBOX", "Junk"]\n', "max_connections = 1\n"])
def test_a_mailbox_that_is_not_watched_is_polled(more: str, tmp_path: Path, dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    dovecot.append(user, "INBOX", made(0, "f@example.org").octets)
    dovecot.append(user, "Junk", [])
    log = tmp_path / "log"
    with serving(configured(tmp_path, dovecot, user, more), log) as process:
        wait_until(lambda: "mailbox_polled" in events(log), "the poll")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    assert stored(tmp_path) == 1
    assert "mailbox_watched" not in events(log)
