"""A site behind a faulty network, a bouncepoll that runs through it, and the count of what became of every mail."""

import json
import random
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from email.parser import BytesHeaderParser
from pathlib import Path
from typing import Any

from tests.integration.crash.scene import PLACES, Scene, new_scene
from tests.integration.mailstream import made
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.faulty import IN_PLAIN, MOSTLY, UNDER_TLS, FaultyProxy
from tests.servers.postfix import Postfix
from tests.servers.postgresql import PostgreSQL

#: Leases of forwards end 30 minutes after a claim.
LATER_MINUTES = 31
#: So long a network that is whole again may need until everything is done.
_RESUMED_S = 120.0
#: Mails and forwards that may wait before more arrive.
_BACKLOG = 400
#: Above ``analysis_octets``, so that what is forwarded is fetched in two steps.
PADDING = b"These lines make the mail longer than what is fetched of it at first.\r\n" * 150
_TIMEOUT_S = 180.0


@dataclass
class Servers:
    """What is behind the network; ``postgresql`` is None with SQLite."""

    dovecot: Dovecot
    postfix: Postfix
    postgresql: PostgreSQL | None

    @property
    def all(self) -> Sequence[Dovecot | Postfix | PostgreSQL]:
        """Those there are."""
        return [server for server in (self.dovecot, self.postfix, self.postgresql) if server is not None]


class Running:
    """A running ``runner``."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process
        self.first = self._answer()

    def tell(self, *words: object) -> dict[str, Any]:
        """Tell it something and return what it says of itself."""
        assert self._process.stdin is not None
        print(*words, file=self._process.stdin, flush=True)
        return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        # A process that hangs must not hang the tests.
        watchdog = threading.Timer(_TIMEOUT_S, self._process.kill)
        watchdog.start()
        try:
            line = self._process.stdout.readline()
        finally:
            watchdog.cancel()
            watchdog.join()
        assert line, "the process died or did not answer; its log is beside its configuration"
        answer: dict[str, Any] = json.loads(line)
        return answer


@dataclass
class Storm:
    """A scene whose connections go through ``proxies``, by the name of what is behind them."""

    scene: Scene
    servers: Servers
    proxies: dict[str, FaultyProxy]
    rng: random.Random
    config: Path
    restarts: Counter[str] = field(default_factory=Counter)
    quarantined: int = 0

    def arrive(self, count: int) -> None:
        """Let up to ``count`` mails arrive in each folder, some of them large."""
        scene = self.scene
        for source, folder in PLACES:
            fresh = [made(len(scene.sent) + number, scene.filter_address) for number in range(count)]
            fresh = [
                replace(mail, octets=mail.octets + PADDING) if mail.forwarded and self.rng.random() < 0.3 else mail
                for mail in fresh
            ]
            scene.site.dovecot.append(scene.site.users[source], folder, [mail.octets for mail in fresh])
            scene.sent.extend(fresh)

    def pause(self, seconds: float) -> None:
        """Let the process work, and what came before get through for the most part."""
        threading.Event().wait(seconds)
        wait_until(lambda: self.left() < _BACKLOG, "the backlog to shrink", _TIMEOUT_S)

    def figures(self) -> str:
        """Return what happened, in one line."""
        struck = ", ".join(
            f"{name} {proxy.struck.total()} of {proxy.connections}" for name, proxy in self.proxies.items()
        )
        restarts = ", ".join(f"{name} {count}" for name, count in sorted(self.restarts.items()))
        return f"{len(self.scene.sent)} mails; faults: {struck} connections; restarts: {restarts}; quarantined meanwhile: {self.quarantined}"

    def restart_one(self) -> None:
        """Restart the next of the servers."""
        servers = self.servers.all
        server = servers[self.restarts.total() % len(servers)]
        server.restart()
        self.restarts[type(server).__name__] += 1

    def disturb(self) -> None:
        """Begin with the faults."""
        for proxy in self.proxies.values():
            proxy.disturb()

    def calm(self) -> None:
        """End the faults."""
        for proxy in self.proxies.values():
            proxy.calm()

    @contextmanager
    def running(self) -> Iterator[Running]:
        """Run bouncepoll; its log is checked for tracebacks in the end."""
        log = self.config.with_name("runner.log")
        command = [sys.executable, "-m", "tests.integration.network.runner", str(self.config)]
        with log.open("wb") as output:
            process = subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=output, text=True, encoding="utf-8"
            )
        try:
            with process:
                try:
                    yield Running(process)
                except BaseException:
                    # It would not end by itself, and is waited for.
                    process.kill()
                    raise
        finally:
            process.kill()
        assert "Traceback" not in log.read_text(encoding="utf-8")

    def finish(self, running: Running) -> None:
        """With a network that is whole again, poll and forward until nothing is left.

        A mail whose rest broke the connection again and again is in quarantine, and its administrator says: once more.
        """
        self.quarantined = self.scene.site.count("SELECT count(*) FROM quarantine")
        if self.quarantined:
            self.scene.site.run("quarantine", "retry")
        # While the database took no writes everything was held, and it is tried again within a minute.
        wait_until(
            lambda: bool(running.tell("round", LATER_MINUTES)["well"]) and not self.left(),
            "everything to be done",
            _RESUMED_S,
        )
        wait_until(self.servers.postfix.queue_empty, "Postfix to deliver everything")

    def left(self) -> int:
        """How many forwards wait, and how many mails are not stored."""
        waiting = self.scene.site.count("SELECT count(*) FROM outbox WHERE state = 'queued'")
        return waiting + len(self.scene.sent) - self.scene.site.count("SELECT count(*) FROM messages")

    def doubled(self) -> int:
        """Return how many forwards came once more than needed, all with the same Message-ID; every one came."""
        heads = map(BytesHeaderParser().parsebytes, self.scene.postfix.received(self.scene.team))
        came = Counter((str(head["X-Bouncepoll-Original-Message-ID"]), str(head["Message-ID"])) for head in heads)
        forwarded = sorted(mail.message_id for mail in self.scene.sent if mail.forwarded)
        assert sorted(original for original, _identity in came) == forwarded
        return came.total() - len(came)


@contextmanager
def new_storm(folder: Path, servers: Servers, seed: int) -> Iterator[Storm]:
    """Set up a site and its network; everything is closed in the end. The network is whole at first."""
    database = servers.postgresql
    url = database.new_database() if database else f"sqlite:///{folder / 'bouncepoll.db'}"
    scene = new_scene(folder, url, servers.dovecot, servers.postfix)
    proxies = {
        "imap": FaultyProxy(servers.dovecot.imaps_port, f"imap/{seed}", UNDER_TLS),
        "pop3": FaultyProxy(servers.dovecot.pop3_port, f"pop3/{seed}", UNDER_TLS),
        "smtp": FaultyProxy(servers.postfix.port, f"smtp/{seed}", MOSTLY, farthest_octets=15_000),
    }
    if database:
        # Connections of the pool live longer than the others.
        proxies["postgresql"] = FaultyProxy(database.port, f"sql/{seed}", IN_PLAIN, farthest_octets=400_000)
    try:
        config = folder / "network.toml"
        config.write_text(behind(proxies, scene.site.config.read_text(encoding="utf-8")), encoding="utf-8")
        yield Storm(scene, servers, proxies, random.Random(seed), config)
    finally:
        for proxy in proxies.values():
            proxy.stop()


def behind(proxies: dict[str, FaultyProxy], text: str) -> str:
    """Return a configuration that reaches its servers through the proxies, and does not wait long for them."""
    for proxy in proxies.values():
        for mark in ("port = {}\n", ":{}/"):
            text = text.replace(mark.format(proxy.target), mark.format(proxy.port))
    # One connection an account: one that is not given back would be missed at once.
    text = text.replace("batch = 10\n", 'batch = 10\ntimeout = "2s"\nmax_connections = 1\nanalysis_octets = "1KiB"\n')
    text = text.replace(
        "[delivery.smtp]\n", '[delivery]\nretry_first = "1s"\nretry_max = "2s"\n[delivery.smtp]\ntimeout = "2s"\n'
    )
    return text.replace('level = "warning"', 'level = "error"')
