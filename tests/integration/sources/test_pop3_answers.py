"""What the POP3 source makes of answers no good server gives, told byte for byte."""

import base64
from typing import Any

import pytest

from bouncepoll.errors import ConfigurationError, MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import RawMessage
from tests.integration.sources.conftest import SECRET, Start
from tests.servers.scripted import Answer, Conversation, hang, hang_up, pop3, saying_then_close, without_end

SCAN = Scan("old", "INBOX", None, ("a", "b", "c"))
DELETE = Disposition(DoneAction.DELETE)


def mail(number: int) -> bytes:
    return b"Subject: %d\r\n\r\n" % number


def deleted(commands: list[bytes]) -> list[bytes]:
    return [command for command in commands if command.startswith(b"DELE")]


@pytest.mark.parametrize(
    ("session", "said"),
    [
        (pop3(greeting=b"-ERR too many connections\r\n"), "too many connections"),
        (pop3(greeting=b"* OK IMAP ready\r\n"), "no session.*check host, port"),
        (pop3(greeting=b"\x16\x03\x01\x00\xff\r\n"), "no session"),
        (pop3(greeting=b"+OK " + b"x" * 200_000), "does not end|too large"),
        (lambda conversation: None, "closed the connection"),
        (pop3({b"CAPA": without_end(b"+OK\r\n" + b"X" * 60 + b"\r\n")}), "too large"),
        (pop3({b"USER": b"-ERR [AUTH] no\r\n"}), "refused the login.*check username"),
        (pop3({b"PASS": b"-ERR [AUTH] no\r\n"}), "refused the login.*check username"),
        (pop3({b"PASS": b"-ERR [IN-USE] locked\r\n"}), "for now.*next poll tries again"),
        (pop3({b"PASS": b"-ERR [LOGIN-DELAY] wait\r\n"}), "for now.*poll less often"),
        (pop3({b"PASS": b"-ERR [SYS/TEMP] disk\r\n"}), "for now"),
        (pop3({b"PASS": hang_up}), "closed the connection"),
        (pop3({b"PASS": b"rubbish\r\n"}), "no session"),
        (pop3({b"AUTH": b"-ERR no\r\n"}, capabilities=b"SASL PLAIN\r\n"), "refused the login"),
    ],
)
def test_a_session_that_does_not_come_about_is_explained(session: Any, said: str, start_pop3: Start) -> None:
    _server, source = start_pop3(session)
    with pytest.raises(SourceUnavailable, match=f"(?s)^old: localhost:\\d+: .*{said}"):
        source.open()


@pytest.mark.parametrize(
    "answers",
    [
        {b"CAPA": hang},
        {b"USER": hang},
        {b"PASS": hang},
        {b"LIST": hang},
        {b"UIDL": hang},
        {b"RETR": hang},
        {b"UIDL": lambda conversation, _command: (conversation.say(b"+OK\r\n1 a\r\n"), conversation.hang())},
        {b"RETR": lambda conversation, _command: (conversation.say(b"+OK\r\nSubj"), conversation.hang())},
    ],
)
def test_a_server_that_hangs_is_given_up(answers: dict[bytes, Answer], start_pop3: Start) -> None:
    _server, source = start_pop3(pop3(answers), pop3({b"CAPA": hang}), timeout=0.2)

    def read() -> None:
        source.open()
        scan = source.scan("INBOX", None)
        list(source.fetch(scan, scan.uids))

    with pytest.raises(SourceUnavailable, match=r"no answer within 0\.2 s"):
        read()


@pytest.mark.parametrize("echo", [SECRET, base64.b64encode(f"\0news@example.org\0{SECRET}".encode()).decode()])
@pytest.mark.parametrize("answer", [b"-ERR you sent %s, wrong\r\n", b"rubbish %s\r\n"])
def test_a_secret_is_never_quoted(echo: str, answer: bytes, start_pop3: Start) -> None:
    _server, source = start_pop3(pop3({b"PASS": answer % echo.encode()}))
    with pytest.raises(SourceUnavailable, match="holds the password") as caught:
        source.open()
    assert "horse" not in str(caught.value)
    assert echo[-8:] not in str(caught.value)


def test_a_secret_that_cannot_be_sent_is_a_fault_of_the_configuration(start_pop3: Start) -> None:
    server, source = start_pop3(pop3(), auth={"password": "line\r\nDELE 1"})
    with pytest.raises(ConfigurationError, match=r"mailboxes\.old"):
        source.open()
    assert server.commands == []


def test_a_server_without_capabilities_is_read(start_pop3: Start) -> None:
    large = b"+OK\r\n1 20\r\n2 9000\r\n.\r\n"
    top = b"+OK\r\n" + b"t" * 2000 + b"\r\n.\r\n"
    server, source = start_pop3(pop3({b"CAPA": b"-ERR what\r\n", b"LIST": large, b"TOP": top}))
    source.open()
    assert list(source.fetch(SCAN, ["a", "b"])) == [
        RawMessage(SCAN.ref("a"), mail(1), len(mail(1))),
        RawMessage(SCAN.ref("b"), b"t" * 1024, 9000),
    ]
    assert b"TOP 2 16" in server.commands[0]


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({b"LIST": b"-ERR [SYS/TEMP] disk\r\n"}, "disk"),
        ({b"LIST": hang_up}, "closed"),
        ({b"LIST": b"rubbish\r\n"}, "."),
        ({b"UIDL": b"-ERR unknown command\r\n"}, "no unique-ids.*protocol 'imap'"),
        ({b"UIDL": b"-ERR [SYS/TEMP] disk\r\n"}, "disk"),
        ({b"UIDL": saying_then_close(b"+OK\r\n1 a\r\n2")}, "closed"),
        ({b"UIDL": without_end(b"+OK\r\n" + (b"1 " + b"a" * 9000 + b"\r\n") * 100)}, "too large"),
        (
            {
                b"LIST": b"+OK\r\n" + b"".join(b"%d 9\r\n" % number for number in range(1, 200)) + b".\r\n",
                b"UIDL": b"+OK\r\n" + b"".join(b"%d same\r\n" % number for number in range(1, 200)) + b".\r\n",
            },
            "199 mails have no unique-id.*share one",
        ),
    ],
)
def test_a_scan_that_fails_is_explained(answers: dict[bytes, Answer], said: str, start_pop3: Start) -> None:
    _server, source = start_pop3(pop3(answers))
    source.open()
    with pytest.raises(SourceUnavailable, match=f"^old(/INBOX)?: localhost:\\d+: .*{said}"):
        source.scan("INBOX", None)


def test_odd_listings_are_understood(start_pop3: Start) -> None:
    long_id = b"x" * 300
    answers: dict[bytes, Answer] = {
        b"LIST": b"+OK\r\n1 20\r\n2 many\r\nthree 3\r\n4 20 more\r\n5\n.\r\n",
        b"UIDL": b"+OK\r\n1 a\r\n\r\n2   b  \r\nx y\r\n3 c\xff\r\n4 "
        + long_id
        + b"\r\n5 nul\x00\r\n99999999999 z\r\n.\r\n",
    }
    _server, source = start_pop3(pop3(answers))
    source.open()
    uids = source.scan("INBOX", None).uids
    assert uids[:3] == ("a", "b", "c\\xff")
    assert [len(uid) for uid in uids[3:]] == [64, 64]
    assert all(isinstance(answer, RawMessage) for answer in source.fetch(SCAN, uids))


def test_different_mails_with_one_unique_id_are_told_apart(start_pop3: Start) -> None:
    contents = {1: b"one", 2: b"two", 3: b"one"}

    def retr(conversation: Conversation, command: bytes) -> None:
        conversation.say(b"+OK\r\n" + contents[int(command.split()[1])] + b"\r\n.\r\n")

    server, source = start_pop3(pop3({b"UIDL": b"+OK\r\n1 a\r\n2 a\r\n3 a\r\n.\r\n", b"RETR": retr}))
    source.open()
    scan = source.scan("INBOX", None)
    assert len(scan.uids) == 2
    answers = [answer for answer in source.fetch(scan, scan.uids) if isinstance(answer, RawMessage)]
    assert [answer.octets for answer in answers] == [b"one\r\n", b"two\r\n"]
    # Identical copies are one mail and go together; the other one stays.
    assert list(source.settle([answers[0].ref], DELETE)) == [answers[0].ref]
    assert deleted(server.commands[0]) == [b"DELE 1", b"DELE 3"]


def test_a_mail_without_unique_id_is_known_by_its_content(start_pop3: Start) -> None:
    listing: dict[bytes, Answer] = {b"UIDL": b"+OK\r\n1 a\r\n3 c\r\n.\r\n"}
    other = pop3({**listing, b"RETR": b"+OK\r\nanother mail\r\n.\r\n"})
    _server, source = start_pop3(pop3(listing), pop3(listing), other)
    source.open()
    uids = source.scan("INBOX", None).uids
    assert (uids[0], uids[2]) == ("a", "c")
    assert source.scan("INBOX", None).uids == uids
    (answer,) = source.fetch(SCAN, [uids[1]])
    assert isinstance(answer, RawMessage)
    assert answer.octets == mail(2)
    assert source.scan("INBOX", None).uids[1] not in uids


@pytest.mark.parametrize(
    ("lines", "octets"),
    [
        (b"..x\r\n..\r\n.\r\n", b".x\r\n.\r\n"),
        (b"x\n..y\n.\r\n", b"x\n.y\n"),
        (b"x\r\n.\n", b"x\r\n"),
        (b".\r\n", b""),
        (b"\x00\xff\r\n.\r\n", b"\x00\xff\r\n"),
        (b"x" * 3000 + b".\r\n.\r\n", b"x" * 1024),
        (b"x" * 65536 + b".\r\n.\r\n", b"x" * 1024),
    ],
)
def test_the_lines_of_a_mail_are_unstuffed_and_bounded(lines: bytes, octets: bytes, start_pop3: Start) -> None:
    _server, source = start_pop3(pop3({b"RETR": b"+OK\r\n" + lines}))
    source.open()
    (answer,) = source.fetch(SCAN, ["a"])
    assert isinstance(answer, RawMessage)
    assert answer.octets == octets
    assert answer.truncated is (len(octets) == 1024)


BROKEN = [
    pytest.param(b"-ERR cannot read it\r\n", "cannot read it", id="ERR"),
    pytest.param(b"rubbish\r\n", "broke the protocol", id="garbage"),
    pytest.param(b"", "closed the connection", id="closed"),
    pytest.param(b"+OK\r\nSubject: x\r\n", "closed the connection", id="closed within the mail"),
    pytest.param(b"+OK\r\n" + b"x" * 2_000_000, "too large", id="endless line"),
    pytest.param(b"+OK\r\n" + (b"x" * 70 + b"\r\n") * 20_000, "too large", id="too many lines"),
]


def handing_out(refused: bytes, spoiled: bytes) -> Answer:
    def retr(conversation: Conversation, command: bytes) -> None:
        number = command.split()[1]
        if number != refused:
            conversation.say(b"+OK\r\n" + mail(int(number)) + b".\r\n")
            return
        conversation.say(spoiled)
        if not spoiled.startswith(b"-"):
            hang_up(conversation, command)

    return retr


@pytest.mark.parametrize("capabilities", [b"UIDL\r\nUSER\r\n", b"UIDL\r\nUSER\r\nPIPELINING\r\n"])
@pytest.mark.parametrize(("spoiled", "said"), BROKEN)
def test_a_mail_that_breaks_the_fetch_is_isolated(
    spoiled: bytes, said: str, capabilities: bytes, start_pop3: Start
) -> None:
    _server, source = start_pop3(pop3({b"RETR": handing_out(b"2", spoiled)}, capabilities=capabilities))
    source.open()
    answers = {answer.ref.uid: answer for answer in source.fetch(SCAN, SCAN.uids)}
    broken = answers.pop("b")
    assert isinstance(broken, Unfetched)
    assert broken.permanent
    assert said in broken.error
    assert answers == {
        "a": RawMessage(SCAN.ref("a"), mail(1), len(mail(1))),
        "c": RawMessage(SCAN.ref("c"), mail(3), len(mail(3))),
    }


def test_a_mail_that_cannot_be_read_now_is_asked_for_again(start_pop3: Start) -> None:
    _server, source = start_pop3(pop3({b"RETR": handing_out(b"2", b"-ERR [SYS/TEMP] locked\r\n")}))
    source.open()
    answers = {answer.ref.uid: answer for answer in source.fetch(SCAN, SCAN.uids)}
    assert answers["b"] == Unfetched(SCAN.ref("b"), "-ERR [SYS/TEMP] locked", permanent=False)


@pytest.mark.parametrize("answer", [b"-ERR internal error\r\n", hang_up])
def test_a_server_that_hands_out_nothing_is_no_broken_mail(answer: Answer, start_pop3: Start) -> None:
    _server, source = start_pop3(pop3({b"RETR": answer}))
    source.open()
    with pytest.raises(SourceUnavailable, match="none of the first 3 mails"):
        list(source.fetch(SCAN, SCAN.uids))


def test_mails_that_all_fail_behind_one_that_came_are_broken_mails(start_pop3: Start) -> None:
    """Each batch is a call of its own: the server is known to work from the one before."""
    listing: dict[bytes, Answer] = {
        b"LIST": b"+OK\r\n" + b"".join(b"%d 20\r\n" % number for number in range(1, 6)) + b".\r\n",
        b"UIDL": b"+OK\r\n" + b"".join(b"%d u%d\r\n" % (number, number) for number in range(1, 6)) + b".\r\n",
        b"RETR": b"-ERR cannot read it\r\n",
        b"RETR 1": b"+OK\r\nSubject: 1\r\n\r\n.\r\n",
    }
    _server, source = start_pop3(pop3(listing))
    source.open()
    scan = source.scan("INBOX", None)
    assert isinstance(next(iter(source.fetch(scan, ["u1"]))), RawMessage)
    answers = list(source.fetch(scan, ["u2", "u3", "u4", "u5"]))
    assert all(isinstance(answer, Unfetched) and answer.permanent for answer in answers)


LARGE = {b"LIST": b"+OK\r\n1 4000\r\n2 9000\r\n3 20\r\n.\r\n"}


def test_without_top_mails_up_to_the_limit_are_read_and_others_named(start_pop3: Start) -> None:
    retr = b"+OK\r\n" + b"y" * 3998 + b"\r\n.\r\n"
    server, source = start_pop3(pop3({**LARGE, b"RETR": retr}, capabilities=b"UIDL\r\n"))
    source.open()
    answers = {answer.ref.uid: answer for answer in source.fetch(SCAN, SCAN.uids)}
    assert answers["a"] == RawMessage(SCAN.ref("a"), b"y" * 1024, 4000)
    large = answers["b"]
    assert isinstance(large, Unfetched)
    assert large.permanent
    assert "9000 octets are more than max_octets (4096)" in large.error
    assert b"RETR 2" not in server.commands[0]


def test_a_top_that_is_refused_is_replaced_by_retr(start_pop3: Start) -> None:
    retr = b"+OK\r\n" + b"y" * 3998 + b"\r\n.\r\n"
    _server, source = start_pop3(pop3({**LARGE, b"TOP": b"-ERR no TOP\r\n", b"RETR": retr}))
    source.open()
    answers = {answer.ref.uid: answer for answer in source.fetch(SCAN, SCAN.uids)}
    assert answers["a"] == RawMessage(SCAN.ref("a"), b"y" * 1024, 4000)
    large = answers["b"]
    assert isinstance(large, Unfetched)
    assert "no TOP" in large.error


def test_top_asks_for_more_lines_until_there_is_enough(start_pop3: Start) -> None:
    def top(conversation: Conversation, command: bytes) -> None:
        conversation.say(b"+OK\r\n" + b"a\r\n" * int(command.split()[2]) + b".\r\n")

    server, source = start_pop3(pop3({**LARGE, b"TOP": top}))
    source.open()
    (answer,) = source.fetch(SCAN, ["b"])
    assert answer == RawMessage(SCAN.ref("b"), (b"a\r\n" * 400)[:1024], 9000)
    asked = [command for command in server.commands[0] if command.startswith(b"TOP")]
    assert asked == [b"TOP 2 16", b"TOP 2 128", b"TOP 2 512"]


def test_a_mail_is_completed_by_retr(start_pop3: Start) -> None:
    retr = b"+OK\r\n" + b"y" * 2998 + b"\r\n.\r\n"
    _server, source = start_pop3(pop3({b"RETR": retr}))
    source.open()
    # The size LIST gave was wrong: what came counts.
    raw = RawMessage(SCAN.ref("a"), b"y" * 1024, 4000)
    completed = source.complete(raw)
    assert (completed.octets, completed.size_octets) == (b"y" * 2998 + b"\r\n", 3000)


@pytest.mark.parametrize(
    ("answers", "said"),
    [
        ({b"RETR": b"-ERR cannot\r\n"}, "cannot"),
        ({b"RETR": hang_up}, "closed the connection"),
        ({b"RETR": b"+OK\r\n" + b"x" * 5000 + b"\r\n.\r\n"}, "max_octets"),
        ({b"LIST": b"+OK\r\n1 5000\r\n.\r\n"}, "5000 octets are more than max_octets"),
        ({b"UIDL": b"+OK\r\n2 b\r\n3 c\r\n.\r\n", b"LIST": b"+OK\r\n.\r\n"}, "gone"),
    ],
)
def test_a_mail_whose_rest_does_not_come_is_unreadable(
    answers: dict[bytes, Answer], said: str, start_pop3: Start
) -> None:
    _server, source = start_pop3(pop3(answers))
    source.open()
    with pytest.raises(MessageUnreadable, match=f"^old/INBOX/a: .*{said}"):
        source.complete(RawMessage(SCAN.ref("a"), b"x" * 1024, 3000))
    assert "b" in source.scan("INBOX", None).uids or b"LIST" in answers


def test_deletes_apply_only_at_quit_and_the_next_use_is_another_session(start_pop3: Start) -> None:
    after = pop3({b"LIST": b"+OK\r\n1 20\r\n.\r\n", b"UIDL": b"+OK\r\n1 c\r\n.\r\n"})
    server, source = start_pop3(pop3(), after)
    source.open()
    refs = [SCAN.ref("a"), SCAN.ref("b"), SCAN.ref("z")]
    assert list(source.settle(refs, DELETE)) == refs
    assert server.commands[0][-3:] == [b"DELE 1", b"DELE 2", b"QUIT"]
    # The numbers of the first session mean nothing in the second.
    assert list(source.fetch(SCAN, ["c"])) == [RawMessage(SCAN.ref("c"), mail(1), len(mail(1)))]
    assert len(server.commands) == 2


@pytest.mark.parametrize(
    ("answers", "settled"),
    [
        ({b"QUIT": b"-ERR some were not removed\r\n"}, ["z"]),
        ({b"DELE 1": b"-ERR read only\r\n"}, ["b", "z"]),
    ],
)
def test_what_is_not_certainly_deleted_is_not_settled(
    answers: dict[bytes, Answer], settled: list[str], start_pop3: Start
) -> None:
    _server, source = start_pop3(pop3(answers))
    source.open()
    refs = [SCAN.ref("a"), SCAN.ref("b"), SCAN.ref("z")]
    assert [ref.uid for ref in source.settle(refs, DELETE)] == settled


@pytest.mark.parametrize("command", [b"DELE 2", b"QUIT"])
def test_a_connection_lost_while_settling_settles_nothing(command: bytes, start_pop3: Start) -> None:
    server, source = start_pop3(pop3({command: hang_up}))
    source.open()
    with pytest.raises(SourceUnavailable, match="closed the connection"):
        source.settle([SCAN.ref("a"), SCAN.ref("b")], DELETE)
    source.close()
    assert len(server.commands) == 1


def test_a_session_that_cannot_be_had_again_ends_the_poll(start_pop3: Start) -> None:
    _server, source = start_pop3(pop3(), pop3({b"PASS": b"-ERR [LOGIN-DELAY] wait\r\n"}))
    source.open()
    assert len(source.settle([SCAN.ref("a")], DELETE)) == 1
    with pytest.raises(SourceUnavailable, match="LOGIN-DELAY"):
        list(source.fetch(SCAN, ["c"]))


@pytest.mark.parametrize("action", [DoneAction.SEEN, DoneAction.MOVE])
def test_what_pop3_cannot_do_is_a_fault_of_the_configuration(action: DoneAction, start_pop3: Start) -> None:
    _server, source = start_pop3(pop3())
    source.open()
    with pytest.raises(ConfigurationError, match="POP3 cannot do"):
        source.settle([SCAN.ref("a")], Disposition(action))


def test_closing_never_raises(start_pop3: Start) -> None:
    for answer in (hang_up, b"-ERR stay\r\n", b"rubbish\r\n"):
        _server, source = start_pop3(pop3({b"QUIT": answer}))
        source.open()
        source.close()
