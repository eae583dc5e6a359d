"""``bouncepoll serve`` beside real servers while its surroundings fail: what it says, what it touches, what it loses."""

import json
import os
import signal
import subprocess
import urllib.request
from base64 import encodebytes
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from tests.integration.mailstream import made
from tests.integration.site import new_site
from tests.servers import end, free_port, wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.postfix import Postfix

_MORE = """
[metrics]
listen = "127.0.0.1:{port}"
[retention]
raw = "30d"
"""


class Scene:
    """A service that polls an IMAP and a POP3 mailbox every second, and forwards."""

    def __init__(self, folder: Path, url: str, dovecot: Dovecot, postfix: Postfix) -> None:
        self._port = free_port()
        self.site = new_site(folder, url, dovecot, postfix, more=_MORE.format(port=self._port))
        text = self.site.config.read_text(encoding="utf-8")
        text = text.replace("batch = 10\n", 'batch = 10\npoll = "1s"\n').replace('level = "warning"', 'level = "debug"')
        text = text.replace("[delivery.smtp]", '[delivery]\ninterval = "1s"\n[delivery.smtp]')
        self.site.config.write_text(text, encoding="utf-8")
        self._dovecot, self._postfix = dovecot, postfix
        self._team = f"faults-{folder.name}-{self._port}@example.net"
        if url.startswith("postgresql"):
            self.site.run("db", "upgrade")
        made_filter = self.site.run("filter", "add", "News", "--forward", self._team, "--mailbox", "news", "--json")
        self._address = json.loads(made_filter)["filter_address"]
        self._mails = self._forwards = 0
        self.log = folder / "serve.log"
        self.pid = 0

    @contextmanager
    def serving(
        self, env: Mapping[str, str] | None = None, stderr: IO[bytes] | int | None = None, *, started: bool = True
    ) -> Iterator[None]:
        """Run ``serve``; it has to end well. ``started``: wait until it works.

        What fails before that ends it, or finds no mailbox to hold.
        """
        with self.log.open("wb") as output:
            process = subprocess.Popen(
                self.site.command("serve"), stdout=output, stderr=stderr or output, env=os.environ | dict(env or {})
            )
        self.pid = process.pid
        try:
            if started:
                wait_until(lambda: all(self._polls("ok")), "serve to poll each mailbox")
            yield
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        finally:
            end(process)

    def put(self, count: int, octets: int = 0) -> None:
        """Put mails into both mailboxes, each made larger by ``octets`` that no compression makes smaller."""
        for source in ("news", "offers"):
            mails = [made(number, self._address) for number in range(self._mails, self._mails + count)]
            self._mails += count
            self._forwards += sum(mail.forwarded for mail in mails)
            more = encodebytes(os.urandom(octets))
            self.site.dovecot.append(self.site.users[source], "INBOX", [mail.octets + more for mail in mails])

    def stored(self) -> int:
        """Return how many mails are in the database."""
        return self.site.count("SELECT count(*) FROM messages")

    def all_is_done(self) -> None:
        """Wait until every mail is stored, settled and forwarded; then nothing may be lost or doubled."""
        wait_until(lambda: self.stored() == self._mails, f"{self._mails} mails to be stored", 60)
        wait_until(lambda: len(self._received()) >= self._forwards, f"{self._forwards} forwards", 60)
        unsettled = "SELECT count(*) FROM places WHERE NOT settled"
        wait_until(lambda: self.site.count(unsettled) == 0, "all mails to be settled")
        assert len(self._received()) == self._forwards
        assert self.site.count("SELECT count(*) FROM places") == self._mails
        assert self.site.count("SELECT count(*) FROM mailbox_states WHERE failures > 0") == 0

    def events(self, *names: str) -> list[dict[str, Any]]:
        """Return the events of these names that were logged so far."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        found = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in found if event["event"] in names]

    def paused(self, number: int, reason: str) -> None:
        """Wait for the ``number``-th pause; meanwhile no mailbox is touched, and nothing is said again."""
        wait_until(lambda: len(self.events("polls_paused")) == number, f"pause {number}")
        assert self.events("polls_paused")[-1]["reason"] == reason, self.events("polls_paused")[-1]
        # One poll of a mailbox at a time: once one was held, none is under way that began before.
        held = self._polls("held")
        wait_until(lambda: all(now > was for now, was in zip(self._polls("held"), held, strict=True)), "held polls")
        before, tried = self.logins(), len(self.events("polls_still_paused"))
        assert self.metrics()[f'bouncepoll_polls_paused{{reason="{reason}"}}'] == 1
        wait_until(lambda: len(self.events("polls_still_paused")) > tried, "the database to be tried again", 60)
        assert self.logins() == before
        assert len(self.events("polls_paused")) == number

    def resumed(self, number: int) -> None:
        """Wait for the end of the ``number``-th pause."""
        wait_until(lambda: len(self.events("polls_resumed")) == number, f"the end of pause {number}", 60)

    def jumped(self, number: int) -> None:
        """Wait until the ``number``-th jump of the clock is told."""
        wait_until(lambda: len(self.events("clock_jumped")) >= number, f"jump {number} to be told")

    def metrics(self) -> dict[str, float]:
        """Return the metrics; none when the service does not show them."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self._port}/metrics", timeout=20) as answer:
                lines = answer.read().decode().splitlines()
        except OSError:
            return {}
        return {line.rpartition(" ")[0]: float(line.rpartition(" ")[2]) for line in lines if line[0] != "#"}

    def _polls(self, outcome: str) -> list[float]:
        shown = self.metrics()
        names = (f'bouncepoll_polls_total{{mailbox="{name}",outcome="{outcome}"}}' for name in self.site.users)
        return [shown.get(name, 0.0) for name in names]

    def logins(self) -> int:
        """Return how often somebody logged in to the mailboxes so far."""
        return sum(self._dovecot.log().count(f"Login: user=<{user.name}>") for user in self.site.users.values())

    def _received(self) -> list[bytes]:
        return self._postfix.received(self._team)
