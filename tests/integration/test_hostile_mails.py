"""Mails made to break a parser: never an exception, always within the limits, and never more than linear work."""

import base64
import sys
from collections.abc import Callable
from types import FrameType

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bouncepoll.mime.limits import (
    MAX_DEFECT_CHARS,
    MAX_DEFECTS,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_FILENAME_CHARS,
    MAX_OCTETS,
    MAX_PARTS,
    MAX_TEXT_CHARS,
    is_tame,
)
from bouncepoll.model.message import Message
from tests.unit.mime.mails import REPORT, parse
from tests.unit.mime.shapes import Maker


def _check(message: Message) -> None:
    assert len(message.parts) <= MAX_PARTS
    assert len(message.defects) <= MAX_DEFECTS
    assert all(len(defect) <= MAX_DEFECT_CHARS and defect.isprintable() for defect in message.defects)
    assert len(message.fingerprint) == 64
    for headers in (message.headers, message.returned_headers, *(part.headers for part in message.parts)):
        assert len(headers) <= MAX_FIELDS
        assert not any(set("\r\n\0") & set(header.value + header.name) for header in headers)
    for part in message.parts:
        assert part.path.count(".") <= 2 * MAX_DEPTH + 2
        assert len(part.text or "") <= MAX_TEXT_CHARS
        assert not set("\r\0") & set(part.text or "")
        assert len(part.filename or "") <= MAX_FILENAME_CHARS
        (part.text or "").encode()  # no surrogates


def _siblings(count: int, part: str = "\nx\n") -> str:
    return "Content-Type: multipart/mixed; boundary=b\n\n" + f"--b\n{part}" * count


def _nested(count: int) -> str:
    return "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(count)) + "\ntext"


def _matryoshka(count: int) -> str:
    return "Content-Type: message/rfc822\n\n" * count + "Subject: core\n\ntext"


HOSTILE: dict[str, Callable[[int], str]] = {
    "one line": lambda n: "Subject: x\n\n" + "a" * n,
    "one line without a header": lambda n: "a" * n,
    "one header line": lambda n: "Subject: " + "a" * n + "\n\ntext",
    "folded": lambda n: "Subject: a\n" + " b\n" * (n // 3) + "\ntext",
    "headers": lambda n: "A: b\n" * (n // 5) + "\ntext",
    "lines that are no headers": lambda n: "A: b\n" + "junk\n" * (n // 5) + "To: a@example.org\n\ntext",
    "blank lines": lambda n: " \n" * (n // 2) + "Subject: x\n\ntext",
    "siblings": lambda n: _siblings(n // 7),
    "siblings that are mails": lambda n: _siblings(n // 60, "Content-Type: message/rfc822\n\nSubject: x\n\ny\n"),
    "siblings that are headers": lambda n: _siblings(n // 50, "Content-Type: text/rfc822-headers\n\nSubject: x\n"),
    "empty siblings": lambda n: _siblings(n // 4, ""),
    "nested": lambda n: _nested(n // 55),
    "nested mails": lambda n: _matryoshka(n // 30),
    "nested mails without blank lines": lambda n: "Content-Type: message/rfc822\n--x\n" * (n // 33),
    "nested with the same boundary": lambda n: "Content-Type: multipart/mixed; boundary=b\n\n--b\n" * (n // 48),
    "delimiters of nobody": lambda n: _nested(15) + "\n--x" * (n // 4),
    "hyphens": lambda n: _siblings(1) + "-" * n,
    "content type": lambda n: "Content-Type: a/b" + "; c=d" * (n // 5) + "\n\ntext",
    "quotes": lambda n: 'Content-Type: a/b; c="' + '\\"' * (n // 2) + "\n\ntext",
    "filename sections": lambda n: (
        "Content-Disposition: a" + "".join(f"; filename*{i}*=%41" for i in range(n // 18)) + "\n\nx"
    ),
    "encoded words": lambda n: "Subject: " + "=?utf-8?q?a?= " * (n // 14) + "\n\ntext",
    "half encoded words": lambda n: "Subject: " + "=?a?q?" * (n // 6) + "\n\ntext",
    "question marks": lambda n: "Subject: =?a?q?" + "?a" * (n // 2) + "\n\ntext",
    "base64": lambda n: "Content-Transfer-Encoding: base64\n\n" + "ab=c\n" * (n // 5),
    "quoted-printable": lambda n: "Content-Transfer-Encoding: quoted-printable\n\n" + "=  =\n" * (n // 5),
    "uuencode": lambda n: "Content-Transfer-Encoding: uuencode\n\nbegin 644 a\n" + "#86%A\n" * (n // 6),
    "utf-7": lambda n: "Content-Type: text/plain; charset=utf-7\n\n" + "+AGE-" * (n // 5),
    "iso-2022-jp": lambda n: "Content-Type: text/plain; charset=iso-2022-jp\n\n" + "\x1b$B" * (n // 3),
    "carriage returns": lambda n: "Subject: x\n\n" + "\r\r\r\r\n\r" * (n // 6),
    "carriage returns in a row": lambda n: "Subject: x\n\n" + "\r" * n,
    "encoded carriage returns": lambda n: (
        "Content-Transfer-Encoding: base64\n\n" + base64.b64encode(b"\r" * (n * 3 // 4)).decode()
    ),
    "nul": lambda n: "\0" * n,
    "from lines": lambda n: "From \n" * (n // 6),
    "colons": lambda n: ":" * n,
}


def _work(text: str) -> int:
    """Return how many Python functions and C functions reading it calls: a measure that no other process disturbs."""
    calls = 0

    def count(frame: FrameType, event: str, arg: object) -> None:
        nonlocal calls
        calls += event in {"call", "c_call"}

    previous = sys.getprofile()
    sys.setprofile(count)
    try:
        parse(text)
    finally:
        sys.setprofile(previous)
    return calls


@pytest.mark.parametrize("name", HOSTILE)
def test_the_limits_hold_and_the_work_is_linear(name: str) -> None:
    make = HOSTILE[name]
    _check(parse(make(MAX_OCTETS)))
    _check(parse(make(60_000)))
    # Fixed costs and the limits only make the ratio smaller; quadratic work would make it 4.
    assert _work(make(64 * 1024)) <= 2.6 * _work(make(32 * 1024)) + 2_000
    assert _work(make(256 * 1024)) <= 2.6 * _work(make(128 * 1024)) + 2_000


def test_a_line_of_50_megabytes() -> None:
    message = parse(b"Subject: x\n\n" + b"a" * 50_000_000)
    _check(message)
    assert f"cut off after {MAX_OCTETS} octets" in message.defects
    assert len(message.parts[0].text or "") == MAX_TEXT_CHARS


def test_10000_nested_parts() -> None:
    _check(parse(_nested(10_000)))
    message = parse(_matryoshka(10_000))
    _check(message)
    assert len(message.parts) == MAX_DEPTH + 1


def test_10000_sibling_parts() -> None:
    message = parse(_siblings(10_000))
    assert len(message.parts) == MAX_PARTS
    assert message.defects == (f"more than {MAX_PARTS} parts",)


def test_100000_headers() -> None:
    message = parse("A: b\n" * 100_000 + "\ntext")
    assert len(message.headers) == MAX_FIELDS


@pytest.mark.parametrize("text", [REPORT, Maker(5, 0).mail(), Maker(21, 0.05).mail()])
def test_cut_at_any_octet(text: str) -> None:
    octets = text.replace("\n", "\r\n").encode("latin-1")
    for size in range(0, len(octets), 1 + len(octets) // 1500):
        _check(parse(octets[:size]))


_TOKENS = st.sampled_from(
    [
        *(b"\n", b"\r\n", b"\n\n", b"--b", b"--b--", b"--", b"--c", b"=?utf-8?q?=0D", b"?=", b"=", b";", b" ", b"\t"),
        *(b"\0", b"\xff", b"From ", b"Subject: x", b"Content-Type: ", b"Content-Transfer-Encoding: ", b"boundary="),
        *(b"multipart/mixed; boundary=b", b"multipart/digest; boundary=c", b"message/rfc822", b"text/rfc822-headers"),
        *(b"text/plain; charset=", b"utf-16", b"utf-7", b"base64", b"quoted-printable", b"\x1b$B"),
        b"Content-Disposition: attachment; filename*0*=utf-8''%00",
    ]
)


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(st.one_of(_TOKENS, st.binary(max_size=6)), max_size=60).map(b"".join))
def test_parsing_never_raises(octets: bytes) -> None:
    _check(parse(octets))


@pytest.mark.parametrize(
    "text",
    [
        "multipart/" * 61,
        "\n--" * 2001,
        "message/" * 50 + "\n" * 8001,
        "Content-Type: a" + "b" * 4096,
        "Content-Type: a\n b\n" * 1000,
    ],
)
def test_what_is_too_wild_for_the_other_readers(text: str) -> None:
    assert not is_tame(text)
    assert is_tame("Content-Type: multipart/mixed; boundary=b\n\n--b\n\ntext\n--b--\n")
