"""Our own reader: one pass over the mail, bounded, never refuses, never raises; and it says when it is in doubt.

A mail it has no doubts about is read alike by every reader that does not refuse it (the tests compare them). Where a
mail can be read in several ways the doubt says why, so that other readers can be asked first.
"""

from typing import NamedTuple

from bouncepoll.mime import transfer
from bouncepoll.mime.head import NO_BLANK_LINE, Split, content_end, split_head
from bouncepoll.mime.limits import MAX_DEPTH, MAX_PARTS
from bouncepoll.mime.parameters import DEFAULT_TYPE, ContentType, default_within
from bouncepoll.mime.tree import Node, container, leaf


class Scanned(NamedTuple):
    """The tree of a mail, with at most ``MAX_PARTS`` + 1 leaves and ``MAX_DEPTH`` levels.

    ``doubt`` is None for a clear structure: every boundary is used once on the way to a part, each delimiter is exactly
    as declared and has something after it, and no header section ends at what may be a delimiter.
    """

    root: Node
    doubt: str | None


class _Line(NamedTuple):
    """A line that begins with two hyphens: its ends, what follows the hyphens, and whether white space ends it."""

    start: int
    end: int
    name: str
    is_padded: bool


def read(text: str) -> Node:
    """Return the tree of a mail (see ``tree.Reader``), whatever the doubts."""
    return scan(text).root


def scan(text: str) -> Scanned:
    """Return the tree of a mail, which has LF line ends and one character an octet. Never raises."""
    reading = _Scan(text)
    root = reading.entity(0, DEFAULT_TYPE, MAX_DEPTH)
    return Scanned(root, reading.doubt)


class _Scan:
    """One pass. ``_next`` is the first of ``_lines`` that was not passed yet."""

    def __init__(self, text: str) -> None:
        self.doubt: str | None = None
        self._text = text
        self._size = len(text)
        self._lines: list[_Line] = []
        self._next = 0
        # The boundaries of the multiparts around this place, as they delimit and as they close.
        self._open: set[str] = set()
        self._blank = -1
        self._leaves = 0

    def entity(self, start: int, default: ContentType, levels: int) -> Node:
        """Read the entity at ``start``, up to the next delimiter of an open multipart, where ``_next`` then stands."""
        split = self._head(start)
        content_type = split.head.content_type or default
        if content_type.is_multipart:
            boundary = content_type.boundary
            if boundary and self._open & {boundary, boundary + "--"}:
                self._doubt("a boundary that is in use around it")
            elif boundary and levels:
                children = self._multipart(split.body_start, boundary, content_type, levels - 1)
                if children:
                    return container(split, content_type, tuple(children))
        elif levels and content_type.is_mail and transfer.is_identity(split.head.encoding):
            return container(split, content_type, (self.entity(split.body_start, DEFAULT_TYPE, levels - 1),))
        self._leaves += 1
        return leaf(split, content_type, self._text[split.body_start : self._content_end(split.body_start)])

    def _head(self, start: int) -> Split:
        """Read the header section at ``start``; it cannot go on beyond the next delimiter of an open multipart."""
        if self._blank < start:
            self._blank = self._text.find("\n\n", start)
            if self._blank < 0:
                self._blank = len(self._text)
        first_line = self._next
        end = self._size
        if first_line < len(self._lines) and self._lines[first_line].start <= self._blank:
            delimiter = self._seek(self._blank)
            if delimiter:
                end = max(start, delimiter.start - 1)
            self._next = first_line
        split = split_head(self._text, start, end)
        if NO_BLANK_LINE in split.problems and self._text.startswith("--", split.body_start):
            self._doubt("a header section that ends at two hyphens")
        while self._next < len(self._lines) and self._lines[self._next].start < split.body_start:
            self._next += 1
        return split

    def _multipart(self, start: int, boundary: str, content_type: ContentType, levels: int) -> list[Node]:
        """Read the parts of a multipart whose preamble begins here; ``_next`` is left at a delimiter further out."""
        if not self._lines:
            self._lines = _lines_from(self._text, start)
        default = default_within(content_type)
        children: list[Node] = []
        names = {boundary, boundary + "--"}
        self._open |= names
        found = self._seek()
        while found and found.name == boundary and self._leaves <= MAX_PARTS:
            self._next += 1
            if found.is_padded or found.end + 1 >= self._size:
                self._doubt("white space or nothing after a delimiter")
            following = self._lines[self._next] if self._next < len(self._lines) else None
            if following and following.start == found.end + 1 and following.name in names:
                self._doubt("two delimiters in a row")  # they have no part between them
            else:
                children.append(self.entity(min(found.end + 1, self._size), default, levels))
            found = self._seek()
        if found and found.is_padded:
            self._doubt("white space after a delimiter")
        self._open -= names
        self._seek()
        return children

    def _seek(self, limit: int | None = None) -> _Line | None:
        """Advance ``_next`` to the next delimiter of an open multipart that begins before ``limit``, and return it."""
        lines, open_names = self._lines, self._open
        for number in range(self._next, len(lines)):
            line = lines[number]
            if line.name in open_names or (limit is not None and line.start > limit):
                self._next = number
                return line if limit is None or line.start <= limit else None
        self._next = len(lines)
        return None

    def _content_end(self, start: int) -> int:
        """Return where the content before a delimiter ends: its line end belongs to the delimiter (RFC 2046 5.1.1)."""
        delimiter = self._seek()
        if delimiter is None:
            return content_end(self._text, start, len(self._open))
        return max(start, delimiter.start - 1)

    def _doubt(self, why: str) -> None:
        self.doubt = self.doubt or why


def _lines_from(text: str, start: int) -> list[_Line]:
    """Return the lines from ``start`` on, which is not 0, that begin with two hyphens."""
    lines = []
    position = text.find("\n--", start - 1)
    while position >= 0:
        end = text.find("\n", position + 1)
        if end < 0:
            end = len(text)
        line = text[position + 3 : end]
        name = line.rstrip(" \t")
        lines.append(_Line(position + 1, end, name, name != line))
        position = text.find("\n--", end)
    return lines
