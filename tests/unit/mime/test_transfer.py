"""Content-Transfer-Encoding, right and wrong."""

import base64
import binascii

import pytest

from bouncepoll.mime import transfer
from tests.unit.mime.mails import leaf, part

SENTENCE = "Das Postfach von Müller ist voll."


@pytest.mark.parametrize("encoding", ["7bit", "8BIT", "binary", "", "none"])
def test_as_it_is(encoding: str) -> None:
    assert transfer.decode(SENTENCE, encoding) == (SENTENCE, None)
    assert transfer.is_identity(encoding)


@pytest.mark.parametrize(
    ("body", "encoding", "octets", "problem"),
    [
        ("TcO8bGxlcg==\n", "BASE64", b"M\xc3\xbcller", None),
        ("TcO8\nbGxl\ncg==\n", "base64 (comment)", b"M\xc3\xbcller", None),
        ("", "base64", b"", None),
        ("TcO8bGxlcg\n", "base64", b"M\xc3\xbcller", "base64 is broken"),
        ("TcO8bGxlc", "base64", b"M\xc3\xbclle", "base64 is broken"),
        ("TcO8bGxlcg==\n" * 2, "base64", b"M\xc3\xbcller", "base64 is broken"),
        ("TcO8-bGxl" + "QUJD" * 20, "base64", b"M\xc3\xbclle" + b"ABC" * 20, "base64 is broken"),
        ("TcO8 \nbGxlcg==", "base64", b"M\xc3\xbcller", None),
        ("User unknown\n", "base64", b"User unknown\n", "base64 is broken, taken as plain text"),
        ("<<a@example.org>>\n", "base64", b"<<a@example.org>>\n", "base64 is broken, taken as plain text"),
        ("M=C3=BCller=\n=20x= \ny", "quoted-printable", b"M\xc3\xbcller xy", None),
        ("5=5 =ZZ", "quoted-printable", b"5=5 =ZZ", "quoted-printable is broken"),
        ("M\xc3\xbcller =C3=BC", "quoted-printable", b"M\xc3\xbcller \xc3\xbc", None),
        ("cut=", "quoted-printable", b"cut", None),
        ("cut=C", "quoted-printable", b"cut=C", "quoted-printable is broken"),
        ("text", "x-rot-13", b"text", "unknown transfer encoding 'x-rot-13'"),
    ],
)
def test_encodings(body: str, encoding: str, octets: bytes, problem: str | None) -> None:
    assert transfer.decode(body, encoding) == (octets.decode("latin-1"), problem)


def test_uuencode() -> None:
    line = binascii.b2a_uu(b"User unknown").decode()
    assert transfer.decode(f"begin 644 a.txt\n{line}`\nend\n", "x-uuencode") == ("User unknown", None)
    assert transfer.decode(f"begin 644 a.txt\n{line}", "uuencode") == ("User unknown", "uuencode is broken")
    assert transfer.decode(f"begin 644 a.txt\n{line}\x7f\x7f\n", "uue") == ("User unknown", "uuencode is broken")
    assert transfer.decode("text", "uue") == ("text", "uuencode is broken, taken as plain text")


@pytest.mark.parametrize("size", range(40))
def test_base64_of_any_length(size: int) -> None:
    octets = bytes(range(100, 100 + size))
    assert transfer.decode(base64.encodebytes(octets).decode(), "base64") == (octets.decode("latin-1"), None)


def test_a_broken_encoding_is_told_with_its_part() -> None:
    message = leaf("YWI", encoding="base64")
    assert message.defects == ("part 1: base64 is broken",)
    assert part(message, "1").size_octets == 2
