"""The service as a user without any right: its own folder, sockets of systemd's, and a manager that listens.

Run as root these tests start the service in a user namespace, where root is nobody in particular: Python itself may be
in a folder of root's, which another user could not read.
"""

import os
import shutil
import signal
import smtplib
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

import bouncepoll
from tests.servers import end, free_port, program, wait_until

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("deploy")]

CONFIG = """
[instance]
id = "here"
[database]
url = "sqlite:///state/bouncepoll.db"
[mailboxes.news]
protocol = "maildir"
path = "news"
poll = "1s"
[listener]
smtp = ["systemd:smtp"]
lmtp = ["systemd:lmtp"]
hostname = "mx.example.org"
[delivery]
backend = "maildir"
interval = "1s"
[delivery.maildir]
path = "forwards"
[forward]
from_address = "news@example.org"
"""
REPLY = (
    "From: Ann Reader <ann@example.com>\r\nTo: spring@example.org\r\nSubject: Re: News\r\n"
    "Message-ID: <{mark}@example.com>\r\n\r\nPlease send me the catalogue {mark}.\r\n"
)


@dataclass
class Home:
    """A folder of the service's user, and how that user runs a program in it; ``prefix`` takes root's rights away."""

    folder: Path
    prefix: list[str]
    environment: dict[str, str]

    @property
    def there(self) -> dict[str, Any]:
        """The arguments of ``subprocess`` for a process in the folder."""
        return {"cwd": self.folder, "env": self.environment, "umask": 0o022}

    def command(self, *arguments: str) -> list[str]:
        """Return a call of the program."""
        return [*self.prefix, sys.executable, "-m", "bouncepoll", "--config", "config.toml", *arguments]

    def run(self, *arguments: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        command = self.command(*arguments)
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60, **self.there)

    def good(self, *arguments: str) -> None:
        """Run a command that has to succeed."""
        done = self.run(*arguments)
        assert done.returncode == 0, done.stdout + done.stderr

    def drop(self, mark: str) -> None:
        """Put a mail into the Maildir."""
        (self.folder / "news" / "new" / f"{mark}.example").write_bytes(REPLY.format(mark=mark).encode())

    def forwards(self) -> int:
        """Return how many forwards are in the next hop's Maildir."""
        return len(list((self.folder / "forwards").glob("new/*")))


def _without_rights() -> list[str]:
    """Return what a command is put behind so that it runs as a user without rights."""
    if os.getuid() != 0:
        return []
    unshare = [program("unshare", "util-linux"), "--user", "--map-user=4321", "--map-group=4321"]
    if subprocess.run([*unshare, "true"], check=False, capture_output=True).returncode == 0:
        return unshare
    # Where the kernel has no user namespaces for us: root in name, without any of its rights.
    return [program("setpriv", "util-linux"), "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]


@pytest.fixture
def home() -> Iterator[Home]:
    folder = Path(tempfile.mkdtemp(prefix="bp-home-", dir="/tmp"))
    code = str(Path(bouncepoll.__file__).parents[1])
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": code, "HOME": str(folder)}
    try:
        for path in ("state", "news/new", "news/cur", "news/tmp"):
            (folder / path).mkdir(parents=True, mode=0o700)
        (folder / "config.toml").write_text(CONFIG)
        (folder / "config.toml").chmod(0o600)
        yield Home(folder, _without_rights(), environment)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


class Manager:
    """The end of the service manager: what it heard."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._heard: list[bytes] = []

    def listen(self) -> None:
        """Read until an empty state comes; a queue that is full would hold up the service."""
        while state := self._sock.recv(4096):
            self._heard += state.splitlines()

    def has_heard(self, line: bytes) -> bool:
        """Whether a state was reported."""
        return line in self._heard


@pytest.fixture
def manager(home: Home) -> Iterator[Manager]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        address = str(home.folder / "notify")
        sock.bind(address)
        made = Manager(sock)
        thread = threading.Thread(target=made.listen)
        thread.start()
        yield made
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as last:
            last.sendto(b"", address)
        thread.join(10)


def _status(pid: int, name: str) -> list[str]:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(line for line in lines if line.startswith(f"{name}:")).split()[1:]


def test_it_takes_mails_at_sockets_of_systemd_without_any_right(home: Home, manager: Manager) -> None:
    port, path = free_port(), home.folder / "lmtp"
    home.good("filter", "add", "Spring", "--forward", "team@example.net", "--filter-address", "spring@example.org")
    told = {"NOTIFY_SOCKET": str(home.folder / "notify"), "WATCHDOG_USEC": "300000"}
    passed = [f"--setenv={name}={value}" for name, value in (home.environment | told).items()]
    command = [program("systemd-socket-activate", "systemd"), *passed, f"--listen=127.0.0.1:{port}"]
    command += [f"--listen={path}", "--fdname=smtp:lmtp", *home.command("serve")]
    log = home.folder.with_suffix(".log")
    with log.open("wb") as output:
        process = subprocess.Popen(command, stdout=output, stderr=output, **home.there)
    try:
        # The first connection starts it; what was sent to the sockets before it was ready waited.
        wait_until(path.exists, "the sockets")
        with smtplib.SMTP("127.0.0.1", port, timeout=90) as client:
            client.sendmail("ann@example.com", ["spring@example.org"], REPLY.format(mark="smtp"))
        with smtplib.LMTP(str(path)) as local:
            local.sendmail("ann@example.com", ["spring@example.org"], REPLY.format(mark="lmtp"))
        home.drop("maildir")
        wait_until(lambda: home.forwards() == 3, "three forwards")
        wait_until(lambda: manager.has_heard(b"WATCHDOG=1"), "a sign of life")
        assert manager.has_heard(b"READY=1")

        assert _status(process.pid, "CapEff") == ["0000000000000000"]
        assert _status(process.pid, "Umask") == ["0077"]
        limits = Path(f"/proc/{process.pid}/limits").read_text()
        assert next(line for line in limits.splitlines() if line.startswith("Max core")).split()[4] == "0"

        home.good("db", "backup", "copy.db")
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
        wait_until(lambda: manager.has_heard(b"STOPPING=1"), "the end to be told")
        assert ("service_runs_as_root" in log.read_text()) == ("--no-new-privs" in home.prefix)
    finally:
        end(process)
        log.unlink()
    # Everything it wrote is its own alone, whatever the umask it was started with.
    written = [one for one in home.folder.rglob("*") if one.name not in {"notify", "lmtp"} and "news" not in one.parts]
    assert {"bouncepoll.db", "bouncepoll.db.lock", "copy.db", "new"} <= {one.name for one in written}
    assert [one for one in written if one.stat().st_mode & 0o077] == []
