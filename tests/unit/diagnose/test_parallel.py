"""Checks side by side."""

import threading
from collections.abc import Iterator

from bouncepoll.diagnose._parallel import Job, in_parallel
from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.probe import Outcome, Probe, fail, ok, skipped, warn


def _job(subject: str, *probes: Probe, limit_s: float = 10.0) -> Job:
    return Job(subject, lambda: iter(probes), limit_s)


def test_results_come_in_the_order_of_the_jobs() -> None:
    first_may_end = threading.Event()

    def slow() -> Iterator[Probe]:
        assert first_may_end.wait(10)
        yield ok("a", "late")

    def quick() -> Iterator[Probe]:
        yield ok("b", "early")
        first_may_end.set()

    found = list(in_parallel([Job("one", slow, 10.0), Job("two", quick, 10.0)]))
    assert [(subject, probe.found) for subject, probe in found] == [("one", "late"), ("two", "early")]


def test_more_jobs_than_workers() -> None:
    jobs = [_job(str(number), ok("a", str(number))) for number in range(20)]
    assert [probe.found for _subject, probe in in_parallel(jobs, workers=2)] == [str(number) for number in range(20)]
    assert list(in_parallel([])) == []


def test_one_that_hangs_holds_up_nobody() -> None:
    end = threading.Event()

    def hanging() -> Iterator[Probe]:
        yield ok("tcp", "connected")
        end.wait(30)

    found = list(in_parallel([Job("one", hanging, 0.05), _job("two", warn("b", "there"))]))
    end.set()
    assert [(subject, probe.check, probe.outcome) for subject, probe in found] == [
        ("one", "tcp", Outcome.OK),
        ("one", "time", Outcome.FAIL),
        ("two", "b", Outcome.WARN),
    ]


def test_one_that_never_gets_a_turn_is_told_of() -> None:
    end = threading.Event()

    def hanging() -> Iterator[Probe]:
        end.wait(30)
        yield from skipped(("a",), "too late")

    found = list(in_parallel([Job("one", hanging, 0.05), _job("two", ok("b", "x"), limit_s=0.05)], workers=1))
    end.set()
    assert found[1][1].found == "it was never looked at: all others hang"


def test_exceptions_become_failures() -> None:
    def refused() -> Iterator[Probe]:
        yield fail("a", "x")
        raise SourceUnavailable("the server is away")

    def mistaken() -> Iterator[Probe]:
        yield ok("a", "x")
        raise KeyError("hunter-two")

    found = [probe.found for _subject, probe in in_parallel([Job("one", refused, 10.0), Job("two", mistaken, 10.0)])]
    assert found == ["x", "the server is away", "x", "a mistake in bouncepoll: KeyError; please report it"]
