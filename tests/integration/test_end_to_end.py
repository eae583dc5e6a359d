"""The whole job as an administrator runs it, with the process killed in the middle of each poll."""

import json
import subprocess
from collections import Counter
from pathlib import Path

import pytest

from tests.integration.mailstream import MadeMail, made
from tests.integration.site import Site, new_site
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix
from tests.servers.postgresql import PostgreSQL

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("end-to-end")]

#: Mails that come between two polls, by mailbox and folder: a thousand in three polls.
ARRIVING = {("news", "INBOX"): 140, ("news", "Junk"): 80, ("offers", "INBOX"): 114}


def _killed_in_the_middle(site: Site, source: str, folder: str, arriving: int) -> bool:
    """Poll, kill the process once the first of ``arriving`` mails are stored, and return whether others were not."""
    before = site.stored(source, folder)
    log = site.config.with_name("killed.log")
    with log.open("wb") as output:
        process = subprocess.Popen(site.command("poll", "--once", "--no-drain"), stdout=output, stderr=output)
    try:
        wait_until(
            lambda: site.stored(source, folder) > before or process.poll() is not None,
            f"the first mails of {source}/{folder}; {log}",
        )
        assert process.poll() in {None, 0}, log.read_text()
    finally:
        process.kill()
        process.wait()
        site.outlive_leases()
    return before < site.stored(source, folder) < before + arriving


def _expected(mails: list[MadeMail]) -> Counter[tuple[str, str]]:
    return Counter(mail.event for mail in mails if mail.event is not None)


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'bouncepoll.db'}"
    server: PostgreSQL = request.getfixturevalue("postgresql")
    return server.new_database()


@pytest.mark.parametrize("on_done", ["leave", "move:Processed"])
def test_a_thousand_mails_are_recorded_and_forwarded_exactly_once(
    url: str, on_done: str, tmp_path: Path, dovecot: Dovecot, postfix: Postfix
) -> None:
    team = f"team-{tmp_path.name}@example.net"  # Postfix serves several tests: each has an address of its own.
    site = new_site(tmp_path, url, dovecot, postfix, on_done=on_done)
    site.run("db", "upgrade")
    made_filter = json.loads(site.run("filter", "add", "Spring news", "--forward", team, "--mailbox", "news", "--json"))
    sent: list[MadeMail] = []
    arrived: Counter[tuple[str, str]] = Counter()

    def arrive(source: str, folder: str) -> int:
        count = ARRIVING[source, folder]
        fresh = [made(len(sent) + i, made_filter["filter_address"]) for i in range(count)]
        site.dovecot.append(site.users[source], folder, [mail.octets for mail in fresh])
        sent.extend(fresh)
        arrived[source, folder] += count
        return count

    for victim in (("news", "INBOX"), ("news", "Junk"), ("offers", "INBOX")):
        for place in ARRIVING:
            arrive(*place)
        # A machine in a hurry may be through with the folder before the kill: then more mails come.
        tries = 1
        while not _killed_in_the_middle(site, *victim, ARRIVING[victim]):
            tries += 1
            assert tries <= 5, "the process could not be killed in the middle of a poll"
            arrive(*victim)
        if victim == ("news", "INBOX"):
            site.dovecot.reset_uidvalidity(site.users["news"], "INBOX")
        site.run("poll", "--once")
    site.run("poll", "--once")

    assert len(sent) >= 1000
    assert site.count("SELECT count(*) FROM messages") == len(sent)
    assert site.count("SELECT count(*) FROM quarantine") == 0
    events = [json.loads(line) for line in site.run("events", "export").splitlines()]
    assert Counter((event["recipient"], event["kind"]) for event in events) == _expected(sent)
    assert site.count("SELECT count(*) FROM outbox WHERE state <> 'sent'") == 0
    wait_until(postfix.queue_empty, "Postfix to deliver everything")
    received = postfix.received(team)
    forwarded = [mail for mail in sent if mail.forwarded]
    assert len(received) == len(forwarded)
    assert all(sum(mail.message_id.encode() in octets for octets in received) == 1 for mail in forwarded)
    left = len(dovecot.mails(site.users["news"], "INBOX")) + len(dovecot.mails(site.users["news"], "Junk"))
    by_imap = arrived["news", "INBOX"] + arrived["news", "Junk"]
    assert left == (by_imap if on_done == "leave" else 0)
    assert dovecot.mails(site.users["offers"], "INBOX") == []
    if on_done != "leave":
        assert len(dovecot.mails(site.users["news"], "Processed")) == by_imap
