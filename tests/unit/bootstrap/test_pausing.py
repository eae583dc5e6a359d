"""The pause: one proof for all, one line when it begins, one when it ends, retries that grow and stay bounded."""

import random
import threading
from typing import Any

import pytest
from structlog.testing import capture_logs

from bouncepoll.bootstrap._pausing import Pausing
from bouncepoll.errors import SourceUnavailable, StoreRefused, StoreUnavailable


class Scene:
    """A pause over a database that does as it is told, at a time that passes as it is told."""

    def __init__(self, spread_s: float = 0.0) -> None:
        self.now = 1000.0
        self.failure: StoreUnavailable | None = None
        self.asked: list[frozenset[str]] = []
        self.slept_s: list[float] = []
        self.mended_at = float("inf")
        self.pausing = Pausing(
            self._prove,
            spread_s=spread_s,
            rng=random.Random(1),
            monotonic=lambda: self.now,
            sleep=self._sleep,
        )

    def _prove(self, failures: frozenset[str]) -> None:
        self.asked.append(failures)
        if self.failure is not None:
            raise self.failure

    def _sleep(self, seconds: float) -> None:
        self.slept_s.append(seconds)
        self.now += seconds
        if self.now >= self.mended_at:
            self.failure = None

    def refused(self) -> bool:
        try:
            self.pausing.check()
        except StoreUnavailable:
            return True
        return False


FULL = StoreUnavailable("the disk is full; free space", reason="full")
NONE: frozenset[str] = frozenset()


def test_a_proof_is_believed_for_some_seconds() -> None:
    scene = Scene()
    for _mailbox in range(200):
        scene.pausing.check()
    assert scene.asked == [NONE]
    scene.now += 5
    scene.pausing.check()
    assert scene.asked == [NONE, NONE]


def test_one_line_begins_it_and_one_ends_it() -> None:
    scene = Scene()
    scene.failure = FULL
    with capture_logs() as logs:
        for _mailbox in range(200):
            assert scene.refused()
        assert (scene.pausing.paused, scene.pausing.reason) == (True, "full")
        for _second in range(300):
            scene.now += 1
            scene.refused()
        scene.failure = None
        scene.now += 60
        assert not scene.refused()
    told: list[dict[str, Any]] = [dict(line) for line in logs if line["log_level"] != "debug"]
    assert [(line["event"], line["reason"]) for line in told] == [("polls_paused", "full"), ("polls_resumed", "full")]
    assert told[0]["error"] == "the disk is full; free space"
    assert told[1]["paused_s"] == 360.0
    assert not scene.pausing.paused


def test_the_retries_grow_to_a_minute_and_are_told_that_it_failed() -> None:
    scene = Scene()
    scene.failure = FULL
    scene.refused()
    waits = []
    for _retry in range(9):
        waits.append(scene.pausing.again_in_s())
        scene.now += waits[-1] - 0.01
        before = len(scene.asked)
        assert scene.refused()
        assert len(scene.asked) == before
        scene.now += 0.01
        assert scene.refused()
        assert len(scene.asked) == before + 1
    assert waits == pytest.approx([0.5, 1, 2, 4, 8, 16, 32, 60, 60])
    assert scene.asked == [NONE] + [frozenset({"full"})] * 9


def test_what_fails_again_at_once_goes_on_with_its_delay() -> None:
    scene = Scene()
    waits = []
    for _time in range(6):
        assert scene.pausing.failed(FULL)
        waits.append(scene.pausing.again_in_s())
        scene.now += waits[-1]
        scene.pausing.check()
    scene.now += 61
    scene.pausing.failed(FULL)
    waits.append(scene.pausing.again_in_s())
    assert waits == pytest.approx([0.5, 1, 2, 4, 4, 4, 0.5])


def test_the_proof_is_told_of_every_reason_of_this_pause_and_of_none_before() -> None:
    scene = Scene()
    for failure in (FULL, StoreUnavailable("no connection", reason="unreachable")):
        scene.failure = failure
        scene.refused()
        scene.now += 10
    scene.failure = None
    assert not scene.refused()
    assert scene.asked[-1] == {"full", "unreachable"}
    scene.now += 10
    assert not scene.refused()
    assert scene.asked[-1] == NONE


def test_the_failures_of_those_under_way_are_one_pause() -> None:
    scene = Scene()
    with capture_logs() as logs:
        assert [scene.pausing.failed(FULL) for _poll in range(5)] == [True] * 5
    assert [line["event"] for line in logs] == ["polls_paused"]
    assert scene.pausing.again_in_s() == pytest.approx(0.5)


@pytest.mark.parametrize("error", [SourceUnavailable("no connection"), StoreRefused("FOREIGN KEY")])
def test_other_errors_pause_nothing(error: Any) -> None:
    scene = Scene()
    assert not scene.pausing.failed(error)
    assert not scene.pausing.paused

    def work() -> None:
        raise error

    with pytest.raises(type(error)):
        scene.pausing.run(work)


def test_work_is_left_for_the_next_time() -> None:
    scene = Scene()
    done: list[int] = []
    scene.failure = FULL
    scene.pausing.run(lambda: done.append(1))
    scene.failure = None
    scene.pausing.run(lambda: done.append(2))
    assert done == []
    scene.now += 1
    scene.pausing.run(lambda: done.append(3))
    assert done == [3]


def test_what_was_held_does_not_come_back_all_at_once() -> None:
    scene = Scene(spread_s=10.0)
    scene.pausing.failed(FULL)
    waits = {round(scene.pausing.again_in_s(), 3) for _mailbox in range(200)}
    assert len(waits) > 150
    assert min(waits) >= 0.5
    assert max(waits) <= 11


def test_many_threads_ask_once() -> None:
    scene = Scene()
    scene.failure = FULL
    barrier = threading.Barrier(8)
    refused: list[bool] = []

    def ask() -> None:
        barrier.wait(20)
        refused.append(scene.refused())

    threads = [threading.Thread(target=ask) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert refused == [True] * 8
    assert scene.asked == [NONE]


def test_a_database_that_comes_up_late_is_waited_for() -> None:
    scene = Scene()
    scene.failure = StoreUnavailable("nobody listens there", reason="unreachable")
    scene.mended_at = scene.now + 200.0
    with capture_logs() as logs:
        scene.pausing.wait()
    assert [entry["event"] for entry in logs if entry["log_level"] != "debug"] == ["polls_paused", "polls_resumed"]
    assert scene.slept_s[0] == 0.5
    assert max(scene.slept_s) == 60.0
    assert not scene.pausing.paused


@pytest.mark.parametrize("reason", ["refused", "schema", "damaged", "replaced"])
def test_what_somebody_has_to_mend_is_not_waited_for(reason: str) -> None:
    scene = Scene()
    scene.failure = StoreUnavailable("mend it", reason=reason)
    with pytest.raises(StoreUnavailable, match="mend it"):
        scene.pausing.wait()
    assert scene.slept_s == []
