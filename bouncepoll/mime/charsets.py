"""Octets to text, by the charset a mail declares and by the charsets it really uses.

Python knows most names, but some of its codecs do more than decode text (``zlib``), take quadratic time (``punycode``)
or are looked up on disk by any name asked for; so a name is looked up in a closed list, and never elsewhere.
"""

import re
from encodings.aliases import aliases
from functools import cache, lru_cache
from typing import NamedTuple

from bouncepoll.mime.defects import printable

_NOT_TEXT = frozenset(
    {
        *("base64_codec", "bz2_codec", "hex_codec", "idna", "mbcs", "oem", "punycode", "quopri_codec"),
        *("raw_unicode_escape", "rot_13", "tactis", "undefined", "unicode_escape", "uu_codec", "zlib_codec"),
    }
)
_WITHOUT_ALIAS = "cp1006 cp720 cp737 cp856 cp874 cp875 koi8_t koi8_u utf_8_sig"
# Names seen in mails that Python does not know (or, as the bare "unicode", that are no names at all).
_SEEN = {
    "unicode_1_1_utf_7": "utf_7",
    "x_unicode_2_0_utf_7": "utf_7",
    "unicode_2_0_utf_8": "utf_8",
    "utf8mb3": "utf_8",
    "utf8mb4": "utf_8",
    "utf_8_mb4": "utf_8",
    "x_utf_8": "utf_8",
    "unicode": "utf_8",
    "unknown_8bit": "ascii",
    "x_unknown": "ascii",
    "ansi_x3_110_1983": "latin_1",
    "x_roman8": "hp_roman8",
    "iso_8859_8_i": "iso8859_8",
    "iso_8859_8_e": "iso8859_8",
    "iso_8859_6_i": "iso8859_6",
    "iso_8859_6_e": "iso8859_6",
    "x_sjis": "shift_jis",
    "sjis": "shift_jis",
    "windows_31j": "cp932",
    "x_ms_cp932": "cp932",
    "cp932": "cp932",
    "iso_2022_jp_ms": "iso2022_jp_ext",
    "cp50220": "iso2022_jp_ext",
    "x_euc_jp": "euc_jp",
    "eucjp_ms": "euc_jp",
    "x_euc_kr": "euc_kr",
    "ks_c_5601": "euc_kr",
    "x_windows_949": "cp949",
    "x_gbk": "gbk",
    "gb_2312": "gb2312",
    "gb_2312_80": "gb2312",
    "x_big5": "big5",
    "big5_hkscs": "big5hkscs",
    "windows_874": "cp874",
    "x_mac_roman": "mac_roman",
    "x_macroman": "mac_roman",
    "macintosh": "mac_roman",
    "x_mac_cyrillic": "mac_cyrillic",
    "x_user_defined": "latin_1",
}
# What mail programs mean by a name: when the charset itself does not fit, its superset often does.
_SUPERSETS = {
    "ascii": ("utf_8", "cp1252", "latin_1"),
    "latin_1": ("cp1252",),
    "iso8859_9": ("cp1254",),
    "iso8859_11": ("cp874",),
    "tis_620": ("cp874",),
    "shift_jis": ("cp932", "shift_jisx0213"),
    "euc_jp": ("euc_jisx0213",),
    "iso2022_jp": ("iso2022_jp_ext", "iso2022_jp_2004", "iso2022_jp_2"),
    "gb2312": ("gbk", "gb18030"),
    "gbk": ("gb18030",),
    "big5": ("cp950", "big5hkscs"),
    "euc_kr": ("cp949",),
}
_MAX_NAME_CHARS = 60
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:+\-]{0,38}")
_SURROGATES = re.compile(f"[{chr(0xD800)}-{chr(0xDFFF)}]")
_C1_CONTROLS = re.compile(rb"[\x80-\x9f]")
_SHIFT_TO_JIS = b"\x1b$"
_ASCII = bytes(range(128))


class Decoded(NamedTuple):
    """A text, and what was wrong with it in words (None: nothing was lost)."""

    text: str
    problem: str | None


def decode(octets: bytes, charset: str | None) -> Decoded:
    """Return the text of ``octets``; what cannot be read becomes U+FFFD. Never raises.

    ``charset`` is None where the mail declares none: then US-ASCII, UTF-8, ISO-2022-JP and windows-1252 are tried.
    """
    codec = _codec(charset) if charset else "ascii"
    if codec is None:
        return _unknown(octets, charset or "")
    if octets.isascii() and codec in {"ascii", "utf_8"} and (charset or _SHIFT_TO_JIS not in octets):
        return Decoded(octets.decode("ascii"), None)
    for candidate in _candidates(octets, codec):
        try:
            return Decoded(_scalar(octets.decode(candidate), candidate), None)
        except UnicodeError:
            continue
    return Decoded(
        _scalar(octets.decode(codec, "replace"), codec), f"characters that are not {printable(charset or '', 40)}"
    )


def is_plain(body: str, charset: str | None) -> bool:
    """Whether ``body``, one character an octet, is the text it stands for in ``charset`` already: ASCII in disguise."""
    return body.isascii() and "\x1b" not in body and is_ascii_superset(charset)


@lru_cache(maxsize=128)
def is_ascii_superset(charset: str | None) -> bool:
    """Whether ASCII octets without ESC are ASCII text in a charset; not so in UTF-16, UTF-7, HZ and EBCDIC."""
    if not charset:
        return True
    codec = _codec(charset)
    return codec not in {None, "hz", "utf_7"} and _ASCII.decode(codec or "", "replace") == _ASCII.decode("ascii")


def _candidates(octets: bytes, codec: str) -> list[str]:
    if codec == "ascii" and _SHIFT_TO_JIS in octets and octets.isascii():
        return ["iso2022_jp", *_SUPERSETS["iso2022_jp"], "ascii"]
    if codec == "latin_1" and _C1_CONTROLS.search(octets):
        return ["cp1252", "latin_1"]
    return [codec, *_SUPERSETS.get(codec, ())]


def _unknown(octets: bytes, charset: str) -> Decoded:
    problem = f"unknown charset {printable(charset, 40)!r}"
    try:
        return Decoded(octets.decode("utf-8"), problem)
    except UnicodeError:
        return Decoded(octets.decode("ascii", "replace"), problem)


def _scalar(text: str, codec: str) -> str:
    """Replace surrogates, which the UTF-7 codec lets through and nothing can store; drop a byte order mark."""
    if codec == "utf_7":
        text = _SURROGATES.sub("\ufffd", text)
    return text.removeprefix("\ufeff")


def _codec(charset: str) -> str | None:
    return _cached_codec(charset) if len(charset) <= _MAX_NAME_CHARS else None


@lru_cache(maxsize=256)
def _cached_codec(charset: str) -> str | None:
    match = _NAME.fullmatch(charset.strip(" \t\\\"'<>"))
    if not match:
        return None
    name = re.sub(r"[^a-z0-9]+", "_", match[0].lower())
    known = _codecs()
    for candidate in (name, name.replace("cp_", "cp"), re.sub(r"^x_", "", name)):
        if candidate in known:
            return known[candidate]
    return None


@cache
def _codecs() -> dict[str, str]:
    """Return the codec of each known name; names are lower case with single underscores."""
    targets = set(aliases.values()) | set(_WITHOUT_ALIAS.split())
    known = {target: target for target in targets}
    known |= aliases
    known |= {re.sub(r"[^a-z0-9]+", "_", target.replace("iso8859", "iso_8859")): target for target in targets}
    known |= _SEEN
    return {name: known.get(codec, codec) for name, codec in known.items() if codec not in _NOT_TEXT}
