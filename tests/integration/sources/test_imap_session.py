"""IMAP logins and scans with answers no good server gives, told byte for byte."""

import base64
import logging
from typing import Any

import pytest

from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, Scan
from tests.integration.sources.conftest import SECRET, Start
from tests.servers.scripted import Answer, Conversation, hang, hang_up, imap, saying_then_close, without_end

SCAN = Scan("news", "INBOX", 7, ("11", "12", "13"))
MOVE = Disposition(DoneAction.MOVE, "Done")


def item(uid: int, octets: bytes = b"Subject: x\r\n\r\n", more: bytes = b"", first: int = 0) -> bytes:
    """Return a good answer to FETCH."""
    head = b"* %d FETCH (UID %d RFC822.SIZE %d%s BODY[]<%d> {%d}\r\n" % (
        uid - 10,
        uid,
        len(octets),
        more,
        first,
        len(octets),
    )
    return head + octets + b")\r\n"


@pytest.mark.parametrize(
    ("session", "said"),
    [
        (imap(greeting=b"* BYE too many connections\r\n"), "too many connections"),
        (imap(greeting=b"* NO go away\r\n"), "go away"),
        (imap(greeting=b"220 mail.example.org ESMTP\r\n"), "unexpected response.*check host, port"),
        (imap(greeting=b"\x16\x03\x01\x00\xff\r\n"), "unexpected response"),
        (imap(greeting=b"* OK " + b"x" * 2_000_000), "does not end"),
        (imap(greeting=b"* OK ready {2147483647}\r\n"), "too large"),
        (imap({b"CAPABILITY": b"* CAPABILITY IMAP2\r\nTAG OK\r\n"}), "no session"),
        (imap({b"CAPABILITY": b"TAG OK done\r\n"}), "no session"),
        (imap({b"CAPABILITY": without_end(b"* CAPABILITY " + b"x" * 9000 + b"\r\n")}), "too large"),
        (imap({b"AUTHENTICATE PLAIN": saying_then_close(b"* BYE shutting down\r\n")}), "no session"),
        (imap({b"AUTHENTICATE PLAIN": hang_up}), "no session"),
        (imap({b"AUTHENTICATE PLAIN": b"\xff\xfe\x00garbage\r\n"}), "no session"),
        (imap({b"AUTHENTICATE PLAIN": b"TAG NO [AUTHENTICATIONFAILED] no\r\n"}), "refused the login.*check username"),
        (imap({b"AUTHENTICATE PLAIN": b"TAG NO [UNAVAILABLE] no\r\n"}), "for now.*the next poll tries again"),
        (imap({b"AUTHENTICATE PLAIN": b"TAG NO [LIMIT] no\r\n"}), "for now"),
        (imap({b"LOGIN": b"TAG BAD what\r\n"}, capabilities=b"IMAP4rev1"), "refused the login"),
        (imap(capabilities=b"IMAP4rev1 LOGINDISABLED"), "LOGINDISABLED"),
        (imap(greeting=b"* PREAUTH you are somebody\r\n"), "login"),
    ],
)
def test_a_session_that_does_not_come_about_is_explained(session: Any, said: str, start_imap: Start) -> None:
    _server, source = start_imap(session)
    with pytest.raises(SourceUnavailable, match=f"(?s)^news: localhost:\\d+: .*{said}"):
        source.open()


@pytest.mark.parametrize(
    "answers",
    [
        {b"CAPABILITY": hang},
        {b"AUTHENTICATE PLAIN": hang},
        {b"AUTHENTICATE PLAIN": lambda conversation, _command: (conversation.say(b"+ \r\n"), conversation.hang())},
        {b"EXAMINE": hang},
        {b"UID SEARCH": hang},
        {b"UID FETCH": hang},
        {b"UID FETCH": lambda conversation, _command: (conversation.say(item(11)[:-9]), conversation.hang())},
    ],
)
def test_a_server_that_hangs_is_given_up(answers: dict[bytes, Answer], start_imap: Start) -> None:
    _server, source = start_imap(imap(answers), imap({b"CAPABILITY": hang}), timeout=0.2)

    def read() -> None:
        source.open()
        scan = source.scan("INBOX", None)
        list(source.fetch(scan, scan.uids))

    with pytest.raises(SourceUnavailable, match=r"no answer within 0\.2 s"):
        read()


@pytest.mark.parametrize("form", ["as it is", "escaped", "SASL", "base64"])
@pytest.mark.parametrize("answer", [b"TAG NO you sent %s, wrong\r\n", b"rubbish %s\r\n", b"* BYE %s\r\n"])
@pytest.mark.parametrize("capabilities", [b"IMAP4rev1", b"IMAP4rev1 AUTH=PLAIN"])
def test_a_secret_is_never_quoted(form: str, answer: bytes, capabilities: bytes, start_imap: Start) -> None:
    echo = {
        "as it is": SECRET.encode(),
        "escaped": SECRET.replace("\\", "\\\\").replace('"', '\\"').encode(),
        "SASL": base64.b64encode(f"\0news@example.org\0{SECRET}".encode()),
        "base64": base64.b64encode(SECRET.encode()),
    }[form]

    def refuse(conversation: Conversation, command: bytes) -> None:
        conversation.say((answer % echo).replace(b"TAG", command.split()[0]))
        hang_up(conversation, command)

    answers: dict[bytes, Answer] = {b"LOGIN": refuse, b"AUTHENTICATE PLAIN": refuse}
    _server, source = start_imap(imap(answers, capabilities=capabilities))
    with pytest.raises(SourceUnavailable) as caught:
        source.open()
    if not answer.startswith(b"*"):  # imaplib does not tell what came with BYE.
        assert "holds the password" in str(caught.value)
    assert not any(part in str(caught.value) for part in ("horse", "battery", echo.decode()[-8:]))
    assert caught.value.__suppress_context__


def test_logging_in_leaves_no_secret_in_the_log(start_imap: Start, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    for capabilities in (b"IMAP4rev1", b"IMAP4rev1 AUTH=PLAIN"):
        _server, source = start_imap(imap(capabilities=capabilities))
        source.open()
    assert "horse" not in caplog.text


def test_a_login_without_sasl_is_quoted(start_imap: Start) -> None:
    server, source = start_imap(imap(capabilities=b"IMAP4rev1"), username='the "news"')
    source.open()
    (login,) = [command for command in server.commands[0] if b" LOGIN " in command]
    assert login.split(b" ", 1)[1] == b'LOGIN "the \\"news\\"" "cor\\"rect horse\\\\ battery"'


@pytest.mark.parametrize("secret", ["päss", "line\r\nA1 LOGOUT", "nul\x00"])
def test_a_secret_that_cannot_be_sent_is_a_fault_of_the_configuration(secret: str, start_imap: Start) -> None:
    server, source = start_imap(imap(capabilities=b"IMAP4rev1"), auth={"password": secret})
    with pytest.raises(ConfigurationError, match=r"mailboxes\.news") as caught:
        source.open()
    assert secret not in str(caught.value)
    assert not any(b"LOGIN" in command for command in server.commands[0])


def test_a_secret_with_umlauts_is_sent_as_utf_8_where_that_is_possible(start_imap: Start) -> None:
    _server, source = start_imap(imap(), auth={"password": "pässwort"})
    source.open()


def test_the_capabilities_after_the_login_count(start_imap: Start) -> None:
    after = b"TAG OK [CAPABILITY IMAP4rev1 UIDPLUS] logged in\r\n"
    greeting = b"* OK [CAPABILITY IMAP4rev1 MOVE] ready\r\n* CAPABILITY IMAP4rev1 MOVE\r\n"
    server, source = start_imap(imap({b"LOGIN": after}, capabilities=b"IMAP4rev1 MOVE", greeting=greeting))
    source.open()
    source.settle([SCAN.ref("11")], MOVE)
    assert not any(b"UID MOVE" in command for command in server.commands[0])
    assert any(b"UID COPY" in command for command in server.commands[0])


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({b"EXAMINE": b"TAG NO [SERVERBUG] internal error\r\n"}, "internal error"),
        ({b"EXAMINE": b"TAG BAD unknown command\r\n"}, "unknown command"),
        ({b"EXAMINE": b"* 3 EXISTS\r\nTAG OK done\r\n"}, "UIDVALIDITY"),
        ({b"EXAMINE": b"* 3 EXISTS\r\n* OK [UIDVALIDITY 99999999999] ok\r\nTAG OK done\r\n"}, "UIDVALIDITY"),
        ({b"EXAMINE": b"* 99999999999 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\nTAG OK done\r\n"}, "holds 99999999999"),
        ({b"EXAMINE": b"* OK [UIDVALIDITY seven] ok\r\nTAG OK done\r\n"}, "."),
        ({b"UID SEARCH": b"TAG NO cannot\r\n"}, "cannot"),
        ({b"UID SEARCH": b"* SEARCH twelve\r\nTAG OK done\r\n"}, "."),
        ({b"UID SEARCH": b"* SEARCH (\r\nTAG OK done\r\n"}, "."),
        ({b"UID SEARCH": saying_then_close(b"* SEARCH 11 12")}, "."),
        ({b"UID SEARCH": without_end(b"* SEARCH" + b" 11" * 9000 + b"\r\n")}, "too large"),
        ({b"UID SEARCH": without_end(b"* OK " + b"x" * 5000 + b"\r\n")}, "too large"),
        ({b"UID SEARCH": b"* SEARCH 11" + b" 11" * 400_000 + b"\r\nTAG OK done\r\n"}, "does not end"),
    ],
)
def test_a_scan_that_fails_is_explained(answers: dict[bytes, Answer], said: str, start_imap: Start) -> None:
    _server, source = start_imap(imap(answers))
    source.open()
    with pytest.raises(SourceUnavailable, match=f"^news/INBOX: localhost:\\d+: .*{said}"):
        source.scan("INBOX", None)


def test_a_missing_folder_is_told_from_a_server_that_is_ill(start_imap: Start) -> None:
    _server, source = start_imap(
        imap(
            {
                b'EXAMINE "JUNK"': b"TAG NO not now\r\n",
                b'LIST "" "JUNK"': b'* LIST (\\Noselect) "/" "Junk"\r\nTAG OK done\r\n',
                b'LIST "" "ODD"': b'* LIST () "/" 123\r\n* LIST () "/" "&AAA"\r\nTAG OK done\r\n',
                b'EXAMINE "ODD"': b"TAG NO not now\r\n",
            }
        ),
        folders=["Junk", "Odd"],
    )
    source.open()
    for folder in ("Junk", "Odd"):
        with pytest.raises(ConfigurationError, match=f"has no folder '{folder}'; create it"):
            source.scan(folder, None)


@pytest.mark.parametrize("octets", [b"* SEARCH\r\nTAG OK done\r\n", b"TAG OK done\r\n"])
def test_nothing_found_is_nothing(octets: bytes, start_imap: Start) -> None:
    _server, source = start_imap(imap({b"UID SEARCH": octets}))
    source.open()
    assert source.scan("INBOX", None).uids == ()


def test_uids_below_the_cursor_and_beyond_all_limits_are_left_out(start_imap: Start) -> None:
    server, source = start_imap(imap({b"UID SEARCH": b"* SEARCH 13 11 12 99999999999 13\r\nTAG OK done\r\n"}))
    source.open()
    assert source.scan("INBOX", None).uids == ("11", "12", "13")
    assert source.scan("INBOX", Cursor("news", "INBOX", 7, 12)).uids == ("13",)
    searches = [command.split(b" ", 1)[1] for command in server.commands[0] if b"SEARCH" in command]
    assert searches == [b"UID SEARCH UID 1:13 UNDELETED", b"UID SEARCH UID 13:13 UNDELETED"]
    assert source.scan("INBOX", Cursor("news", "INBOX", 7, 2**32 - 1)).uids == ()


def test_a_huge_folder_is_searched_in_windows(start_imap: Start) -> None:
    def search(conversation: Conversation, command: bytes) -> None:
        tag = command.split()[0]
        first = int(command.split()[3].split(b":")[0])
        conversation.say(b"* SEARCH " + b"%d" % first + b"\r\n" + tag + b" OK done\r\n")

    examine = b"* 120000 EXISTS\r\n* OK [UIDVALIDITY 7] ok\r\nTAG OK done\r\n"
    server, source = start_imap(imap({b"EXAMINE": examine, b"UID SEARCH": search}))
    source.open()
    assert source.scan("INBOX", None).uids == ("1", "50001", "100001")
    windows = [command.split()[3] for command in server.commands[0] if b"SEARCH" in command]
    assert windows == [b"100001:*", b"50001:100000", b"1:50000"]
