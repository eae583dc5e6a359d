"""What the POP3 source sends before it has an answer, and how it ends its sessions."""

import threading
from collections.abc import Callable
from typing import Any

import pytest

from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.ports import Source
from bouncepoll.sources.pop3._source import Pop3Source
from tests.integration.sources.conftest import Start
from tests.servers.scripted import Answer, Conversation, Hangup, Session, hang_up
from tests.servers.scripted import pop3 as session

DELETE = Disposition(DoneAction.DELETE)
LEAVE = Disposition(DoneAction.LEAVE)
PIPELINING = b"UIDL\r\nUSER\r\nTOP\r\nPIPELINING\r\n"


def listing(count: int, size_octets: int = 20) -> dict[bytes, Answer]:
    return {
        b"LIST": b"+OK\r\n"
        + b"".join(b"%d %d\r\n" % (number, size_octets) for number in range(1, count + 1))
        + b".\r\n",
        b"UIDL": b"+OK\r\n" + b"".join(b"%d u%d\r\n" % (number, number) for number in range(1, count + 1)) + b".\r\n",
    }


def holding(
    answers: dict[bytes, Answer], reached: Callable[[list[bytes]], bool], *, capabilities: bytes = PIPELINING
) -> tuple[Session, list[list[bytes]]]:
    """Return a session that answers the first RETR only when enough was sent since, and what that was.

    A client that waits for answers before it sends more hangs there, until its time is over.
    """
    seen: list[list[bytes]] = [[]]

    def retr(conversation: Conversation, command: bytes) -> None:
        waiting = [command]
        while not seen[0] and not reached(waiting):
            waiting.append(conversation.line())
        seen[0] = seen[0] or list(waiting)
        for line in waiting:
            number = line.split()[-1]
            conversation.say(b"+OK\r\nSubject: " + number + b"\r\n\r\n.\r\n" if b"RETR" in line else b"+OK\r\n")

    return session({**answers, b"RETR": retr}, capabilities=capabilities), seen


def scanned(source: Source) -> Scan:
    source.open()
    return source.scan("INBOX", None)


def numbers(commands: list[bytes], verb: bytes = b"RETR") -> list[int]:
    return [int(command.split()[1]) for command in commands if command.startswith(verb)]


def test_many_commands_are_under_way_at_once(start_pop3: Start) -> None:
    holder, seen = holding(listing(40), lambda waiting: len(waiting) == 40)
    _server, source = start_pop3(holder)
    scan = scanned(source)
    answers = list(source.fetch(scan, scan.uids))
    assert [answer.ref.uid for answer in answers] == list(scan.uids)
    assert numbers(seen[0]) == list(range(1, 41))


def test_a_hundred_at_most(start_pop3: Start) -> None:
    holder, seen = holding(listing(300), lambda waiting: len(waiting) == 100)
    server, source = start_pop3(holder, batch=500)
    scan = scanned(source)
    assert len(list(source.fetch(scan, scan.uids))) == 300
    assert numbers(seen[0]) == list(range(1, 101))
    assert numbers(server.commands[0]) == list(range(1, 301))


def test_large_mails_are_sent_for_few_at_a_time(start_pop3: Start) -> None:
    """Three times 300 KiB fit into the window of 1 MiB, four do not."""
    holder, seen = holding(listing(7, 300 * 1024), lambda waiting: len(waiting) == 3)
    server, source = start_pop3(holder, analysis_octets="1MiB", max_octets="1MiB")
    scan = scanned(source)
    assert len(list(source.fetch(scan, scan.uids))) == 7
    assert numbers(seen[0]) == [1, 2, 3]
    assert numbers(server.commands[0]) == [1, 2, 3, 4, 5, 6, 7]


def test_without_pipelining_each_answer_is_waited_for(start_pop3: Start) -> None:
    answered = 0

    def retr(conversation: Conversation, command: bytes) -> None:
        nonlocal answered
        # Whatever was sent already stands in the socket, or in what was received and not taken yet.
        assert conversation._received == b""
        answered += 1
        conversation.say(b"+OK\r\nSubject: x\r\n\r\n.\r\n")

    _server, source = start_pop3(session({**listing(20), b"RETR": retr}, capabilities=b"UIDL\r\nUSER\r\n"))
    scan = scanned(source)
    assert len(list(source.fetch(scan, scan.uids[:10], scan.uids[10:]))) == 10
    source.settle([scan.ref(uid) for uid in scan.uids[:10]], DELETE, wait=False)
    source.settle((), DELETE)
    # One is sent for while the first ten are worked on, and no more.
    assert answered == 11


def test_the_next_mails_are_sent_for_while_these_are_worked_on(start_pop3: Start) -> None:
    ten = threading.Event()

    def retr(conversation: Conversation, command: bytes) -> None:
        if command == b"RETR 10":
            ten.set()
        conversation.say(b"+OK\r\nSubject: " + command[5:] + b"\r\n\r\n.\r\n")

    server, source = start_pop3(session({**listing(10), b"RETR": retr}, capabilities=PIPELINING))
    scan = scanned(source)
    first = list(source.fetch(scan, scan.uids[:5], scan.uids[5:]))
    assert [answer.ref.uid for answer in first] == list(scan.uids[:5])
    assert ten.wait(10), "the tenth mail was not sent for"
    second = list(source.fetch(scan, scan.uids[5:]))
    assert [answer.octets for answer in second if isinstance(answer, RawMessage)] == [
        b"Subject: %d\r\n\r\n" % number for number in range(6, 11)
    ]
    assert numbers(server.commands[0]) == list(range(1, 11)), "none was asked for twice"


def test_one_session_reads_and_deletes_everything(start_pop3: Start) -> None:
    server, source = start_pop3(session(listing(30), capabilities=PIPELINING), batch=10)
    scan = scanned(source)
    certain: list[MessageRef] = []
    for start in range(0, 30, 10):
        uids = scan.uids[start : start + 10]
        answers = list(source.fetch(scan, uids, scan.uids[start + 10 : start + 20]))
        certain += source.settle([answer.ref for answer in answers], DELETE, wait=False)
    assert certain == [], "before QUIT nothing is deleted"
    assert b"QUIT" not in server.commands[0]
    certain += source.settle((), DELETE)
    assert certain == [scan.ref(uid) for uid in scan.uids]
    assert len(server.commands) == 1
    assert numbers(server.commands[0], b"DELE") == list(range(1, 31))
    assert server.commands[0][-1] == b"QUIT"


def test_what_the_server_would_not_mark_is_not_settled(start_pop3: Start) -> None:
    answers: dict[bytes, Answer] = {**listing(4), b"DELE 2": b"-ERR read only\r\n"}
    server, source = start_pop3(session(answers, capabilities=PIPELINING))
    scan = scanned(source)
    refs = [scan.ref(uid) for uid in scan.uids]
    source.settle(refs[:3], DELETE, wait=False)
    assert list(source.settle((), DELETE)) == [refs[0], refs[2]]
    assert server.commands[0][-1] == b"QUIT"


def test_a_session_that_fails_deletes_nothing(start_pop3: Start) -> None:
    """Whoever closes without waiting has failed: the marks are taken back before the session is ended."""
    server, source = start_pop3(session(listing(4), capabilities=PIPELINING))
    scan = scanned(source)
    source.settle([scan.ref(uid) for uid in scan.uids[:2]], DELETE, wait=False)
    assert isinstance(source, Pop3Source)
    assert source._listed is not None
    source._listed.not_deleted()  # All answers are here: it could end with QUIT.
    source.close()
    assert server.commands[0][-2:] == [b"RSET", b"QUIT"]


def test_a_session_with_answers_under_way_is_dropped(start_pop3: Start) -> None:
    server, source = start_pop3(session(listing(4), capabilities=PIPELINING))
    scan = scanned(source)
    list(source.fetch(scan, scan.uids[:1], scan.uids[1:]))
    source.settle([scan.ref(scan.uids[0])], DELETE, wait=False)
    source.close()
    server.waited_for(1)
    assert b"QUIT" not in server.commands[0]


@pytest.mark.parametrize("answer", [b"-ERR no\r\n", hang_up])
def test_marks_that_cannot_be_taken_back_are_not_carried_out(answer: Answer, start_pop3: Start) -> None:
    server, source = start_pop3(session({**listing(2), b"RSET": answer}, capabilities=PIPELINING))
    scan = scanned(source)
    assert list(source.settle([scan.ref("gone")], DELETE)) == [scan.ref("gone")]
    source.settle([scan.ref(scan.uids[0])], DELETE, wait=False)
    assert isinstance(source, Pop3Source)
    assert source._listed is not None
    source._listed.not_deleted()
    source.close()
    assert b"QUIT" not in server.commands[0]


def test_a_mail_sent_for_ahead_that_breaks_the_connection_is_isolated(start_pop3: Start) -> None:
    def retr(conversation: Conversation, command: bytes) -> None:
        if command == b"RETR 4":
            raise Hangup
        conversation.say(b"+OK\r\nSubject: " + command[5:] + b"\r\n\r\n.\r\n")

    server, source = start_pop3(session({**listing(6), b"RETR": retr}, capabilities=PIPELINING))
    scan = scanned(source)
    assert all(isinstance(answer, RawMessage) for answer in source.fetch(scan, scan.uids[:2], scan.uids[2:]))
    answers = {answer.ref.uid: answer for answer in source.fetch(scan, scan.uids[2:])}
    assert sorted(answers) == ["u3", "u4", "u5", "u6"]
    broken = answers.pop("u4")
    assert isinstance(broken, Unfetched)
    assert broken.permanent
    assert all(isinstance(answer, RawMessage) for answer in answers.values())
    # After the connection was lost nothing is sent for ahead.
    assert all(command != b"RETR 6" for command in server.commands[1])


def test_marks_are_lost_with_the_connection(start_pop3: Start) -> None:
    def retr(conversation: Conversation, command: bytes) -> None:
        if command == b"RETR 2" and len(server.commands) == 1:
            raise Hangup
        conversation.say(b"+OK\r\nSubject: " + command[5:] + b"\r\n\r\n.\r\n")

    server, source = start_pop3(session({**listing(3), b"RETR": retr}, capabilities=PIPELINING))
    scan = scanned(source)
    source.settle([scan.ref("u1")], DELETE, wait=False)
    assert len(list(source.fetch(scan, ["u2", "u3"]))) == 2
    source.settle([scan.ref("u3")], DELETE, wait=False)
    assert list(source.settle((), DELETE)) == [scan.ref("u3")], "u1 is settled at the next poll"


def test_leaving_waits_for_nothing(start_pop3: Start) -> None:
    server, source = start_pop3(session(listing(3), capabilities=PIPELINING))
    scan = scanned(source)
    refs = [scan.ref(uid) for uid in scan.uids]
    assert list(source.settle(refs, LEAVE, wait=False)) == refs
    assert list(source.settle((), LEAVE)) == []
    assert not any(command.startswith((b"DELE", b"QUIT")) for command in server.commands[0])


def test_a_throttled_session_ends_with_the_time_the_server_wants(start_pop3: Start) -> None:
    busy = b"-ERR [SYS/TEMP] Request is throttled. Suggested Backoff Time: 90000 milliseconds\r\n"
    _server, source = start_pop3(session({**listing(3), b"RETR": busy}, capabilities=PIPELINING))
    scan = scanned(source)
    with pytest.raises(SourceUnavailable, match="throttled") as caught:
        list(source.fetch(scan, scan.uids[:1]))
    assert caught.value.retry_after_s == 90.0
    with pytest.raises(SourceUnavailable, match="asked for a rest"):
        source.open()


def test_a_listing_of_a_hundred_thousand_is_one_listing(start_pop3: Start) -> None:
    count = 100_000
    server, source = start_pop3(session(listing(count), capabilities=PIPELINING), timeout=30)
    scan = scanned(source)
    assert len(scan.uids) == count
    assert scan.uids[-1] == f"u{count}"
    answers: list[Any] = []
    for start in range(count - 300, count, 100):
        answers += source.fetch(scan, scan.uids[start : start + 100], scan.uids[start + 100 : start + 200])
    assert len(answers) == 300
    source.settle([answer.ref for answer in answers], DELETE, wait=False)
    assert len(source.settle((), DELETE)) == 300
    assert [server.commands[0].count(command) for command in (b"LIST", b"UIDL", b"QUIT")] == [1, 1, 1]
