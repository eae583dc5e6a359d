"""Mails that arrive, a process that is killed, and the count of what became of every one of them."""

import json
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass, field
from email.parser import BytesHeaderParser
from pathlib import Path

from tests.integration.mailstream import MadeMail, made
from tests.integration.site import Site, new_site
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

PLACES = (("news", "INBOX"), ("news", "Junk"), ("offers", "INBOX"))
#: Leases of forwards end 30 minutes after a claim.
_LATER_MINUTES = 31


@dataclass
class Scene:
    """A site, the mails that came to it, and the address its human mails are forwarded to."""

    site: Site
    postfix: Postfix
    team: str
    filter_address: str
    sent: list[MadeMail] = field(default_factory=list)
    minutes: int = 0

    def arrive(self, count: int) -> None:
        """Let ``count`` mails arrive in each folder."""
        for source, folder in PLACES:
            fresh = [made(len(self.sent) + number, self.filter_address) for number in range(count)]
            self.site.dovecot.append(self.site.users[source], folder, [mail.octets for mail in fresh])
            self.sent.extend(fresh)

    def start(self, spec: str = "-:0") -> "subprocess.Popen[bytes]":
        """Start a poll with a fuse; see ``runner``."""
        command = [sys.executable, "-m", "tests.integration.crash.runner", spec, str(self.minutes)]
        arguments = ["--config", str(self.site.config), "poll", "--once"]
        return subprocess.Popen([*command, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def poll(self, spec: str = "-:0") -> int:
        """Poll once with a fuse and return the exit status; -9: it was killed."""
        process = self.start(spec)
        _, said = process.communicate(timeout=120)
        assert process.returncode in {0, -9}, said.decode()
        return process.returncode

    def outlive_leases(self) -> None:
        """Let the leases of the dead end; with SQLite the next process ends them by itself, being the only one."""
        if self.site.url.startswith("postgresql"):
            self.minutes += _LATER_MINUTES
        self.site.outlive_leases()

    def settle_down(self) -> None:
        """Poll until nothing is left."""
        self.outlive_leases()
        assert [self.poll(), self.poll()] == [0, 0]
        wait_until(self.postfix.queue_empty, "Postfix to deliver everything")

    def check_counts(self) -> None:
        """Every mail is stored once, every event counted once, nothing is left over anywhere."""
        assert self.site.count("SELECT count(*) FROM messages") == len(self.sent)
        assert self.site.count("SELECT count(*) FROM places") == len(self.sent)
        assert self.site.count("SELECT count(*) FROM quarantine") == 0
        assert self.site.count("SELECT count(*) FROM outbox WHERE state <> 'sent'") == 0
        assert self.site.count("SELECT count(*) FROM places WHERE NOT settled") == 0
        events = [json.loads(line) for line in self.site.run("events", "export").splitlines()]
        found = Counter((event["recipient"], event["kind"]) for event in events)
        assert found == Counter(mail.event for mail in self.sent if mail.event is not None)
        users = self.site.users
        assert all(not self.site.dovecot.mails(users[source], folder) for source, folder in PLACES)
        by_imap = len(self.sent) * 2 // 3
        assert len(self.site.dovecot.mails(users["news"], "Processed")) == by_imap

    def doubled(self) -> int:
        """Return how many forwards were received twice; every one was received, and none three times."""
        received = self.postfix.received(self.team)
        times = Counter(
            sum(mail.message_id.encode() in octets for octets in received) for mail in self.sent if mail.forwarded
        )
        assert set(times) <= {1, 2}, times
        identities = [BytesHeaderParser().parsebytes(octets)["Message-ID"] for octets in received]
        # What comes twice has the same Message-ID, by which a receiver may drop it.
        assert len(set(identities)) == len(received) - times[2]
        return times[2]


def new_scene(folder: Path, url: str, dovecot: Dovecot, postfix: Postfix) -> Scene:
    """Set up a site with one filter that forwards to an address of its own."""
    site = new_site(folder, url, dovecot, postfix)
    team = f"team-{folder.name}@example.net"
    site.run("db", "upgrade")
    added = site.run("filter", "add", "Spring news", "--forward", team, "--mailbox", "news", "--json")
    return Scene(site, postfix, team, json.loads(added)["filter_address"])
