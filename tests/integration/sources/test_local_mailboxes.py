"""Maildir and mbox as an administrator uses them: filled by a real Postfix or by hand, polled by the command line."""

import smtplib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import structlog

from bouncepoll.store import schema
from tests.integration.cli.conftest import Machine
from tests.servers import wait_until
from tests.servers.postfix import Postfix

BOUNCE = b"""\
From: MAILER-DAEMON@mx.example.net\r
To: %b\r
Subject: Delivery report\r
Date: Mon, 02 Nov 2026 10:00:01 +0000\r
Message-ID: <%b@mx.example.net>\r
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


def bounce(address: str, name: str) -> bytes:
    return BOUNCE % (address.encode(), name.encode())


class Site:
    """Commands in a folder with a configuration and a database of its own, run in this process."""

    def __init__(self, machine: Machine, mailboxes: str) -> None:
        machine.configure(
            f'[instance]\nid = "here"\n[database]\nurl = "sqlite:///mails.db"\n[log]\nlevel = "warning"\n{mailboxes}'
        )
        self._machine = machine

    def run(self, *arguments: str, status: int = 0) -> list[dict[str, Any]]:
        """Run a command and return what it prints as JSON."""
        result = self._machine(*arguments, "--json")
        assert result.status == status, result.text + result.err
        return result.records

    def poll(self, name: str) -> dict[str, Any]:
        """Poll a mailbox once, and return what it did."""
        (outcome,) = [line for line in self.run("poll", name, "--once", "--no-drain") if line.get("mailbox") == name]
        return dict(outcome["report"])


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    file = tmp_path_factory.mktemp("template") / "mails.db"
    schema.upgrade(f"sqlite:///{file}")
    return file.read_bytes()


@pytest.fixture
def machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfdbinary: pytest.CaptureFixture[bytes], empty_database: bytes
) -> Iterator[Machine]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mails.db").write_bytes(empty_database)
    yield Machine(tmp_path, capfdbinary, monkeypatch)
    structlog.reset_defaults()


@pytest.mark.server
@pytest.mark.xdist_group("end-to-end")
def test_a_maildir_that_postfix_fills(postfix: Postfix, machine: Machine, tmp_path: Path) -> None:
    address = f"spool-{tmp_path.name}@example.org"
    site = Site(
        machine,
        f'[mailboxes.spool]\nprotocol = "maildir"\npath = "{postfix.maildir}"\non_done = "leave"\n'
        f'address = "{address}"\n',
    )
    with smtplib.SMTP("127.0.0.1", postfix.port) as client:
        for number in range(3):
            client.sendmail("", [address], bounce(address, f"{number}.{tmp_path.name}"))
    wait_until(lambda: len(postfix.received(address)) == 3, "Postfix to deliver")
    assert site.poll("spool")["recorded"] >= 3  # Other tests' mails lie in the same Maildir.
    mails = [mail for mail in site.run("message", "list", "--limit", "500") if tmp_path.name in str(mail)]
    assert [mail["kind"] for mail in mails] == ["bounce"] * 3
    assert site.poll("spool")["recorded"] == 0


def test_a_maildir_is_emptied_into_its_folder(machine: Machine, tmp_path: Path) -> None:
    maildir = tmp_path / "Maildir"
    for part in ("new", "cur", "tmp"):
        (maildir / part).mkdir(parents=True)
    for number in range(5):
        (maildir / "new" / f"17000000{number}.M1P1.mx").write_bytes(bounce("a@example.org", f"m{number}"))
    site = Site(machine, f'[mailboxes.spool]\nprotocol = "maildir"\npath = "{maildir}"\nbatch = 2\n')
    assert [row["new"] for row in site.run("mailbox", "check")] == [5]
    report = site.poll("spool")
    assert (report["recorded"], report["settled"]) == (5, 5)
    assert list((maildir / "new").iterdir()) == []
    assert len(list((maildir / ".Processed" / "cur").iterdir())) == 5
    assert site.poll("spool")["recorded"] == 0
    (row,) = site.run("mailbox", "list")
    assert (row["protocol"], row["path"], row["host"]) == ("maildir", str(maildir), None)


def test_an_mbox_is_read_on_from_where_it_was_left(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "mbox"

    def append(*names: str) -> None:
        with path.open("ab") as file:
            for name in names:
                mail = bounce("a@example.org", name).replace(b"\r\n", b"\n")
                file.write(b"From MAILER-DAEMON Mon Nov  2 10:00:00 2026\n" + mail + b"\n")

    append("m1", "m2", "m3")
    site = Site(machine, f'[mailboxes.archive]\nprotocol = "mbox"\npath = "{path}"\nbatch = 2\n')
    assert site.poll("archive")["recorded"] == 3
    append("m4")
    report = site.poll("archive")
    assert (report["recorded"], report["duplicates"]) == (1, 0)
    # Rotated, and a mail seen before is in the new file too: it is known by its content, and counted once.
    path.rename(tmp_path / "mbox.1")
    append("m4", "m5")
    report = site.poll("archive")
    assert (report["recorded"], report["duplicates"]) == (2, 1)
    assert site.poll("archive")["recorded"] == 0
    events = site.run("events", "list")
    assert len(events) == 5


def test_a_missing_maildir_is_said(machine: Machine, tmp_path: Path) -> None:
    site = Site(machine, f'[mailboxes.spool]\nprotocol = "maildir"\npath = "{tmp_path / "none"}"\n')
    (row,) = site.run("mailbox", "check", status=2)
    assert "mailboxes.spool.path" in row["error"]
    assert "check path and folders" in row["error"]
