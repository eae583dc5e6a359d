"""What is said to an IMAP server to settle mails, and what is made of its answers."""

from typing import Any

import pytest

from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction, Scan
from tests.integration.sources.conftest import Start
from tests.servers.scripted import Answer, Conversation, hang_up, imap

SCAN = Scan("news", "INBOX", 7, ("11", "12", "13"))
MOVE = Disposition(DoneAction.MOVE, "Done")
DELETE = Disposition(DoneAction.DELETE)


def _in(uid: int, wanted: bytes) -> bool:
    ranges = [part.split(b":") for part in wanted.split(b",")]
    return any(int(bounds[0]) <= uid <= int(bounds[-1]) for bounds in ranges)


def commands(started: Any) -> list[bytes]:
    return [command.split(b" ", 1)[1] for command in started.commands[0] if b" " in command]


def test_mails_are_moved_in_one_command(start_imap: Start) -> None:
    listed = {b'LIST "" "DONE"': b'* LIST () "/" "Done"\r\nTAG OK done\r\n'}
    server, source = start_imap(imap(listed))
    source.open()
    refs = [SCAN.ref(uid) for uid in SCAN.uids]
    assert list(source.settle(refs, MOVE)) == refs
    assert commands(server)[-3:] == [b'SELECT "INBOX"', b'LIST "" "Done"', b'UID MOVE 11:13 "Done"']


def test_without_move_mails_are_copied_marked_and_expunged(start_imap: Start) -> None:
    created = {b'LIST "" "DONE"': b"TAG OK done\r\n"}
    server, source = start_imap(imap(created, capabilities=b"IMAP4rev1 AUTH=PLAIN UIDPLUS"))
    source.open()
    refs = [SCAN.ref("11"), SCAN.ref("13")]
    assert list(source.settle(refs, MOVE)) == refs
    assert commands(server)[-7:] == [
        b'SELECT "INBOX"',
        b'LIST "" "Done"',
        b'CREATE "Done"',
        b'SUBSCRIBE "Done"',
        b'UID COPY 11,13 "Done"',
        b"UID STORE 11,13 +FLAGS.SILENT (\\Deleted)",
        b"UID EXPUNGE 11,13",
    ]


def test_without_uidplus_nothing_is_expunged(start_imap: Start) -> None:
    server, source = start_imap(imap(capabilities=b"IMAP4rev1 AUTH=PLAIN"))
    source.open()
    assert len(source.settle([SCAN.ref("11")], DELETE)) == 1
    assert commands(server)[-1] == b"UID STORE 11 +FLAGS.SILENT (\\Deleted)"
    assert not any(b"EXPUNGE" in command for command in commands(server))


def test_a_copy_that_is_refused_deletes_nothing(start_imap: Start) -> None:
    full: dict[bytes, Answer] = {b"UID COPY": b"TAG NO [OVERQUOTA] full\r\n"}
    server, source = start_imap(imap(full, capabilities=b"IMAP4rev1 AUTH=PLAIN UIDPLUS"))
    source.open()
    assert list(source.settle([SCAN.ref(uid) for uid in SCAN.uids], MOVE)) == []
    assert not any(b"STORE" in command or b"EXPUNGE" in command for command in commands(server))


def test_one_mail_that_cannot_be_settled_does_not_hold_up_the_others(start_imap: Start) -> None:
    def move(conversation: Conversation, command: bytes) -> None:
        tag, _uid, _move, wanted = command.split()[:4]
        conversation.say(tag + (b" NO not this one\r\n" if _in(12, wanted) else b" OK done\r\n"))

    _server, source = start_imap(imap({b"UID MOVE": move}))
    source.open()
    settled = source.settle([SCAN.ref(uid) for uid in SCAN.uids], MOVE)
    assert [ref.uid for ref in settled] == ["11", "13"]


def test_a_folder_somebody_else_just_made_will_do(start_imap: Start) -> None:
    answers: dict[bytes, Answer] = {
        b'LIST "" "DONE"': b"TAG OK done\r\n",
        b"CREATE": b"TAG NO [ALREADYEXISTS] it is there\r\n",
        b"SUBSCRIBE": b"TAG NO why\r\n",
    }
    _server, source = start_imap(imap(answers))
    source.open()
    assert len(source.settle([SCAN.ref("11")], MOVE)) == 1


@pytest.mark.parametrize("answer", [b"TAG NO below INBOX only\r\n", hang_up])
def test_a_folder_that_cannot_be_made_settles_nothing(answer: Answer, start_imap: Start) -> None:
    server, source = start_imap(imap({b'LIST "" "DONE"': b"TAG OK done\r\n", b"CREATE": answer}))
    source.open()
    with pytest.raises(SourceUnavailable, match=r"move:INBOX\.Processed|closed the connection"):
        source.settle([SCAN.ref("11")], MOVE)
    assert not any(b"MOVE" in command for command in commands(server))


def test_a_folder_that_may_only_be_read_is_not_settled(start_imap: Start) -> None:
    selected = b"* OK [UIDVALIDITY 7] ok\r\nTAG OK [READ-ONLY] done\r\n"
    _server, source = start_imap(imap({b"SELECT": selected}))
    source.open()
    with pytest.raises(SourceUnavailable, match="may only read"):
        source.settle([SCAN.ref("11")], DELETE)


def test_a_move_needs_a_folder(start_imap: Start) -> None:
    _server, source = start_imap(imap())
    source.open()
    with pytest.raises(SourceUnavailable, match="move:FOLDER"):
        source.settle([SCAN.ref("11")], Disposition(DoneAction.MOVE))


def test_closing_never_raises(start_imap: Start) -> None:
    for answer in (hang_up, b"TAG NO stay\r\n", b"rubbish\r\n", b"TAG OK but no BYE\r\n"):
        _server, source = start_imap(imap({b"LOGOUT": answer}))
        source.open()
        source.close()
