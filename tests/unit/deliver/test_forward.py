"""The three ways to forward a mail, on mails that are well made and on mails that are not."""

import email
import email.policy
import re
import tracemalloc
from datetime import UTC, datetime
from email.message import Message as ParsedMail

import dkim
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from hypothesis import given, settings
from hypothesis import strategies as st

from bouncepoll.deliver import ForwardOptions
from bouncepoll.deliver.forward import prepare
from bouncepoll.errors import DeliveryDeferred, DeliveryFailed
from bouncepoll.model.delivery import OutboxItem, OutboxRecipient
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.model.loop import LOOP_FIELD

NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)
OWN = "news@example.org"
TEAM = "team@example.net"
ALL_MODES = list(ForwardMode)

HEAD = b"""\
Return-Path: <ann@example.com>
Received: from mx.example.com by mx.example.org; Mon, 02 Nov 2026 09:59:00 +0000
DKIM-Signature: v=1; a=rsa-sha256; d=example.com; s=x; h=From; bh=x; b=x
From: =?utf-8?q?Ann_M=C3=BCller?= <ann@example.com>
To: reply_1@example.org
Bcc: hidden@example.com
Subject: =?utf-8?q?Gr=C3=BC=C3=9Fe?=
Date: Mon, 02 Nov 2026 09:58:00 +0000
Message-ID: <one@mail.example.com>
In-Reply-To: <issue7@example.org>
References: <issue6@example.org> <issue7@example.org>
X-Bouncepoll-Loop: other-instance
MIME-Version: 1.0
Content-Type: text/plain; charset=utf-8
Content-Transfer-Encoding: 8bit
""".replace(b"\n", b"\r\n")
BODY = "Hello,\r\n\r\n.a dot, and ünïcode\r\n".encode()
MAIL = HEAD + b"\r\n" + BODY


def item(octets: bytes, *paths: str, mode: ForwardMode | None = None, fingerprint: str = "abc") -> OutboxItem:
    team = BounceFilter(1, "Spring news", "reply_1@example.org", forward_mode=mode)
    recipients = tuple(OutboxRecipient(i, path, 0) for i, path in enumerate(paths or (TEAM,)))
    return OutboxItem(recipients, team, fingerprint, octets, NOW)


def made(octets: bytes, mode: ForwardMode, instance: str = "inst") -> bytes:
    return prepare(item(octets), ForwardOptions(mode=mode, from_address=OWN), instance).octets


def parsed(octets: bytes) -> ParsedMail:
    return email.message_from_bytes(octets, policy=email.policy.compat32)


def parts_of(mail: ParsedMail) -> list[ParsedMail]:
    payload = mail.get_payload()
    assert isinstance(payload, list)
    return [part for part in payload if isinstance(part, ParsedMail)]


def nice(octets: bytes, name: str) -> str:
    return str(email.message_from_bytes(octets, policy=email.policy.default)[name])


def test_rewrite_writes_in_our_name_and_answers_go_to_the_writer() -> None:
    out = made(MAIL, ForwardMode.REWRITE)
    mail = parsed(out)
    assert nice(out, "From") == f"Ann Müller <{OWN}>"
    assert nice(out, "Reply-To") == "Ann Müller <ann@example.com>"
    assert mail["To"] == TEAM
    assert nice(out, "Subject") == "Grüße"
    assert mail["In-Reply-To"] == "<issue7@example.org>"
    assert mail["References"].split() == ["<issue6@example.org>", "<issue7@example.org>", "<one@mail.example.com>"]
    assert mail["X-Bouncepoll-Original-Message-ID"] == "<one@mail.example.com>"
    assert mail["Date"] == "Mon, 02 Nov 2026 09:58:00 +0000"
    for gone in ("Return-Path", "Received", "DKIM-Signature", "Bcc"):
        assert mail[gone] is None
    assert out.partition(b"\r\n\r\n")[2] == BODY
    assert mail["Content-Transfer-Encoding"] == "8bit"


def test_rewrite_keeps_a_reply_to_of_the_writer() -> None:
    mail = parsed(made(b"Reply-To: Desk <desk@example.com>, b@example.com\r\n" + MAIL, ForwardMode.REWRITE))
    assert mail["Reply-To"].replace("\r\n", "") == '"Desk" <desk@example.com>, b@example.com'


def test_redirect_changes_no_octet_below_what_it_adds() -> None:
    out = made(MAIL, ForwardMode.REDIRECT)
    assert out.endswith(MAIL)
    added = parsed(out[: -len(MAIL)] + b"\r\n")
    assert set(added.keys()) == {LOOP_FIELD, "Resent-Date", "Resent-From", "Resent-To", "Resent-Message-ID"}
    assert (added["Resent-From"], added["Resent-To"]) == (OWN, TEAM)


def verifies(octets: bytes, record: bytes) -> bool:
    """Whether the DKIM signature (RFC 6376) is valid for a key record."""
    return bool(dkim.verify(octets, dnsfunc=lambda _name, timeout=5: record))  # type: ignore[no-untyped-call] # dkimpy.


def test_redirect_keeps_the_signature_valid_and_rewrite_does_not_pretend_to() -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    encoding = serialization.Encoding
    private = key.private_bytes(
        encoding.PEM, serialization.PrivateFormat.TraditionalOpenSSL, serialization.NoEncryption()
    )
    public = key.public_key().public_bytes(encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    import base64

    record = b"v=DKIM1; k=rsa; p=" + base64.b64encode(public)
    unsigned = b"From: Ann <ann@example.com>\r\nTo: x@example.org\r\nSubject: hi\r\n\r\nHello\r\n"
    signed = dkim.sign(unsigned, b"s1", b"example.com", private) + unsigned

    assert verifies(made(signed, ForwardMode.REDIRECT), record)
    assert not verifies(made(signed, ForwardMode.REDIRECT).replace(b"Hello", b"Hallo"), record)
    assert b"DKIM-Signature" not in made(signed, ForwardMode.REWRITE)
    assert signed in made(signed, ForwardMode.ATTACH)


@pytest.mark.parametrize(("octets", "encoding"), [(MAIL, "8bit"), (b"From: a@example.com\r\n\r\nhi\r\n", "7bit")])
def test_attach_holds_the_octets_unchanged(octets: bytes, encoding: str) -> None:
    out = made(octets, ForwardMode.ATTACH)
    assert octets in out
    mail = parsed(out)
    assert mail.get_content_type() == "multipart/mixed"
    note, attached = parts_of(mail)
    assert note.get_content_type() == "text/plain"
    assert attached.get_content_type() == "message/rfc822"
    assert attached["Content-Transfer-Encoding"] == encoding
    assert nice(out, "Subject").startswith("Fwd: ")
    assert mail.defects == []


def test_attach_chooses_a_boundary_that_is_not_in_the_mail() -> None:
    boundary = parsed(made(MAIL, ForwardMode.ATTACH)).get_boundary()
    assert boundary is not None
    hostile = MAIL + b"--" + boundary.encode() + b"--\r\n"
    mail = parsed(made(hostile, ForwardMode.ATTACH))
    assert mail.get_boundary() != boundary
    assert len(parts_of(mail)) == 2


@pytest.mark.parametrize("mode", ALL_MODES)
def test_every_mode_marks_the_way_and_names_the_same_mail_alike(mode: ForwardMode) -> None:
    first, again = made(MAIL, mode), made(MAIL, mode)
    assert first == again
    loops = parsed(first).get_all(LOOP_FIELD) or []
    assert loops[0] == "inst"
    if mode is not ForwardMode.ATTACH:
        assert "other-instance" in loops
    name = "Resent-Message-ID" if mode is ForwardMode.REDIRECT else "Message-ID"
    options = ForwardOptions(mode=mode, from_address=OWN)
    ids = {
        parsed(prepare(item(MAIL, fingerprint=mark), options, instance).octets)[name]
        for mark, instance in (("abc", "inst"), ("abc", "other"), ("def", "inst"))
    }
    assert len(ids) == 3


@pytest.mark.parametrize("reverse_path", ["", "bounces@example.org"])
def test_the_reverse_path_is_null_or_configured_and_a_filter_has_its_own_mode(reverse_path: str) -> None:
    options = ForwardOptions(from_address=OWN, reverse_path=reverse_path)
    outgoing = prepare(item(MAIL, "a@example.net", "b@example.net", mode=ForwardMode.REDIRECT), options, "inst")
    assert outgoing.reverse_path == reverse_path
    assert outgoing.forward_paths == ("a@example.net", "b@example.net")
    assert outgoing.octets.endswith(MAIL)


def test_what_cannot_be_sent_says_why() -> None:
    with pytest.raises(DeliveryDeferred, match="from_address"):
        prepare(item(MAIL), ForwardOptions(), "inst")
    with pytest.raises(DeliveryFailed, match="feedback address"):
        prepare(item(MAIL, "a@example.net\r\nBcc: x@example.net"), ForwardOptions(from_address=OWN), "inst")
    for bad in ("no address", "a@example.org\r\nX: y", "a@example.org, b@example.org"):
        with pytest.raises(ValueError, match="one plain address"):
            ForwardOptions(from_address=bad)


def test_redirect_needs_no_address_of_its_own() -> None:
    out = prepare(item(MAIL), ForwardOptions(mode=ForwardMode.REDIRECT), "inst").octets
    assert parsed(out)["Resent-From"] == "reply_1@example.org"


HOSTILE = {
    "encoded line end in the name": b"From: =?utf-8?q?A=0D=0ABcc=3A_evil=40example=2Ecom?= <a@example.com>\r\n\r\nx",
    "encoded line end in the subject": b"From: a@example.com\r\nSubject: =?utf-8?q?a=0D=0AX-Evil=3A_1?=\r\n\r\nx",
    "raw line ends": b'From: "A\rX-Evil: 1" <a@example.com>\nSubject: x\rX-Evil: 2\n\nbody',
    "nul": b"From: A\0B <a@example.com>\r\nSubject: a\0b\r\n\r\nbo\0dy",
    "address with controls": b"From: <a\x01\x0b@example.com>\r\n\r\nx",
    "no From": b"Subject: x\r\n\r\nbody\r\n",
    "several Froms": b"From: a@example.com\r\nFrom: b@example.com, c@example.com\r\n\r\nx",
    "garbage From": b'From: <<<>>>,,;:"\\ @@ \xff\xfe\r\n\r\nx',
    "no separator": b"From: a@example.com\r\nSubject: x\r\nthis is no field\r\nstill text\r\n",
    "header only": b"From: a@example.com\r\nSubject: x",
    "no header": b"\r\njust text\r\n",
    "continuation first": b" X-Evil: 1\r\nFrom: a@example.com\r\n\r\nx",
    "white space lines": b"From: a@example.com\r\nSubject: x\r\n \t\r\nX-Evil: 1\r\n\r\nx",
    "long line": b"From: a@example.com\r\nSubject: " + b"x" * 5000 + b"\r\nX-Long: " + b" " * 3000 + b"y\r\n\r\nx",
    "long name": b"From: " + b"N" * 9000 + b" <a@example.com>\r\n\r\nx",
    "many fields": b"X-A: 1\r\n" * 3000 + b"From: a@example.com\r\n\r\nx",
    "mbox line": b"From ann@example.com Mon Nov  2 10:00:00 2026\r\nFrom: a@example.com\r\n\r\nx",
    "8-bit subject": b"From: \xe4 <a@example.com>\r\nSubject: Gr\xfc\xdfe\r\n\r\nx",
    "direction marks": "From: \u202eevil <a@example.com>\r\n\r\nx".encode(),
    "nothing": b"",
    "nested comments": b"From: " + b"(" * 4000 + b" <a@example.com>\r\n\r\nx",
    "nested groups": b"From: " + b"a:" * 1900 + b" <a@example.com>\r\nReply-To: " + b'<("' * 1300 + b"\r\n\r\nx",
    "CR CR LF": b"From: a@example.com\r\r\nX-Evil: 1\r\n\r\nx",
    "unknown charset": b"From: =?no-such?q?A?= <a@example.com>\r\nSubject: =?utf-8?b?%%%?= \xff\r\n\r\nx",
    "Latin-1 reference": b"From: a@example.com\r\nMessage-ID: <\xe4@example.com>\r\n\r\nx",
}


def check_head(out: bytes) -> None:
    """What every forward promises of its header, whatever the mail was."""
    head, gap, _body = out.partition(b"\r\n\r\n")
    assert gap
    lines = head.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert b"\0" not in head
    assert b"\r" not in b"".join(lines)
    assert b"\n" not in b"".join(lines)
    assert all(line.strip(b" \t") for line in lines)
    assert all(line[:1] in b" \t" or re.match(rb"[!-9;-~]+[ \t]*:", line) for line in lines)
    names = [line.partition(b":")[0].lower() for line in lines if line[:1] not in b" \t"]
    for once in (b"from", b"to", b"message-id", b"subject", b"date"):
        # A field twice in the mail stays twice where it is not ours.
        assert names.count(once) == 1 or (once in {b"subject", b"date"} and once in names), once
    assert b"bcc" not in names
    mail = parsed(out)
    assert mail["From"].endswith(f"<{OWN}>")
    assert mail["To"] == TEAM


@pytest.mark.parametrize("mode", [ForwardMode.REWRITE, ForwardMode.ATTACH])
@pytest.mark.parametrize("name", HOSTILE)
def test_no_mail_breaks_out_of_its_fields(name: str, mode: ForwardMode) -> None:
    out = made(HOSTILE[name], mode)
    check_head(out)
    assert out.count(b"\n") == out.count(b"\r\n") == out.count(b"\r")


@pytest.mark.parametrize("name", HOSTILE)
def test_redirect_puts_its_own_fields_above_any_mail(name: str) -> None:
    out = made(HOSTILE[name], ForwardMode.REDIRECT)
    assert out.startswith(f"{LOOP_FIELD}: inst\r\n".encode())
    mail = parsed(out)
    assert mail["Resent-To"] == TEAM
    assert mail.get_all("Resent-From") == [OWN]
    assert out.count(b"\n") == out.count(b"\r\n") == out.count(b"\r")


def test_a_mail_that_names_nobody_has_no_reply_to() -> None:
    mail = parsed(made(HOSTILE["no From"], ForwardMode.REWRITE))
    assert mail["From"] == f'"unknown sender" <{OWN}>'
    assert mail["Reply-To"] is None


@settings(max_examples=150, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([b"From", b"Reply-To", b"Subject", b"References", b"X-A"]), st.binary(max_size=80)),
        max_size=6,
    ),
    st.binary(max_size=120),
    st.sampled_from([ForwardMode.REWRITE, ForwardMode.ATTACH]),
)
def test_whatever_the_octets_the_header_stays_ours(
    fields: list[tuple[bytes, bytes]], body: bytes, mode: ForwardMode
) -> None:
    octets = b"".join(name + b": " + value + b"\r\n" for name, value in fields) + b"\r\n" + body
    check_head(made(octets, mode))


@settings(max_examples=100, deadline=None)
@given(st.text(max_size=60), st.text(max_size=60))
def test_whatever_the_text_of_name_and_subject(name: str, subject: str) -> None:
    from email.header import Header

    encoded = [Header(text.encode("utf-8", "replace"), "utf-8").encode() for text in (name, subject)]
    octets = f"From: {encoded[0]} <a@example.com>\r\nSubject: {encoded[1]}\r\n\r\nx\r\n".encode()
    check_head(made(octets, ForwardMode.REWRITE))


@pytest.mark.parametrize("mode", ALL_MODES)
def test_a_large_mail_is_not_copied_more_than_needed(mode: ForwardMode) -> None:
    large = HEAD + b"\r\n" + (b"x" * 76 + b"\r\n") * 130_000
    tracemalloc.start()
    out = made(large, mode)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert len(out) >= len(large) - len(HEAD)
    assert peak < 3 * len(large)
