"""``bouncepoll serve`` beside real servers: it polls, forwards, keeps going when a mailbox is broken, and stops."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.integration.mailstream import made
from tests.integration.site import Site, new_site
from tests.servers import end, free_port, wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("end-to-end")]

BROKEN = """
[mailboxes.broken]
host = "localhost"
port = {port}
username = "nobody"
auth.password = "wrong-password"
poll = "1s"
"""


@pytest.fixture
def site(tmp_path: Path, dovecot: Dovecot, postfix: Postfix) -> Site:
    broken = BROKEN.format(port=free_port())
    made_site = new_site(tmp_path, f"sqlite:///{tmp_path / 'bouncepoll.db'}", dovecot, postfix, more=broken)
    text = made_site.config.read_text(encoding="utf-8")
    text = text.replace("batch = 10\n", 'batch = 10\npoll = "1s"\n').replace('level = "warning"', 'level = "info"')
    # As it is by default: mails are read in a process of their own.
    text += "[analysis]\nworkers = 1\n"
    text = text.replace("[delivery.smtp]", '[delivery]\ninterval = "1s"\n[delivery.smtp]')
    made_site.config.write_text(text, encoding="utf-8")
    return made_site


@contextmanager
def _serving(site: Site) -> "Iterator[tuple[subprocess.Popen[bytes], Path]]":
    log = site.config.with_name("serve.log")
    env = {name: value for name, value in os.environ.items() if name != "BOUNCEPOLL_ANALYSIS__WORKERS"}
    with log.open("wb") as output:
        process = subprocess.Popen(site.command("serve"), stdout=output, stderr=output, env=env)
    try:
        yield process, log
    finally:
        end(process)


def _events(log: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]


def test_mails_that_come_while_it_runs_are_recorded_and_forwarded(site: Site, postfix: Postfix) -> None:
    team = f"serve-{site.config.parent.name}@example.net"
    filter_address = json.loads(
        site.run("filter", "add", "Spring news", "--forward", team, "--mailbox", "news", "--json")
    )["filter_address"]
    with _serving(site) as (process, log):
        wait_until(lambda: b"service_started" in log.read_bytes(), "serve to start")
        mails = [made(number, filter_address) for number in range(30)]
        site.dovecot.append(site.users["news"], "INBOX", [mail.octets for mail in mails[:20]])
        site.dovecot.append(site.users["offers"], "INBOX", [mail.octets for mail in mails[20:]])
        expected = sum(mail.forwarded for mail in mails)
        wait_until(lambda: len(postfix.received(team)) == expected, f"{expected} forwards")

        # A filter made while it runs works for the very next mail.
        late = json.loads(
            site.run("filter", "add", "Autumn", "--forward", team, "--filter-address", "autumn@example.org", "--json")
        )
        site.dovecot.append(
            site.users["news"], "INBOX", made(1, late["filter_address"]).octets.replace(b"<m1@", b"<late@")
        )
        wait_until(lambda: len(postfix.received(team)) == expected + 1, "the late forward")

        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    events = _events(log)
    failed = [event for event in events if event["event"] == "mailbox_failed"]
    assert {event["mailbox"] for event in failed} == {"broken"}
    assert events[-1]["event"] == "service_stopped"
    assert site.count("SELECT count(*) FROM messages") == 31
    assert all(secret not in log.read_text() for secret in ("wrong-password", site.users["news"].password))


def test_sigterm_in_the_middle_of_a_batch_loses_nothing(site: Site) -> None:
    filter_address = json.loads(site.run("filter", "add", "Spring news", "--mailbox", "news", "--json"))[
        "filter_address"
    ]
    mails = [made(number, filter_address) for number in range(400)]
    site.dovecot.append(site.users["news"], "INBOX", [mail.octets for mail in mails])
    with _serving(site) as (process, log):
        wait_until(lambda: b"message_recorded" in log.read_bytes(), "the first mails")
        process.send_signal(signal.SIGTERM)
        assert process.wait(10) == 0
    stored = site.count("SELECT count(*) FROM messages")
    assert 0 < stored <= 400
    assert site.count("SELECT count(*) FROM places WHERE NOT settled") == 0
    result = subprocess.run(site.command("poll", "--once", "news"), capture_output=True, check=False)
    assert result.returncode == 0
    assert site.count("SELECT count(*) FROM messages") == 400


def test_a_second_process_on_the_same_sqlite_file_is_refused(site: Site) -> None:
    with _serving(site) as (_process, log):
        wait_until(lambda: b"service_started" in log.read_bytes(), "serve to start")
        second = subprocess.run(site.command("poll", "--once"), capture_output=True, text=True, check=False)
    assert second.returncode == 2
    assert "another bouncepoll process" in second.stderr
