"""Patterns in linear time: RE2 as google-re2 has it, without most of what its Python layer costs.

In a text as short as a notice that layer takes much longer than the search itself, for it counts characters whatever
the text is. Nearly every mail is ASCII, where an octet is a character. For such a text each pattern is compiled for
octets: its automaton has a fraction of the transitions, most of which would lead through the octets of UTF-8. That for
all other texts is built when the first one comes.
"""

import re
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import re2

#: RE2 does not take a pattern.
PatternError = re2.error

_ANCHOR = re2._re2.RE2.Anchor  # noqa: SLF001 - the layer below is what is wanted
_ANYWHERE, _AT_START, _AS_WHOLE = _ANCHOR.UNANCHORED, _ANCHOR.ANCHOR_START, _ANCHOR.ANCHOR_BOTH

#: The first and the last index of a group, ``(-1, -1)`` where it took no part.
Span = tuple[int, int]
# From an anchor, octets and the part of them to look at to the spans of the match and of its groups.
_Matcher = Callable[[Any, bytes, int, int], Sequence[Span]]
# The characters of a pattern that no ASCII text has, and an octet that none has either.
_NO_ASCII = re.compile(r"[^\x00-\x7f]")
_NO_ASCII_OCTET = "\xff"
# Classes of characters as ASCII has them, outside of brackets and within: RE2 takes long to build what Unicode has in
# them, and longer where case is ignored. There is no "\pM" in ASCII.
_ASCII_CLASSES = {r"\pL": "[a-zA-Z]", r"\pN": "[0-9]", r"\pM": _NO_ASCII_OCTET}
_IN_BRACKETS = {r"\pL": "a-zA-Z", r"\pN": "0-9", r"\pM": _NO_ASCII_OCTET}
_ESCAPED = re.compile(r"\\(?:p[LMN]|.)", re.DOTALL)
# What is escaped, or brackets with what is in them.
_ESCAPED_OR_BRACKETS = re.compile(r"\\(?:p[LMN]|.)|\[\^?\]?(?>(?:\\.|\[:\^?\w+:\]|[^\]\\])*)\]?", re.DOTALL)
# They are "s" and "K" where case is ignored.
_FOLDED_TO_ASCII = ("\u017f", "\u212a")


class Match:
    """What a pattern found in a text: the subset of ``re.Match`` that is needed."""

    __slots__ = ("_spans", "_text")

    def __init__(self, text: str, spans: Sequence[Span]) -> None:
        """``spans`` in characters: that of the whole match, then that of each group."""
        self._text = text
        self._spans = spans

    def __getitem__(self, group: int) -> Any:
        """Return what a group matched (0: the whole match), None where it took no part."""
        start, end = self._spans[group]
        return self._text[start:end] if start >= 0 else None

    def groups(self) -> tuple[str | None, ...]:
        """Return what each group matched, from the first on."""
        return tuple([self[group] for group in range(1, len(self._spans))])

    def start(self, group: int = 0) -> int:
        """Return where a group begins, -1 where it took no part."""
        return self._spans[group][0]

    def end(self, group: int = 0) -> int:
        """Return where a group ends, -1 where it took no part."""
        return self._spans[group][1]

    def span(self, group: int = 0) -> Span:
        """Return where a group begins and ends."""
        return self._spans[group]


class Pattern:
    """A pattern, compiled when it is first looked for. Safe to use from several threads."""

    __slots__ = ("_ascii", "_options", "_unicode", "pattern")

    def __init__(self, pattern: str, options: Any = None) -> None:
        """``options``: ``re2.Options``."""
        self.pattern = pattern
        self._options = options
        self._ascii: _Matcher | None = None
        self._unicode: _Matcher | None = None

    def check(self) -> None:
        """Compile the pattern as it is.

        Raises:
            PatternError: RE2 does not take it.
        """
        re2.compile(self.pattern, self._options)

    def search(self, text: str) -> Match | None:
        """Return the first match in ``text``, or None."""
        return self._first(_ANYWHERE, text)

    def match(self, text: str) -> Match | None:
        """Return the match at the start of ``text``, or None."""
        return self._first(_AT_START, text)

    def fullmatch(self, text: str) -> Match | None:
        """Return the match that is the whole of ``text``, or None."""
        return self._first(_AS_WHOLE, text)

    def is_in(self, text: str) -> bool:
        """Whether the pattern matches anywhere in ``text``."""
        octets = text.encode()
        return self._matcher(octets, text)(_ANYWHERE, octets, 0, len(octets))[0][0] >= 0

    def finditer(self, text: str) -> Iterator[Match]:
        """Yield the matches in ``text`` that do not overlap."""
        octets = text.encode()
        end, at = len(octets), 0
        is_ascii = end == len(text)
        match = self._matcher(octets, text)
        counted = (0, 0)
        while True:
            spans = match(_ANYWHERE, octets, at, end)
            start, stop = spans[0]
            if start < 0:
                return
            if is_ascii:
                yield Match(text, spans)
            else:
                counted = start, counted[1] + len(octets[counted[0] : start].decode())
                yield Match(text, _in_characters(octets, spans, counted[1]))
            if at == end:
                return
            at = stop if stop > at else _next_character(octets, at)

    def sub(self, replacement: str | Callable[[Match], str], text: str) -> str:
        """Return ``text`` with each match replaced: by a text as it is, or by what is returned for the match."""
        pieces: list[str] = []
        end = 0
        for match in self.finditer(text):
            start, stop = match.span()
            pieces += (text[end:start], replacement if isinstance(replacement, str) else replacement(match))
            end = stop
        pieces.append(text[end:])
        return "".join(pieces)

    def named(self, match: Match) -> dict[str, str | None]:
        """Return what each group that has a name matched, in a match of this pattern."""
        return {name: match[at] for name, at in re2.compile(self.pattern, self._options).groupindex.items()}

    def _matcher(self, octets: bytes, text: str) -> _Matcher:
        if len(octets) == len(text):
            if self._ascii is None:
                options, (pattern,) = _for_ascii((self.pattern,), self._options)
                self._ascii = _matcher_of(pattern, options)
            return self._ascii
        if self._unicode is None:
            self._unicode = _matcher_of(self.pattern, self._options)
        return self._unicode

    def _first(self, anchor: Any, text: str) -> Match | None:
        octets = text.encode()
        spans = self._matcher(octets, text)(anchor, octets, 0, len(octets))
        start = spans[0][0]
        if start < 0:
            return None
        if len(octets) == len(text):
            return Match(text, spans)
        return Match(text, _in_characters(octets, spans, len(octets[:start].decode())))


def options(*, max_mem: int, ignore_case: bool = False) -> Any:
    """Return options for patterns without captures, whose automata may have ``max_mem`` octets."""
    made = re2.Options()
    made.case_sensitive = not ignore_case
    made.never_capture = True
    made.log_errors = False
    made.max_mem = max_mem
    return made


def compile(pattern: str, options: Any = None) -> Pattern:  # noqa: A001 - as in ``re``
    """Return a pattern; see ``Pattern``. What RE2 does not take is found out when it is first used, or by ``check``."""
    return Pattern(pattern, options)


def _matcher_of(pattern: str | bytes, options: Any) -> _Matcher:
    matcher: _Matcher = re2.compile(pattern, options)._regexp.Match  # noqa: SLF001 - see above
    return matcher


class PatternSet:
    """Patterns that are looked for at once. Safe to use from several threads once it has all."""

    def __init__(self, options: Any) -> None:
        """``options``: ``re2.Options``."""
        self._options = options
        self._patterns: list[str] = []
        self._ascii: Callable[[bytes], Sequence[int]] | None = None
        self._unicode: Callable[[bytes], Sequence[int]] | None = None

    def add(self, pattern: str) -> None:
        """Add a pattern that RE2 takes; the first one is number 0."""
        self._patterns.append(pattern)

    def found(self, text: str) -> Sequence[int]:
        """Return the numbers of the patterns that match anywhere in ``text``, in no order."""
        octets = text.encode()
        if len(octets) == len(text):
            if self._ascii is None:
                self._ascii = self._compiled(is_ascii=True)
            return self._ascii(octets)
        if self._unicode is None:
            self._unicode = self._compiled(is_ascii=False)
        return self._unicode(octets)

    def _compiled(self, *, is_ascii: bool) -> Callable[[bytes], Sequence[int]]:
        options: Any = self._options
        patterns: Sequence[str | bytes] = self._patterns
        if is_ascii:
            options, patterns = _for_ascii(self._patterns, options)
        compiled = re2.Set.SearchSet(options)
        for pattern in patterns:
            compiled.Add(pattern)
        compiled.Compile()
        match: Callable[[bytes], Sequence[int]] = compiled._set.Match  # noqa: SLF001 - see above
        return match


def _for_ascii(patterns: Sequence[str], options: Any) -> tuple[Any, list[bytes]]:
    """Return options and patterns that match where ``patterns`` with ``options`` do, in texts of ASCII only."""
    for_octets = re2.Options()
    for name in re2.Options.NAMES:
        setattr(for_octets, name, getattr(options or for_octets, name))
    if any(letter in pattern for pattern in patterns for letter in _FOLDED_TO_ASCII):
        return for_octets, [pattern.encode() for pattern in patterns]
    for_octets.encoding = re2.Options.Encoding.LATIN1
    in_octets = [_NO_ASCII.sub(_NO_ASCII_OCTET, pattern) for pattern in patterns]
    return for_octets, [_with_ascii_classes(pattern).encode("latin-1") for pattern in in_octets]


def _with_ascii_classes(pattern: str) -> str:
    r"""Return a pattern with each ``\pL``, ``\pM`` and ``\pN`` as ASCII has it."""
    if r"\p" not in pattern or r"\Q" in pattern:
        return pattern

    def translated(found: re.Match[str]) -> str:
        token = found[0]
        if token.startswith("["):
            return _ESCAPED.sub(lambda escaped: _IN_BRACKETS.get(escaped[0], escaped[0]), token)
        return _ASCII_CLASSES.get(token, token)

    return _ESCAPED_OR_BRACKETS.sub(translated, pattern)


def _in_characters(octets: bytes, spans: Sequence[Span], start: int) -> list[Span]:
    """Return spans of octets in characters; ``start`` is the first of the whole match in characters."""
    first = spans[0][0]
    at = {-1: -1}
    for offset in {offset for span in spans for offset in span if offset >= 0}:
        at[offset] = start + len(octets[first:offset].decode())
    return [(at[begin], at[end]) for begin, end in spans]


def _next_character(octets: bytes, at: int) -> int:
    """Return the index behind the UTF-8 character at ``at``."""
    at += 1
    while at < len(octets) and octets[at] & 0xC0 == 0x80:
        at += 1
    return at
