"""SMTP and LMTP as a client sees them: replies, extensions, recipients, and what a mail becomes."""

from dataclasses import replace

import pytest

from bouncepoll.errors import StoreUnavailable
from bouncepoll.model.message import Envelope, Message
from bouncepoll.model.verdict import Verdict
from tests.integration.listener.conftest import MAIL, OFF, Running, listening, numbered
from tests.servers import wait_until


def test_the_extensions_are_told_and_those_without_use_are_not(running: Running) -> None:
    with running.connect() as client:
        assert client.say("EHLO client.example").split("\n") == [
            "250-mx.example.org",
            "250-PIPELINING",
            "250-SIZE 52428800",
            "250-8BITMIME",
            "250-SMTPUTF8",
            "250 ENHANCEDSTATUSCODES",
        ]
        assert client.say("HELO client.example") == "250 mx.example.org"


@pytest.mark.parametrize(
    ("path", "reply"),
    [
        ("news@example.org", "250 2.1.5"),
        ("NEWS+x@EXAMPLE.org", "250 2.1.5"),
        ("news+f1=reader=example.net@example.org", "250 2.1.5"),
        ("prvs=1234567890=news@example.org", "250 2.1.5"),
        ("SRS0=abcd=12=example.org=news@relay.example", "250 2.1.5"),
        ("@relay.example:news@example.org", "250 2.1.5"),
        ("nobody@example.org", "550 5.1.1"),
        ("off@example.org", "550 5.1.1"),
        ("x@mailloop.example", "550 5.1.1"),
        ("postmaster@example.org", "550 5.1.1"),
        ("victim@foreign.example", "550 5.7.1"),
        ("@example.org:victim@foreign.example", "550 5.7.1"),
        ("victim%foreign.example@example.org", "550 5.1.1"),
        ('"victim@foreign.example"@example.org', "550 5.1.1"),
        ("foreign.example!victim", "553 5.1.3"),
        ("", "501 5.5.4"),
    ],
)
def test_who_is_a_recipient(running: Running, path: str, reply: str) -> None:
    with running.connect() as client:
        assert client.begin(path)[0].startswith(reply)


def test_postmaster_is_there_where_a_filter_takes_his_mails() -> None:
    with listening(default_filter="autumn") as running, running.connect() as client:
        replies = client.begin("Postmaster", "postmaster@example.org", "postmaster@foreign.example")
        assert [reply[:9] for reply in replies] == ["250 2.1.5", "250 2.1.5", "550 5.7.1"]
        assert client.data().startswith("250 2.0.0")
        (stored,) = running.store.tables.messages.values()
        assert sorted(stored.routes) == [2]


def test_a_mail_is_stored_with_its_envelope_and_its_trace(running: Running) -> None:
    with running.connect() as client:
        client.begin("news@example.org", "nobody@example.org", "fall@example.org", sender="<ann@example.com> SIZE=100")
        reply = client.data(b"..a dot\r\n" + MAIL)
        assert reply.startswith("250 2.0.0 Kept as ")
    (stored,) = running.store.tables.messages.values()
    raw = stored.entry.message.raw
    assert raw.ref.uid == reply.rpartition(" ")[2]
    assert (raw.ref.source, raw.ref.folder, raw.ref.uidvalidity) == ("listener", "smtp", None)
    assert raw.envelope == Envelope("ann@example.com", ("news@example.org", "fall@example.org"))
    assert sorted(stored.routes) == [1, 2]
    assert raw.octets.startswith(
        b"Return-Path: <ann@example.com>\r\nReceived: from client.example ([127.0.0.1])\r\n"
        b"\tby mx.example.org with ESMTP id " + raw.ref.uid.encode()
    )
    assert raw.octets.endswith(b"\r\n.a dot\r\n" + MAIL)


def test_lmtp_answers_for_each_recipient(running: Running) -> None:
    with running.connect("lmtp") as client:
        assert client.say("EHLO client.example").startswith("500 5.5.1")
        assert client.say("HELO client.example").startswith("500 5.5.1")
        replies = client.begin(
            "news@example.org", "nobody@example.org", "fall@example.org", "news@example.org", hello="LHLO"
        )
        assert [reply[:3] for reply in replies] == ["250", "550", "250", "250"]
        assert client.data() == client.reply() == client.reply()
        assert client.say("NOOP") == "250 2.0.0 Fine"
    (stored,) = running.store.tables.messages.values()
    assert stored.entry.message.raw.ref.folder == "lmtp"
    assert b" with LMTP id " in stored.entry.message.raw.octets
    assert len(running.store.tables.outbox) == 1


def test_lmtp_refuses_for_each_recipient_and_a_mail_without_any(running: Running) -> None:
    with running.connect("lmtp") as client:
        client.begin("nobody@example.org", hello="LHLO")
        assert client.say("DATA").startswith("503 5.5.1")
        client.say("RSET")
        client.begin("news@example.org", "fall@example.org", hello="LHLO")
        looped = b"X-Bouncepoll-Loop: here\r\n" + MAIL
        assert client.data(looped).startswith("554 5.4.6")
        assert client.reply().startswith("554 5.4.6")


def test_a_pipelined_session(running: Running) -> None:
    with running.connect() as client:
        client.sock.sendall(
            b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<nobody@example.org>\r\nRCPT TO:<news@example.org>\r\n"
            b"DATA\r\n" + numbered(1) + b".\r\nMAIL FROM:<>\r\nRCPT TO:<news@example.org>\r\nDATA\r\n"
            b"" + numbered(2) + b".\r\nQUIT\r\n"
        )
        codes = [client.reply()[:3] for _ in range(10)]
        assert codes == ["250", "250", "550", "250", "354", "250", "250", "250", "354", "250"]
        assert client.reply().startswith("221 2.0.0")
        assert client.ended()
    assert len(running.mails) == 2


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("MAIL FROM:<a@example.com>", "503 5.5.1"),
        ("RCPT TO:<news@example.org>", "503 5.5.1"),
        ("DATA", "503 5.5.1"),
        ("EHLO", "501 5.5.4"),
        ("HELO", "501 5.5.4"),
        ("LHLO client.example", "500 5.5.1"),
        ("STARTTLS", "503 5.5.1"),
        ("AUTH PLAIN AGEAYg==", "502 5.5.1"),
        ("EXPN all", "502 5.5.1"),
        ("VRFY news@example.org", "252 2.5.0"),
        ("HELP", "214 2.0.0"),
        ("NOOP anything", "250 2.0.0"),
        ("RSET", "250 2.0.0"),
        ("RSET x", "501 5.5.4"),
        ("", "500 5.5.2"),
        ("WHAT", "500 5.5.2"),
        ("PROXY TCP4 192.0.2.1 192.0.2.2 1 25", "500 5.5.2"),
        (b"\xff\xfe", "500 5.5.2"),
        ("NOOP " + "x" * 3000, "500 5.5.2"),
    ],
)
def test_the_reply_to_a_command_before_the_greeting(running: Running, said: str | bytes, code: str) -> None:
    with running.connect() as client:
        assert client.say(said).startswith(code)


@pytest.mark.parametrize(
    ("said", "code"),
    [
        ("MAIL FROM:<>", "250 2.1.0"),
        ("MAIL FROM:<MAILER-DAEMON>", "250 2.1.0"),
        ("MAIL FROM:<a@example.com> SIZE=52428801", "552 5.3.4"),
        ("MAIL FROM:<a@example.com> BODY=8BITMIME SMTPUTF8 SIZE=10", "250 2.1.0"),
        ("MAIL FROM:<a@example.com> RET=FULL", "555 5.5.4"),
        ("MAIL FROM:<jörg@example.com>", "553 5.6.7"),
        ("MAIL FROM:<jörg@example.com> SMTPUTF8", "250 2.1.0"),
        (b"MAIL FROM:<j\xf6rg@example.com> SMTPUTF8", "501 5.5.4"),
        ("MAIL a@example.com", "501 5.5.4"),
        ("MAIL", "501 5.5.4"),
        ("DATA", "503 5.5.1"),
        ("DATA now", "501 5.5.4"),
    ],
)
def test_the_reply_to_a_command_after_the_greeting(running: Running, said: str | bytes, code: str) -> None:
    with running.connect() as client:
        client.say("EHLO client.example")
        assert client.say(said).startswith(code)


def test_commands_in_a_wrong_place_and_addresses_beyond_ascii(running: Running) -> None:
    with running.connect() as client:
        client.begin()
        assert client.say("MAIL FROM:<>").startswith("503 5.5.1")
        assert client.say("RCPT TO:<news@example.org> NOTIFY=NEVER").startswith("555 5.5.4")
        assert client.say("RCPT TO:<jörg@example.org>").startswith("553 5.6.7")
        client.begin(sender="<> SMTPUTF8")
        assert client.say("RCPT TO:<jörg@example.org>").startswith("550 5.1.1")
        client.say("HELO client.example")
        assert client.say("MAIL FROM:<> SIZE=10").startswith("501 5.5.4")


def test_a_mail_with_an_address_beyond_ascii_says_so_in_its_trace(running: Running) -> None:
    with running.connect() as client:
        client.begin("news@example.org", sender="<jörg@example.com> SMTPUTF8")
        assert client.data().startswith("250")
    assert running.mails[0].startswith("Return-Path: <jörg@example.com>\r\n".encode())
    assert b" with UTF8SMTP id " in running.mails[0]


def test_a_mail_that_is_too_large_is_refused_when_it_has_been_sent() -> None:
    with listening(max_octets=64 * 1024) as running, running.connect() as client:
        assert client.deliver(octets=b"x" * (70 * 1024) + b"\r\n").startswith("552 5.3.4")
        assert client.deliver(octets=b"x" * (60 * 1024) + b"\r\n").startswith("250")
        assert len(running.mails) == 1


def test_a_mail_for_which_there_is_no_memory_is_put_off() -> None:
    with listening(max_octets=256 * 1024, max_buffered=256 * 1024) as running:
        with running.connect() as slow, running.connect() as client:
            slow.begin("news@example.org")
            slow.say("DATA")
            slow.sock.sendall(numbered(2) + b"x" * 200_000)
            wait_until(lambda: running.listener._desk.memory.used_octets > 130_000, "the first mail's octets")
            assert client.deliver(octets=b"y" * 150_000 + b"\r\n").startswith("452 4.3.1")
            slow.sock.sendall(b"\r\n.\r\n")
            assert slow.reply().startswith("250")
            assert client.deliver(octets=MAIL + b"y" * 150_000 + b"\r\n").startswith("250")
        assert running.listener._desk.memory.used_octets == 0
        assert len(running.mails) == 2


def test_trouble_with_the_database_leaves_the_mail_to_the_client() -> None:
    def broken() -> None:
        raise StoreUnavailable("/var/lib/secret.db: is locked")

    with listening(filters=broken) as running, running.connect() as client:  # type: ignore[arg-type] # It never returns.
        reply = client.begin("news@example.org")[0]
        assert reply == "451 4.3.0 Try again later"
    with listening() as running, running.connect() as client:
        client.begin("news@example.org")
        running.store.failure = StoreUnavailable("/var/lib/secret.db: is locked")
        assert client.data() == "451 4.3.0 Try again later"
        running.store.failure = None
        assert client.deliver().startswith("250")
        assert len(running.mails) == 1


def test_a_mistake_of_ours_shows_nothing_and_loses_nothing() -> None:
    def broken() -> None:
        raise RuntimeError("a secret of the machine")

    with listening(filters=broken) as running, running.connect() as client:  # type: ignore[arg-type] # It never returns.
        assert client.begin("news@example.org") == ["451 4.3.0 Try again later"]
        assert client.say("NOOP").startswith("250")

    def unreadable(_message: Message) -> Verdict:
        raise RuntimeError("a secret of the machine")

    with listening(classifying=unreadable) as running, running.connect() as client:
        reply = client.deliver()
        assert reply.startswith("250 2.0.0 Kept as ")
        (place,) = running.store.tables.places.values()
        assert place.octets.endswith(MAIL)
        assert place.message_id is None


def test_a_mail_that_was_here_before_is_refused(running: Running) -> None:
    with running.connect() as client:
        assert client.deliver(octets=b"X-Bouncepoll-Loop: here\r\n" + MAIL).startswith("554 5.4.6")
        assert client.deliver(octets=b"Received: from a by b\r\n" * 101 + MAIL).startswith("554 5.4.6")
        assert client.deliver(octets=b"X-Bouncepoll-Loop: there\r\n" + MAIL).startswith("250")
    assert len(running.mails) == 1


def test_a_new_filter_is_known_at_once(running: Running) -> None:
    with running.connect() as client:
        assert client.begin("off@example.org")[0].startswith("550 5.1.1")
        running.store.tables.filters[2] = replace(OFF, enabled=True)
        assert client.say("RCPT TO:<off@example.org>").startswith("250 2.1.5")
        assert client.data().startswith("250")
