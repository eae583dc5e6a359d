"""Content-Transfer-Encoding (RFC 2045 section 6): decodes what can be decoded, and says what was broken."""

import binascii
import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from bouncepoll.mime.defects import printable

_IDENTITY = frozenset({"", "7bit", "8bit", "binary", "7-bit", "8-bit", "7bits", "8bits", "none", "ascii"})
_MAX_VALUE_CHARS = 100
_TOKEN = re.compile(r"[^\s;,()\"']+")
_NOT_BASE64 = re.compile(rb"[^A-Za-z0-9+/=\s]+")
_NOT_SIGNIFICANT = re.compile(rb"[^A-Za-z0-9+/]+")
_SPACE_IN_LINE = re.compile(rb"\s*+\S++[ \t]++\S")
_BLANK_AFTER_SOFT_BREAK = re.compile(rb"=[ \t]++\n")
_BROKEN_QP = re.compile(rb"=(?![0-9A-Fa-f]{2}|\n|\Z)")
_UU_BEGIN = re.compile(rb"^begin [0-7]{3,4} [^\n]*\n", re.MULTILINE)


class Content(NamedTuple):
    """A decoded body, one character an octet, and what was wrong with it in words (None: nothing)."""

    octets: str
    problem: str | None


class Octets(NamedTuple):
    """Decoded octets, and what was wrong with them in words (None: nothing)."""

    octets: bytes
    problem: str | None


@lru_cache(maxsize=64)
def _decoder(value: str) -> tuple[Callable[[bytes], Octets] | None, str | None]:
    """Return what decodes a transfer encoding, or why nothing does, in words; None twice where there is no need to."""
    match = _TOKEN.search(value)
    encoding = match[0].lower() if match else ""
    decoder = _DECODERS.get(encoding)
    is_known = decoder is not None or encoding in _IDENTITY
    return decoder, None if is_known else f"unknown transfer encoding {printable(encoding, 40)!r}"


def is_none(value: str) -> bool:
    """Whether a field value says that nothing is encoded; an unknown encoding says more."""
    return _decoder(value[:_MAX_VALUE_CHARS]) == (None, None)


def is_identity(value: str | None) -> bool:
    """Whether the octets stand in the mail as they are; an unknown encoding counts as such."""
    return value is None or _decoder(value[:_MAX_VALUE_CHARS])[0] is None


def decode(text: str, value: str) -> Content:
    """Decode a body, one character an octet, whose Content-Transfer-Encoding field is ``value``. Never raises."""
    decoder, problem = _decoder(value[:_MAX_VALUE_CHARS])
    if decoder is None:
        return Content(text, problem)
    octets, problem = decoder(text.encode("latin-1"))
    return Content(octets.decode("latin-1"), problem)


def base64_octets(body: bytes) -> Octets:
    """Return the octets of base64 text, padding or not; other characters are skipped, all after the padding is left."""
    significant = _NOT_SIGNIFICANT.sub(b"", body.partition(b"=")[0])
    surplus = len(significant) % 4
    octets = binascii.a2b_base64(significant + b"==" if surplus >= 2 else significant[: len(significant) - surplus])
    is_whole = surplus != 1 and not _NOT_BASE64.search(body) and not _after_padding(body)
    is_padded = body.count(b"=") == (-len(significant)) % 4
    return Octets(octets, None if is_whole and is_padded else "base64 is broken")


def _after_padding(body: bytes) -> bool:
    return bool(body.partition(b"=")[2].strip(b"= \t\r\n"))


def _base64(body: bytes) -> Octets:
    # QUIRK: servers that rewrite a mail leave "base64" standing above plain text. A space between two words, or many
    # characters that base64 does not have, show it.
    if b" " not in body and b"\t" not in body:
        try:
            return Octets(binascii.a2b_base64(body.translate(None, b"\n"), strict_mode=True), None)
        except binascii.Error:
            pass  # taken apart below
    strangers = sum(len(run) for run in _NOT_BASE64.findall(body))
    if _SPACE_IN_LINE.match(body) or strangers * 20 > len(body):
        return Octets(body, "base64 is broken, taken as plain text")
    return base64_octets(body)


def _quoted_printable(body: bytes) -> Octets:
    body = _BLANK_AFTER_SOFT_BREAK.sub(b"=\n", body)
    broken = _BROKEN_QP.search(body)
    return Octets(binascii.a2b_qp(body), "quoted-printable is broken" if broken else None)


def _uuencode(body: bytes) -> Octets:
    begin = _UU_BEGIN.search(body)
    if not begin:
        return Octets(body, "uuencode is broken, taken as plain text")
    octets = bytearray()
    for line in body[begin.end() :].split(b"\n"):
        if line.strip() in {b"end", b"`"}:
            return Octets(bytes(octets), None)
        if not line:
            continue
        try:
            octets += binascii.a2b_uu(line)
        except binascii.Error:
            break
    return Octets(bytes(octets), "uuencode is broken")


_DECODERS = {
    "base64": _base64,
    "quoted-printable": _quoted_printable,
    **dict.fromkeys(("uuencode", "x-uuencode", "uue", "x-uue"), _uuencode),
}
