"""``bouncepoll serve`` as the next hop of a real Postfix, by LMTP and as an MX, with no mailbox to poll."""

import json
import signal
import smtplib
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from bouncepoll.bootstrap import Application, system_clock
from bouncepoll.bootstrap._listener import ListenerDesk
from bouncepoll.errors import ConfigurationError
from bouncepoll.model.storing import Selection
from bouncepoll.settings import load
from bouncepoll.store import open_store
from tests.integration.listener.conftest import MAIL, Talk, numbered
from tests.integration.mailstream import made
from tests.servers import end, wait_until
from tests.servers.postfix import Postfix

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("postfix")]

SENDER = "sender@sender.example"


@dataclass
class Serving:
    """A ``bouncepoll serve`` and its configuration."""

    folder: Path
    process: "subprocess.Popen[bytes] | None" = None
    ports: dict[str, int] = field(default_factory=dict)

    @property
    def log(self) -> Path:
        return self.folder / "serve.log"

    def configure(self, postfix: Postfix, ca_file: Path, certificate: dict[str, str]) -> None:
        (self.folder / "config.toml").write_text(
            f"""\
[instance]
id = "mailloop-1"
[database]
url = "sqlite:///{self.folder}/bouncepoll.db"
[listener]
smtp = ["127.0.0.1:{postfix.mx_port}"]
lmtp = ["127.0.0.1:{postfix.lmtp_port}", "127.0.0.1:0"]
hostname = "mx.example.org"
cert_file = "{certificate["cert_file"]}"
key_file = "{certificate["key_file"]}"
[delivery]
interval = "1h"
[delivery.smtp]
host = "localhost"
port = {postfix.port}
ca_file = "{ca_file}"
[forward]
from_address = "news@example.org"
""",
            encoding="utf-8",
        )

    def command(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "bouncepoll", "--config", str(self.folder / "config.toml"), *arguments]

    def run(self, *arguments: str) -> str:
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    @contextmanager
    def running(self) -> Iterator[None]:
        with self.log.open("wb") as output:
            self.process = subprocess.Popen(self.command("serve"), stdout=output, stderr=output)
        try:
            wait_until(lambda: b"service_started" in self.log.read_bytes(), "serve to start")
            started = next(event for event in self.events() if event["event"] == "listener_started")
            self.ports = {key: int(started[key][0].rpartition(":")[2]) for key in ("smtp", "lmtp")}
            yield
        finally:
            end(self.process)

    def events(self) -> list[dict[str, Any]]:
        lines = self.log.read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines if line.startswith("{")]

    def add_filter(self, address: str, *more: str) -> None:
        self.run("filter", "add", f"filter {address}"[:60], "--filter-address", address, *more)

    def count(self, query: str) -> int:
        engine = create_engine(f"sqlite:///{self.folder}/bouncepoll.db")
        try:
            with engine.connect() as connection:
                return int(connection.execute(text(query)).scalar_one())
        finally:
            engine.dispose()

    def stored(self) -> bytes:
        store = open_store(f"sqlite:///{self.folder}/bouncepoll.db", clock=system_clock)
        try:
            (mail,) = store.archive.page(Selection(), 0, 1)
        finally:
            store.close()
        assert mail.raw is not None
        return mail.raw.octets

    def connect(self, key: str = "smtp") -> Talk:
        return Talk(socket.create_connection(("127.0.0.1", self.ports[key]), 10))


@pytest.fixture
def serving(tmp_path: Path, postfix: Postfix, ca_file: Path, certificate: dict[str, str]) -> Serving:
    made_serving = Serving(tmp_path)
    made_serving.configure(postfix, ca_file, certificate)
    return made_serving


def send(postfix: Postfix, octets: bytes, *recipients: str) -> None:
    with smtplib.SMTP("127.0.0.1", postfix.port, timeout=20) as client:
        assert client.sendmail(SENDER, recipients, octets) == {}


def test_a_postfix_hands_on_by_lmtp_and_bounces_what_is_unknown(serving: Serving, postfix: Postfix) -> None:
    with serving.running():
        domain, team = "lmtp.example", f"team-{serving.folder.name}@example.net"
        serving.add_filter(f"news@{domain}", "--forward", team)
        serving.add_filter(f"fall@{domain}")
        send(postfix, MAIL, f"news+x@{domain}", f"fall@{domain}", f"nobody@{domain}")
        wait_until(lambda: len(postfix.received(team)) == 1, "the forward")
        assert b"Hello" in postfix.received(team)[0]
        assert b"X-Bouncepoll-Loop: mailloop-1" in postfix.received(team)[0]
        bounced = f"Final-Recipient: rfc822; nobody@{domain}".encode()
        wait_until(lambda: any(bounced in mail for mail in postfix.received(SENDER)), "Postfix's bounce")
        (bounce,) = (mail for mail in postfix.received(SENDER) if bounced in mail)
        assert b"Status: 5.1.1" in bounce
        assert f"Final-Recipient: rfc822; fall@{domain}".encode() not in bounce
        assert serving.count("SELECT count(*) FROM messages") == 1
        assert serving.count("SELECT count(*) FROM routes") == 2
        stored = next(event for event in serving.events() if event["event"] == "message_recorded")
        assert (stored["mailbox"], stored["folder"]) == ("listener", "lmtp")

        # The forward that comes back is known, and not taken again.
        send(postfix, postfix.received(team)[0].replace(b"\n", b"\r\n"), f"fall@{domain}")
        looped = b"5.4.6"
        wait_until(lambda: any(looped in mail for mail in postfix.received(SENDER)), "the bounce of the loop")
        assert serving.count("SELECT count(*) FROM messages") == 1


def test_a_postfix_brings_bounces_to_the_mx_inside_tls(serving: Serving, postfix: Postfix) -> None:
    with serving.running():
        serving.add_filter("news@mx.example")
        mails = [made(number, "news@mx.example") for number in range(12)]
        for mail in mails:
            send(postfix, mail.octets, "news@mx.example")
        wait_until(lambda: serving.count("SELECT count(*) FROM messages") == 12, "twelve mails")
        assert serving.count("SELECT count(*) FROM events") == sum(mail.event is not None for mail in mails)
        assert "reader0@example.net" in serving.run("events", "list", "--json", "--kind", "bounce")
        first = serving.stored()
        assert f"Return-Path: <{SENDER}>\r\nReceived: from mx.receiver.example ([127.0.0.1])".encode() in first
        assert b" with ESMTPS id " in first
        assert serving.process is not None
        serving.process.send_signal(signal.SIGTERM)
        assert serving.process.wait(10) == 0
    assert serving.events()[-1]["event"] == "service_stopped"
    assert serving.events()[-1]["finished"] is True


def test_a_kill_after_the_commit_and_before_the_reply_counts_nothing_twice(serving: Serving) -> None:
    bounce = made(0, "news@example.org").octets
    with serving.running():
        serving.add_filter("news@example.org", "--forward", "team@example.net")
        with serving.connect() as client:
            client.begin("news@example.org")
            assert client.say("DATA").startswith("354")
            client.sock.sendall(bounce + b".\r\n")
            wait_until(lambda: serving.count("SELECT count(*) FROM messages") == 1, "the commit")
            assert serving.process is not None
            serving.process.kill()
            serving.process.wait(10)
    with serving.running():
        for _ in range(2):
            with serving.connect() as client:
                assert client.deliver(octets=bounce).startswith("250")
    assert serving.count("SELECT count(*) FROM messages") == 1
    assert serving.count("SELECT count(*) FROM events") == 1
    assert serving.count("SELECT count(*) FROM places") == 3


def test_sigterm_answers_the_mail_in_hand(serving: Serving) -> None:
    with serving.running():
        serving.add_filter("news@example.org")
        with serving.connect() as busy, serving.connect("lmtp") as idle:
            busy.begin("news@example.org")
            assert busy.say("DATA").startswith("354")
            assert serving.process is not None
            serving.process.send_signal(signal.SIGTERM)
            assert idle.reply().startswith("421 4.3.2")
            busy.sock.sendall(numbered(1) + b".\r\n")
            assert busy.reply().startswith("250 2.0.0")
            assert busy.reply().startswith("421 4.3.2")
        assert serving.process.wait(10) == 0
    assert serving.count("SELECT count(*) FROM messages") == 1


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("lmtp = [", 'lmtp = ["127.0.0.1", ', "listener.lmtp"),
        ("lmtp = [", 'lmtp = ["unix:/nowhere/lmtp", ', "there is no such folder for the socket"),
        ("cert_file", "# cert_file", "cert_file and key_file belong together"),
        ('cert_file = "', 'cert_file = "/nowhere', "listener.cert_file: /nowhere"),
        ("hostname", 'default_filter = "none"\nhostname', "listener.default_filter: there is no filter 'none'"),
    ],
)
def test_a_configuration_that_cannot_work_is_told(serving: Serving, old: str, new: str, said: str) -> None:
    config = serving.folder / "config.toml"
    config.write_text(config.read_text(encoding="utf-8").replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ConfigurationError, match=said):
        _build(config)


def _build(config: Path) -> None:
    settings = load(config, env={}, cwd=config.parent)
    if settings.missing_files():
        raise ConfigurationError(*settings.missing_files())
    with Application(settings) as application:
        ListenerDesk(application, lambda: None)
