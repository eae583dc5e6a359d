"""The arguments of MAIL and RCPT, their replies, and the trace fields: nothing a client says breaks out of them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncepoll.model.message import Envelope
from bouncepoll.sources.listener._commands import argument, mail_fault, with_status
from bouncepoll.sources.listener._trace import Client, traced, with_crlf

NOW = datetime(2026, 11, 2, 10, 0, tzinfo=UTC)
ANN = Client("192.0.2.1", "mx.example.com", "ESMTPS")


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("TO:<news@example.org>", "news@example.org"),
        ("to: <news@example.org>", "news@example.org"),
        ("TO:news@example.org", "news@example.org"),
        ("TO:<>", ""),
        ("TO:<postmaster>", "postmaster"),
        ("TO:<@one.example,@two.example:news@example.org>", "news@example.org"),
        ("TO:<@one.example:@two.example>", "@two.example"),
        ('TO:<"a > b"@example.org>', '"a > b"@example.org'),
        ("TO:<a%b.example@example.org>", "a%b.example@example.org"),
        ("TO:<jörg@example.org>", "jörg@example.org"),
    ],
)
def test_a_path_is_read(text: str, path: str) -> None:
    found = argument("TO", text)
    assert found is not None
    assert (found.path, found.parameters) == (path, {})


@pytest.mark.parametrize(
    "text",
    [
        None,
        "",
        "FROM:<news@example.org>",
        "TO <news@example.org>",
        "TO:<news@example.org",
        "TO:<news@exa mple.org>",
        "TO:<a@example.org><b@example.org>",
        "TO:<news@example.org>SIZE=1",
        "TO:<news\r@example.org>",
        "TO:<news\udcff@example.org>",
        'TO:<"news@example.org>',
        f"TO:<{'x' * 400}@example.org>",
        "TO:<a@example.org> SIZE=1 size=2",
        "TO:<a@example.org> =1",
    ],
)
def test_what_is_no_argument_is_refused(text: str | None) -> None:
    assert argument("TO", text) is None


def test_parameters_are_read_in_any_case() -> None:
    found = argument("FROM", "FROM:<a@example.com> size=10 body=8BitMime SMTPUTF8")
    assert found is not None
    assert found.parameters == {"SIZE": "10", "BODY": "8BitMime", "SMTPUTF8": None}
    assert mail_fault(found.parameters, 10) is None


@pytest.mark.parametrize(
    ("parameters", "code"),
    [
        ({"SIZE": "11"}, "552 5.3.4"),
        ({"SIZE": "9" * 21}, "501 5.5.4"),
        ({"SIZE": None}, "501 5.5.4"),
        ({"SIZE": "-1"}, "501 5.5.4"),
        ({"BODY": "BINARYMIME"}, "501 5.5.4"),
        ({"BODY": None}, "501 5.5.4"),
        ({"SMTPUTF8": "1"}, "501 5.5.4"),
        ({"RET": "FULL"}, "555 5.5.4"),
        ({"AUTH": "<>"}, "555 5.5.4"),
    ],
)
def test_parameters_that_cannot_be_met_are_refused(parameters: dict[str, str | None], code: str) -> None:
    fault = mail_fault(parameters, 10)
    assert fault is not None
    assert fault.startswith(code)


@given(st.text(max_size=300))
def test_an_argument_never_holds_what_breaks_a_line(text: str) -> None:
    found = argument("TO", f"TO:{text}")
    assert found is None or (found.path.isprintable() and len(found.path) <= 320)


@pytest.mark.parametrize(
    ("reply", "sent"),
    [
        ("250 OK", "250 2.0.0 OK"),
        ("250 2.1.5 fine", "250 2.1.5 fine"),
        ("503 Error: send EHLO first", "503 5.5.1 Error: send EHLO first"),
        ("530 Must issue a STARTTLS command first", "530 5.7.0 Must issue a STARTTLS command first"),
        ("354 go on", "354 go on"),
        ('500 Error: command "A\rB\x1b" not recognized', '500 5.5.2 Error: command "A?B?" not recognized'),
    ],
)
def test_each_reply_has_a_status_code(reply: str, sent: str) -> None:
    assert with_status(reply) == sent


def test_the_trace_fields_stand_above_the_mail() -> None:
    envelope = Envelope("", ("news@example.org",))
    kept = traced(b"From: a@example.com\r\n\r\ntext\r\n", envelope, ANN, "mx.example.org", "u1", NOW)
    assert kept == (
        b"Return-Path: <>\r\n"
        b"Received: from mx.example.com ([192.0.2.1])\r\n"
        b"\tby mx.example.org with ESMTPS id u1\r\n"
        b"\tfor <news@example.org>;\r\n"
        b"\tMon, 02 Nov 2026 10:00:00 +0000\r\n"
        b"From: a@example.com\r\n\r\ntext\r\n"
    )


def test_several_recipients_are_not_told_of_each_other() -> None:
    kept = traced(b"x", Envelope("a@example.com", ("one@example.org", "two@example.org")), ANN, "mx", "u1", NOW)
    assert b"one@" not in kept
    assert b"two@" not in kept


@pytest.mark.parametrize(
    ("client", "shown"),
    [
        (Client(None, "host.example", "LMTP"), b"from host.example (local)\r\n"),
        (Client("2001:db8::1", "[IPv6:2001:db8::1]", "ESMTP"), b"from [IPv6:2001:db8::1] ([IPv6:2001:db8::1])\r\n"),
        (Client("192.0.2.1", "a\r\nX-Evil: b (c)", "SMTP"), b"from a??X-Evil:?b??c? ([192.0.2.1])\r\n"),
        (Client("192.0.2.1", "", "SMTP"), b"from ? ([192.0.2.1])\r\n"),
    ],
)
def test_what_the_client_says_of_itself_is_made_harmless(client: Client, shown: bytes) -> None:
    kept = traced(b"x", Envelope("", ()), client, "mx", "u1", NOW)
    assert shown in kept
    assert b"\nX-Evil" not in kept


@pytest.mark.parametrize(
    ("content", "end"),
    [
        (
            b"From ann@example.com Mon\r\nSubject: x\r\n",
            b"\r\nX-Mailbox-Line: From ann@example.com Mon\r\nSubject: x\r\n",
        ),
        (b">From ann@example.com\r\n", b"\r\nX-Mailbox-Line: >From ann@example.com\r\n"),
        (b" continues ours\r\n", b"+0000\r\n\r\n continues ours\r\n"),
        (b"\tcontinues ours\r\n", b"+0000\r\n\r\n\tcontinues ours\r\n"),
        (b"", b"+0000\r\n"),
    ],
)
def test_a_first_line_cannot_join_our_fields(content: bytes, end: bytes) -> None:
    assert traced(content, Envelope("", ()), ANN, "mx", "u1", NOW).endswith(end)


@given(st.binary(max_size=200))
def test_only_crlf_ends_a_kept_line(octets: bytes) -> None:
    kept = with_crlf(octets)
    assert kept.count(b"\r\n") == kept.count(b"\r") == kept.count(b"\n")
    assert kept.replace(b"\r\n", b"") == octets.replace(b"\r", b"").replace(b"\n", b"")
