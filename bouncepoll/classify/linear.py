"""Patterns that match in linear time: google-re2, called past its Python layer.

That layer maps octets to characters, builds match objects and generators for every call, which costs several times
what the matching does. Here ASCII texts, whose octets are their characters, are matched as they are.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import re2

#: What a pattern that RE2 does not take raises.
error: type[Exception] = re2.error

# What lies under the layer has no public name; the tests compare what comes out with what the layer says.
_UNANCHORED = re2._Anchor.UNANCHORED  # noqa: SLF001
_START = re2._Anchor.ANCHOR_START  # noqa: SLF001
_BOTH = re2._Anchor.ANCHOR_BOTH  # noqa: SLF001

_Spans = Sequence[tuple[int, int]]


class Match:
    """A match in ``text``."""

    __slots__ = ("_names", "_spans", "_text")

    def __init__(self, text: str, spans: _Spans, names: Mapping[str, int]) -> None:
        self._text = text
        self._spans = spans
        self._names = names

    def __getitem__(self, group: int) -> Any:
        """Return what a group matched; None when it took no part. 0 is the whole match."""
        start, end = self._spans[group]
        return None if start < 0 else self._text[start:end]

    def start(self, group: int = 0) -> int:
        """Return where a group begins, in characters; -1 when it took no part."""
        return self._spans[group][0]

    def end(self, group: int = 0) -> int:
        """Return the index behind a group; -1 when it took no part."""
        return self._spans[group][1]

    def span(self) -> tuple[int, int]:
        """Return where the match begins and the index behind it."""
        return self._spans[0]

    def groupdict(self) -> dict[str, Any]:
        """Return what each group with a name matched."""
        return {name: self[group] for name, group in self._names.items()}

    def groups(self) -> tuple[Any, ...]:
        """Return what each group but the whole matched."""
        return tuple(self[group] for group in range(1, len(self._spans)))


class Pattern:
    """A compiled pattern; may be used from several threads."""

    __slots__ = ("_layer", "_match", "_names", "pattern")

    def __init__(self, layer: Any) -> None:
        """``layer`` is what ``re2.compile`` returns for a text."""
        self.pattern: str = layer.pattern
        self._layer = layer
        self._names: Mapping[str, int] = layer.groupindex
        self._match = layer._regexp.Match  # noqa: SLF001

    def search(self, text: str, at: int = 0) -> Match | None:
        """Return the first match from ``at`` on."""
        octets = text.encode()
        end = len(octets)
        if end != len(text):
            return self._first(_UNANCHORED, text, at)
        spans = self._match(_UNANCHORED, octets, at, end)
        return Match(text, spans, self._names) if spans[0][0] >= 0 else None

    def match(self, text: str, at: int = 0) -> Match | None:
        """Return the match that begins at ``at``."""
        return self._first(_START, text, at)

    def fullmatch(self, text: str, at: int = 0) -> Match | None:
        """Return the match of all from ``at`` to the end."""
        return self._first(_BOTH, text, at)

    def finditer(self, text: str) -> Iterator[Match]:
        """Yield the matches, none of which overlap."""
        # Encoded once, and characters counted from match to match: from the beginning on for each of them, a text full
        # of matches would take quadratic time.
        octets = text.encode()
        is_ascii = len(octets) == len(text)
        at = counted = characters = 0
        while at <= len(octets):
            spans = self._match(_UNANCHORED, octets, at, len(octets))
            start, at = spans[0]
            if start < 0:
                return
            if is_ascii:
                yield Match(text, spans, self._names)
            else:
                found = Match(text, _in_characters(octets, spans, counted, characters), self._names)
                counted, characters = at, found.end()
                yield found
            if at == start:
                at += 1
                while at < len(octets) and octets[at] & 0xC0 == 0x80:  # within a character
                    at += 1

    def sub(self, replacement: Any, text: str) -> str:
        """Return the text with each match replaced, by a template or by what a function of the match returns."""
        return text if self._first(_UNANCHORED, text, 0) is None else str(self._layer.sub(replacement, text))

    def _first(self, anchor: Any, text: str, at: int) -> Match | None:
        octets = text.encode()
        is_ascii = len(octets) == len(text)
        spans = self._match(anchor, octets, at if is_ascii else len(text[:at].encode()), len(octets))
        if spans[0][0] < 0:
            return None
        return Match(text, spans if is_ascii else _in_characters(octets, spans), self._names)


def options(*, max_mem: int, ignore_case: bool = False) -> Any:
    """Return options for patterns without captures, whose automata may have ``max_mem`` octets."""
    made = re2.Options()
    made.case_sensitive = not ignore_case
    made.never_capture = True
    made.log_errors = False
    made.max_mem = max_mem
    return made


class Set:
    """Many patterns, searched for at once."""

    __slots__ = ("_add", "_layer", "_match")

    def __init__(self, options: Any) -> None:
        self._layer = re2.Set.SearchSet(options)
        self._match = self._layer._set.Match  # noqa: SLF001

    def add(self, pattern: str) -> int:
        """Add a pattern and return its number.

        Raises:
            error: RE2 does not take it.
        """
        number: int = self._layer.Add(pattern)
        return number

    def compile(self) -> None:
        """Make it ready; nothing can be added after."""
        self._layer.Compile()

    def search(self, text: str) -> Sequence[int]:
        """Return the numbers of the patterns that match, in no order."""
        found: Sequence[int] = self._match(text.encode()) or ()
        return found


def compile(pattern: str, options: Any = None) -> Pattern:  # noqa: A001 - named as in ``re``, which it stands for.
    """Compile a pattern.

    Raises:
        error: RE2 does not take it.
    """
    return Pattern(re2.compile(pattern, options))


def _in_characters(octets: bytes, spans: _Spans, before: int = 0, characters: int = 0) -> _Spans:
    """Return spans of octets as spans of the characters they stand for (UTF-8).

    No span begins before ``before``, at which ``characters`` have been counted already.
    """
    known = {-1: -1}
    for offset in sorted({offset for span in spans for offset in span if offset >= 0}):
        characters += len(octets[before:offset].decode())
        known[offset], before = characters, offset
    return [(known[start], known[end]) for start, end in spans]
