"""Header sections and parametrized fields."""

import pickle
from collections.abc import Sequence

import pytest

from bouncepoll.mime.head import Head, split_fields, split_head
from bouncepoll.mime.limits import MAX_FIELDS, MAX_HEADER_OCTETS, MAX_PARAMETERS
from bouncepoll.mime.parameters import (
    ContentType,
    boundary_of,
    content_type_of,
    decoded_parameter,
    default_within,
    split_parameters,
)
from bouncepoll.model.message import Header
from tests.unit.mime.mails import parse


@pytest.mark.parametrize(
    ("text", "fields", "body", "problems"),
    [
        ("A: 1\nB : 2 \n\nbody", (("A", "1"), ("B", "2")), "body", ()),
        ("A:1\n  2\n\t3\n\n", (("A", "1  2\t3"),), "", ()),
        ("A: 1", (("A", "1"),), "", ()),
        ("\nbody", (), "body", ()),
        ("", (), "", ()),
        ("A: 1\nno field\nTo: b\n\nbody", (("A", "1"), ("To", "b")), "body", ("a header line without a colon",)),
        ("A: 1\nHello you,\n\nbody", (("A", "1"),), "Hello you,\n\nbody", ("no blank line after the header",)),
        ("A: 1\n--b\nTo: b\n\nbody", (("A", "1"),), "--b\nTo: b\n\nbody", ("no blank line after the header",)),
        ("From a 2026\nA: 1\n\nbody", (("A", "1"),), "body", ()),
        (" lost\nTo: b\n\nbody", (("To", "b"),), "body", ("a header line without a colon",)),
        ("A: 1\nbad\n more\nTo: b\n\n", (("A", "1"), ("To", "b")), "", ("a header line without a colon",)),
    ],
)
def test_sections(text: str, fields: tuple[tuple[str, str], ...], body: str, problems: tuple[str, ...]) -> None:
    head, body_start, found = split_head(text, 0, len(text))
    assert (head.fields, text[body_start:], found) == (fields, body, problems)


def test_a_section_does_not_go_beyond_the_end_of_its_entity() -> None:
    assert split_head("A: 1\nB: 2\n\nbody", 0, 5).head.fields == (("A", "1"),)


def test_a_last_field_without_a_line_end() -> None:
    for text in ("A: 1\nB: 2", "A: 1\nB: 2\n"):
        assert split_head(text, 0, len(text)) == (*split_head("A: 1\nB: 2\n\n", 0, 10)[:1], len(text), ())


def test_fields_read_elsewhere_make_the_same_head() -> None:
    text = "Content-Type: text/plain;\n\tcharset=utf-8\nA: =?x\nCONTENT-TYPE: text/html\n\n"
    ours = split_head(text, 0, len(text)).head
    theirs = split_fields(
        [("Content-Type", "text/plain;\n\tcharset=utf-8"), ("A", "=?x"), ("CONTENT-TYPE", "text/html")]
    ).head
    assert (ours, ours.content_type, ours.is_plain) == (theirs, theirs.content_type, theirs.is_plain)
    assert ours.content_type == ContentType("text/plain", "utf-8", is_ascii_text=True)
    assert not ours.is_plain


@pytest.mark.parametrize("many", ["", "X-Filler: " + "a" * 300 + "\n"])
def test_the_fields_of_mime_are_found_however_written(many: str) -> None:
    head = Head(
        many + "CONTENT-TYPE :\n text/HTML; charset=UTF-8\nX-Content-Type: no/no\ncontent-type: image/png\n"
        "Content-Transfer-encoding:\tBase64 \nContent-Disposition: attachment;\n\tfilename=A.txt\n"
        "Content-disposition: inline\nContent-Transfer-Encoding: 7bit\n"
    )
    assert head.content_type == ContentType("text/html", "utf-8", is_ascii_text=True)
    assert (head.encoding, head.disposition) == ("Base64", "attachment;\tfilename=A.txt")


@pytest.mark.parametrize("section", ["A: =?utf-8?q?a?=\n", "A: caf\xe9\n", "A: a\x0bb\n", "A: a\0\n"])
def test_what_needs_decoding_is_not_plain(section: str) -> None:
    assert not Head(section).is_plain
    assert Head("A: what?\n\tfor=\n").is_plain


def test_a_head_is_a_sequence_of_its_fields() -> None:
    head = Head("A: 1\nB:\n 2\na: 3\n")
    fields = (Header("A", "1"), Header("B", "2"), Header("a", "3"))
    assert head == fields
    assert fields == head
    assert (len(head), head[1], head[1:], tuple(head), repr(head)) == (3, fields[1], fields[1:], fields, repr(fields))
    assert head.first_values() == {"a": "1", "b": "2"}
    assert hash(head) == hash(fields)
    assert head != ()
    assert isinstance([], Sequence)  # and is no head for that
    assert head != [*fields]
    assert head
    assert not Head("")
    restored = pickle.loads(pickle.dumps(head))
    assert (type(restored), restored, type(restored[0])) == (tuple, fields, Header)


def test_too_many_fields() -> None:
    message = parse("A: 1\n" * (MAX_FIELDS + 1) + "Content-Type: text/html\n\nbody")
    assert len(message.headers) == MAX_FIELDS
    assert message.defects == (f"more than {MAX_FIELDS} header fields",)
    assert message.parts[0].content_type == "text/html"


@pytest.mark.parametrize("line", ["A: " + "a" * MAX_HEADER_OCTETS, "A: " + "a\n " * MAX_HEADER_OCTETS])
def test_too_large_a_header(line: str) -> None:
    message = parse(f"{line}\nB: 2\n\nbody")
    assert sum(len(name) + len(value) for name, value in message.headers) <= MAX_HEADER_OCTETS
    assert message.defects == (f"a header over {MAX_HEADER_OCTETS} octets",)
    assert message.parts[0].text == "body"


@pytest.mark.parametrize(
    ("raw", "main", "parameters"),
    [
        ("text/plain; Charset=UTF-8", "text/plain", (("charset", "UTF-8"),)),
        ('multipart/mixed; boundary="a \\"b\\" c"', "multipart/mixed", (("boundary", 'a "b" c'),)),
        ("multipart/mixed boundary=a;; type = x ;", "multipart/mixed", (("boundary", "a"), ("type", "x"))),
        ('multipart/mixed; boundary="open', "multipart/mixed", (("boundary", "open"),)),
        ("", "", ()),
        (";;;", "", ()),
    ],
)
def test_parameters(raw: str, main: str, parameters: tuple[tuple[str, str], ...]) -> None:
    assert split_parameters(raw) == (main, parameters)


def test_parameters_are_bounded() -> None:
    assert len(split_parameters("a/b" + "; a=b" * 1000)[1]) == MAX_PARAMETERS


@pytest.mark.parametrize(
    ("raw", "name"),
    [
        ("TEXT/HTML", "text/html"),
        ("text", "text/plain"),
        ("html", "text/html"),
        ("nonsense", "text/plain"),
        ("", "text/plain"),
    ],
)
def test_content_types(raw: str, name: str) -> None:
    assert content_type_of(raw).name == name
    assert content_type_of(raw + " " * 300).name == name


@pytest.mark.parametrize(
    ("raw", "boundary"),
    [
        ('multipart/mixed; boundary="a b "', "a b"),
        ('multipart/mixed;\tboundary="a"; charset=utf-8', "a"),
        ('multipart/mixed; boundary=""', None),
        ('multipart/mixed; boundary="', None),
        ('multipart/mixed; boundary="open', "open"),
        ('multipart/mixed; boundary="a\\"b"', 'a"b'),
        ('multipart/mixed; boundary=x; boundary="y"', "x"),
        ('multipart/mixed; BOUNDARY=x; boundary="y"', "x"),
        ('multipart/mixed; xboundary="y"', None),
        ('multipart/mixed; name="; boundary="y"', None),
        ('multipart/mixed; name="z"; boundary="y"', "y"),
        ("multipart/mixed; boundary=plain", "plain"),
    ],
)
def test_boundaries(raw: str, boundary: str | None) -> None:
    for _ in range(2):
        content_type = content_type_of(raw)
        assert (content_type.name, content_type.boundary, content_type.is_multipart) == (
            "multipart/mixed",
            boundary,
            True,
        )
    assert content_type.boundary == boundary_of(split_parameters(raw)[1])


def test_a_type_is_not_taken_for_that_of_another_boundary() -> None:
    found = [content_type_of(f'multipart/report; charset=utf-8; boundary="{mark}"; name=n') for mark in "ab"]
    assert [(kind.boundary, kind.charset, kind.names) for kind in found] == [
        ("a", "utf-8", (("name", "n"),)),
        ("b", "utf-8", (("name", "n"),)),
    ]


def test_the_default_within_a_multipart() -> None:
    assert default_within(content_type_of("multipart/digest")).is_mail
    assert default_within(content_type_of("multipart/mixed")) == content_type_of("text/plain")


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("x; name=a; name*=utf-8''b", "a"),
        ("x; name*1=b; name*0=a", "ab"),
        ("x; name*0*=iso-8859-1'de'f%FC; name*1*=r%20", "für"),
        ("x; name*=f%C3%BCr", "für"),
        ("x; name*=utf-8''a%0D%0Ab", "a b"),
        ("x; name**=a; named=b", None),
    ],
)
def test_sections_of_parameters(raw: str, value: str | None) -> None:
    problems: list[str] = []
    assert decoded_parameter(split_parameters(raw)[1], "name", problems.append) == value
    assert problems == []


def test_a_boundary_in_sections() -> None:
    assert boundary_of(split_parameters('a/b; boundary*0="x"; boundary*1="y "')[1]) == "xy"
    assert boundary_of(split_parameters('a/b; boundary="  "')[1]) is None
    assert boundary_of(()) is None
