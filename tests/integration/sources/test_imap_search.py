"""How new mails are looked for: as little as possible, and never with a gap."""

import re
from collections.abc import Callable

import pytest

from bouncepoll.errors import FolderMissing, SourceUnavailable
from bouncepoll.model.mailbox import Cursor
from bouncepoll.ports import Source
from tests.integration.sources.conftest import Start
from tests.integration.sources.folder import ScriptedFolder, names
from tests.servers.scripted import Answer, Conversation, imap


def cursor(high_water: int, modseq: int | None = None) -> Cursor:
    return Cursor("news", "INBOX", 7, high_water, modseq)


def in_ranges(folder: ScriptedFolder, answer: Callable[[list[int]], bytes]) -> Callable[[Conversation, bytes], None]:
    """Answer a search with what ``answer`` makes of the UIDs found; ``TAG`` stands for the command's tag."""

    def search(conversation: Conversation, command: bytes) -> None:
        found = re.search(rb"UID (\d+):(\d+) UNDELETED", command)
        assert found, command
        uids = list(folder.named(b"%b:%b" % (found[1], found[2])))
        conversation.say(answer(uids).replace(b"TAG", command.split()[0]))

    return search


def test_a_folder_with_nothing_new_is_not_searched(start_imap: Start) -> None:
    folder = ScriptedFolder(range(1, 100_001))
    server, source = start_imap(imap(folder.answers()))
    source.open()
    for _poll in range(3):
        assert source.scan("INBOX", cursor(100_000)).uids == ()
    # One command for a poll of a folder of 100,000 mails.
    assert names(server.commands[0]) == [b'EXAMINE "INBOX"'] * 3
    folder.mails[100_001] = b"Subject: new\r\n\r\n"
    folder.uidnext = 100_002
    assert source.scan("INBOX", cursor(100_000)).uids == ("100001",)
    assert names(server.commands[0])[3:] == [b'EXAMINE "INBOX"', b"UID SEARCH UID 100001:100001 UNDELETED"]


def test_an_empty_folder_is_not_searched(start_imap: Start) -> None:
    server, source = start_imap(imap(ScriptedFolder(range(11, 11)).answers()))
    source.open()
    assert source.scan("INBOX", None).uids == ()
    assert names(server.commands[0]) == [b'EXAMINE "INBOX"']


@pytest.mark.parametrize("uidnext", [None, 0, 1, 5, 2**40])
def test_without_uidnext_the_last_mail_is_not_new_each_time(uidnext: int | None, start_imap: Start) -> None:
    folder = ScriptedFolder()
    folder.uidnext = uidnext
    server, source = start_imap(imap(folder.answers()))
    source.open()
    assert source.scan("INBOX", cursor(13)).uids == ()
    assert source.scan("INBOX", cursor(12)).uids == ("13",)
    assert names(server.commands[0])[1] == b"UID SEARCH UID 14:* UNDELETED"


def test_a_folder_that_did_not_change_is_not_searched(start_imap: Start) -> None:
    folder = ScriptedFolder(uidnext=20)
    folder.modseq = 900
    server, source = start_imap(imap(folder.answers(), capabilities=b"IMAP4rev1 AUTH=PLAIN CONDSTORE"))
    source.open()
    # UIDs 14 to 19 were given, and their mails are gone: UIDNEXT alone would have us search each time.
    scan = source.scan("INBOX", cursor(13))
    assert (scan.uids, scan.highest_modseq) == ((), 900)
    assert source.scan("INBOX", cursor(13, 900)).uids == ()
    # Somebody took a mark back, or a mail came: now it is searched.
    folder.modseq = 901
    assert source.scan("INBOX", cursor(12, 900)).uids == ("13",)
    assert source.scan("INBOX", Cursor("news", "INBOX", 6, 13, 901)).uids == ("11", "12", "13")
    select = b'EXAMINE "INBOX" (CONDSTORE)'
    search = b"UID SEARCH UID %d:19 UNDELETED"
    assert names(server.commands[0]) == [select, search % 14, select, select, search % 13, select, search % 1]


@pytest.mark.parametrize("modseq", [0, 2**63])
def test_a_modseq_that_is_none_is_not_believed(modseq: int, start_imap: Start) -> None:
    folder = ScriptedFolder()
    folder.modseq = modseq
    _server, source = start_imap(imap(folder.answers()))
    source.open()
    assert source.scan("INBOX", None).highest_modseq is None


def test_esearch_answers_in_ranges(start_imap: Start) -> None:
    folder = ScriptedFolder(range(1, 120_001))
    search = in_ranges(folder, lambda uids: b'* ESEARCH (Tag "TAG") UID ALL %d:%d\r\nTAG OK\r\n' % (uids[0], uids[-1]))
    capabilities = b"IMAP4rev1 AUTH=PLAIN ESEARCH"
    server, source = start_imap(imap(folder.answers(UID_SEARCH=search), capabilities=capabilities))
    source.open()
    assert len(source.scan("INBOX", None).uids) == 120_000
    assert names(server.commands[0])[1:] == [b"UID SEARCH RETURN (ALL) UID 1:120000 UNDELETED"]


def test_a_huge_folder_is_listed_in_pages_where_the_server_has_them(start_imap: Start) -> None:
    folder = ScriptedFolder(range(1, 1_201))
    found: list[int] = []

    def page(uids: list[int]) -> bytes:
        if not found:
            del folder.mails[300]  # Between two pages; the others must not move.
        found.append(len(uids))
        shown = uids[:500]
        ranges = b"%d:%d" % (shown[0], shown[-1])
        return b'* ESEARCH (Tag "TAG") UID PARTIAL (1:500 %b)\r\nTAG OK\r\n' % ranges

    session = imap(folder.answers(UID_SEARCH=in_ranges(folder, page)), capabilities=b"IMAP4rev1 AUTH=PLAIN PARTIAL")
    server, source = start_imap(session, quirks={"imap_window": 500})
    source.open()
    assert source.scan("INBOX", None).uids == tuple(str(uid) for uid in range(1, 1_201))
    assert names(server.commands[0])[1:] == [
        b"UID SEARCH RETURN (PARTIAL 1:500) UID %d:1200 UNDELETED" % first for first in (1, 501, 1001)
    ]


def test_a_search_that_stops_early_is_continued(start_imap: Start) -> None:
    folder = ScriptedFolder(range(11, 18))

    def highest_three(uids: list[int]) -> bytes:
        # RFC 9738: from the highest UID down, and it tells how far it came.
        shown = uids[-3:]
        limit = b"[MESSAGELIMIT 3 %d] " % shown[0] if len(uids) > 3 else b""
        return b"* SEARCH%b\r\nTAG OK %bdone\r\n" % (b"".join(b" %d" % uid for uid in shown), limit)

    server, source = start_imap(imap(folder.answers(UID_SEARCH=in_ranges(folder, highest_three))))
    source.open()
    assert source.scan("INBOX", None).uids == tuple(str(uid) for uid in range(11, 18))
    assert [command.split()[3] for command in names(server.commands[0])[1:]] == [b"1:17", b"1:14", b"1:11"]


def test_a_search_that_never_ends_is_given_up(start_imap: Start, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bouncepoll.sources.imap._connection._MAX_PAGES", 5)
    answer = b"* SEARCH 13\r\nTAG OK [MESSAGELIMIT 1 4000000000] done\r\n"
    _server, source = start_imap(imap({b"UID SEARCH": answer}))
    source.open()
    with pytest.raises(SourceUnavailable, match="too many parts"):
        source.scan("INBOX", None)


def test_more_mails_than_there_are_is_no_answer(start_imap: Start) -> None:
    answer = b'* ESEARCH (Tag "TAG") UID ALL 1:4294967295\r\nTAG OK done\r\n'
    _server, source = start_imap(imap({b"UID SEARCH": answer}))
    source.open()
    with pytest.raises(SourceUnavailable, match="more mails than the folder holds"):
        source.scan("INBOX", None)


def namespaced(personal: bytes = b'(("INBOX." "."))') -> dict[bytes, Answer]:
    """A server whose folders are below INBOX."""

    def examine(conversation: Conversation, command: bytes) -> None:
        tag = command.split()[0]
        if b'"INBOX.J&APw-nk.old"' in command or command.endswith(b'"INBOX"'):
            conversation.say(b"* 0 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\n" + tag + b" OK done\r\n")
        else:
            conversation.say(tag + b" NO no such mailbox\r\n")

    return {
        b"EXAMINE": examine,
        b"NAMESPACE": b"* NAMESPACE " + personal + b" NIL NIL\r\nTAG OK done\r\n",
        b"LIST": b"TAG OK done\r\n",
        b'LIST "" "INBOX.J&APW-NK.OLD"': b'* LIST () "." "INBOX.J&APw-nk.old"\r\nTAG OK done\r\n',
    }


def opened(start_imap: Start, answers: dict[bytes, Answer], *folders: str) -> Source:
    capabilities = b"IMAP4rev1 AUTH=PLAIN NAMESPACE"
    _server, source = start_imap(imap(answers, capabilities=capabilities), folders=folders)
    source.open()
    return source


def test_folders_are_found_in_the_namespace(start_imap: Start) -> None:
    source = opened(start_imap, namespaced(), "Jünk/old", "INBOX")
    assert source.scan("Jünk/old", None).folder == "Jünk/old"
    assert source.scan("INBOX", None).uids == ()
    # The second time it is known.
    assert source.scan("Jünk/old", None).uidvalidity == 7


@pytest.mark.parametrize("personal", [b"NIL", b'(("" "/"))', b"((", b"(7)", b'(("INBOX." NIL))', b'(("INBOX." "."))'])
def test_a_folder_that_is_nowhere_is_reported_and_the_session_goes_on(personal: bytes, start_imap: Start) -> None:
    source = opened(start_imap, namespaced(personal), "Nowhere", "INBOX")
    with pytest.raises(FolderMissing, match="has no folder 'Nowhere'; create it"):
        source.scan("Nowhere", None)
    assert source.scan("INBOX", None).uids == ()
