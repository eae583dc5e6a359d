"""The readers read alike: the fast one is only asked alone where flanker would read the same."""

import email.parser
import random

import pytest

from bouncepoll.mime import clear_reader, flanker_reader, parser, scanner, stdlib_reader
from bouncepoll.mime.defects import Defects
from bouncepoll.mime.limits import MAX_DEPTH, MAX_PARTS
from bouncepoll.mime.tree import Node, Reader, Unreadable
from bouncepoll.model.message import Message
from tests.unit.mime.mails import REPORT, content, multipart, outline, parse, raw
from tests.unit.mime.shapes import Maker


def _doubt(text: str) -> str | None:
    return scanner.scan(parser.prepare(raw(text), Defects())).doubt


def _read(text: str, reader: Reader) -> Message | None:
    try:
        return parser.parse_with(raw(text), reader)
    except Unreadable:
        return None


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("sloppiness", [0.0, 0.05])
def test_a_clear_structure_is_read_as_the_other_readers_read_it(sloppiness: float, is_cut: bool) -> None:
    compared = {"flanker": 0, "stdlib": 0}
    for seed in range(150):
        text = Maker(seed, sloppiness).mail()
        text = text[: random.Random(seed).randint(0, len(text))] if is_cut else text
        if _doubt(text):
            continue
        message = parse(text)
        flanker = _read(text, flanker_reader.read)
        if flanker:
            compared["flanker"] += 1
            assert content(flanker) == content(message), seed
        stdlib = _read(text, stdlib_reader.read)
        if stdlib:
            compared["stdlib"] += 1
            # It does not say that a blank line is missing.
            assert (stdlib.headers, stdlib.parts, stdlib.returned_headers) == (
                message.headers,
                message.parts,
                message.returned_headers,
            ), seed
    assert min(compared.values()) > 50


@pytest.mark.parametrize("is_cut", [False, True])
@pytest.mark.parametrize("sloppiness", [0.0, 0.02, 0.1])
def test_what_the_quickest_reader_reads_the_scanner_reads_alike_and_without_a_doubt(
    sloppiness: float, is_cut: bool
) -> None:
    compared = 0
    for seed in range(400):
        text = Maker(seed, sloppiness).mail()
        text = text[: random.Random(seed).randint(0, len(text))] if is_cut else text
        message = _read(text, clear_reader.read)
        if message:
            compared += 1
            assert not _doubt(text), seed
            assert content(message) == content(parser.parse_with(raw(text), scanner.read)), seed
    assert compared > 200


def test_a_report_needs_no_other_reader(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(text: str) -> scanner.Scanned:
        pytest.fail("the scanner was asked")

    monkeypatch.setattr(scanner, "scan", refuse)
    assert len(parse(REPORT).parts) == 5
    assert len(parse(REPORT[: len(REPORT) - 20]).parts) == 5
    assert outline(parse("Content-Type: multipart/mixed; boundary=b\n\nby hand\n")) == [
        ("1", "text/plain", "by hand\n")
    ]


@pytest.mark.parametrize("reader", [clear_reader.read, flanker_reader.read, stdlib_reader.read, scanner.read])
def test_every_reader_reads_a_report(reader: Reader) -> None:
    assert content(parser.parse_with(raw(REPORT), reader)) == content(parse(REPORT))


DOUBTFUL = {
    "white space or nothing after a delimiter": multipart("\none", closing="--b \n\ntwo\n--b--\n"),
    "white space after a delimiter": multipart("\none", closing="--b-- \n"),
    "two delimiters in a row": multipart("\none", closing="--b\n--b--\n"),
    "a boundary that is in use around it": multipart(
        "Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n"
    ),
    "a header section that ends at two hyphens": multipart("X-Field: 1\n--c\n\none"),
}


@pytest.mark.parametrize("why", DOUBTFUL)
def test_the_fast_reader_says_when_it_is_in_doubt(why: str) -> None:
    assert _doubt(DOUBTFUL[why]) == why
    assert "one" in "".join(part.text or "" for part in parse(DOUBTFUL[why]).parts)


def test_in_doubt_flanker_is_asked_first(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[str] = []

    def refuse(name: str) -> Reader:
        def reader(text: str) -> Node:
            asked.append(name)
            raise Unreadable(name)

        return reader

    monkeypatch.setattr(flanker_reader, "read", refuse("flanker"))
    monkeypatch.setattr(stdlib_reader, "read", refuse("stdlib"))
    assert outline(parse(DOUBTFUL["two delimiters in a row"])) == [("1", "text/plain", "one")]
    assert asked == ["flanker", "stdlib"]
    parse(REPORT)
    assert asked == ["flanker", "stdlib"]
    parse(DOUBTFUL["two delimiters in a row"] + "Content-Type: multipart/mixed\n" * 100)
    assert asked == ["flanker", "stdlib"]


@pytest.mark.parametrize(
    ("reader", "text"),
    [
        (clear_reader.read, multipart("\none").replace("--b\n", "--b \n")),
        (clear_reader.read, multipart("\none", closing="--b\n--b--\n")),
        (clear_reader.read, multipart("\none", closing="--b--x\n")),
        (clear_reader.read, multipart("\none", closing="--b")),
        (clear_reader.read, multipart("\none", closing="--b\n")),
        (clear_reader.read, multipart(closing="--b--\n--b\n\none\n--b--\n")),
        (clear_reader.read, multipart(closing="--b--\n")),
        (clear_reader.read, multipart("X-Field: 1\n--c\n\none")),
        (clear_reader.read, multipart("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n")),
        (clear_reader.read, multipart("Content-Type: multipart/mixed; boundary=b--\n\n--b--\n\none\n", closing="")),
        (clear_reader.read, multipart("Content-Type: multipart/mixed; boundary=bc\n\n--bc\n\none\n--bc--\n")),
        (clear_reader.read, multipart(*["\none"] * (MAX_PARTS + 1))),
        (clear_reader.read, "Content-Type: message/rfc822\n\n" * (MAX_DEPTH + 1)),
        (flanker_reader.read, "a" * 70_000),
        (flanker_reader.read, "Content-Type: multipart/mixed; boundary=b\n\nno parts\n"),
        (flanker_reader.read, "Content-Type: multipart/mixed\n\nno boundary\n"),
        (flanker_reader.read, multipart("\none").replace("--b\n", "--b \n")),
        (flanker_reader.read, multipart("Content-Type: multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n")),
        (flanker_reader.read, multipart("Content-Type: message/rfc822\nno field and no blank line\nX: 1\n")),
        (flanker_reader.read, "Content-Type: !multipart/mixed; boundary=b\n\n--b\n\none\n--b--\n"),
        (stdlib_reader.read, "Subject: x\nno field\nTo: a@example.org\n\ntext\n"),
        (stdlib_reader.read, " continuation\n\ntext\n"),
        (stdlib_reader.read, "Content-Type: multipart/mixed; boundary=b\n\nno parts\n"),
    ],
)
def test_a_reader_refuses_what_it_would_read_wrongly(reader: Reader, text: str) -> None:
    with pytest.raises(Unreadable):
        reader(text)


def test_the_standard_library_breaking_down_is_a_refusal(monkeypatch: pytest.MonkeyPatch) -> None:
    def break_down(self: object, text: str) -> None:
        raise RecursionError

    monkeypatch.setattr(email.parser.Parser, "parsestr", break_down)
    with pytest.raises(Unreadable, match="RecursionError"):
        stdlib_reader.read("Subject: x\n\ntext\n")
