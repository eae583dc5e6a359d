"""Our thin layer over RE2 finds what google-re2's own finds, in whatever characters."""

from collections.abc import Callable

import pytest
import re2

from bouncepoll.classify import linear

TEXTS = (
    "",
    "a",
    "to <bob@example.org>, <eve@example.net>",
    "für ünïcode <bøb@example.org>: 漢字 <eve@例え.test> 😀 x",
    "😀\na\n😀b",
)
PATTERNS = (
    r"<([^@>]+)@([^>]+)>",
    r"(?i)(TO|für)|(x)$",
    r"x*",
    r"(?m)^",
    r"\w*",
    r"(?P<at>@)|(?P<end>>)",
    r"nothing of the kind",
)
Finder = Callable[[re2._Regexp | linear.Pattern, str], object]


def _shown(match: re2._Match | linear.Match | None) -> object:
    if match is None:
        return None
    groups = match.groups()
    numbers = range(len(groups) + 1)
    return groups, [(match[n], match.start(n), match.end(n), match.span(n)) for n in numbers], match.span()


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("pattern", PATTERNS)
def test_it_finds_what_the_layer_of_google_re2_finds(pattern: str, text: str) -> None:
    ours, theirs = linear.compile(pattern), re2.compile(pattern)
    assert _shown(ours.search(text)) == _shown(theirs.search(text))
    assert _shown(ours.match(text)) == _shown(theirs.match(text))
    assert _shown(ours.fullmatch(text)) == _shown(theirs.fullmatch(text))
    assert [*map(_shown, ours.finditer(text))] == [*map(_shown, theirs.finditer(text))]
    assert ours.is_in(text) == (theirs.search(text) is not None)
    assert ours.sub("-", text) == theirs.sub("-", text)
    assert ours.sub(lambda match: f"[{match[0]}]", text) == theirs.sub(lambda match: f"[{match[0]}]", text)


@pytest.mark.parametrize(
    ("pattern", "text", "expected"),
    [
        ("größe|size", "the size", True),
        ("größe|size", "die Größe", True),
        ("gr[öo](?:ß|ss)e", "GROSSE", True),
        ("[^。]{3}x", "abcx", True),
        (r"[\pL。]+!", "abc!", True),
        ("\u212aelvin", "Kelvin", True),
        (r"^[\pL\pN_.\]-]{5}(?: ü)?$", "Ab1.]", True),
        (r"^[^\pL\pM\pN](?: ü)?$", "z", False),
        (r"^[^\pM]\pL{2}\pN(?: ü)?$", "abC7", True),
        (r"^x\pM*(?: ü)?$", "x", True),
        (r"^[]\pL]+[[:^digit:]\pN](?: ü)?$", "a]7", True),
        (r"^\[\pL](?: ü)?$", "[b]", True),
        (r"^\Q\pL[\E\pL(?: ü)?$", "\\pL[q", True),
        (r"^\\pL(?: ü)?$", "\\pL", True),
        ("ÿ", "y", False),
        ("ÿ", "ÿ", True),
    ],
)
def test_a_pattern_says_the_same_of_texts_of_ascii_and_of_others(pattern: str, text: str, expected: bool) -> None:
    options = re2.Options()
    options.case_sensitive = False
    patterns = linear.PatternSet(options)
    patterns.add("nothing")
    patterns.add(pattern)
    compiled = linear.compile(pattern, options)
    assert [compiled.is_in(each) for each in (text, f"{text} ü")] == [expected, expected]
    assert [list(patterns.found(each)) for each in (text, f"{text} ü")] == [[1] * expected, [1] * expected]


def test_groups_are_known_by_name() -> None:
    pattern = linear.compile(r"(?P<local>\w+)@(?P<domain>\w+)(?P<port>:\d+)?")
    match = pattern.search("ä: bob@example")
    assert match is not None
    assert pattern.named(match) == {"local": "bob", "domain": "example", "port": None}


def test_what_re2_does_not_take_is_said() -> None:
    with pytest.raises(linear.PatternError):
        linear.compile(r"(a)\1", re2.Options()).check()
