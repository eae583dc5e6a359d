"""A machine of its own for each test: a folder, a configuration, mailboxes in memory, and the command line."""

import io
import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import structlog

from bouncepoll.bootstrap import Application
from bouncepoll.cli.app import run
from bouncepoll.store import schema
from bouncepoll.testing import FakeSource

CONFIG = """
[instance]
id = "here"
[database]
url = "sqlite:///mails.db"
[mailboxes.news]
host = "imap.example.org"
username = "news@example.org"
auth.password = "hunter-two"
[delivery]
backend = "maildir"
[delivery.maildir]
path = "forwards"
[forward]
from_address = "news@example.org"
"""

REPLY = (
    b"From: Ann Reader <ann@example.com>\r\nTo: spring@example.org\r\nSubject: Re: News\r\n"
    b"Date: Mon, 02 Nov 2026 10:00:00 +0000\r\nMessage-ID: <m1@example.com>\r\n\r\nPlease send me the catalogue.\r\n"
)
BOUNCE = b"""\
From: MAILER-DAEMON@mx.example.net\r
To: spring@example.org\r
Subject: Delivery report\r
Date: Mon, 02 Nov 2026 10:00:01 +0000\r
Message-ID: <b1@mx.example.net>\r
MIME-Version: 1.0\r
Content-Type: multipart/report; report-type=delivery-status; boundary=b\r
\r
--b\r
Content-Type: text/plain\r
\r
Your mail could not be delivered.\r
--b\r
Content-Type: message/delivery-status\r
\r
Reporting-MTA: dns; mx.example.net\r
\r
Final-Recipient: rfc822; reader@example.net\r
Action: failed\r
Status: 5.1.1\r
Diagnostic-Code: smtp; 550 5.1.1 no such user here\r
--b--\r
"""


@dataclass
class Result:
    """What a command printed, and how it ended."""

    status: int
    out: bytes
    err: str

    @property
    def text(self) -> str:
        return self.out.decode()

    @property
    def records(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.text.splitlines()]


@dataclass
class Machine:
    """Runs commands in a folder of its own; ``sources`` are its mailboxes by name."""

    folder: Path
    capture: pytest.CaptureFixture[bytes]
    monkeypatch: pytest.MonkeyPatch
    sources: dict[str, FakeSource] = field(default_factory=dict)

    def __call__(self, *arguments: str, stdin: bytes = b"") -> Result:
        self.monkeypatch.setattr(sys, "argv", ["bouncepoll", *arguments])
        self.monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin)))
        self.capture.readouterr()
        try:
            run()
        except SystemExit as exc:
            status = exc.code
        assert status is None or isinstance(status, int)
        found = self.capture.readouterr()
        return Result(status or 0, found.out, found.err.decode())

    def good(self, *arguments: str, stdin: bytes = b"") -> Result:
        """Run a command that has to succeed."""
        result = self(*arguments, stdin=stdin)
        assert result.status == 0, result.text + result.err
        return result

    def wrong(self, *arguments: str, stdin: bytes = b"", status: int = 2) -> str:
        """Run a command that has to fail, and return what it says; never a traceback, always on standard error."""
        result = self(*arguments, stdin=stdin)
        assert result.status == status, result.text + result.err
        assert "Traceback" not in result.err
        assert result.err.strip()
        return result.err

    def configure(self, text: str = CONFIG) -> None:
        """Write the configuration."""
        (self.folder / "config.toml").write_text(text, encoding="utf-8")

    def receive(self, *mails: bytes) -> None:
        """Put mails into the mailbox ``news``."""
        for mail in mails:
            self.sources["news"].mailbox["INBOX"].append(mail)


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the octets of a database without rows; copying it is quicker than making one."""
    file = tmp_path_factory.mktemp("template") / "mails.db"
    schema.upgrade(f"sqlite:///{file}")
    return file.read_bytes()


@pytest.fixture
def bare(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes]
) -> Iterator[Machine]:
    """Return a machine without a configuration."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("XDG_CONFIG_HOME", "CREDENTIALS_DIRECTORY", "BOUNCEPOLL_CONFIG", "FORCE_COLOR", "COLUMNS"):
        monkeypatch.delenv(name, raising=False)
    machine = Machine(tmp_path, capfdbinary, monkeypatch, {"news": FakeSource("news", {"INBOX": ()})})
    monkeypatch.setattr(Application, "source", lambda _application, name: machine.sources[name])
    yield machine
    structlog.reset_defaults()


@pytest.fixture
def cli(bare: Machine, empty_database: bytes) -> Machine:
    """Return a configured machine with an empty database."""
    bare.configure()
    (bare.folder / "mails.db").write_bytes(empty_database)
    return bare
