"""The identity of a mail, which survives what servers do to it."""

import base64
from collections.abc import Iterable, Mapping
from dataclasses import replace

import pytest

from bouncepoll.model.fingerprint import fingerprint
from tests.unit.mime.mails import REPORT, parse, raw

NOTICE = "Das Postfach von <alice@example.net> ist voll,\nsagt Müller.\n"
TEXT = "Subject: voll\nMessage-ID: <1@example.net>\nDate: Mon, 2 Mar 2026 10:00:00 +0000\nFrom: a@example.net\n"
PLAIN = (TEXT + "Content-Type: text/plain; charset=utf-8\n\n" + NOTICE).encode()


def _wrapped(charset: str, encoding: str, body: bytes) -> bytes:
    return (
        TEXT.encode()
        + b"Content-Type: multipart/mixed; boundary=new\n\n--new\nContent-Type: text/plain; charset="
        + charset.encode()
        + b"\nContent-Transfer-Encoding: "
        + encoding.encode()
        + b"\n\n"
        + body
        + b"\n--new--\n"
    )


@pytest.mark.parametrize(
    "rebuilt",
    [
        PLAIN,
        b"Received: from a by b\nX-New: 1\n" + PLAIN,
        PLAIN.replace(b"Subject: voll", b"SUBJECT:  =?utf-8?q?voll?="),
        PLAIN.replace(b"Date: Mon,", b"Date: Mon,\n\t"),
        PLAIN.replace(b"\n", b"\r\n"),
        _wrapped("utf-8", "base64", base64.encodebytes(NOTICE.encode())),
        _wrapped("iso-8859-1", "quoted-printable", NOTICE.replace("ü", "=FC").replace(",\n", ",=\n\n").encode()),
        _wrapped("iso-8859-1", "8bit", NOTICE.encode("latin-1")),
    ],
)
def test_a_rebuilt_mail_is_the_same(rebuilt: bytes) -> None:
    assert parse(rebuilt).fingerprint == parse(PLAIN).fingerprint


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("alice@example.net", "bob@example.net"),
        ("<r1@example.net>", "<r2@example.net>"),
        ("Undelivered", "Delayed"),
        ("MAILER-DAEMON", "postmaster"),
    ],
)
def test_another_mail_is_another(old: str, new: str) -> None:
    assert old in REPORT
    assert parse(REPORT.replace(old, new)).fingerprint != parse(REPORT).fingerprint


def test_the_returned_mail_does_not_count() -> None:
    assert parse(REPORT.replace("plain news", "cut")).fingerprint == parse(REPORT).fingerprint


def test_it_is_64_hexadecimal_digits_and_never_changes() -> None:
    assert parse("Subject: x\n\ntext").fingerprint == "6903b0dfb1383173e763a38c076e250527978efdf068b8e8cd9240e07338c8f8"


def test_mails_that_say_nothing_are_known_by_their_octets() -> None:
    first, second = ("Received: from mx.example.org; " + at for at in ("Mon, 2 Nov 2026 10:00:00 +0000", "later"))
    assert parse(first).fingerprint != parse(second).fingerprint
    assert parse(first).fingerprint == parse(first).fingerprint
    assert parse("").fingerprint == parse("").fingerprint


def test_it_is_computed_when_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[object] = []

    def count(index: Mapping[str, str], texts: Iterable[str], octets: bytes) -> str:
        asked.append(index)
        return fingerprint(index, texts, octets)

    monkeypatch.setattr("bouncepoll.model.message.fingerprint", count)
    message = parse(REPORT)
    assert asked == []
    assert len({message.fingerprint, message.fingerprint, parse(REPORT).fingerprint}) == 1
    assert len(asked) == 2
    completed = replace(message, raw=raw(REPORT, size_octets=9999))
    assert completed.fingerprint == message.fingerprint
    assert len(asked) == 2


def test_a_message_has_no_other_attributes() -> None:
    with pytest.raises(AttributeError, match="'Message' object has no attribute 'fingerprints'"):
        getattr(parse(REPORT), "finger" + "prints")
    with pytest.raises(AttributeError):
        parse(REPORT).fingerprint = ""  # type: ignore[misc]  # that it cannot be set is the point
