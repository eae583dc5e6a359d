"""What a mail is read as."""

import base64
import importlib
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from bouncepoll import mime
from bouncepoll.mime.limits import MAX_OCTETS
from bouncepoll.model.message import Header, Message, RawMessage
from tests.unit.mime.mails import REF, REPORT, content, leaf, multipart, outline, parse, part, raw


def test_a_report_has_its_parts_in_the_order_and_with_the_paths_of_imap() -> None:
    message = parse(REPORT)
    assert [(p.path, p.content_type, p.returned) for p in message.parts] == [
        ("1", "text/plain", False),
        ("2", "message/delivery-status", False),
        ("3", "message/rfc822", False),
        ("3.1", "text/plain", True),
        ("3.2", "text/html", True),
    ]
    assert part(message, "1").text == "Your mail was not delivered.\n"
    assert (part(message, "2").text or "").endswith("Status: 5.1.1\n")
    assert message.message_id == "<r1@example.net>"
    assert message.original_message_id == "<n1@example.com>"
    assert message.header("subject") == "Undelivered"
    assert message.defects == ()


def test_the_text_of_a_returned_mail_is_not_read() -> None:
    assert [p.text for p in parse(REPORT).parts if p.returned] == [None, None]


def test_a_plain_mail_is_one_part() -> None:
    assert outline(parse("Subject: hello\n\nfirst\nsecond\n")) == [("1", "text/plain", "first\nsecond\n")]


@pytest.mark.parametrize("line_end", ["\n", "\r\n", "\r", "\r\r\n"])
def test_all_line_ends_read_alike(line_end: str) -> None:
    assert content(parse(REPORT.replace("\n", line_end))) == content(parse(REPORT))


def test_a_returned_mail_in_base64_is_opened() -> None:
    inner = base64.encodebytes(b"Message-ID: <n2@example.com>\r\nSubject: News\r\n\r\nnews\r\n").decode()
    message = parse(multipart(f"Content-Type: message/rfc822\nContent-Transfer-Encoding: base64\n\n{inner}"))
    assert message.original_message_id == "<n2@example.com>"
    assert [(p.path, p.content_type) for p in message.parts] == [("1", "message/rfc822"), ("1.1", "text/plain")]


@pytest.mark.parametrize("content_type", ["text/rfc822-headers", "message/global-headers"])
def test_returned_headers_are_kept_and_marked(content_type: str) -> None:
    message = parse(multipart(f"Content-Type: {content_type}\n\nMessage-ID: <n3@example.com>\nSubject: caf\xc3\xa9\n"))
    assert [tuple(h) for h in message.returned_headers] == [("Message-ID", "<n3@example.com>"), ("Subject", "café")]
    assert part(message, "1").returned


def test_the_first_returned_mail_counts() -> None:
    parts = [f"Content-Type: message/rfc822\n\nMessage-ID: <{number}@example.com>\n\ntext" for number in (1, 2)]
    assert parse(multipart(*parts)).original_message_id == "<1@example.com>"


@pytest.mark.parametrize("before", ["From alice Mon Mar  2 10:00:00 2026\n", ">From alice 2026\n", "\n\n", " \n"])
def test_what_stands_before_a_returned_mails_header_is_skipped(before: str) -> None:
    message = parse(multipart(f"Content-Type: message/rfc822\n\n{before}Message-ID: <n4@example.com>\n\ntext\n"))
    assert message.original_message_id == "<n4@example.com>"


@pytest.mark.parametrize("before", ["From alice@example.org Mon Mar  2 10:00:00 2026\n", "\n", ""])
def test_an_mbox_line_is_no_header(before: str) -> None:
    assert content(parse(before + REPORT)) == content(parse(REPORT))


def test_only_an_mbox_line() -> None:
    assert outline(parse("From alice")) == [("1", "text/plain", "")]


@pytest.mark.parametrize("content_type", ["message/delivery-status", "message/global-delivery-status"])
def test_report_types_are_text(content_type: str) -> None:
    message = parse(multipart(f"Content-Type: {content_type}\n\nReporting-MTA: dns; \xc3\xbc.example\n"))
    assert part(message, "1").text == "Reporting-MTA: dns; ü.example\n"
    assert not part(message, "1").returned


def test_an_unknown_type_in_a_report_is_text_when_it_looks_like_text() -> None:
    message = parse(multipart("Content-Type: application/x-report\n\nStatus: 5.1.1", subtype="report"))
    assert part(message, "1").text == "Status: 5.1.1"
    message = parse(multipart("Content-Type: application/x-report\n\n\x01\x02", subtype="report"))
    assert part(message, "1").text is None
    message = parse(multipart("Content-Type: application/x-report\n\nStatus: 5.1.1"))
    assert part(message, "1").text is None


def test_the_parts_of_a_digest_are_mails() -> None:
    message = parse(multipart("\nSubject: one\n\nfirst\n", "\nSubject: two\n\nsecond\n", subtype="digest"))
    assert [(p.path, p.content_type) for p in message.parts] == [
        ("1", "message/rfc822"),
        ("1.1", "text/plain"),
        ("2", "message/rfc822"),
        ("2.1", "text/plain"),
    ]
    assert message.returned_headers[0].value == "one"


def test_white_space_after_a_delimiter() -> None:
    message = parse(multipart("\none", "\ntwo").replace("--b\n", "--b \t\n").replace("--b--", "--b--  "))
    assert outline(message) == [("1", "text/plain", "one"), ("2", "text/plain", "two")]


def test_a_missing_closing_boundary() -> None:
    assert outline(parse(multipart("\none", "\ntwo", closing=""))) == [
        ("1", "text/plain", "one"),
        ("2", "text/plain", "two"),
    ]


def test_an_inner_boundary_like_the_outer_one() -> None:
    inner = "Content-Type: multipart/mixed; boundary=b\n\n--b\n\nthe text\n--b--\n"
    message = parse(multipart(inner))
    assert "the text" in "".join(p.text or "" for p in message.parts)


def test_an_inner_boundary_that_begins_like_the_outer_one() -> None:
    inner = "Content-Type: multipart/alternative; boundary=bb\n\n--bb\n\nthe text\n--bb--\n"
    assert outline(parse(multipart(inner, "\nlast"))) == [
        ("1", "multipart/alternative", None),
        ("1.1", "text/plain", "the text"),
        ("2", "text/plain", "last"),
    ]


def test_empty_parts() -> None:
    message = parse("Content-Type: multipart/mixed; boundary=b\n\n--b\n--b\n\n--b\n\nthe text\n--b--\n")
    assert [p.text for p in message.parts if p.text] == ["the text"]


@pytest.mark.parametrize("boundary", ["", "; boundary=b", '; boundary=""'])
def test_a_multipart_without_parts_is_text(boundary: str) -> None:
    message = parse(f"Content-Type: multipart/mixed{boundary}\n\nWritten by hand.\n")
    assert outline(message) == [("1", "text/plain", "Written by hand.\n")]
    assert message.defects == ("part 1: a multipart without parts, taken as text",)


def test_no_header_at_all() -> None:
    message = parse("Sorry, no such user here.\nGoodbye.\n")
    assert outline(message) == [("1", "text/plain", "Sorry, no such user here.\nGoodbye.\n")]
    assert message.headers == ()
    assert message.defects == ("no blank line after the header",)


def test_nothing() -> None:
    assert outline(parse("")) == [("1", "text/plain", "")]


def test_file_names_and_dispositions() -> None:
    message = parse(
        multipart(
            "Content-Type: text/csv; name=wrong.csv\nContent-Disposition: attachment; filename*0*=utf-8''M%C3%BC;\n filename*1=ll.csv\n\n1",
            'Content-Type: text/csv; name="=?utf-8?q?M=C3=BCll.csv?="\n\n1',
            "Content-Type: text/plain\nContent-Disposition: INLINE\n\n1",
            "Content-Type: text/plain\nContent-Disposition: form-data\n\n1",
            'Content-Type: text/plain\nContent-Disposition: attachment; filename="a\\"b%0A.txt"\n\n1',
            "Content-Type: text/plain\nContent-Disposition: attachment; filename*=x-none''a%FFb\n\n1",
        )
    )
    assert [(p.disposition, p.filename) for p in message.parts] == [
        ("attachment", "Müll.csv"),
        (None, "Müll.csv"),
        ("inline", None),
        ("attachment", None),
        ("attachment", 'a"b%0A.txt'),
        ("attachment", "a\ufffdb"),
    ]
    assert message.defects == ("part 6: parameter filename: unknown charset 'x-none'",)


def test_sizes_are_those_of_the_decoded_content() -> None:
    message = parse(multipart("Content-Type: image/png\nContent-Transfer-Encoding: base64\n\niVBORw0KGgo=\n"))
    assert (part(message, "1").size_octets, part(message, "1").text) == (8, None)


def test_a_nul_in_a_text_is_left_out_and_told() -> None:
    message = leaf("a\0b")
    assert part(message, "1").text == "ab"
    assert message.defects == ("part 1: NUL in the text",)


def test_line_ends_within_a_transfer_encoding() -> None:
    assert part(leaf(base64.b64encode(b"one\r\ntwo\rthree\n"), encoding="base64"), "1").text == "one\ntwo\nthree\n"


def test_it_says_what_stayed_at_the_source() -> None:
    assert mime.parse(raw("Subject: x\n\ntext", size_octets=20_000)).defects == ("cut off after 16 octets",)


class _Counted(bytes):
    """Octets that tell which of them are taken out, and that nobody may look through as a whole."""

    taken: int

    def __getitem__(self, index: Any) -> Any:
        part = super().__getitem__(index)
        self.taken += len(part) if isinstance(part, bytes) else 1
        return part


def _refuse(octets: _Counted, *_: object) -> None:
    pytest.fail("the whole mail was looked through")


for _name in set(dir(bytes)) - set(dir(object)) - {"__getitem__", "__len__", "__bytes__", "__buffer__"}:
    setattr(_Counted, _name, _refuse)


@pytest.mark.skipif(not mime.parser.__file__.endswith(".py"), reason="compiled code does not ask a subclass of bytes")
@pytest.mark.parametrize("body", [b"<p>news</p>\r\n", b"a", b"--c\r\n\r\nnews\r\n"])
def test_of_a_mail_of_20_megabytes_no_more_is_looked_at_than_of_256_kilobytes(body: bytes) -> None:
    start = REPORT.partition("plain news")[0].replace("\n", "\r\n").encode()
    octets = _Counted(start + body * (20 * 1024 * 1024 // len(body)))
    octets.taken = 0
    message = mime.parse(RawMessage(REF, octets, len(octets)))
    assert octets.taken == MAX_OCTETS
    small = mime.parse(RawMessage(REF, bytes(octets)[:MAX_OCTETS], len(octets)))
    assert content(message) == content(small)
    assert message.original_message_id == "<n1@example.com>"


def test_what_was_read_can_be_sent_to_another_process() -> None:
    message = parse(REPORT.replace("Subject: Undelivered", "Subject: =?utf-8?q?zur=C3=BCck?="))
    sent = pickle.loads(pickle.dumps(message))
    assert content(sent) == content(message)
    assert sent == message
    assert sent.header("Subject") == "zurück"
    assert [type(part.headers) for part in sent.parts] == [tuple] * 5


def test_what_was_read_cannot_be_changed() -> None:
    message = parse(REPORT)
    with pytest.raises(AttributeError):
        message.parts[0].text = ""  # type: ignore[misc]  # that it cannot be set is the point
    with pytest.raises(AttributeError):
        message.headers = ()  # type: ignore[misc]  # that it cannot be set is the point
    with pytest.raises(TypeError):
        message.headers[0] = message.headers[1]  # type: ignore[index]  # that it cannot be set is the point


def test_threads_may_look_at_a_mail_at_the_same_time() -> None:
    def look(message: Message) -> tuple[object, object]:
        return tuple(message.headers), tuple(message.returned_headers)

    for _ in range(20):
        with ThreadPoolExecutor(8) as pool:
            seen = list(pool.map(look, [parse(REPORT)] * 16))
        assert set(seen) == {look(parse(REPORT))}
        assert seen[0][1] == (
            Header("Message-ID", "<n1@example.com>"),
            Header("Subject", "News"),
            Header("Content-Type", "multipart/alternative; boundary=c"),
        )


def test_all_values_of_a_field() -> None:
    message = parse("Received: one\nSubject: x\nRECEIVED: two\n\ntext\n")
    assert list(message.header_values("received")) == ["one", "two"]
    assert list(message.header_values("X-None")) == []


def test_importing_and_parsing_is_silent_and_writes_nothing(tmp_path: Path) -> None:
    folders = [Path(importlib.import_module(name).__path__[0]) for name in ("flanker", "ply")]

    def written() -> list[tuple[Path, int]]:
        files = (file for folder in folders for file in folder.rglob("*.py"))
        return sorted((file, file.stat().st_mtime_ns) for file in files)

    before = written()
    script = (
        "from bouncepoll import mime\n"
        "from bouncepoll.model.message import MessageRef, RawMessage\n"
        "octets = b'Content-Type: multipart/mixed; boundary=b\\n\\n--b\\n--b\\n\\ntext\\n--b--\\n'\n"
        "message = mime.parse(RawMessage(MessageRef('a', 'b', None, 'c'), octets, len(octets)))\n"
        "import sys\n"
        "assert 'flanker' in sys.modules and [part.text for part in message.parts] == ['text']\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, timeout=60, check=False, cwd=Path(mime.__file__).parents[2]
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert written() == before
