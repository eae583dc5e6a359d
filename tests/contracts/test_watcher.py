"""What every ``Watcher`` has to do, over the fake and over IMAP's IDLE on a real Dovecot."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import NamedTuple

import pytest

from bouncepoll.errors import SourceUnavailable
from bouncepoll.ports import Watcher
from bouncepoll.sources import imap
from bouncepoll.testing import FakeTokens
from bouncepoll.testing.source import FakeFolder
from bouncepoll.testing.watcher import FakeWatcher
from tests.servers.dovecot import Dovecot

SERVER = [pytest.mark.server, pytest.mark.xdist_group("dovecot")]
MAIL = b"Subject: new\r\n\r\nx\r\n"


class Watched(NamedTuple):
    """A watcher, and how a mail comes into its folder."""

    watcher: Watcher
    deliver: Callable[[], object]


@pytest.fixture(params=["fake", pytest.param("imap", marks=SERVER)])
def watched(request: pytest.FixtureRequest) -> Iterator[Watched]:
    with ExitStack() as stack:
        made = _fake() if request.param == "fake" else _imap(request.getfixturevalue("dovecot"))
        stack.callback(made.watcher.close)
        made.deliver()
        yield made


def _fake() -> Watched:
    folder = FakeFolder()
    return Watched(FakeWatcher("news", folder), lambda: folder.append(MAIL))


def _imap(dovecot: Dovecot) -> Watched:
    user = dovecot.new_user()
    options = imap.Options(
        protocol="imap",
        host="localhost",
        port=dovecot.imaps_port,
        ca_file=dovecot.ca_file,
        username=user.name,
        auth={"password": user.password},
    )
    watcher = imap.watch("news", options, FakeTokens(user.password))
    assert watcher is not None
    return Watched(watcher, lambda: dovecot.append(user, "INBOX", MAIL))


def delivering(watched: Watched, at: int) -> Callable[[], bool]:
    """Return a ``should_stop`` that says no, and delivers a mail when it is asked for the ``at``th time."""
    asked = iter(range(1, 10_000))

    def should_stop() -> bool:
        if next(asked) == at:
            watched.deliver()
        return False

    return should_stop


def test_a_mail_that_comes_ends_the_wait(watched: Watched) -> None:
    assert watched.watcher.open() is True
    assert watched.watcher.wait(delivering(watched, at=2)) is True
    assert watched.watcher.wait(delivering(watched, at=2)) is True


def test_a_mail_that_came_between_two_waits_ends_the_next_one(watched: Watched) -> None:
    watched.watcher.open()
    watched.deliver()
    assert watched.watcher.wait(lambda: False) is True


def test_what_was_there_before_is_not_new(watched: Watched) -> None:
    watched.watcher.open()
    asked = iter([False, False, True, True, True])
    assert watched.watcher.wait(lambda: next(asked)) is False


def test_whoever_is_told_to_stop_stops(watched: Watched) -> None:
    watched.watcher.open()
    assert watched.watcher.wait(lambda: True) is False


def test_a_watcher_can_be_opened_again_and_closed_twice(watched: Watched) -> None:
    watched.watcher.close()
    for _session in range(2):
        assert watched.watcher.open() is True
        watched.watcher.close()
        watched.watcher.close()
        with pytest.raises(SourceUnavailable, match="not open"):
            watched.watcher.wait(lambda: False)
