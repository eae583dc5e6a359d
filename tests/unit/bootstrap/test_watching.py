"""The threads that wait for new mails, over watchers that do as they are told."""

import random
import select
import threading
from collections.abc import Callable
from pathlib import Path
from typing import cast

import pytest
from structlog.testing import capture_logs

from bouncepoll.bootstrap import Application, _watching
from bouncepoll.bootstrap._watching import Watching, watcher_of
from bouncepoll.errors import ConfigurationError, SourceUnavailable, UsageError
from bouncepoll.ports import Watcher
from tests.servers import wait_until
from tests.unit.bootstrap.conftest import FakedApplication

Step = Callable[[], bool]


def raising(error: Exception) -> Step:
    def step() -> bool:
        raise error

    return step


def yes() -> bool:
    return True


def no() -> bool:
    return False


class FakeWatcher:
    """Opens as told; then ``waits`` one after the other, and waits for the end after the last."""

    def __init__(self, *opens: Step, waits: tuple[Step, ...] = ()) -> None:
        self.opens = list(opens)
        self.waits = list(waits)
        self.opened = self.closed = 0

    def open(self) -> bool:
        self.opened += 1
        return self.opens.pop(0)() if self.opens else True

    def wait(self, should_stop: Callable[[], bool], wake: int | None = None) -> bool:
        if self.waits:
            return self.waits.pop(0)()
        assert wake is not None
        # As the real ones do: asleep until the end, and asking now and then.
        while not select.select([wake], [], [], 0.01)[0]:
            if should_stop():
                return False
        assert should_stop()
        return False

    def close(self) -> None:
        self.closed += 1


class Run:
    """A running ``Watching`` over watchers by mailbox, whose back-off takes no time."""

    def __init__(self, **watchers: Watcher | None) -> None:
        self.woken: list[str] = []
        self.stop = threading.Event()
        self.watching = Watching(watchers.get, list(watchers), self.woken.append, self.stop, rng=random.Random(1))
        self.watching.start()

    def end(self) -> bool:
        self.stop.set()
        return self.watching.wait(20)


@pytest.fixture(autouse=True)
def _no_delay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watching, "_FIRST_DELAY_S", 0.001)
    monkeypatch.setattr(_watching, "_LONGEST_DELAY_S", 0.002)


def test_a_mailbox_is_polled_when_its_watch_begins_and_at_each_news() -> None:
    watcher = FakeWatcher(waits=(yes, yes))
    run = Run(news=watcher, offers=None)
    wait_until(lambda: len(run.woken) >= 3, "three wakes")
    assert run.end()
    assert run.woken == ["news"] * 3
    assert (watcher.opened, watcher.closed) == (1, 1)


def test_a_session_that_breaks_is_begun_again_and_polled_again() -> None:
    watcher = FakeWatcher(
        raising(SourceUnavailable("no connection")),
        waits=(raising(SourceUnavailable("BYE", retry_after_s=0.001)),),
    )
    with capture_logs() as logs:
        run = Run(news=watcher)
        wait_until(lambda: len(run.woken) >= 2, "two sessions")
        assert run.end()
    assert (watcher.opened, watcher.closed) == (3, 3)
    assert [line["error"] for line in logs if line["event"] == "watch_interrupted"] == ["no connection", "BYE"]


@pytest.mark.parametrize(
    ("step", "event", "said"),
    [
        (no, "mailbox_not_watched", "no IDLE"),
        (raising(ConfigurationError("no such folder")), "mailbox_not_watched", "no such folder"),
        (raising(ZeroDivisionError("oops")), "watch_failed_unexpectedly", None),
    ],
)
def test_a_mailbox_that_cannot_be_watched_is_polled_only(step: Step, event: str, said: str | None) -> None:
    watcher = FakeWatcher(step)
    with capture_logs() as logs:
        run = Run(news=watcher)
        assert run.watching.wait(20)
    assert run.woken == []
    assert watcher.closed == 1
    (line,) = [line for line in logs if line["event"] == event]
    assert said is None or said in line["error"]


def test_a_mailbox_without_credentials_holds_up_no_other() -> None:
    def watcher_for(name: str) -> Watcher | None:
        if name == "broken":
            raise ConfigurationError("mailboxes.broken.auth: no token")
        return FakeWatcher()

    woken: list[str] = []
    stop = threading.Event()
    watching = Watching(watcher_for, ["broken", "news"], woken.append, stop)
    watching.start()
    wait_until(lambda: woken == ["news"], "the other one")
    stop.set()
    assert watching.wait(20)


def test_a_watcher_that_hangs_is_not_waited_for() -> None:
    release = threading.Event()
    run = Run(news=FakeWatcher(lambda: release.wait(20)))
    run.stop.set()
    assert run.watching.wait(0.01) is False
    release.set()
    assert run.watching.wait(20)


def test_waits_grow_and_honour_the_server() -> None:
    watching = Watching(lambda _name: None, (), lambda _name: None, threading.Event(), rng=random.Random(1))
    _watching._FIRST_DELAY_S, _watching._LONGEST_DELAY_S = 5.0, 600.0  # Set back by the fixture.
    delays = [watching._delay_s(failures, None) for failures in range(1, 12)]
    assert 5 <= delays[0] <= 6
    assert delays[:7] == sorted(delays[:7])
    assert max(delays) <= 720
    assert 3600 <= watching._delay_s(1, 3600) <= 4320


def test_watchers_come_from_the_source_of_the_mailbox(application: FakedApplication) -> None:
    found = watcher_of(cast("Application", application), "news")
    assert found is not None
    found.close()
    with pytest.raises(UsageError, match="there is no mailbox"):
        watcher_of(cast("Application", application), "nowhere")


def test_sources_without_watchers_are_polled_only(tmp_path: Path) -> None:
    text = '[mailboxes.old]\nprotocol = "pop3"\nhost = "pop.example.org"\nusername = "old"\nauth.password = "x"\n'
    with FakedApplication(tmp_path, text) as application:
        assert watcher_of(application, "old") is None


def test_while_all_is_held_no_session_is_open(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_watching, "_HELD_S", 0.001)
    watcher, held, stop = FakeWatcher(), threading.Event(), threading.Event()
    held.set()
    watching = Watching(lambda _name: watcher, ["news"], lambda _name: None, stop, held.is_set)
    watching.start()
    try:
        assert watcher.opened == 0
        held.clear()
        wait_until(lambda: watcher.opened == 1, "the session after the pause")
        held.set()
        wait_until(lambda: watcher.closed == 1, "the end of the session")
        held.clear()
        wait_until(lambda: watcher.opened == 2, "the next session")
    finally:
        stop.set()
        assert watching.wait(20)


def test_one_mailbox_more_is_watched_until_it_is_removed() -> None:
    added, again = FakeWatcher(), FakeWatcher()
    watchers: dict[str, list[Watcher | None]] = {"added": [added, again], "polled": [None]}
    woken: list[str] = []
    stop = threading.Event()
    watching = Watching(lambda name: watchers[name].pop(0), (), woken.append, stop)
    watching.start()
    descriptors = open_descriptors()
    watching.add("added")
    watching.add("added")
    watching.add("polled")
    wait_until(lambda: woken == ["added"], "the first session")
    watching.remove("added")
    watching.remove("added")
    watching.remove("polled")
    wait_until(lambda: added.closed == 1, "its end")
    wait_until(lambda: open_descriptors() == descriptors, "everything to be closed")
    watching.add("added")
    wait_until(lambda: woken == ["added"] * 2, "the second session")
    stop.set()
    watching.add("too late")
    assert watching.wait(20)
    assert (added.closed, again.closed) == (1, 1)


def open_descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))
