"""Fields with parameters (Content-Type, Content-Disposition): RFC 2045 section 5.1, RFC 2231, and what is seen."""

import re
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

from bouncepoll.mime import charsets
from bouncepoll.mime.limits import MAX_PARAMETER_OCTETS, MAX_PARAMETERS
from bouncepoll.mime.words import decode_value

#: The names (lower case) and unquoted raw values of the parameters of a field, in order.
Parameters = tuple[tuple[str, str], ...]

_MAIN = re.compile(r"[\s\"']*+([^\s;\"']*+)")
# The semicolon before a parameter is often left out; white space must do.
_PARAMETER = re.compile(r"(?<=[;\s])([^\s=;\"]++)\s*+=\s*+(?:\"((?:[^\"\\]|\\.)*+)\"?|([^;\s]*+))", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")
_TYPE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+/[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BARE_TYPES = {"text": "text/plain", "html": "text/html"}
# Few mails have a boundary like another's, but nearly all have "text/plain; charset=utf-8".
_MAX_CACHED_OCTETS = 200

#: Types that hold a mail.
MESSAGE_TYPES = frozenset({"message/rfc822", "message/global", "message/news"})


class ContentType(NamedTuple):
    """A Content-Type: ``name`` is type and subtype in lower case, ``charset`` what is declared, in lower case.

    ``has_filename``: among the parameters is a name, in one piece or in several.
    """

    name: str
    parameters: Parameters = ()
    charset: str | None = None
    has_filename: bool = False


def split_parameters(raw: str) -> tuple[str, Parameters]:
    """Return what stands before the first semicolon, in lower case, and the parameters. Never raises, linear."""
    value = raw[:MAX_PARAMETER_OCTETS].replace("\n", "")
    main = _MAIN.match(value)
    found: list[tuple[str, str]] = []
    for match in _PARAMETER.finditer(value, main.end() if main else 0):
        name, quoted, token = match.groups()
        text = token if quoted is None else _ESCAPE.sub(r"\1", quoted) if "\\" in quoted else quoted
        found.append((name.lower(), text))
        if len(found) == MAX_PARAMETERS:
            break
    return main[1].lower() if main else "", tuple(found)


def content_type_of(raw: str | None, default: str = "text/plain") -> ContentType:
    """Return what a Content-Type field says; ``raw`` is None where there is none.

    A type that cannot be read is text/plain (RFC 2045 section 5.2); without a field it is ``default``.
    """
    if raw is None:
        return ContentType(default)
    return _cached_content_type(raw) if len(raw) <= _MAX_CACHED_OCTETS else _content_type(raw)


def _content_type(raw: str) -> ContentType:
    main, parameters = split_parameters(raw)
    name = main if _TYPE.fullmatch(main) else _BARE_TYPES.get(main, "text/plain")
    charset = decoded_parameter(parameters, "charset", lambda _: None)
    charset = charset.strip("\"' ").lower()[:40] or None if charset else None
    return ContentType(name, parameters, charset, any(key.startswith("name") for key, _ in parameters))


_cached_content_type = lru_cache(maxsize=256)(_content_type)


def boundary_of(parameters: Parameters) -> str | None:
    """Return the boundary, one character an octet, or None when there is none or it is empty."""
    octets, _ = _joined(parameters, "boundary")
    return octets.decode("latin-1").rstrip() or None if octets is not None else None


def decoded_parameter(parameters: Parameters, name: str, report: Callable[[str], None]) -> str | None:
    """Return a parameter as text, or None: RFC 2231 sections and charsets, and RFC 2047 words although forbidden."""
    octets, charset = _joined(parameters, name)
    if octets is None:
        return None
    if charset is None:
        return decode_value(octets.decode("latin-1"), report)
    text, problem = charsets.decode(octets, charset)
    if problem:
        report(f"parameter {name}: {problem}")
    return decode_value(text.encode().decode("latin-1"), report)


def _joined(parameters: Parameters, name: str) -> tuple[bytes | None, str | None]:
    """Return the octets of a parameter and its RFC 2231 charset; the plain form counts when there are both."""
    sections: dict[int, tuple[str, bool]] = {}
    for key, value in parameters:
        if key == name:
            return value.encode("latin-1"), None
        match = _SECTION.fullmatch(key) if "*" in key else None
        if match and match[1] == name:
            sections.setdefault(int(match[2] or 0), (value, match[3] is not None))
    charset: str | None = None
    octets = b""
    for number in sorted(sections):
        value, is_encoded = sections[number]
        if is_encoded and not octets and value.count("'") >= 2:
            charset, _, value = value.split("'", 2)
        octets += unquote_to_bytes(value.encode("latin-1")) if is_encoded else value.encode("latin-1")
    return (octets, charset or None) if sections else (None, None)
