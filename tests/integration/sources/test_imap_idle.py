"""Waiting for mails with IDLE: what wakes, what does not, and how dead connections are noticed."""

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any, TypeAlias

import pytest

from bouncepoll.errors import FolderMissing, SourceUnavailable
from bouncepoll.ports import Watcher
from bouncepoll.sources import imap as imap_source
from bouncepoll.testing import FakeTokens
from tests.integration.sources.conftest import SECRET, options
from tests.servers import wait_until
from tests.servers.dovecot import Dovecot
from tests.servers.scripted import Conversation, Scripted, Session, imap, scripted

CAPABILITIES = b"IMAP4rev1 AUTH=PLAIN IDLE"
#: Run a server that follows these sessions, and return it with a watcher that is not open yet.
StartWatch: TypeAlias = Callable[..., tuple[Scripted, Watcher]]


@pytest.fixture
def start_watch() -> Iterator[StartWatch]:
    with ExitStack() as stack:

        def start(*sessions: Session, **more: Any) -> tuple[Scripted, Watcher]:
            server = stack.enter_context(scripted(*sessions))
            chosen = imap_source.Options(**options(server, "imap", **more))
            watcher = imap_source.watch("news", chosen, FakeTokens(SECRET))
            assert watcher is not None
            stack.callback(watcher.close)
            return server, watcher

        yield start


def idling(*turns: bytes, capabilities: bytes = CAPABILITIES, after_done: bytes = b"") -> Session:
    """Return a session whose IDLEs say these octets in turn, and then nothing; ``after_done`` comes before each OK."""
    left = list(turns)

    def idle(conversation: Conversation, command: bytes) -> None:
        conversation.say(b"+ idling\r\n" + (left.pop(0) if left else b""))
        assert conversation.line() == b"DONE"
        conversation.say(after_done + command.split()[0] + b" OK done\r\n")

    return imap({b"IDLE": idle}, capabilities=capabilities)


def never() -> bool:
    return False


def idles(server: Scripted) -> int:
    return sum(command.endswith(b" IDLE") for command in server.commands[0])


def test_a_new_mail_wakes_also_one_told_at_once(start_watch: StartWatch) -> None:
    # The first EXISTS stands in the same segment as the continuation.
    server, watcher = start_watch(idling(b"* 4 EXISTS\r\n", b"* 1 RECENT\r\n* 5 EXISTS\r\n"))
    assert watcher.open()
    assert watcher.wait(never)
    assert watcher.wait(never)
    assert idles(server) == 2
    watcher.close()
    assert server.commands[0][-1].endswith(b"LOGOUT")


def test_a_mail_told_between_two_idles_wakes(start_watch: StartWatch) -> None:
    server, watcher = start_watch(idling(b"* OK still here\r\n", after_done=b"* 4 EXISTS\r\n"))
    watcher.open()
    assert watcher.wait(never)
    assert idles(server) == 1


def test_mails_that_go_do_not_wake(start_watch: StartWatch) -> None:
    turns = (b"* 1 EXPUNGE\r\n* 1 EXPUNGE\r\n* 1 EXISTS\r\n", b"* 1 FETCH (FLAGS (\\Seen))\r\n", b"* 2 EXISTS\r\n")
    server, watcher = start_watch(idling(*turns))
    watcher.open()
    assert watcher.wait(never)
    assert idles(server) >= 2


def test_the_idle_is_renewed_until_told_to_stop(start_watch: StartWatch) -> None:
    server, watcher = start_watch(idling(), idle=0.05)
    watcher.open()
    assert watcher.wait(lambda: idles(server) >= 4) is False
    assert idles(server) in (4, 5)


def test_it_stops_within_a_second_whatever_the_server_does(start_watch: StartWatch) -> None:
    stop = threading.Event()
    server, watcher = start_watch(idling())
    watcher.open()
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(watcher.wait(stop.is_set)))
    thread.start()
    server.waited_for(1)
    stop.set()
    thread.join(1)
    assert waited == [False]


def test_who_can_be_woken_asks_for_the_end_when_woken(start_watch: StartWatch) -> None:
    server, watcher = start_watch(idling())
    watcher.open()
    reader, writer = os.pipe()
    asked: list[bool] = []

    def stopped() -> bool:
        asked.append(woken.is_set())
        return asked[-1]

    woken = threading.Event()
    waited: list[bool] = []
    thread = threading.Thread(target=lambda: waited.append(watcher.wait(stopped, reader)))
    thread.start()
    wait_until(lambda: idles(server) == 1, "the IDLE")
    woken.set()
    os.close(writer)
    thread.join(20)
    os.close(reader)
    assert waited == [False]
    # Before each of its loops, and when it was woken: it did not ask while it slept.
    assert len(asked) <= 4
    watcher.close()
    assert server.commands[0][-1].endswith(b"LOGOUT")


def _dead(conversation: Conversation, command: bytes) -> None:
    conversation.say(b"+ idling\r\n")
    conversation.hang()


def _ended(conversation: Conversation, command: bytes) -> None:
    conversation.say(b"+ idling\r\n* BYE Session expired, please login again\r\n")


@pytest.mark.parametrize(
    ("idle", "said"),
    [
        (_dead, r"no answer within 0\.2 s"),
        (_ended, "ended the session .Session expired"),
        (b"TAG NO not here\r\n", "not here"),
        (b"TAG BAD what\r\n", "what"),
    ],
)
def test_a_session_that_is_over_is_noticed(idle: Any, said: str, start_watch: StartWatch) -> None:
    _server, watcher = start_watch(imap({b"IDLE": idle}, capabilities=CAPABILITIES), idle=0.05, timeout=0.2)
    watcher.open()
    with pytest.raises(SourceUnavailable, match=f"news/INBOX.*{said}"):
        watcher.wait(never)
    watcher.close()
    with pytest.raises(SourceUnavailable, match="not open"):
        watcher.wait(never)


def test_without_idle_there_is_nothing_to_wait_for(start_watch: StartWatch) -> None:
    _server, watcher = start_watch(imap(capabilities=b"IMAP4rev1 AUTH=PLAIN"))
    assert watcher.open() is False
    with pytest.raises(SourceUnavailable, match="not open"):
        watcher.wait(never)


def test_a_missing_folder_is_reported(start_watch: StartWatch) -> None:
    answers = {b"EXAMINE": b"TAG NO none\r\n", b"LIST": b"TAG OK done\r\n"}
    _server, watcher = start_watch(imap(answers, capabilities=CAPABILITIES))
    with pytest.raises(FolderMissing, match="has no folder 'INBOX'"):
        watcher.open()


def test_a_connection_is_left_to_the_polls(start_watch: StartWatch) -> None:
    server, watcher = start_watch(idling(), max_connections=2)
    watcher.open()
    poll = imap_source.create(
        "news", imap_source.Options(**options(server, "imap", max_connections=2)), FakeTokens(SECRET)
    )
    poll.open()
    poll.close()
    _server, other = start_watch(idling(), max_connections=2)
    with pytest.raises(SourceUnavailable, match="in use"):
        other.open()


def test_mailboxes_that_are_polled_only() -> None:
    least = {"protocol": "imap", "host": "mail.example.org", "username": "news", "auth": {"password": "x"}}
    for more in ({"folders": ["INBOX", "Junk"]}, {"idle": 0}, {"max_connections": 1}):
        assert imap_source.watch("news", imap_source.Options(**least, **more), FakeTokens("x")) is None
    assert imap_source.watch("news", imap_source.Options(**least), None) is None


@pytest.mark.server
@pytest.mark.xdist_group("dovecot")
def test_dovecot_tells_of_a_mail_that_comes(dovecot: Dovecot) -> None:
    user = dovecot.new_user()
    dovecot.append(user, "INBOX", b"Subject: first\r\n\r\n")
    chosen = imap_source.Options(
        protocol="imap",
        host="localhost",
        port=dovecot.imaps_port,
        ca_file=dovecot.ca_file,
        username=user.name,
        auth={"password": user.password},
        idle=0.5,
        timeout=20,
    )
    watcher = imap_source.watch("news", chosen, FakeTokens(user.password))
    assert watcher is not None
    assert watcher.open()
    rounds = iter(range(1000))

    def deliver_meanwhile() -> bool:
        # Asked before the first wait, then twice a second: the mail comes while we wait, after one renewal.
        if next(rounds) == 2:
            dovecot.append(user, "INBOX", b"Subject: second\r\n\r\n")
        return False

    assert watcher.wait(deliver_meanwhile)
    assert watcher.wait(lambda: True) is False
    watcher.close()
