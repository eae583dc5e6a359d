"""A day's peak: one ``bouncepoll serve``, 200 mailboxes, a database with a million mails, 50,000 new ones in waves.

``python -m tests.bench.peak [sqlite|postgresql ...] [--stored 1000000] [--new 50000] [--mailboxes 200]``: fills the
database, starts the service, measures two minutes without mails, lets a wave of mails come every 30 seconds, and says
how long each wave waited; then retention deletes the octets of half of what is stored while more mails come. Exits with
1 when the last wave waited twice as long as the first and longer than the time between two polls, or when a count is
wrong.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import trustme
from sqlalchemy import text

from bouncepoll.bootstrap import system_clock
from bouncepoll.store import SqlStore, schema
from bouncepoll.store.database import Database
from tests.integration.load.filling import AGE_DAYS, NOW, fill, mailbox
from tests.integration.mailstream import made
from tests.servers import end, wait_until
from tests.servers.dovecot import Dovecot, DovecotUser
from tests.servers.postgresql import PostgreSQL

_POLL_S = 120
_WAVE_EVERY_S = 30
_WAVES = 10
_PATIENCE_S = 900.0
_OCTETS = "SELECT count(*) FROM blobs"
_FILTER = "bounce-1@example.org"
_CONFIG = """\
[instance]
id = "peak"
[database]
url = "{url}"
[log]
format = "json"
[delivery]
backend = "maildir"
[delivery.maildir]
path = "{folder}/forwards"
[forward]
from_address = "news@example.org"
[retention]
raw = "{raw}"
"""
_MAILBOX = """\
[mailboxes.{name}]
host = "localhost"
port = {dovecot.imap_port}
security = "insecure-loopback"
username = "{user.name}"
on_done = "delete"
poll = "{poll_s}s"
auth.password = "{user.password}"
"""


@dataclass
class Site:
    """The mailboxes, the database, and the service on both."""

    folder: Path
    database: Database
    dovecot: Dovecot
    users: list[DovecotUser]
    stored_before: int
    arrived: int = 0

    def arrive(self, count: int) -> None:
        """Let mails arrive, spread over all mailboxes."""
        octets = [made(self.arrived + number, _FILTER).octets for number in range(count)]
        for number, user in enumerate(self.users):
            self.dovecot.append(user, "INBOX", octets[number :: len(self.users)])
        self.arrived += count

    def number(self, query: str) -> int:
        """Return the one number a query gives."""
        with self.database.reading() as connection:
            return int(connection.execute(text(query)).scalar_one() or 0)

    def stored(self) -> int:
        """Return how many of the new mails are stored."""
        return self.number(f"SELECT count(*) FROM messages WHERE id > {self.stored_before}")

    @contextmanager
    def serving(self, raw: str) -> "Iterator[subprocess.Popen[bytes]]":
        """Run the service, which keeps octets for ``raw``, until all mailboxes were polled, and end it."""
        url = self.database.engine.url.render_as_string(hide_password=False)
        lines = [_CONFIG.format(url=url, folder=self.folder, raw=raw)]
        for number, user in enumerate(self.users):
            lines.append(_MAILBOX.format(name=mailbox(number), user=user, dovecot=self.dovecot, poll_s=_POLL_S))
        config = self.folder / "config.toml"
        config.write_text("".join(lines), encoding="utf-8")
        config.chmod(0o600)
        log = self.folder / "log"
        with log.open("wb") as output:
            command = [sys.executable, "-m", "bouncepoll", "--config", str(config), "serve"]
            process = subprocess.Popen(command, stdout=output, stderr=output)

        def watching() -> bool:
            told = log.read_text()
            assert process.poll() is None, told[-2000:]
            return told.count("mailbox_watched") >= len(self.users)

        try:
            wait_until(watching, "all watches", _PATIENCE_S)
            yield process
            process.terminate()
            assert process.wait(60) == 0, log.read_text()[-2000:]
        finally:
            end(process)


def _cpu_s(process: "subprocess.Popen[bytes]") -> float:
    """Return what a process and its children have used."""
    children = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    used = 0
    for pid in (process.pid, *children):
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        used += int(fields[11]) + int(fields[12])
    return used / os.sysconf("SC_CLK_TCK")


def _idle(process: "subprocess.Popen[bytes]") -> None:
    begun, used = time.monotonic(), _cpu_s(process)
    time.sleep(_POLL_S)
    share = (_cpu_s(process) - used) / (time.monotonic() - begun)
    print(f"  without mails: {share * 100:.2f} % of a core; load average {os.getloadavg()[0]:.1f}", flush=True)


def _waves(site: Site, process: "subprocess.Popen[bytes]", new: int) -> bool:
    """Let the mails come; return whether they were kept up with."""
    begun, used = time.monotonic(), _cpu_s(process)
    due: list[tuple[float, int]] = []
    waited_s: list[float] = []
    most = 0
    while len(waited_s) < _WAVES:
        now = time.monotonic() - begun
        assert now < _PATIENCE_S, f"{site.arrived - site.stored()} mails wait"
        if len(due) < _WAVES and now >= len(due) * _WAVE_EVERY_S:
            site.arrive(new // _WAVES)
            due.append((time.monotonic() - begun, site.arrived))
        stored = site.stored()
        most = max(most, site.arrived - stored)
        while len(waited_s) < len(due) and stored >= due[len(waited_s)][1]:
            waited_s.append(time.monotonic() - begun - due[len(waited_s)][0])
        time.sleep(0.5)
    took_s = time.monotonic() - begun
    waits = " ".join(f"{wait_s:.0f}" for wait_s in waited_s)
    print(f"  {site.arrived:,} mails in {took_s:.0f} s, {site.arrived / took_s:.0f}/s; at most {most:,} waited")
    print(
        f"  each wave was stored after [s]: {waits}; {(_cpu_s(process) - used) / site.arrived * 1000:.2f} ms CPU a mail"
    )
    return waited_s[-1] <= max(waited_s[0] * 2, _POLL_S)


def _check_counts(site: Site) -> None:
    after = f"message_id > {site.stored_before}"
    sent = [made(number, _FILTER) for number in range(site.arrived)]
    assert site.stored() == site.arrived
    assert site.number(f"SELECT count(*) FROM events WHERE {after}") == sum(mail.event is not None for mail in sent)
    forwarded = sum(mail.forwarded for mail in sent)
    query = f"SELECT count(*) FROM outbox WHERE {after} AND state = 'sent'"
    wait_until(lambda: site.number(query) == forwarded, "all forwards", _PATIENCE_S)
    assert site.number("SELECT count(*) FROM outbox WHERE state = 'queued'") == 0
    print(f"  {site.arrived:,} mails stored once, their events counted once, {forwarded:,} forwarded", flush=True)


def _retention(site: Site) -> None:
    """Let retention delete the octets of half of what is stored while mails come."""
    stored_before, new_before = site.number(_OCTETS), site.arrived
    now = system_clock()
    # As if it had run for days: a clock that was not steady for one deletes nothing.
    SqlStore(site.database, system_clock).marks.set({"clock_seen": now, "clock_steady_since": now - timedelta(days=2)})
    with site.serving(f"{(now - NOW).days + AGE_DAYS // 2}d"):
        begun, deleted, longest_s = time.monotonic(), 0, 0.0
        while deleted < stored_before * 0.4:
            assert time.monotonic() - begun < _PATIENCE_S, f"only {deleted} were deleted"
            site.arrive(200)
            wave = time.monotonic()
            wait_until(lambda: site.stored() == site.arrived, "mails during retention", _PATIENCE_S)
            longest_s = max(longest_s, time.monotonic() - wave)
            deleted = stored_before + site.arrived - new_before - site.number(_OCTETS)
            time.sleep(1)
        took_s = time.monotonic() - begun
    print(f"  retention deleted {deleted:,} in {took_s:.0f} s from the start (it begins after a minute); ", end="")
    print(f"200 mails meanwhile waited {longest_s:.1f} s at most", flush=True)


def _run(kind: str, wanted: argparse.Namespace) -> bool:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bp-peak-", dir="/tmp")))
        if kind == "sqlite":
            url = f"sqlite:///{folder / 'mails.db'}"
        else:
            url = stack.enter_context(PostgreSQL.running()).new_database()
        schema.upgrade(url)
        database = stack.enter_context(closing(Database(url)))
        begun = time.monotonic()
        fill(database, wanted.stored, wanted.mailboxes)
        print(f"{kind}: {wanted.stored:,} mails stored in {time.monotonic() - begun:.0f} s", flush=True)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "ca.pem"))
        dovecot = stack.enter_context(
            Dovecot.running(
                authority, folder / "ca.pem", settings="default_process_limit = 1000\ndefault_client_limit = 2000"
            )
        )
        site = Site(folder, database, dovecot, [dovecot.new_user() for _ in range(wanted.mailboxes)], wanted.stored)
        for user in site.users:
            dovecot.append(user, "INBOX", [])
        with site.serving("never") as process:
            _idle(process)
            kept_up = _waves(site, process, wanted.new)
            _check_counts(site)
        _retention(site)
        return kept_up


def main() -> None:
    """Run it, on both databases unless one is named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", default=["sqlite", "postgresql"])
    parser.add_argument("--stored", type=int, default=1_000_000)
    parser.add_argument("--new", type=int, default=50_000)
    parser.add_argument("--mailboxes", type=int, default=200)
    wanted = parser.parse_args()
    kept_up = [_run(kind, wanted) for kind in wanted.kinds]
    if not all(kept_up):
        raise SystemExit("the backlog grew")


if __name__ == "__main__":
    main()
