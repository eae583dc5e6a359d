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
_PARAMETER = re.compile(r"(?<=[;\s])([^\s=;\"]++)\s*+=\s*+(?:\"((?>(?:[^\"\\]|\\.)*))\"?|([^;\s]*+))", re.DOTALL)
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_SECTION = re.compile(r"([^*]+)(?:\*(\d{1,3}))?(\*)?")
_TYPE = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+/[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_BARE_TYPES = {"text": "text/plain", "html": "text/html"}
# Nearly all mails have "text/plain; charset=utf-8" or the like.
_MAX_CACHED_OCTETS = 200
_BEFORE_PARAMETER = frozenset(" \t;")

# Types that hold a mail.
_MAIL_TYPES = frozenset({"message/rfc822", "message/global", "message/news"})


#: Types whose content is the header of a returned mail.
HEADER_TYPES = frozenset({"text/rfc822-headers", "message/rfc822-headers", "message/global-headers"})
_TEXT_TYPES = HEADER_TYPES | {
    "message/delivery-status",
    "message/global-delivery-status",
    "message/feedback-report",
    "message/disposition-notification",
    "message/global-disposition-notification",
}


class ContentType(NamedTuple):
    """A Content-Type: ``name`` is type and subtype in lower case, ``charset`` what is declared, in lower case.

    ``boundary`` has one character an octet. ``names`` are the parameters that may be a file name: ``name``, in one
    piece or in several. ``is_mail``: the content is a mail. ``is_ascii_text``: the content is a text, and what of it is
    ASCII without ESC is so in its charset.
    """

    name: str
    charset: str | None = None
    boundary: str | None = None
    names: Parameters = ()
    is_multipart: bool = False
    is_mail: bool = False
    is_ascii_text: bool = False


#: What an entity without Content-Type is (RFC 2045 section 5.2), and in a multipart/digest (RFC 2046 section 5.1.5).
DEFAULT_TYPE = ContentType("text/plain", is_ascii_text=True)
DIGEST_TYPE = ContentType("message/rfc822", is_mail=True)


def default_within(content_type: ContentType) -> ContentType:
    """Return what a part without Content-Type is in a multipart of this type."""
    return DIGEST_TYPE if content_type.name == "multipart/digest" else DEFAULT_TYPE


def is_text(name: str) -> bool:
    """Whether the content of a type is text: text/*, and the types of reports."""
    return name.startswith("text/") or name in _TEXT_TYPES


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


def content_type_of(raw: str) -> ContentType:
    """Return what a Content-Type field says; a type that cannot be read is text/plain (RFC 2045 section 5.2)."""
    if len(raw) > _MAX_CACHED_OCTETS:
        return _content_type(raw)
    # No mail has another's boundary, but what stands around it is the same in thousands of mails.
    before, mark, after = raw.partition('boundary="')
    if not mark:
        return _cached_content_type(raw)
    value, quote, after = after.partition('"')
    is_usual = quote and before[-1:] in _BEFORE_PARAMETER and '"' not in before and "\\" not in raw
    if not is_usual or "boundary" in before.lower():
        return _content_type(raw)
    name, charset, _, names, is_multipart, is_mail, is_text = _cached_content_type(f'{before}boundary=""{after}')
    return ContentType(name, charset, value.rstrip() or None, names, is_multipart, is_mail, is_text)


def _content_type(raw: str) -> ContentType:
    main, parameters = split_parameters(raw)
    name = main if _TYPE.fullmatch(main) else _BARE_TYPES.get(main, "text/plain")
    charset = decoded_parameter(parameters, "charset", lambda _: None)
    charset = charset.strip("\"' ").lower()[:40] or None if charset else None
    names = tuple(parameter for parameter in parameters if parameter[0].startswith("name"))
    return ContentType(
        name,
        charset,
        boundary_of(parameters),
        names,
        is_multipart=name.startswith("multipart/"),
        is_mail=name in _MAIL_TYPES,
        is_ascii_text=is_text(name) and charsets.is_ascii_superset(charset),
    )


_cached_content_type = lru_cache(maxsize=512)(_content_type)


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
