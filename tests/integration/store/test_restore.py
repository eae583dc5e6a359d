"""Going back to a backup and polling on: nothing is counted twice, and what the mailbox still has is not lost."""

import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from email import message_from_bytes
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from bouncepoll.analysis import Analyser
from bouncepoll.deliver import ForwardOptions
from bouncepoll.deliver.forward import prepare
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.message import Message
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.status import Permanence
from bouncepoll.model.verdict import Evidence, Finding, Kind, Reason, Verdict
from bouncepoll.pipeline import MailboxPlan, Poller, PollReport
from bouncepoll.store import SqlStore, open_store
from bouncepoll.store.backup import back_up
from bouncepoll.testing import FakeClock, FakeSource
from tests.contracts.storing import DATABASES, LEASE, NOW, answers, count, new_url
from tests.servers import program

MOVE, LEAVE = Disposition(DoneAction.MOVE, "Processed"), Disposition(DoneAction.LEAVE)
EVIDENCE = Evidence("test")


def _mail(number: int) -> bytes:
    kind = "bounce" if number % 2 else "reply"
    return f"From: r{number}@example.com\r\nTo: spring@example.org\r\nSubject: {kind}\r\n\r\ntext {number}\r\n".encode()


def _classify(message: Message) -> Verdict:
    if message.header("Subject") != "bounce":
        return Verdict(Kind.REPLY, (), EVIDENCE)
    recipient = message.header("From")
    report = RecipientReport(final_recipient=recipient)
    found = Finding(recipient, Kind.BOUNCE, Reason.USER_UNKNOWN, Permanence.PERMANENT, EVIDENCE, report)
    return Verdict(Kind.BOUNCE, (found,), EVIDENCE)


@dataclass
class Site:
    """A database with a way to copy it and to go back, and a mailbox."""

    url: str
    back_up: Callable[[], None]
    restore: Callable[[], None]
    source: FakeSource
    store: SqlStore

    def receive(self, numbers: Sequence[int]) -> None:
        for number in numbers:
            self.source.mailbox["INBOX"].append(_mail(number))

    def poll(self, done: Disposition) -> PollReport:
        plan = MailboxPlan("news", done, batch=4)
        analyser = Analyser(_classify, "here")
        return Poller(self.source, plan, store=self.store, analyser=analyser, clock=FakeClock(NOW)).run()

    def go_back(self) -> None:
        self.store.close()
        self.restore()
        self.store = open_store(self.url, clock=FakeClock(NOW))

    def forward(self) -> list[bytes]:
        """Send what waits; return the forwards."""
        sent = []
        for item in self.store.outbox.claim(100, NOW, LEASE):
            sent.append(prepare(item, ForwardOptions(from_address="news@example.org"), "here").octets)
            self.store.outbox.settle(item, answers(item, 250), {}, NOW)
        return sent

    def counts(self) -> tuple[int, int, int]:
        """Return how many mails, events and forwards are recorded."""
        return count(self.store, "messages"), count(self.store, "events"), count(self.store, "forwards")


def _tools(url: str, folder: Path) -> tuple[Callable[[], None], Callable[[], None]]:
    """Return the copy and the way back of the guide: pg_dump and pg_restore."""
    address = make_url(url)
    where = ["--host", str(address.host), "--port", str(address.port), "--username", str(address.username)]
    env = {**os.environ, "PGPASSWORD": str(address.password)}
    file = str(folder / "bouncepoll.dump")

    def run(tool: str, *arguments: str) -> None:
        command = [program(tool, "postgresql-client"), *where, *arguments]
        done = subprocess.run(command, env=env, capture_output=True, text=True, check=False, timeout=60)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr

    name = str(address.database)

    def restore() -> None:
        run("dropdb", name)
        run("createdb", "--template=template0", "--encoding=UTF8", name)
        run("pg_restore", "--exit-on-error", "--single-transaction", "--no-owner", f"--dbname={name}", file)

    return lambda: run("pg_dump", "--format=custom", f"--file={file}", name), restore


@pytest.fixture(params=DATABASES)
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Site]:
    url = new_url(request.param, request, tmp_path)
    if request.param == "sqlite":
        file, copy = tmp_path / "bouncepoll.db", tmp_path / "backup.db"

        def restore() -> None:
            for name in ("-wal", "-shm"):
                (tmp_path / f"bouncepoll.db{name}").unlink(missing_ok=True)
            shutil.copy(copy, file)

        def make_copy() -> None:
            assert back_up(url, copy) == copy.stat().st_size

        made = Site(url, make_copy, restore, FakeSource("news"), _opened(url))
    else:
        made = Site(url, *_tools(url, tmp_path), FakeSource("news"), _opened(url))
    made.store.filters.add(BounceFilter(0, "Spring", "spring@example.org", ("team@example.net",)))
    yield made
    made.store.close()


def _opened(url: str) -> SqlStore:
    return open_store(url, clock=FakeClock(NOW))


def test_mails_that_were_left_are_read_again_from_where_the_backup_was(site: Site) -> None:
    site.receive(range(10))
    site.poll(LEAVE)
    site.back_up()
    site.receive(range(10, 16))
    site.poll(LEAVE)
    assert site.counts() == (16, 8, 8)
    site.go_back()
    assert site.counts() == (10, 5, 5)
    report = site.poll(LEAVE)
    assert (report.recorded, report.duplicates) == (6, 0)
    assert site.counts() == (16, 8, 8)
    assert site.poll(LEAVE).recorded == 0


def test_mails_that_were_moved_count_once_after_they_are_moved_back(site: Site) -> None:
    site.receive(range(10))
    site.poll(MOVE)
    site.back_up()
    site.receive(range(10, 16))
    site.poll(MOVE)
    site.go_back()
    # What was moved after the backup is not in INBOX: it is missing, until somebody moves it back.
    assert site.poll(MOVE).recorded == 0
    assert site.counts() == (10, 5, 5)
    for uid in sorted(site.source.mailbox["Processed"].mails):
        site.source.mailbox["INBOX"].append(site.source.mailbox["Processed"].mails.pop(uid))
    report = site.poll(MOVE)
    assert (report.recorded, report.duplicates) == (16, 10)
    assert site.counts() == (16, 8, 8)
    assert not site.source.mailbox["INBOX"].mails


def test_what_was_forwarded_after_the_backup_goes_out_again_under_its_old_message_id(site: Site) -> None:
    site.receive(range(4))
    site.poll(LEAVE)
    assert len(site.forward()) == 2
    site.receive(range(4, 8))
    site.poll(LEAVE)
    site.back_up()
    before = site.forward()
    site.go_back()
    again = site.forward()
    # Those sent before the backup stay sent.
    assert len(again) == len(before) == 2
    ids = [{message_from_bytes(one)["Message-ID"] for one in sent} for sent in (before, again)]
    assert ids[0] == ids[1]
    assert before == again
