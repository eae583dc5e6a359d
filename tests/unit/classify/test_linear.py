"""Patterns past google-re2's Python layer say the same as through it."""

import re2
from hypothesis import given
from hypothesis import strategies as st

from bouncepoll.classify import linear

PATTERNS = (
    r"b+",
    r"(?i)(a)(?:x|(ü))?",
    r"^\w*",
    r"(?P<first>[^ ]+) (?P<second>é|.)",
    r"",
    r"(?m)^.?$",
    r"日本(語)?",
    r"\b",
)
TEXTS = st.text(alphabet="ab xüé日本語\n😀", max_size=30)


@given(st.sampled_from(PATTERNS), TEXTS, st.integers(0, 31))
def test_a_match_is_the_same(pattern: str, text: str, at: int) -> None:
    ours, theirs = linear.compile(pattern), re2.compile(pattern)
    at = min(at, len(text))
    for how in ("search", "match", "fullmatch"):
        mine, other = getattr(ours, how)(text, at), getattr(theirs, how)(text, at)
        assert (mine is None) == (other is None)
        if mine is not None:
            assert mine.span() == other.span()
            assert mine.groups() == other.groups()
            assert mine.groupdict() == other.groupdict()
            assert (mine[0], mine.start(), mine.end()) == (other[0], other.start(), other.end())


# The layer yields an empty match twice where it does not begin at the place it was looked for from.
@given(st.sampled_from([r"b+", r"(?i)(a)(?:x|(ü))?", r"(?P<first>[^ ]+) (?P<second>é|.)", r"日本(語)?"]), TEXTS)
def test_all_matches_are_the_same(pattern: str, text: str) -> None:
    ours, theirs = linear.compile(pattern), re2.compile(pattern)
    assert [match.span() for match in ours.finditer(text)] == [match.span() for match in theirs.finditer(text)]
    assert ours.sub("-", text) == theirs.sub("-", text)
    assert ours.sub(lambda match: f"<{match[0]}>", text) == theirs.sub(lambda match: f"<{match[0]}>", text)


@given(TEXTS)
def test_a_set_finds_what_each_of_its_patterns_finds(text: str) -> None:
    patterns = linear.Set(linear.options(max_mem=1 << 20, ignore_case=True))
    numbers = [patterns.add(pattern) for pattern in ("A", "ü", "語", "x b")]
    patterns.compile()
    alone = [linear.compile(f"(?i){pattern}").search(text) is not None for pattern in ("A", "ü", "語", "x b")]
    assert set(patterns.search(text)) == {number for number, is_there in zip(numbers, alone, strict=True) if is_there}
