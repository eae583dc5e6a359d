"""Header field values: encoded words, raw octets, and nothing that could end a line."""

import base64

import pytest

from tests.unit.mime.mails import parse


def _subject(raw: str | bytes, more: str = "") -> tuple[str | None, tuple[str, ...]]:
    octets = raw if isinstance(raw, bytes) else raw.encode()
    message = parse(b"Subject: " + octets + b"\n" + more.encode() + b"\ntext\n")
    return message.header("Subject"), message.defects


def _b(octets: bytes) -> str:
    return base64.b64encode(octets).decode()


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        ("plain", "plain"),
        ("folded\n over\n\tlines  ", "folded over\tlines"),
        ("=?utf-8?Q?Gr=C3=BC=C3=9Fe_an_alle?=", "Grüße an alle"),
        ("=?UTF-8?b?R3LDvMOfZQ==?= an alle", "Grüße an alle"),
        ("=?utf-8*de?Q?Gr=C3=BC=C3=9Fe?=", "Grüße"),
        ("=?utf-8?B?R3LDvMOfZQ?=", "Grüße"),
        ("=?utf-8?Q?a?=\n =?utf-8?Q?b?=", "ab"),
        ("=?utf-8?Q?a?= c =?utf-8?Q?b?=", "a c b"),
        (f"=?utf-8?B?{_b('für'.encode()[:2])}?= =?utf-8?B?{_b('für'.encode()[2:])}?=", "für"),
        (f"=?iso-2022-jp?B?{_b('配信'.encode('iso-2022-jp'))}?= =?utf-8?Q?_ok?=", "配信 ok"),
        ("=?utf-8?Q?why??=", "why?"),
        ("=?utf-8?X?no?= =?utf-8?Q?no", "=?utf-8?X?no?= =?utf-8?Q?no"),
        ("für", "für"),
        ("für".encode("latin-1"), "für"),
        ("配信".encode("iso-2022-jp"), "配信"),
        ("a\x0b\x0cb\u2028c", "a b c"),
    ],
)
def test_values(raw: str | bytes, value: str) -> None:
    assert _subject(raw) == (value, ())


def test_raw_octets_are_of_the_charset_of_the_body() -> None:
    more = "Content-Type: text/plain; charset=koi8-r\n"
    assert _subject("Ящик".encode("koi8-r"), more)[0] == "Ящик"


@pytest.mark.parametrize(
    "raw",
    [
        "=?utf-8?Q?a=0D=0ABcc:_b@example.org?=",
        f"=?utf-8?B?{_b(b'a' + bytes((13, 10)) + b'Bcc: b@example.org')}?=",
        "=?utf-8?Q?a=00=0DBcc:_b@example.org?=",
        "=?utf-16?B?" + _b("a\r\nBcc: b@example.org".encode("utf-16")) + "?=",
        "=?utf-8?Q?a=E2=80=A8=C2=85=1D?= Bcc: b@example.org",
        "a\rBcc: b@example.org",
    ],
)
def test_no_value_can_end_a_line(raw: str) -> None:
    message = parse(b"Subject: " + raw.encode() + b"\n\ntext\n")
    for header in message.headers:
        assert not set("\r\n\0\x0b\x0c\x1d\x85\u2028") & set(header.value)
    assert (message.header("Subject") or "").startswith("a")


@pytest.mark.parametrize(
    ("raw", "value", "defect"),
    [
        ("a\0b", "ab", "NUL in a header field"),
        ("=?utf-8?Q?f=FCr?=", "f\ufffdr", "header field: characters that are not utf-8"),
        ("=?x-none?Q?a?=", "a", "header field: unknown charset 'x-none'"),
        ("=?utf-8?B?YQ=!=?=", "a", "header field: an encoded word is broken"),
    ],
)
def test_what_is_broken_is_told(raw: str, value: str, defect: str) -> None:
    assert _subject(raw) == (value, (defect,))
