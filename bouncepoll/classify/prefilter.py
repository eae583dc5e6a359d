"""What a text has to hold for a pattern to match at all: the part of the pattern between its gaps.

A set of many patterns with gaps (``quota.{0,60}exceeded``) makes RE2 build automata that grow with the product of the
gaps and are thrown away before they are used twice. So a set holds only the longest part without a gap, and the whole
pattern is asked where that part was found.
"""

import re
from collections.abc import Iterator

_MIN_LETTERS = 3
# A gap at the beginning of a line is none: the automaton does not grow by it.
_INDENTED = r"^[ \t]*"
# A part of a pattern that stands for many characters: any atom but a letter with an open or a large count.
_ATOM = r"(?:\\[sSwWdD]|\\p[A-Z]|\\p\{[^}]*\}|\.|\[\^?\]?(?:\\.|[^\]\\])*\])"
_GAP = re.compile(_ATOM + r"(?:[*+]|\{\d*,(?:\d{2,})?\})\??")
_QUANTIFIER = re.compile(r"(?:[?*+]|\{\d*(?:,\d*)?\})\??")
_FLAGS = re.compile(r"\(\?[^:]")
_PLAIN = re.compile(r"[^\\()\[]+")
_ESCAPES = re.compile(r"\\(?:[bBAzsSwWdD]|p[A-Z]|p\{[^}]*\})")


def necessary(pattern: str) -> Iterator[tuple[str, bool]]:
    """Yield patterns of which one matches wherever ``pattern`` does, and whether ``pattern`` has to be asked then too.

    A pattern without gaps is yielded as it is: where it matches, nothing is left to ask.
    """
    if _FLAGS.search(pattern) or not _GAP.search(pattern):
        yield pattern, False
        return
    for alternative in _split(pattern, "|"):
        best = max(_between_gaps(alternative), key=_weight, default="")
        if _weight(best) >= _MIN_LETTERS:
            yield best, True
        else:
            yield alternative, False


def necessary_of_lines(pattern: str) -> Iterator[tuple[str, bool]]:
    """Yield the same as ``necessary`` for a pattern such as ``^[ \\t]*(?:one|another)``, each alternative by itself."""
    for alternative in _spread(pattern):
        for part, is_asked in necessary(alternative.removeprefix(_INDENTED)):
            yield (part, True) if is_asked else (alternative, False)


def _spread(pattern: str) -> Iterator[str]:
    """Yield the alternatives of a pattern; of those that end with a group, one for each of the group's alternatives."""
    for alternative in _split(pattern, "|"):
        start = at = 0
        while at < len(alternative):
            start, at = at, _end_of_atom(alternative, at)
        last = alternative[start:]
        if last.startswith("(?:"):
            yield from (alternative[:start] + inner for inner in _split(last[3:-1], "|"))
        else:
            yield alternative


def _weight(part: str) -> int:
    """Return how many letters a text has to hold at least for this part to match: the more, the rarer."""
    return min(_weight_of_one(alternative) for alternative in _split(part, "|"))


def _weight_of_one(part: str) -> int:
    total = at = 0
    while at < len(part):
        end = _end_of_atom(part, at)
        quantifier = _QUANTIFIER.match(part, end)
        if quantifier is None:
            total += _weight_of_atom(part[at:end])
        at = quantifier.end() if quantifier is not None else end
    return total


def _weight_of_atom(atom: str) -> int:
    if atom.startswith("("):
        return _weight(atom[1:-1].removeprefix("?:"))
    if len(atom) > 1 or not atom.isalnum():
        return 0
    return 1 if atom.isascii() else 2  # Chinese says in two characters what takes English six.


def _between_gaps(alternative: str) -> Iterator[str]:
    """Yield the parts between the gaps at the top level; a group that is optional, or has a gap within, is one too."""
    start = at = 0
    while at < len(alternative):
        gap = _GAP.match(alternative, at)
        end = gap.end() if gap is not None else _end_of_loose_group(alternative, at)
        if end is not None:
            yield alternative[start:at]
            start = at = end
        else:
            at = _end_of_atom(alternative, at)
    yield alternative[start:]


def _end_of_loose_group(pattern: str, at: int) -> int | None:
    if pattern[at] != "(":
        return None
    end = _end_of_atom(pattern, at)
    quantifier = _QUANTIFIER.match(pattern, end)
    if quantifier is None and not _GAP.search(pattern[at:end]):
        return None
    return quantifier.end() if quantifier is not None else end


def _split(pattern: str, mark: str) -> Iterator[str]:
    """Yield the parts of a pattern between the marks at its top level."""
    if mark not in pattern:
        yield pattern
        return
    start = at = 0
    while at < len(pattern):
        if pattern[at] == mark:
            yield pattern[start:at]
            start = at + 1
        at = _end_of_atom(pattern, at)
    yield pattern[start:]


def _end_of_atom(pattern: str, at: int) -> int:
    """Return the index behind the escape, class, group or character at ``at``."""
    if pattern[at] == "\\":
        escape = _ESCAPES.match(pattern, at)
        return escape.end() if escape is not None else min(at + 2, len(pattern))
    if pattern[at] == "[":
        return _end_of_class(pattern, at)
    if pattern[at] != "(":
        return at + 1
    at += 1
    while at < len(pattern) and pattern[at] != ")":
        plain = _PLAIN.match(pattern, at)
        at = plain.end() if plain is not None else _end_of_atom(pattern, at)
    return min(at + 1, len(pattern))


def _end_of_class(pattern: str, at: int) -> int:
    at += 2 if pattern[at + 1 : at + 2] == "^" else 1
    if pattern[at : at + 1] == "]":
        at += 1
    while at < len(pattern) and pattern[at] != "]":
        at += 2 if pattern[at] == "\\" else 1
    return min(at + 1, len(pattern))
