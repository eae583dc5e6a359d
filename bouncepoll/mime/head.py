"""Header sections: where one ends, which fields it has, and what to make of lines that are no fields."""

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache, partial
from typing import NamedTuple, overload

from bouncepoll.mime import transfer
from bouncepoll.mime.limits import MAX_FIELDS, MAX_HEADER_OCTETS
from bouncepoll.mime.parameters import ContentType, content_type_of
from bouncepoll.model.message import Header

# Lines that are fields or folded parts of them, as many as there are.
_FIELD_LINES = re.compile(r"(?>(?:[!-9;-~]++[ \t]*+:.*+\n(?>(?:[ \t].*+\n)*))*)")
# A field with its folded parts.
_FIELD = re.compile(r"^([!-9;-~]++)[ \t]*+:[ \t]*+(.*+(?>(?:\n[ \t].*+)*))\n", re.MULTILINE)
# A field of MIME; the text is in lower case and a line end stands before its first line.
_MIME_FIELD = re.compile(
    r"\n(content-(?:type|transfer-encoding|disposition))[ \t]*+:[ \t]*+([^\n]*+(?>(?:\n[ \t][^\n]*+)*))"
)
_FIELD_LINE = re.compile(r"[!-9;-~]++[ \t]*+:")
_ENVELOPE_LINE = re.compile(r">?From ")
# A line that is a header field, and hardly the first line of a text ("Note: …").
_KNOWN_FIELD = re.compile(
    r"^(?:from|to|cc|bcc|date|subject|sender|received|references|comments|keywords|[a-z][a-z0-9]*+-[a-z0-9-]++)"
    r"[ \t]*+:",
    re.IGNORECASE | re.MULTILINE,
)
# What blank lines and envelope lines begin with; "" is the end.
_BEFORE_HEADER = frozenset(("", " ", "\t", "\n", ">", "F"))
_BLANK_LINES = re.compile(r"(?>(?:[ \t]*+\n)+)")
#: What a header section is made of that needs no decoding.
_PLAIN = bytes((*b"\t\n", *range(0x20, 0x7F)))
# The heads of parts are small, and most are like those of the last report of the same server.
_SMALL_OCTETS = 200
# A section of fewer octets has no more than ``MAX_FIELDS`` fields.
_FEW_FIELDS_OCTETS = MAX_FIELDS * len("A:\n")
# Headers are made by the hundred thousand: this is what Header(*field) does, without its Python frame.
_new_header = partial(tuple.__new__, Header)
_NONE: dict[str, str] = {}

NO_COLON = "a header line without a colon"
NO_BLANK_LINE = "no blank line after the header"


class Head(Sequence[Header]):
    """A header section: a sequence of its fields, the values unfolded and stripped, one character an octet.

    The fields are taken apart when they are first looked at: nobody looks at those of most parts. Equal to any sequence
    of the same fields; pickled as a tuple of them. Shared between mails, so nothing in it is ever changed.
    """

    __slots__ = ("_fields", "_first", "_raw", "_section", "content_type", "disposition", "encoding", "is_plain")

    #: What Content-Type says, and the value of Content-Disposition; None: no such field.
    content_type: ContentType | None
    disposition: str | None
    #: The value of Content-Transfer-Encoding; None: no such field, or one that says that nothing is encoded.
    encoding: str | None
    #: Whether there are no encoded words, no control characters and nothing beyond ASCII: the values need no decoding.
    is_plain: bool

    def __init__(self, section: str, *, is_outermost: bool = False) -> None:
        """``section`` has nothing but fields, each line ended by LF.

        Of the outermost head nearly every field is asked for, so they are all taken apart at once.
        """
        self._section = section
        self._fields: tuple[Header, ...] | None = None
        self._raw: list[tuple[str, str]] | None = None
        self._first: dict[str, str] | None = None
        # "?" is looked for first as that is ten times as fast.
        has_words = "?" in section and "=?" in section
        self.is_plain = not has_words and section.isascii() and not section.encode().translate(None, _PLAIN)
        self.content_type = self.disposition = self.encoding = None
        if is_outermost:
            mime: Mapping[str, str] = self.first_values()
        else:
            lower = section.lower()
            mime = _mime_fields(section, lower) if "content-" in lower else _NONE
        if mime:
            content_type, encoding = mime.get("content-type"), mime.get("content-transfer-encoding")
            self.content_type = None if content_type is None else content_type_of(content_type)
            self.disposition = mime.get("content-disposition")
            self.encoding = None if encoding is None or transfer.is_none(encoding) else encoding

    @property
    def fields(self) -> tuple[Header, ...]:
        """The first ``MAX_FIELDS`` fields."""
        if self._fields is None:
            self._fields = tuple(map(_new_header, self._raw or _fields(self._section)))
        return self._fields

    def first_values(self) -> dict[str, str]:
        """Return the first value of each field, by its name in lower case."""
        if self._first is None:
            self._raw = _fields(self._section)
            self._first = {name.lower(): value for name, value in reversed(self._raw)}
        return self._first

    def __bool__(self) -> bool:
        return bool(self._section)

    def __len__(self) -> int:
        return len(self.fields)

    def __iter__(self) -> Iterator[Header]:
        return iter(self.fields)

    @overload
    def __getitem__(self, index: int) -> Header: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[Header, ...]: ...

    def __getitem__(self, index: int | slice) -> Header | tuple[Header, ...]:
        return self.fields[index]

    def __eq__(self, other: object) -> bool:
        # By its type: once compiled, the class shares with Sequence what that knows of its instances.
        if type(other) is Head:
            return self.fields == other.fields
        return self.fields == other if isinstance(other, tuple) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.fields)

    def __repr__(self) -> str:
        return repr(self.fields)

    def __reduce__(self) -> tuple[type[tuple[Header, ...]], tuple[tuple[Header, ...]]]:
        return tuple, (self.fields,)


_cached_head = lru_cache(maxsize=128)(Head)


class Split(NamedTuple):
    """A header section, the position where the body begins, and what was wrong, in words."""

    head: Head
    body_start: int
    problems: tuple[str, ...]


_new_split = partial(tuple.__new__, Split)


def split_head(text: str, start: int, end: int, *, is_outermost: bool = False) -> Split:
    """Read the header section that begins at ``start``; nothing from ``end`` on belongs to the entity. Never raises.

    The section ends at the first empty line. A line that is no field is left out when a known field follows it;
    otherwise, or when it looks like a delimiter, the body begins there, and its blank line was forgotten.
    """
    match = _FIELD_LINES.match(text, start, end)
    section_end = match.end() if match else start
    if section_end < end and text[section_end] == "\n":
        section, body_start = text[start:section_end], section_end + 1
    elif section_end == end or _is_last_field(text, section_end, end):
        section, body_start = text[start:end], end
        if section_end < end:
            section += "\n"
    else:
        return _split_broken(text, start, end)
    if len(section) <= _SMALL_OCTETS:
        return _new_split((_cached_head(section), body_start, ()))
    if len(section) > _FEW_FIELDS_OCTETS and (len(section) > MAX_HEADER_OCTETS or section.count("\n") > MAX_FIELDS):
        return _split_broken(text, start, end)
    return _new_split((Head(section, is_outermost=is_outermost), body_start, ()))


def _is_last_field(text: str, start: int, end: int) -> bool:
    """Whether all that is left is a field whose line does not end."""
    return text.find("\n", start, end) < 0 and _FIELD_LINE.match(text, start, end) is not None


def _split_broken(text: str, start: int, end: int) -> Split:
    """Read a header section with lines that are no fields, or beyond the limits."""
    blank = text.find("\n\n", start, end)
    section_end, body_start = (blank + 1, blank + 2) if blank >= 0 else (end, end)
    problems: tuple[str, ...] = ()
    if section_end - start > MAX_HEADER_OCTETS:
        section_end = text.rfind("\n", start, start + MAX_HEADER_OCTETS) + 1 or start + MAX_HEADER_OCTETS
        problems = (f"a header over {MAX_HEADER_OCTETS} octets",)
    section = text[start:section_end]
    if section[-1:] not in {"\n", ""}:
        section += "\n"
    if not _FIELD_LINES.fullmatch(section):
        section, body_start, problems = _mend(section, start, body_start, problems)
    if len(section) > _FEW_FIELDS_OCTETS and len(_FIELD.findall(section)) > MAX_FIELDS:
        problems = (*problems, f"more than {MAX_FIELDS} header fields")
    return Split(Head(section), body_start, problems)


def split_fields(fields: Iterable[tuple[str, str]]) -> Split:
    """Return the head that fields read elsewhere make; their values may be folded."""
    section = "".join([f"{name}:{value}\n" for name, value in fields]) + "\n"
    return split_head(section, 0, len(section))


def _mime_fields(section: str, lower: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for match in _MIME_FIELD.finditer("\n" + lower):
        start, end = match.span(2)
        # The first field of a name counts.
        found.setdefault(match[1], section[start - 1 : end - 1].replace("\n", "").strip(" \t"))
    return found


def _fields(section: str) -> list[tuple[str, str]]:
    fields = _FIELD.findall(section)
    if len(fields) > MAX_FIELDS:
        del fields[MAX_FIELDS:]
    return [(name, value.replace("\n", "").strip(" \t")) for name, value in fields]


def _mend(
    section: str, start: int, body_start: int, problems_before: tuple[str, ...]
) -> tuple[str, int, tuple[str, ...]]:
    """Return the lines of a section that are fields, where the body begins, and what was wrong."""
    last_known = max((match.start() for match in _KNOWN_FIELD.finditer(section)), default=-1)
    kept: list[str] = []
    problems = list(problems_before)
    position = 0
    is_open = False
    for line in section.split("\n")[:-1]:
        if (line[:1] in {" ", "\t"} and is_open) or _FIELD_LINE.match(line):
            kept.append(line + "\n")
            is_open = True
        elif not position and _ENVELOPE_LINE.match(line):
            pass
        elif position < last_known and not line.startswith("--"):
            problems.append(NO_COLON)
            is_open = False
        else:
            body_start = start + position
            problems.append(NO_BLANK_LINE)
            break
        position += len(line) + 1
    return "".join(kept), body_start, tuple(dict.fromkeys(problems))


def skip_envelope(text: str, start: int, end: int) -> int:
    """Return where a mail really begins: after blank lines and an mbox ``From `` line that stand before its header."""
    if text[start : start + 1] not in _BEFORE_HEADER:
        return start
    position = start
    blank = _BLANK_LINES.match(text, start, end)
    if blank:
        position = blank.end()
    if _ENVELOPE_LINE.match(text, position, end):
        line_end = text.find("\n", position, end)
        return line_end + 1 if line_end >= 0 else end
    return position if blank and _KNOWN_FIELD.match(text, position, end) else start


def content_end(text: str, start: int, open_multiparts: int) -> int:
    """Return where the last content of a mail ends: the line end before a missing closing delimiter is none of it."""
    end = len(text)
    return end - 1 if open_multiparts and end > start and text.endswith("\n") else end
