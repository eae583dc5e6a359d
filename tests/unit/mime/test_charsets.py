"""Text out of octets, whatever charset is declared and whatever is used."""

import pytest

from bouncepoll.mime import charsets
from tests.unit.mime.mails import leaf, part

SAMPLES = {
    "utf-8": "Postfach voll – schöne Grüße 日本",
    "iso-8859-1": "Empfänger unbekannt",
    "windows-1252": "Boîte pleine – désolé",
    "iso-8859-15": "Kosten: 5 € œuvre",
    "koi8-r": "Ящик переполнен",
    "windows-1251": "Пользователь не найден",
    "iso-2022-jp": "メールボックスが一杯です",
    "shift_jis": "宛先が見つかりません",
    "euc-jp": "配信できませんでした",
    "euc-kr": "사용자를 찾을 수 없습니다",
    "gb18030": "用户不存在",
    "gb2312": "邮箱已满",
    "big5": "收件人不存在",
    "utf-7": "Grüße + mehr",
    "utf-16": "Empfänger voll",
    "utf-16le": "Empfänger voll",
    "iso-8859-8-i": "שלום",
    "hz-gb-2312": "用户",
}


@pytest.mark.parametrize("charset", SAMPLES)
def test_a_declared_charset(charset: str) -> None:
    codec = {"iso-8859-8-i": "iso8859_8", "hz-gb-2312": "hz"}.get(charset, charset)
    message = leaf(SAMPLES[charset].encode(codec), f"text/plain; charset={charset.upper()}", "8bit")
    assert (part(message, "1").text or "").replace("\n", "") == SAMPLES[charset]
    assert part(message, "1").charset == charset
    assert message.defects == ()


@pytest.mark.parametrize("charset", ["hz-gb-2312", "utf-7", "iso-2022-jp", "utf-16", "cp037"])
def test_ascii_octets_that_are_no_ascii_text(charset: str) -> None:
    codec = {"hz-gb-2312": "hz"}.get(charset, charset)
    octets = "text 用".encode(codec) if charset != "cp037" else "text".encode(codec)
    assert charsets.decode(octets, charset).text == ("text 用" if charset != "cp037" else "text")
    assert not charsets.is_plain(octets.decode("latin-1"), charset)


@pytest.mark.parametrize(
    ("octets", "charset", "text", "problem"),
    [
        ("für".encode("latin-1"), "utf-8", "f\ufffdr", "characters that are not utf-8"),
        ("für".encode("latin-1"), "us-ascii", "für", None),
        ("für".encode(), "us-ascii", "für", None),
        ("“für”".encode("cp1252"), "iso-8859-1", "“für”", None),
        (b"\x81\x8d", "iso-8859-1", "\x81\x8d", None),
        ("①".encode("cp932"), "shift_jis", "①", None),
        ("镕".encode("gbk"), "gb2312", "镕", None),
        ("똠".encode("cp949"), "euc-kr", "똠", None),
        ("für".encode(), None, "für", None),
        ("für".encode("latin-1"), None, "für", None),
        ("配信".encode("iso-2022-jp"), None, "配信", None),
        ("für".encode(), "x-nobody-knows", "für", "unknown charset 'x-nobody-knows'"),
        ("für".encode("latin-1"), "x-nobody-knows", "f\ufffdr", "unknown charset 'x-nobody-knows'"),
        (b"text", "base64", "text", "unknown charset 'base64'"),
        (b"text", "punycode", "text", "unknown charset 'punycode'"),
        (b"text", "../../etc/passwd", "text", "unknown charset '../../etc/passwd'"),
        (b"text", "a" * 500, "text", f"unknown charset '{'a' * 39}…'"),
        (b"+2AA-", "utf-7", "\ufffd", None),
        (b"\xef\xbb\xbftext", "utf-8", "text", None),
        (b"\xff\xfe\xff", "utf-16", "\ufffd", "characters that are not utf-16"),
        (b"\x1b$Bzz\x1b(B", "iso-2022-jp", None, "characters that are not iso-2022-jp"),
        (b"text", "  'UTF-8' ", "text", None),
        ("für".encode("cp1252"), "cp-1252", "für", None),
        ("für".encode("latin-1"), "x-latin1", "für", None),
    ],
)
def test_charsets_wrong_unknown_and_missing(
    octets: bytes, charset: str | None, text: str | None, problem: str | None
) -> None:
    decoded = charsets.decode(octets, charset)
    assert decoded.problem == problem
    assert decoded.text == text if text is not None else "\ufffd" in decoded.text


def test_every_known_codec_reads_anything() -> None:
    octets = bytes(range(256)) * 2
    for name in charsets._codecs():
        text = charsets.decode(octets, name).text
        assert text.encode("utf-8")
