"""Processes that read mails: bounded, replaced when they die, and no mail is blamed for what another one did."""

import operator
import os
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from bouncepoll.analysis import Analysing, Unprocessed, Weighing
from bouncepoll.bootstrap import analyser_with, system_clock
from bouncepoll.errors import ConfigurationError, TransientError
from bouncepoll.isolation import IsolatedAnalyser, Limits, _pool, _transfer
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.model.storing import Entry
from bouncepoll.model.trust import TokenUse, Trust, TrustReason
from bouncepoll.policy.trust import TrustRules
from bouncepoll.resolve.tokens import TokenKeys
from bouncepoll.testing import FakeClock
from tests.integration.cli.conftest import BOUNCE
from tests.integration.isolation import hostile
from tests.integration.isolation.hostile import FILTERS, mail
from tests.servers import wait_until

LIMITS = Limits(cpu_s=0.3, memory_octets=64 * 1024 * 1024)
Make = Callable[..., IsolatedAnalyser]


@pytest.fixture
def make() -> Iterator[Make]:
    made: list[IsolatedAnalyser] = []

    def start(build: Callable[[], Analysing] = hostile.build, **options: int) -> IsolatedAnalyser:
        made.append(IsolatedAnalyser(build, LIMITS, **options))
        return made[-1]

    yield start
    for analyser in made:
        analyser.close()


def read(analyser: Analysing, *subjects: str) -> list[Entry | Unprocessed]:
    raws = [mail(subject, number) for number, subject in enumerate(subjects)]
    return list(analyser.begin(raws, FILTERS, None)())


def test_what_comes_back_is_what_a_reader_here_says(make: Make) -> None:
    raws = [mail("hello", number) for number in range(250)]
    here = hostile.build().begin(raws, FILTERS, None)()
    found = make().begin(raws, FILTERS, None)()
    assert len(found) == len(here) == 250
    for raw, theirs, ours in zip(raws, found, here, strict=True):
        assert isinstance(theirs, Entry)
        assert isinstance(ours, Entry)
        assert theirs.message.raw is raw
        assert (theirs.verdict, theirs.routes, theirs.forwards, theirs.judged) == (
            ours.verdict, ours.routes, ours.forwards, ours.judged,
        )  # fmt: skip
        assert theirs.message.fingerprint == ours.message.fingerprint
        assert theirs.message.header("Subject") == "hello"


def test_members_of_enumerations_come_back_however_python_pickles_them(monkeypatch: pytest.MonkeyPatch) -> None:
    members = tuple(member for kind in _transfer._ENUMS for member in kind)
    for kind in _transfer._ENUMS:
        # As Python 3.11.2 does it, which is that of Debian 12.
        monkeypatch.setattr(kind, "__reduce_ex__", lambda self, _: (getattr, (type(self), self.name)), raising=False)
    digest = _transfer.Digest((), (), (), "", members)
    (found,) = _transfer.loads(_transfer.dumps(_transfer.Answer((digest,)))).digests
    assert found.rest == members
    assert all(map(operator.is_, found.rest, members))


def test_another_process_reads_tokens_too(make: Make) -> None:
    keys, clock = TokenKeys((b"k" * 32,)), FakeClock()
    build = partial(
        analyser_with, None, "here", Weighing(TrustRules(use=TokenUse.REQUIRED), keys, ("X-Token",), system_clock)
    )
    token = keys.make(1, "reader@example.net", clock().date())
    raws = []
    for number, to in enumerate(("news@example.org", f"news+{token}@example.org")):
        octets = BOUNCE.replace(b"spring@example.org", to.encode())
        raws.append(RawMessage(MessageRef("news", "INBOX", 7, str(number)), octets, len(octets), clock()))
    found = make(build).begin(raws, FILTERS, None)()
    told = [(one.trust, one.trust_reason) for entry in found if isinstance(entry, Entry) for one in entry.judged]
    assert told == [(Trust.REFUSED, TrustReason.MISSING), (Trust.VERIFIED, None)]


@pytest.mark.parametrize(
    ("subject", "reason"),
    [
        ("spin", "more than 0.3 s of CPU"),
        ("devour", "more than 64 MiB of memory"),
        ("segfault", "SIGSEGV"),
        ("abort", "SIGABRT"),
        ("exit", "exit status 3"),
        ("raise", "RuntimeError: a detector failed"),
    ],
)
def test_a_mail_is_told_from_its_neighbours(make: Make, subject: str, reason: str) -> None:
    analyser = make()
    before, bad, after = read(analyser, "hello", subject, "hello")
    assert isinstance(before, Entry)
    assert isinstance(after, Entry)
    assert isinstance(bad, Unprocessed)
    assert reason in bad.error
    assert isinstance(read(analyser, "hello")[0], Entry)


def test_a_worker_that_waits_for_ever_is_ended(make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_pool, "_ANSWER_TIMEOUT_S", 0.2)
    monkeypatch.setattr(_pool, "_CPU_SHARE", 1.0)
    (bad,) = read(make(), "wait")
    assert isinstance(bad, Unprocessed)
    assert "took more than" in bad.error


def test_one_that_is_ended_from_outside_blames_no_mail(make: Make) -> None:
    with pytest.raises(TransientError, match="ended from outside"):
        read(make(), "killed")


def test_what_ends_the_service_does_not_end_a_worker(make: Make, tmp_path: Path) -> None:
    analyser = make(hostile.counting(tmp_path))
    read(analyser, "hello")
    (pid,) = (int(mark.name) for mark in tmp_path.iterdir())
    for number in (signal.SIGTERM, signal.SIGINT):
        os.kill(pid, number)
    assert isinstance(read(analyser, "hello")[0], Entry)
    assert [int(mark.name) for mark in tmp_path.iterdir()] == [pid]


def test_wrong_rules_are_told_line_by_line(make: Make) -> None:
    with pytest.raises(ConfigurationError) as caught:
        read(make(hostile.wrong_rules), "hello")
    assert len(caught.value.faults) == 2


def test_a_worker_that_does_not_start_is_a_transient_failure(make: Make) -> None:
    with pytest.raises(TransientError, match="could be started"):
        read(make(hostile.no_memory), "hello")


@pytest.mark.parametrize(("subject", "kind"), [("unavailable", TransientError), ("misconfigured", ConfigurationError)])
def test_what_no_mail_is_to_blame_for_is_raised(make: Make, subject: str, kind: type[Exception]) -> None:
    analyser = make()
    with pytest.raises(kind):
        read(analyser, subject)
    assert isinstance(read(analyser, "hello")[0], Entry)


def test_log_events_of_a_worker_are_logged_here(make: Make) -> None:
    with capture_logs() as logs:
        read(make(), "log")
    (line,) = logs
    assert (line["event"], line["log_level"], line["detector"]) == ("detector_failed", "error", "test")
    assert "RuntimeError: a detector failed" in line["exception"]


def test_several_threads_share_the_workers(make: Make, tmp_path: Path) -> None:
    analyser = make(hostile.counting(tmp_path), workers=2)
    together = threading.Barrier(4)

    def ask(number: int) -> int:
        together.wait()
        raws = [mail("hello", number * 1000 + index) for index in range(150)]
        found = analyser.begin(raws, FILTERS if number % 2 else (), None)()
        assert [entry.message.raw for entry in found if isinstance(entry, Entry)] == raws
        return sum(bool(entry.routes) for entry in found if isinstance(entry, Entry))

    with ThreadPoolExecutor(4) as threads:
        routed = list(threads.map(ask, range(4)))
    assert routed == [0, 150, 0, 150]
    assert 1 <= len(list(tmp_path.iterdir())) <= 2


def test_filters_that_changed_count_at_once(make: Make) -> None:
    analyser = make()
    for filters, routes in ((FILTERS, 1), ((), 0), (FILTERS, 1), (list(FILTERS), 1)):
        (entry,) = analyser.begin([mail("hello")], filters, None)()
        assert isinstance(entry, Entry)
        assert len(entry.routes) == routes


def test_it_is_prepared_in_the_background_once(make: Make, tmp_path: Path) -> None:
    analyser = make(hostile.counting(tmp_path))
    analyser.prepare()
    wait_until(lambda: any(tmp_path.iterdir()), "a worker")
    read(analyser, "hello")
    analyser.prepare()
    assert len(list(tmp_path.iterdir())) == 1
    make(hostile.no_memory).prepare()


def test_no_process_is_left(make: Make, tmp_path: Path) -> None:
    analyser = make(hostile.counting(tmp_path))
    read(analyser, "hello", "exit")
    analyser.close()
    analyser.close()
    for mark in tmp_path.iterdir():
        wait_until(lambda pid=mark.name: not Path(f"/proc/{pid}").exists(), f"the end of {mark.name}")  # type: ignore[misc]
