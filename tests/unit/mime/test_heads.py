"""Header sections and parametrized fields."""

import pytest

from bouncepoll.mime.head import head_of, split_head
from bouncepoll.mime.limits import MAX_FIELDS, MAX_HEADER_OCTETS, MAX_PARAMETERS
from bouncepoll.mime.parameters import boundary_of, content_type_of, decoded_parameter, split_parameters
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
    head = split_head(text, 0, len(text))
    assert (head.fields, text[head.body_start :], head.problems) == (fields, body, problems)


def test_a_section_does_not_go_beyond_the_end_of_its_entity() -> None:
    assert split_head("A: 1\nB: 2\n\nbody", 0, 5).fields == (("A", "1"),)


def test_fields_read_elsewhere_make_the_same_head() -> None:
    text = "Content-Type: text/plain;\n\tcharset=utf-8\nA: =?x\nCONTENT-TYPE: text/html\n\n"
    ours = split_head(text, 0, len(text))
    theirs = head_of([("Content-Type", "text/plain;\n\tcharset=utf-8"), ("A", "=?x"), ("CONTENT-TYPE", "text/html")])
    assert (ours.fields, ours.content, ours.is_plain) == (theirs.fields, theirs.content, theirs.is_plain)
    assert ours.content["content-type"] == "text/plain;\tcharset=utf-8"
    assert not ours.is_plain


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


def test_a_missing_content_type_is_the_default() -> None:
    assert content_type_of(None, "message/rfc822").name == "message/rfc822"


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
