"""IMAP fetches with answers no good server gives, told byte for byte."""

from datetime import UTC, datetime

import pytest

from bouncepoll.errors import MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Scan, Unfetched
from bouncepoll.model.message import RawMessage
from tests.integration.sources.conftest import Start
from tests.servers.scripted import Answer, Conversation, hang_up, imap, saying_then_close

SCAN = Scan("news", "INBOX", 7, ("11", "12", "13"))


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


def handing_out(*, refuse: dict[int, bytes] | None = None) -> Answer:
    """Answer FETCH for any set of the UIDs 11 to 13; one that is in ``refuse`` spoils the whole answer."""

    def answer(conversation: Conversation, command: bytes) -> None:
        tag, _uid, _fetch, wanted = command.split()[:4]
        uids = [uid for uid in (11, 12, 13) if _in(uid, wanted)]
        for uid in uids:
            if refuse and uid in refuse:
                spoiled = refuse[uid].replace(b"TAG", tag)
                conversation.say(spoiled)
                if not spoiled.startswith(tag):
                    hang_up(conversation, command)
                return
        conversation.say(b"".join(item(uid) for uid in uids) + tag + b" OK done\r\n")

    return answer


def _in(uid: int, wanted: bytes) -> bool:
    ranges = [part.split(b":") for part in wanted.split(b",")]
    return any(int(bounds[0]) <= uid <= int(bounds[-1]) for bounds in ranges)


@pytest.mark.parametrize(
    ("answer", "octets", "received_at"),
    [
        (
            item(11, b"ab", b' INTERNALDATE "02-Nov-2026 03:04:05 +0200"'),
            b"ab",
            datetime(2026, 11, 2, 1, 4, 5, tzinfo=UTC),
        ),
        (item(11, b"ab", b' INTERNALDATE "32-Foo-2026 03:04:05 +0200"'), b"ab", None),
        (item(11, b"ab", b' INTERNALDATE "02-Nov-2026 03:04:05"'), b"ab", None),
        (item(11, b"ab", b' INTERNALDATE "31-Dec-9999 23:59:59 -1200"'), b"ab", None),
        (item(11, b"ab", b" INTERNALDATE NIL"), b"ab", None),
        (item(11, b"ab", b" INTERNALDATE 7"), b"ab", None),
        (b'* 1 FETCH (uid 11 body[]<0> "quoted" RFC822.SIZE 6)\r\n', b"quoted", None),
        (b"* 1 FETCH (BODY[]<0> {2}\r\nab UID 11)\r\n", b"ab", None),
        (b"* 1 FETCH (UID 11 BODY[]<0> 42)\r\n", b"42", None),
        (b"* 1 FETCH (UID 11 BODY[] {2}\r\nab)\r\n", b"ab", None),
        (b'* 1 FETCH (UID 11 RFC822.SIZE 0 BODY[]<0> "")\r\n', b"", None),
        # The size is wrong: the octets count.
        (b"* 1 FETCH (UID 11 RFC822.SIZE 999 BODY[]<0> {2}\r\nab)\r\n", b"ab", None),
        # In two answers, and between others.
        (b"* 1 FETCH (UID 11 RFC822.SIZE 2)\r\n* 5 EXISTS\r\n* 1 FETCH (UID 11 BODY[]<0> {2}\r\nab)\r\n", b"ab", None),
        # Flags that somebody else changes, without UID, with the sequence number of ours and with our UID as number.
        (b"* 1 FETCH (FLAGS (\\Seen))\r\n" + item(11, b"ab") + b"* 11 FETCH (FLAGS ())\r\n", b"ab", None),
        # An expunge gives our sequence number to another mail.
        (item(11, b"ab") + b"* 1 EXPUNGE\r\n* 1 FETCH (UID 99 FLAGS ())\r\n", b"ab", None),
        (b'* 1 FETCH (UID 99 BODY[]<0> "no")\r\n* 1 EXPUNGE\r\n' + item(11, b"ab"), b"ab", None),
    ],
)
def test_answers_to_fetch_are_understood(
    answer: bytes, octets: bytes, received_at: datetime | None, start_imap: Start
) -> None:
    _server, source = start_imap(imap({b"UID FETCH": answer + b"TAG OK done\r\n"}))
    source.open()
    assert list(source.fetch(SCAN, ["11"])) == [RawMessage(SCAN.ref("11"), octets, len(octets), received_at)]


@pytest.mark.parametrize("whole", [True, False])
def test_a_server_that_ignores_the_range_is_cut(whole: bool, start_imap: Start) -> None:
    octets = b"x" * 3000
    name = b"BODY[]" if whole else b"BODY[]<0>"
    answer = b"* 1 FETCH (UID 11 RFC822.SIZE 3000 " + name + b" {3000}\r\n" + octets + b")\r\nTAG OK done\r\n"
    _server, source = start_imap(imap({b"UID FETCH": answer}))
    source.open()
    assert list(source.fetch(SCAN, ["11"])) == [RawMessage(SCAN.ref("11"), octets[:1024], 3000)]


def test_a_server_that_ignores_the_range_completes(start_imap: Start) -> None:
    answer = b"* 1 FETCH (UID 11 BODY[] {3000}\r\n" + b"x" * 3000 + b")\r\nTAG OK done\r\n"
    _server, source = start_imap(imap({b"UID FETCH": answer}))
    source.open()
    raw = RawMessage(SCAN.ref("11"), b"x" * 1024, 3000)
    assert source.complete(raw).octets == b"x" * 3000


def test_nil_ends_a_mail(start_imap: Start) -> None:
    _server, source = start_imap(
        imap({b"UID FETCH": b"* 1 FETCH (UID 11 BODY[]<1024> NIL)\r\nTAG OK done\r\n"}),
    )
    source.open()
    raw = RawMessage(SCAN.ref("11"), b"x" * 1024, 1030)
    completed = source.complete(raw)
    assert (completed.octets, completed.size_octets, completed.truncated) == (b"x" * 1024, 1024, False)


BROKEN = [
    pytest.param(b"TAG NO [SERVERBUG] cannot read it\r\n", "cannot read it", id="NO"),
    pytest.param(b"TAG BAD cannot read it\r\n", "cannot read it", id="BAD"),
    pytest.param(b"TAG OK done\r\n", "left the mail out", id="left out"),
    pytest.param(b"* 2 FETCH (UID 12 RFC822.SIZE 9 BODY[]<0> NIL)\r\nTAG OK done\r\n", "left the mail out", id="NIL"),
    pytest.param(b"* 2 FETCH (UID 12 BODY[]<0> {999}\r\nSubj", "within a literal", id="closed within a literal"),
    pytest.param(b"* 2 FETCH (UID 12 BODY[]<0> {2147483647}\r\n", "too large", id="giant literal"),
    pytest.param(b"* 2 FETCH (UID 12 BODY[]<0> {99999999999999999999}\r\n", "too large", id="bigger than memory"),
    pytest.param(b"* 2 FETCH (UID 12 BODY[]<0> " + b"(" * 100_000 + b"\r\nTAG OK done\r\n", "", id="deep list"),
    pytest.param(b"* 2 FETCH (UID 12 BODY[]<0> " + b"x" * 1_100_000, "does not end", id="endless line"),
    pytest.param(b"* BYE crashed\r\n", "crashed", id="BYE"),
    pytest.param(b"\x00\xff\r\n", "", id="garbage"),
    pytest.param(b"* 2 FETCH (UID 12\r\nTAG OK done\r\n", "", id="open list"),
    pytest.param(b"* 2 FETCH UID\r\nTAG OK done\r\n", "", id="no list"),
    pytest.param(b"* 2 FETCH (UID)\r\nTAG OK done\r\n", "", id="odd list"),
]


@pytest.mark.parametrize(("spoiled", "said"), BROKEN)
def test_a_mail_that_breaks_the_fetch_is_isolated(spoiled: bytes, said: str, start_imap: Start) -> None:
    def fetch(conversation: Conversation, command: bytes) -> None:
        handing_out(refuse={12: spoiled})(conversation, command)  # type: ignore[operator] # It is the function.

    if b"TAG" in spoiled and not spoiled.startswith(b"TAG"):
        # The answer is complete, it only makes no sense: the connection stays.
        def fetch(conversation: Conversation, command: bytes) -> None:
            tag, _uid, _fetch, wanted = command.split()[:4]
            if _in(12, wanted):
                conversation.say(spoiled.replace(b"TAG", tag))
            else:
                handing_out()(conversation, command)  # type: ignore[operator] # It is the function.

    _server, source = start_imap(imap({b"UID FETCH": fetch, b"UID SEARCH": b"* SEARCH 12\r\nTAG OK done\r\n"}))
    source.open()
    answers = {answer.ref.uid: answer for answer in source.fetch(SCAN, SCAN.uids)}
    broken = answers.pop("12")
    assert isinstance(broken, Unfetched)
    assert broken.permanent
    assert said in broken.error
    assert all(isinstance(answer, RawMessage) for answer in answers.values())
    assert sorted(answers) == ["11", "13"]


def test_a_mail_that_cannot_be_read_now_is_asked_for_again(start_imap: Start) -> None:
    _server, source = start_imap(imap({b"UID FETCH": handing_out(refuse={12: b"TAG NO [INUSE] locked\r\n"})}))
    source.open()
    answers = {answer.ref.uid: answer for answer in source.fetch(SCAN, SCAN.uids)}
    assert answers["12"] == Unfetched(SCAN.ref("12"), "[INUSE] locked", permanent=False)


@pytest.mark.parametrize("said", [b"[LIMIT] slow down", b"Request is throttled. Suggested Backoff Time: 9 ms"])
def test_a_busy_server_ends_the_poll(said: bytes, start_imap: Start) -> None:
    server, source = start_imap(imap({b"UID FETCH": b"TAG NO " + said + b"\r\n"}))
    source.open()
    with pytest.raises(SourceUnavailable, match=r"slow down|throttled"):
        list(source.fetch(SCAN, SCAN.uids))
    assert sum(b"FETCH" in command for command in server.commands[0]) == 1


@pytest.mark.parametrize(
    "answer", [b"TAG NO internal error\r\n", b"TAG OK done\r\n", saying_then_close(b"* BYE ouch\r\n")]
)
def test_a_server_that_hands_out_nothing_is_no_broken_mail(answer: Answer, start_imap: Start) -> None:
    _server, source = start_imap(imap({b"UID FETCH": answer}))
    source.open()
    with pytest.raises(SourceUnavailable, match="none of the first 3 mails"):
        list(source.fetch(SCAN, SCAN.uids))


def test_a_connection_that_breaks_over_and_over_holds_the_rest_back(start_imap: Start) -> None:
    uids = [str(uid) for uid in range(11, 74)]

    def fetch(conversation: Conversation, command: bytes) -> None:
        tag, _uid, _fetch, wanted = command.split()[:4]
        if wanted != b"11":
            hang_up(conversation, command)
        conversation.say(item(11) + tag + b" OK done\r\n")

    server, source = start_imap(imap({b"UID FETCH": fetch}))
    source.open()
    answers = list(source.fetch(SCAN, uids))
    assert sorted(answer.ref.uid for answer in answers) == uids
    held = [answer for answer in answers if isinstance(answer, Unfetched) and not answer.permanent]
    assert len(held) > 40
    assert "too often" in held[0].error
    assert len(server.commands) < 30


def test_a_connection_that_cannot_be_had_again_ends_the_poll(start_imap: Start) -> None:
    _server, source = start_imap(imap({b"UID FETCH": hang_up}), imap(greeting=b"* BYE no more\r\n"))
    source.open()
    with pytest.raises(SourceUnavailable, match="no more"):
        list(source.fetch(SCAN, SCAN.uids))


def test_another_uidvalidity_after_a_reconnect_ends_the_poll(start_imap: Start) -> None:
    other = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 8] ok\r\nTAG OK done\r\n"
    _server, source = start_imap(imap({b"UID FETCH": hang_up}), imap({b"EXAMINE": other}))
    source.open()
    with pytest.raises(SourceUnavailable, match="UIDVALIDITY changed from 7 to 8"):
        list(source.fetch(SCAN, SCAN.uids))


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (b"TAG NO cannot\r\n", "cannot"),
        (hang_up, "closed the connection"),
        (b"* 1 FETCH (UID 11 BODY[]<1024> {2147483647}\r\n", "too large"),
        (b"TAG OK done\r\n", "gone"),
        (b"* 1 FETCH (UID 11 BODY[] {5000}\r\n" + b"x" * 5000 + b")\r\nTAG OK done\r\n", "max_octets"),
    ],
)
def test_a_mail_whose_rest_does_not_come_is_unreadable(answer: Answer, said: str, start_imap: Start) -> None:
    _server, source = start_imap(imap({b"UID FETCH": answer}))
    source.open()
    with pytest.raises(MessageUnreadable, match=f"^news/INBOX;7/11: .*{said}"):
        source.complete(RawMessage(SCAN.ref("11"), b"x" * 1024, 3000))
    assert source.scan("INBOX", None).uids == SCAN.uids


def test_a_busy_server_is_no_fault_of_the_mail(start_imap: Start) -> None:
    _server, source = start_imap(imap({b"UID FETCH": b"TAG NO [UNAVAILABLE] later\r\n"}))
    source.open()
    with pytest.raises(SourceUnavailable, match="later"):
        source.complete(RawMessage(SCAN.ref("11"), b"x" * 1024, 3000))
