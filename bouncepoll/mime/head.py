"""Header sections: where one ends, which fields it has, and what to make of lines that are no fields."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from bouncepoll.mime.limits import MAX_FIELDS, MAX_HEADER_OCTETS

#: A header field: its name, and its unfolded value, one character an octet.
RawField = tuple[str, str]

_FIELD = re.compile(r"^([!-9;-~]++)[ \t]*+:[ \t]*+([^\n]*+)\n", re.MULTILINE)
_FIELD_LINE = re.compile(r"[!-9;-~]++[ \t]*+:")
_ENVELOPE_LINE = re.compile(r">?From ")
# A line that is a header field, and hardly the first line of a text ("Note: …").
_KNOWN_FIELD = re.compile(
    r"^(?:from|to|cc|bcc|date|subject|sender|received|references|comments|keywords|[a-z][a-z0-9]*+-[a-z0-9-]++)"
    r"[ \t]*+:",
    re.IGNORECASE | re.MULTILINE,
)
_BLANK_LINES = re.compile(r"(?:[ \t]*+\n)++")
#: What a header section is made of that needs no decoding.
_PLAIN = bytes((*b"\t\n", *range(0x20, 0x7F)))

NO_COLON = "a header line without a colon"
NO_BLANK_LINE = "no blank line after the header"


class Head(NamedTuple):
    """A header section: its fields, the position where the body begins, and what was wrong, in words.

    ``content`` has the first value of each ``Content-…`` field (and of a few others), by its name in lower case.
    ``is_plain``: there are no encoded words, no control characters and no octets beyond ASCII, so the values need no
    decoding.
    """

    fields: tuple[RawField, ...]
    body_start: int
    problems: tuple[str, ...]
    content: Mapping[str, str]
    is_plain: bool


def split_head(text: str, start: int, end: int) -> Head:
    """Read the header section that begins at ``start``; nothing from ``end`` on belongs to the entity. Never raises.

    The section ends at the first empty line. A line that is no field is left out when a known field follows it;
    otherwise, or when it looks like a delimiter, the body begins there, and its blank line was forgotten.
    """
    if text.startswith("\n", start, end):
        return Head((), start + 1, (), {}, True)
    blank = text.find("\n\n", start, end)
    section_end, body_start = (blank + 1, blank + 2) if blank >= 0 else (end, end)
    problems: tuple[str, ...] = ()
    if section_end - start > MAX_HEADER_OCTETS:
        section_end = text.rfind("\n", start, start + MAX_HEADER_OCTETS) + 1 or start + MAX_HEADER_OCTETS
        problems = (f"a header over {MAX_HEADER_OCTETS} octets",)
    section = text[start:section_end]
    if section[-1:] not in {"\n", ""}:
        section += "\n"
    unfolded = section.replace("\n ", " ").replace("\n\t", "\t")
    fields = _FIELD.findall(unfolded)
    if len(fields) != unfolded.count("\n"):
        return _mend(section, start, body_start, problems)
    return _head(unfolded, fields, body_start, problems)


def head_of(fields: Iterable[RawField]) -> Head:
    """Return the head that fields read elsewhere make; their values may be folded."""
    section = "".join([f"{name}:{value}\n" for name, value in fields]) + "\n"
    return split_head(section, 0, len(section))


def _head(section: str, fields: list[RawField], body_start: int, problems: tuple[str, ...]) -> Head:
    # Names with a hyphen where "Content-Type" has it are few, and the first field of a name counts.
    content = {field[0].lower(): field[1] for field in reversed(fields) if field[0][7:8] == "-"}
    if len(fields) > MAX_FIELDS:
        del fields[MAX_FIELDS:]
        problems = (*problems, f"more than {MAX_FIELDS} header fields")
    is_plain = section.isascii() and "=?" not in section and not section.encode().translate(None, _PLAIN)
    if is_plain and (" \n" in section or "\t\n" in section):
        fields = [(name, value.rstrip(" \t")) for name, value in fields]
    return Head(tuple(fields), body_start, problems, content, is_plain)


def _mend(section: str, start: int, body_start: int, problems_before: tuple[str, ...]) -> Head:
    last_known = max((match.start() for match in _KNOWN_FIELD.finditer(section)), default=-1)
    kept: list[str] = []
    problems = list(problems_before)
    position = 0
    is_open = False
    for line in section.split("\n")[:-1]:
        if (line[:1] in {" ", "\t"} and is_open) or _FIELD_LINE.match(line):
            kept.append(line if line[:1] in {" ", "\t"} else "\n" + line)
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
    unfolded = "".join(kept) + "\n"
    return _head(unfolded, _FIELD.findall(unfolded), body_start, tuple(dict.fromkeys(problems)))


def skip_envelope(text: str, start: int, end: int) -> int:
    """Return where a mail really begins: after blank lines and an mbox ``From `` line that stand before its header."""
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
