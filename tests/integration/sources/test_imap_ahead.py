"""Several commands on their way at once: in which order they are sent, and what becomes of their answers."""

import threading

import pytest

from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import RawMessage
from bouncepoll.ports import Source
from tests.integration.sources.conftest import Start
from tests.integration.sources.folder import ScriptedFolder, names
from tests.servers.scripted import Conversation, hang_up, imap

MOVE = Disposition(DoneAction.MOVE, "Done")
DELETE = Disposition(DoneAction.DELETE)
ITEMS = b" (UID RFC822.SIZE INTERNALDATE BODY.PEEK[]<0.1025>)"


def uids_of(answers: list[RawMessage | Unfetched]) -> list[str]:
    assert all(isinstance(answer, RawMessage) for answer in answers)
    return sorted(answer.ref.uid for answer in answers)


def scanned(source: Source) -> Scan:
    source.open()
    return source.scan("INBOX", None)


def test_the_next_mails_are_sent_for_before_these_are_handed_out(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 17))
    asked = threading.Event()

    def fetch(conversation: Conversation, command: bytes) -> None:
        # The answer to the first command waits for the second command.
        if b" 11:12 " in command:
            assert b" 13:14 " in conversation.line()
            asked.set()
            folder.fetch(conversation, command)
            folder.fetch(conversation, conversation.commands[-1])
        else:
            folder.fetch(conversation, command)

    server, source = start_imap(imap(folder.answers(UID_FETCH=fetch)))
    scan = scanned(source)
    assert uids_of(list(source.fetch(scan, ["11", "12"], ["13", "14"]))) == ["11", "12"]
    assert asked.is_set()
    assert uids_of(list(source.fetch(scan, ["13", "14"], ["15", "16"]))) == ["13", "14"]
    assert uids_of(list(source.fetch(scan, ["15", "16"]))) == ["15", "16"]
    fetches = [command for command in names(server.commands[0]) if b"FETCH" in command]
    assert fetches == [b"UID FETCH %b" % uids + ITEMS for uids in (b"11:12", b"13:14", b"15:16")]


def test_mails_are_moved_while_the_next_ones_stream(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 17))
    server, source = start_imap(imap(folder.answers()))
    scan = scanned(source)
    batches = [["11", "12"], ["13", "14"], ["15", "16"]]
    settled: list[str] = []
    for uids, ahead in zip(batches, [*batches[1:], []], strict=True):
        assert uids_of(list(source.fetch(scan, uids, ahead))) == uids
        settled += [ref.uid for ref in source.settle([scan.ref(uid) for uid in uids], MOVE, wait=False)]
    settled += [ref.uid for ref in source.settle([], MOVE)]
    assert sorted(settled) == ["11", "12", "13", "14", "15", "16"]
    assert source.settle([], MOVE) == ()
    assert folder.moved == [11, 12, 13, 14, 15, 16]
    assert [command.replace(ITEMS, b"") for command in names(server.commands[0])[2:]] == [
        b"UID FETCH 11:12",
        b"UID FETCH 13:14",
        b'SELECT "INBOX"',
        b'LIST "" "Done"',
        b'UID MOVE 11:12 "Done"',
        b"UID FETCH 15:16",
        b'UID MOVE 13:14 "Done"',
        b'UID MOVE 15:16 "Done"',
    ]


def test_a_move_that_was_refused_is_tried_in_halves_later(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 15))

    def move(conversation: Conversation, command: bytes) -> None:
        if 12 in folder.named(command.split()[3]):
            conversation.say(command.split()[0] + b" NO not this one\r\n")
        else:
            folder.move(conversation, command)

    _server, source = start_imap(imap(folder.answers(UID_MOVE=move)))
    scan = scanned(source)
    list(source.fetch(scan, ["11", "12"], ["13", "14"]))
    first = source.settle([scan.ref("11"), scan.ref("12")], MOVE, wait=False)
    assert uids_of(list(source.fetch(scan, ["13", "14"]))) == ["13", "14"]
    rest = source.settle([scan.ref("13"), scan.ref("14")], MOVE)
    assert sorted(ref.uid for ref in (*first, *rest)) == ["11", "13", "14"]


def test_what_is_on_its_way_does_not_stand_in_the_way(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 17))
    answers = folder.answers() | {b'EXAMINE "JUNK"': folder.select}
    server, source = start_imap(imap(answers), folders=["INBOX", "Junk"])
    scan = scanned(source)
    assert uids_of(list(source.fetch(scan, ["11"], ["12", "13"]))) == ["11"]
    # Something else than was announced, then another folder, then the first one again.
    assert uids_of(list(source.fetch(scan, ["14"], ["15"]))) == ["14"]
    junk = source.scan("Junk", None)
    assert uids_of(list(source.fetch(junk, ["11"], ["12"]))) == ["11"]
    assert uids_of(list(source.fetch(scan, ["12", "13", "15"]))) == ["12", "13", "15"]
    source.close()
    assert names(server.commands[0])[-1] == b"LOGOUT"


def test_a_mail_is_completed_while_others_are_on_their_way(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 15))
    folder.mails[11] = b"Subject: long\r\n\r\n" + b"x" * 2000

    def fetch(conversation: Conversation, command: bytes) -> None:
        if b"<1024." in command:
            rest = folder.mails[11][1024:]
            conversation.say(b"* 1 FETCH (UID 11 BODY[]<1024> {%d}\r\n" % len(rest) + rest + b")\r\n")
            conversation.say(command.split()[0] + b" OK done\r\n")
        else:
            folder.fetch(conversation, command)

    _server, source = start_imap(imap(folder.answers(UID_FETCH=fetch)))
    scan = scanned(source)
    raws = {answer.ref.uid: answer for answer in source.fetch(scan, ["11", "12"], ["13", "14"])}
    long = raws["11"]
    assert isinstance(long, RawMessage)
    assert long.truncated
    assert source.complete(long).octets == folder.mails[11]
    assert uids_of(list(source.fetch(scan, ["13", "14"]))) == ["13", "14"]


def test_mails_left_out_of_an_answer_are_asked_for_again(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 17))
    asked: list[bytes] = []

    def fetch(conversation: Conversation, command: bytes) -> None:
        asked.append(command.split()[3])
        uids = list(folder.named(command.split()[3]))
        shown = uids if len(uids) < 4 else [uids[0], uids[2]]
        limit = b"" if len(uids) < 4 else b"[MESSAGELIMIT 2 %d] " % uids[2]
        conversation.say(b"".join(folder.item(uid) for uid in shown))
        conversation.say(command.split()[0] + b" OK " + limit + b"done\r\n")

    _server, source = start_imap(imap(folder.answers(UID_FETCH=fetch)))
    scan = scanned(source)
    assert uids_of(list(source.fetch(scan, scan.uids))) == list(scan.uids)
    assert asked[0] == b"11:16"


def test_no_command_names_more_mails_than_the_server_allows(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 18))
    session = imap(folder.answers(), capabilities=b"IMAP4rev1 AUTH=PLAIN MOVE UIDPLUS MESSAGELIMIT=3")
    server, source = start_imap(session)
    scan = scanned(source)
    assert uids_of(list(source.fetch(scan, scan.uids))) == list(scan.uids)
    assert len(source.settle([scan.ref(uid) for uid in scan.uids], MOVE)) == 7
    sets = [command.split()[2] for command in names(server.commands[0]) if b"FETCH" in command or b"MOVE" in command]
    assert sets == [b"11:13", b"14:16", b"17"] * 2


def test_a_move_the_server_did_in_part_is_finished(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 17))

    def move(conversation: Conversation, command: bytes) -> None:
        # RFC 9738: from the highest UID down.
        done = list(folder.named(command.split()[3]))[-2:]
        for uid in done:
            del folder.mails[uid]
            folder.moved.append(uid)
        conversation.say(command.split()[0] + b" OK [MESSAGELIMIT 2 %d] partly\r\n" % done[0])

    _server, source = start_imap(imap(folder.answers(UID_MOVE=move)))
    scan = scanned(source)
    assert len(source.settle([scan.ref(uid) for uid in scan.uids], MOVE)) == 6
    assert folder.moved == [15, 16, 13, 14, 11, 12]


def test_batches_are_sized_by_octets(start_imap: Start) -> None:
    folder = ScriptedFolder(range(1, 801))
    for uid in folder.mails:
        folder.mails[uid] = b"Subject: %d\r\n\r\n" % uid + b"x" * 200_000
    server, source = start_imap(
        imap(folder.answers()), analysis_octets="256KiB", max_octets="1MiB", batch=500, timeout=20
    )
    scan = scanned(source)
    assert len(list(source.fetch(scan, scan.uids[:400]))) == 400
    assert len(list(source.fetch(scan, scan.uids[400:480]))) == 80
    sizes = []
    for command in names(server.commands[0]):
        if command.startswith(b"UID FETCH"):
            first, _colon, last = command.split()[2].partition(b":")
            sizes.append(int(last or first) - int(first) + 1)
    # At first by the worst case (64 MiB a command), then by what the mails were like (4 MiB a command).
    assert max(sizes) <= 256
    assert max(sizes[-4:]) == 20


def test_answers_of_uid_only_servers_are_understood(start_imap: Start) -> None:
    folder = ScriptedFolder()

    def fetch(conversation: Conversation, command: bytes) -> None:
        for uid in folder.named(command.split()[3]):
            conversation.say(folder.item(uid).replace(b"* 1 FETCH (UID %d " % uid, b"* %d UIDFETCH (" % uid))
        conversation.say(command.split()[0] + b" OK done\r\n")

    _server, source = start_imap(imap(folder.answers(UID_FETCH=fetch)))
    scan = scanned(source)
    assert uids_of(list(source.fetch(scan, scan.uids))) == ["11", "12", "13"]


def test_a_connection_lost_with_moves_on_their_way_leaves_them_uncertain(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 15))
    first = imap(folder.answers(UID_MOVE=hang_up))
    server, source = start_imap(first, imap(folder.answers()))
    scan = scanned(source)
    list(source.fetch(scan, ["11", "12"]))
    assert source.settle([scan.ref("11"), scan.ref("12")], MOVE, wait=False) == ()
    # The next fetch finds out, connects again, and reads on; what was moved is not known.
    assert uids_of(list(source.fetch(scan, ["13", "14"]))) == ["13", "14"]
    assert source.settle([], MOVE) == ()
    assert len(server.commands) == 2


def test_a_note_in_place_of_a_mail_is_held_back(start_imap: Start) -> None:
    folder = ScriptedFolder()
    folder.mails[12] = (
        b"Date: Mon, 2 Nov 2026 10:00:00 +0000\r\nFrom: Microsoft Exchange Server 2010\r\n"
        b"Subject: Retrieval using the IMAP4 protocol failed for the following message:\r\n 12\r\n\r\nNo.\r\n"
    )
    _server, source = start_imap(imap(folder.answers()))
    scan = scanned(source)
    answers = {answer.ref.uid: answer for answer in source.fetch(scan, scan.uids)}
    held = answers.pop("12")
    assert isinstance(held, Unfetched)
    assert (held.permanent, held.gone) == (False, False)
    assert "read it with Outlook" in held.error
    assert uids_of(list(answers.values())) == ["11", "13"]


def test_a_source_that_is_not_open_settles_nothing(start_imap: Start) -> None:
    _server, source = start_imap(imap())
    with pytest.raises(SourceUnavailable, match="not open"):
        source.settle([Scan("news", "INBOX", 7, ()).ref("1")], DELETE, wait=False)


def test_a_server_that_gets_move_wrong_copies(start_imap: Start) -> None:
    folder = ScriptedFolder()
    quirks = {"imap_moves": "copy", "ignored_capabilities": ["ESEARCH"]}
    capabilities = b"IMAP4rev1 AUTH=PLAIN UIDPLUS MOVE ESEARCH"
    server, source = start_imap(imap(folder.answers(), capabilities=capabilities), quirks=quirks)
    scan = scanned(source)
    assert len(source.settle([scan.ref("11")], MOVE)) == 1
    assert [command.split()[1] for command in names(server.commands[0])[-3:]] == [b"COPY", b"STORE", b"EXPUNGE"]
    assert not any(b"RETURN" in command for command in server.commands[0])
