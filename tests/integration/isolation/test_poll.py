"""Polls and receptions whose mails are read by other processes: what a mail does there costs that mail only."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from bouncepoll.isolation import IsolatedAnalyser, Limits
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.reception import Reception
from bouncepoll.pipeline import MailboxPlan, Poller
from bouncepoll.receive import FilterBook, Receiver
from bouncepoll.testing import FakeClock, FakeSource, FakeStore
from tests.integration.isolation import hostile
from tests.integration.isolation.hostile import FILTERS, mail
from tests.servers import wait_until

MOVE = Disposition(DoneAction.MOVE, "Processed")


@pytest.fixture
def analyser() -> Iterator[IsolatedAnalyser]:
    made = IsolatedAnalyser(hostile.build, Limits(cpu_s=0.3, memory_octets=64 * 1024 * 1024))
    yield made
    made.close()


def test_a_poll_goes_on_beside_mails_that_end_their_readers(analyser: IsolatedAnalyser) -> None:
    subjects = ["hello", "spin", "hello", "devour", "hello", "hello", "segfault", "hello"]
    source = FakeSource("news", {"INBOX": [mail(subject, n).octets for n, subject in enumerate(subjects)]})
    store = FakeStore(FILTERS)
    plan = MailboxPlan("news", MOVE, batch=3)
    report = Poller(source, plan, store=store, analyser=analyser, clock=FakeClock()).run()
    assert (report.recorded, report.quarantined, report.settled) == (5, 3, 5)
    errors = sorted(place.error for place in store.tables.places.values() if place.error)
    assert ["SIGSEGV" in errors[0], "CPU" in errors[1], "memory" in errors[2]] == [True, True, True]
    # They stay at the mailbox, are kept, and are not read again.
    assert len(source.mailbox["INBOX"].mails) == 3
    assert all(place.octets for place in store.tables.places.values() if place.error)
    again = Poller(source, plan, store=store, analyser=analyser, clock=FakeClock()).run()
    assert (again.recorded, again.quarantined) == (0, 0)


def test_a_mail_that_is_brought_and_ends_its_reader_is_kept(analyser: IsolatedAnalyser) -> None:
    store = FakeStore(FILTERS)
    receiver = Receiver(store, analyser, FilterBook(lambda: FILTERS), clock=FakeClock())
    assert receiver(mail("abort", 1)) is Reception.QUARANTINED
    assert receiver(mail("hello", 2)) is Reception.STORED
    (stored,) = store.tables.messages.values()
    assert list(stored.routes) == [1]


def test_the_command_reads_mails_elsewhere_and_leaves_no_process(tmp_path: Path) -> None:
    (tmp_path / "mails" / "new").mkdir(parents=True)
    (tmp_path / "mails" / "cur").mkdir()
    (tmp_path / "mails" / "tmp").mkdir()
    for number in range(3):
        (tmp_path / "mails" / "new" / str(number)).write_bytes(mail("hello", number).octets)
    (tmp_path / "c.toml").write_text(
        f'[database]\nurl = "sqlite:///{tmp_path}/b.db"\n[mailboxes.news]\nprotocol = "maildir"\npath = "{tmp_path}/mails"\n'
    )
    command = [sys.executable, "-m", "bouncepoll", "--config", str(tmp_path / "c.toml"), "poll", "--once", "--json"]
    env = {name: value for name, value in os.environ.items() if name != "BOUNCEPOLL_ANALYSIS__WORKERS"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env, start_new_session=True)
    output, _none = process.communicate(timeout=300)
    assert process.returncode == 0
    assert '"recorded": 3' in output
    wait_until(lambda: not _of_session(process.pid), "the end of all its processes")


def _of_session(session: int) -> list[str]:
    """Return the processes of a session, which is named by the process that began it."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state = path.read_text("ascii", "replace").rpartition(")")[2].split()
            if state[3] == str(session) and state[0] != "Z":
                found.append(path.parent.name)
    return found
