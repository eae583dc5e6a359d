"""Servers that have had enough of us, byte for byte, and what the account then does."""

import pytest
from structlog.testing import capture_logs

from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction, Scan, Unfetched
from bouncepoll.ports import Source
from bouncepoll.sources import imap as imap_source
from bouncepoll.testing import FakeTokens
from tests.integration.sources.conftest import SECRET, Start, options
from tests.integration.sources.folder import ScriptedFolder
from tests.servers.scripted import Answer, Conversation, Session, imap, saying_then_close

SCAN = Scan("news", "INBOX", 7, ("11", "12", "13"))
MOVE = Disposition(DoneAction.MOVE, "Done")

EXCHANGE = b"BAD Request is throttled. Suggested Backoff Time: 89117 milliseconds\r\n"
GMAIL = b"NO [OVERQUOTA] Account exceeded command or bandwidth limits. (Failure)\r\n"


def poll(source: Source) -> None:
    source.open()
    scan = source.scan("INBOX", None)
    list(source.fetch(scan, scan.uids))
    source.settle([scan.ref(uid) for uid in scan.uids], MOVE)


@pytest.mark.parametrize(
    ("session", "said", "rest_s"),
    [
        (imap(greeting=b"* BYE Too many connections, try later\r\n"), "Too many connections", 120),
        (imap(greeting=b"* BYE [UNAVAILABLE] Server is busy\r\n"), "Server is busy", 60),
        (
            imap({b"AUTHENTICATE PLAIN": b"TAG NO [ALERT] Too many simultaneous connections. (Failure)\r\n"}),
            "for now.*Too many simultaneous",
            120,
        ),
        (imap({b"AUTHENTICATE PLAIN": b"TAG NO [UNAVAILABLE] Temporary authentication failure\r\n"}), "for now", 60),
        (imap({b"AUTHENTICATE PLAIN": b"TAG NO [LIMIT] Too many logins today\r\n"}), "for now", 300),
        (imap({b"EXAMINE": b"TAG NO [THROTTLED] later\r\n"}), "THROTTLED", 300),
        (imap({b"EXAMINE": b"TAG NO [INUSE] Mailbox is locked\r\n"}), "locked", 30),
        (imap({b"EXAMINE": b"TAG " + EXCHANGE}), "throttled", 89.117),
        (imap({b"EXAMINE": saying_then_close(b"* BYE [UNAVAILABLE] going down\r\n")}), "ended the session", 60),
        (imap({b"UID SEARCH": b"TAG " + EXCHANGE + b"* BYE Connection closed. 14\r\n"}), "throttled", 89.117),
        (imap({b"UID SEARCH": b"TAG NO [LIMIT] too many searches\r\n"}), "too many searches", 300),
        (imap({b"UID FETCH": b"TAG " + GMAIL}), "bandwidth limits", 3600),
        (imap({b"UID FETCH": b"TAG " + EXCHANGE}), "throttled", 89.117),
        (
            imap({b"UID FETCH": saying_then_close(b"* BYE Too many simultaneous connections\r\n")}),
            "Too many simultaneous",
            120,
        ),
    ],
)
def test_a_throttled_account_rests_as_long_as_it_was_told(
    session: Session, said: str, rest_s: float, start_imap: Start
) -> None:
    server, source = start_imap(session)
    with pytest.raises(SourceUnavailable, match=said) as caught:
        poll(source)
    assert caught.value.retry_after_s == rest_s
    # No other mailbox of the account even connects until then, and this one does not either.
    other = imap_source.Options(**options(server, "imap", folders=["Junk"]))
    for again in (source, imap_source.create("junk", other, FakeTokens(SECRET))):
        with pytest.raises(SourceUnavailable, match="asked for a rest") as resting:
            again.open()
        assert resting.value.retry_after_s is not None
        assert rest_s * 0.9 < resting.value.retry_after_s <= rest_s * 1.1
    assert len(server.commands) == 1
    # Another account at the same server is not concerned.
    mine = imap_source.Options(**options(server, "imap", username="shop@example.org"))
    shop = imap_source.create("shop", mine, FakeTokens(SECRET))
    with pytest.raises(SourceUnavailable, match=said):
        poll(shop)
    shop.close()


def test_a_throttle_that_lets_the_command_through_is_kept_after_the_session(start_imap: Start) -> None:
    folder = ScriptedFolder()
    _server, source = start_imap(imap(folder.answers(UID_SEARCH=b"* SEARCH 11\r\nTAG OK Success [THROTTLED]\r\n")))
    poll(source)
    assert folder.moved == [11]
    source.close()
    with pytest.raises(SourceUnavailable, match="asked for a rest"):
        source.open()


def test_one_mail_that_is_in_use_does_not_stop_the_account(start_imap: Start) -> None:
    folder = ScriptedFolder()

    def fetch(conversation: Conversation, command: bytes) -> None:
        if 12 in folder.named(command.split()[3]):
            conversation.say(command.split()[0] + b" NO [INUSE] this one is locked\r\n")
        else:
            folder.fetch(conversation, command)

    _server, source = start_imap(imap(folder.answers(UID_FETCH=fetch)))
    source.open()
    scan = source.scan("INBOX", None)
    answers = {answer.ref.uid: answer for answer in source.fetch(scan, scan.uids)}
    assert answers["12"] == Unfetched(scan.ref("12"), "[INUSE] this one is locked", permanent=False)
    source.close()
    source.open()


@pytest.mark.parametrize(
    ("answer", "tries"),
    [
        (b"TAG NO [OVERQUOTA] Quota exceeded\r\n", 1),
        (b"TAG NO [LIMIT] no more moves today\r\n", 1),
        (b"TAG NO cannot\r\n", 7),
    ],
)
def test_a_full_folder_is_not_asked_once_for_each_mail(answer: bytes, tries: int, start_imap: Start) -> None:
    server, source = start_imap(imap({b"UID MOVE": answer, b"EXAMINE": b"", b'LIST "" "DONE"': b"TAG OK\r\n"}))
    source.open()
    refs = [SCAN.ref(str(uid)) for uid in range(11, 15)]
    assert source.settle(refs, MOVE) == ()
    assert sum(b"UID MOVE" in command for command in server.commands[0]) == tries


def test_connections_are_counted_over_all_mailboxes_of_the_account(start_imap: Start) -> None:
    server, first = start_imap(imap(), max_connections=2, timeout=0.2)
    mailboxes = [first]
    for folder in ("Junk", "Spam"):
        more = options(server, "imap", folders=[folder], max_connections=2, timeout=0.2)
        mailboxes.append(imap_source.create(folder.lower(), imap_source.Options(**more), FakeTokens(SECRET)))
    mailboxes[0].open()
    mailboxes[1].open()
    with pytest.raises(SourceUnavailable, match=r"all 2 connections of news@example\.org"):
        mailboxes[2].open()
    mailboxes[0].close()
    mailboxes[2].open()
    server.waited_for(3)
    for mailbox in mailboxes:
        mailbox.close()


@pytest.mark.parametrize(
    "answers",
    [
        {b"EXAMINE": saying_then_close(b"")},
        {b"AUTHENTICATE PLAIN": saying_then_close(b"")},
        {b"AUTHENTICATE PLAIN": b"TAG NO [AUTHENTICATIONFAILED] no\r\n"},
        {b"LOGOUT": saying_then_close(b"")},
    ],
)
def test_a_connection_that_failed_is_given_back(answers: dict[bytes, Answer], start_imap: Start) -> None:
    _server, source = start_imap(imap(answers), max_connections=1)
    for _attempt in range(3):
        try:
            poll(source)
        except SourceUnavailable as exc:
            assert "in use" not in str(exc)  # noqa: PT017 - some of them succeed.
        source.close()


def test_microsofts_misleading_answer_is_explained(start_imap: Start) -> None:
    _server, source = start_imap(imap({b"EXAMINE": b"TAG BAD User is authenticated but not connected.\r\n"}))
    source.open()
    with pytest.raises(SourceUnavailable, match=r"not connected\.; the login worked.*Add-MailboxPermission"):
        source.scan("INBOX", None)


def test_an_alert_is_logged(start_imap: Start) -> None:
    alert = b"* OK [ALERT] Your mailbox moves on Sunday\r\n* SEARCH\r\nTAG OK done\r\n"
    _server, source = start_imap(imap({b"UID SEARCH": alert}))
    with capture_logs() as logs:
        source.open()
        source.scan("INBOX", None)
    assert [(line["event"], line["said"]) for line in logs] == [("server_alert", "Your mailbox moves on Sunday")]
