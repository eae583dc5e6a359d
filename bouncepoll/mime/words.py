"""Values of header fields: unfolding, raw 8-bit octets, encoded words (RFC 2047), and nothing that ends a line."""

import binascii
import re
from collections.abc import Callable

from bouncepoll.mime import charsets
from bouncepoll.mime.transfer import base64_octets

# A "?" inside the text is forbidden and seen; few are allowed for, so that the time stays linear.
_WORD = re.compile(
    r"=\?([^?*\s]{1,40})(?:\*[^?\s]{0,20})?\?([bq])\?([^?]*+(?:\?(?!=)[^?]{0,80}){0,3})\?=",
    re.IGNORECASE,
)
_LINE_ENDS = re.compile("[\x00\r\n\x0b\x0c\x1c-\x1e\x85\u2028\u2029]+")


def decode_value(raw: str, report: Callable[[str], None], charset: str | None = None) -> str:
    """Return an unfolded field value decoded, without CR, LF, NUL and other line ends, stripped.

    ``raw`` has one character an octet. Octets beyond ASCII are UTF-8 (RFC 6532) or else of ``charset``, that of the
    body. ``report`` is told what was broken, in words.
    """
    if raw.isascii() and "=?" not in raw and raw.replace("\t", "").isprintable():
        return raw.strip()
    value = raw
    if "\x00" in value:
        report("NUL in a header field")
        value = value.replace("\x00", "")
    if not value.isascii() or "\x1b" in value:
        value = _decode_octets(value.encode("latin-1", "replace"), charset)
    if "=?" in value:
        value = decode_words(value, report)
    return _LINE_ENDS.sub(" ", value).strip()


def decode_words(value: str, report: Callable[[str], None]) -> str:
    """Return ``value`` with its encoded words decoded; white space between two of them is dropped.

    Neighbours of the same charset are put together before they are decoded, for a character may be split between them
    although RFC 2047 section 5 forbids it.
    """
    pieces: list[tuple[str | None, bytes | str]] = []
    end = 0
    for word in _WORD.finditer(value):
        gap = value[end : word.start()]
        if gap.strip() or not pieces:
            pieces.append((None, gap))
        charset = word[1].lower()
        octets = _word_octets(word[2], word[3], report)
        if pieces[-1][0] == charset and isinstance(pieces[-1][1], bytes):
            pieces[-1] = (charset, pieces[-1][1] + octets)
        else:
            pieces.append((charset, octets))
        end = word.end()
    pieces.append((None, value[end:]))
    return "".join(piece if isinstance(piece, str) else _text(piece, charset, report) for charset, piece in pieces)


def _text(octets: bytes, charset: str | None, report: Callable[[str], None]) -> str:
    text, problem = charsets.decode(octets, charset)
    if problem:
        report(f"header field: {problem}")
    return text


def _word_octets(encoding: str, text: str, report: Callable[[str], None]) -> bytes:
    octets = text.encode("utf-8")
    if encoding in "qQ":
        return binascii.a2b_qp(octets.replace(b"\n", b""), header=True)
    # Missing padding is so common that it is no defect.
    octets, problem = base64_octets(octets.rstrip(b"= ") + b"=" * (-len(octets.rstrip(b"= ")) % 4))
    if problem:
        report("header field: an encoded word is broken")
    return octets


def _decode_octets(octets: bytes, charset: str | None) -> str:
    try:
        if b"\x1b" not in octets:
            return octets.decode("utf-8")
    except UnicodeDecodeError:
        if charset:
            return charsets.decode(octets, charset).text
    return charsets.decode(octets, None).text
