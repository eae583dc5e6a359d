"""Several ``bouncepoll serve`` that share mailboxes of a real Dovecot, and the count of what became of every mail."""

import json
import os
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, text

from bouncepoll.bootstrap import system_clock
from bouncepoll.settings import Settings, load
from bouncepoll.store import open_store
from tests.contracts.storing import bounce_filter
from tests.integration.mailstream import MadeMail, made
from tests.servers import end, wait_until
from tests.servers.dovecot import Dovecot, DovecotUser

FILTER_ADDRESS = "spring@example.org"

_CONFIGURATION = """\
[instance]
id = "several-machines"
[database]
url = "{url}"
[log]
level = "info"
format = "json"
[cluster]
lease = "{lease_s}s"
[delivery]
backend = "maildir"
interval = "1s"
[delivery.maildir]
path = "{forwards}"
[forward]
from_address = "news@example.org"
"""
_MAILBOX = """\
[mailboxes.{name}]
host = "localhost"
port = {port}
security = "insecure-loopback"
username = "{user.name}"
address = "{name}@example.org"
on_done = "delete"
batch = 20
poll = "{poll_s}s"
idle = "{idle}"
auth.password = "{user.password}"
"""


class ServingNode:
    """A ``bouncepoll serve`` as a node of that name."""

    def __init__(self, name: str, command: list[str], folder: Path, env: Mapping[str, str]) -> None:
        self.name = name
        self.log = folder / f"{name}.log"
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(
                command, stdout=output, stderr=output, env={**env, "BOUNCEPOLL_CLUSTER__NODE": name}
            )

    @property
    def id(self) -> str:
        """What it calls itself."""
        joined = self.events("cluster_joined")
        assert joined, self.log.read_text()
        return str(joined[0]["node"])

    def events(self, name: str) -> list[dict[str, Any]]:
        """Return what it logged of one kind."""
        found = [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]
        return [entry for entry in found if entry["event"] == name]

    def freeze(self) -> None:
        """Stop it in the middle of whatever it does."""
        self.process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on as if nothing had been."""
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it without a word."""
        self.process.kill()
        self.process.wait(30)

    def stop(self) -> None:
        """Ask it to end, and wait until it did."""
        self.process.terminate()
        assert self.process.wait(60) == 0, self.log.read_text()[-2000:]


class Scene:
    """Mailboxes, nodes, and the mails that came."""

    def __init__(self, folder: Path, url: str, direct_url: str, dovecot: Dovecot) -> None:
        self.folder = folder
        self.config = folder / "config.toml"
        self.forwards = folder / "forwards"
        self.sent: list[MadeMail] = []
        self.users: dict[str, DovecotUser] = {}
        self.nodes: list[ServingNode] = []
        self._url = url
        self._direct_url = direct_url
        self._dovecot = dovecot
        self._engine = create_engine(direct_url)
        self._env = dict(os.environ)

    def set_up(self, mailboxes: int, *, lease_s: int, poll_s: int, idle: bool, workers: int) -> None:
        """Write the configuration of that many mailboxes, and make one filter that forwards."""
        self._env["BOUNCEPOLL_ANALYSIS__WORKERS"] = str(workers)
        lines = [_CONFIGURATION.format(url=self._url, lease_s=lease_s, forwards=self.forwards)]
        for number in range(mailboxes):
            name = f"box{number:03}"
            user = self.users[name] = self._dovecot.new_user()
            self._dovecot.append(user, "INBOX", [])
            lines.append(
                _MAILBOX.format(
                    name=name,
                    port=self._dovecot.imap_port,
                    user=user,
                    poll_s=poll_s,
                    idle="29m" if idle else "0s",
                )
            )
        self.config.write_text("".join(lines), encoding="utf-8")
        store = open_store(self._direct_url, clock=system_clock)
        store.filters.add(bounce_filter("spring", "team@example.net", filter_address=FILTER_ADDRESS))
        store.close()

    def command(self, *arguments: str) -> list[str]:
        """Return the command line of one call."""
        return [sys.executable, "-m", "bouncepoll", "--config", str(self.config), *arguments]

    def settings(self) -> Settings:
        """Return the settings of all nodes."""
        return load(self.config, env=self._env, cwd=self.folder)

    def run(self, *arguments: str) -> str:
        """Run a command that has to succeed, and return what it prints."""
        done = subprocess.run(
            self.command(*arguments), capture_output=True, text=True, check=False, timeout=240, env=self._env
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def start(self, name: str) -> ServingNode:
        """Start a node."""
        node = ServingNode(name, self.command("serve"), self.folder, self._env)
        self.nodes.append(node)
        return node

    def end_all(self) -> None:
        """End what still runs, however it is."""
        for node in self.nodes:
            if node.process.poll() is None:
                node.thaw()
                end(node.process)
        self._engine.dispose()

    def arrive(self, count: int) -> None:
        """Let ``count`` mails arrive, spread over all mailboxes."""
        fresh = [made(len(self.sent) + number, FILTER_ADDRESS) for number in range(count)]
        for number, user in enumerate(self.users.values()):
            self._dovecot.append(user, "INBOX", [mail.octets for mail in fresh[number :: len(self.users)]])
        self.sent.extend(fresh)

    def count(self, query: str, **values: object) -> int:
        """Return the one number a query gives."""
        with self._engine.connect() as connection:
            return int(connection.execute(text(query), values).scalar_one())

    def stored(self) -> int:
        """Return how many mails are stored."""
        return self.count("SELECT count(*) FROM messages")

    def shares(self) -> dict[str, int]:
        """Return how many mailboxes each node has, by its name."""
        query = "SELECT owner, count(*) AS held FROM leases WHERE owner IS NOT NULL GROUP BY owner"
        with self._engine.connect() as connection:
            return {row.owner.partition(":")[0]: row.held for row in connection.execute(text(query))}

    def wait_for_shares(self, timeout_s: float = 60.0, **wanted: int) -> None:
        """Wait until the nodes have that many mailboxes each."""
        wait_until(lambda: self.shares() == wanted, f"shares {wanted}; there are {self.shares()}", timeout_s)

    def wait_for_all(self, timeout_s: float = 60.0) -> None:
        """Wait until every mail that came is stored."""
        wait_until(lambda: self.stored() >= len(self.sent), f"{len(self.sent)} mails; {self.stored()}", timeout_s)

    def settle_down(self) -> int:
        """Finish with what is left, once no node runs; return how many forwards dead nodes had in hand.

        Their leases would end after half an hour.
        """
        assert all(node.process.poll() is not None for node in self.nodes)
        held = self.count("SELECT count(*) FROM outbox WHERE state = 'queued' AND lease_until IS NOT NULL")
        with self._engine.begin() as connection:
            connection.execute(text("UPDATE outbox SET lease_until = NULL WHERE state = 'queued'"))
            # So that the last run need not wait until those of the killed end.
            connection.execute(text("UPDATE leases SET owner = NULL, lease_until = NULL"))
        self.run("poll", "--once", "--json")
        return held

    def check_counts(self) -> None:
        """Every mail is stored once, every event counted once, nothing is left over anywhere."""
        number = len(self.sent)
        assert self.stored() == number
        assert self.count("SELECT count(*) FROM places") == number
        assert self.count("SELECT count(DISTINCT (source, folder, uidvalidity, uid)) FROM places") == number
        assert self.count("SELECT count(*) FROM places WHERE NOT settled OR state <> 'stored' OR duplicate") == 0
        assert self.count("SELECT count(*) FROM outbox WHERE state <> 'sent'") == 0
        assert self.count("SELECT count(*) FROM outbox") == sum(mail.forwarded for mail in self.sent)
        with self._engine.connect() as connection:
            rows = connection.execute(text("SELECT recipient, kind FROM events")).all()
        expected = Counter(mail.event for mail in self.sent if mail.event is not None)
        assert Counter((row.recipient, row.kind) for row in rows) == expected
        assert all(not self._dovecot.mails(user, "INBOX") for user in self.users.values())

    def doubled(self) -> int:
        """Return how many forwards came twice; every one came, and none three times."""
        parser = BytesHeaderParser()
        files = list((self.forwards / "new").iterdir())
        times = Counter(str(parser.parsebytes(path.read_bytes())["Message-ID"]) for path in files)
        assert len(times) == sum(mail.forwarded for mail in self.sent)
        assert set(times.values()) <= {1, 2}
        return len(files) - len(times)


@contextmanager
def new_scene(folder: Path, url: str, direct_url: str, dovecot: Dovecot) -> Iterator[Scene]:
    """Give a scene; what still runs at its end is ended."""
    scene = Scene(folder, url, direct_url, dovecot)
    try:
        yield scene
    finally:
        scene.end_all()
