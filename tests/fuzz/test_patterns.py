"""No pattern takes more than linear time: rules run on RE2, and every other one is found and tried by itself."""

import gc
import os
import re
import time
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

import pytest

import bouncepoll
from bouncepoll.classify import linear
from bouncepoll.classify.rulebook import compile_pattern
from bouncepoll.probing.mends import _ENTRIES
from tests.fuzz.patterns import Found, Pumped, found_patterns, local_patterns, worst_texts

LONG = bool(os.environ.get("BOUNCEPOLL_RELIABILITY"))
# Characters of a text that shows whether a pattern is suspicious: quadratic, it takes many times as long as linear.
SIZE = 8000 if LONG else 2000
SUSPICIOUS_S = 0.0008
# An exponential pattern would not end on such a text: here it takes seconds, where any other takes microseconds.
SHORT = (16, 20, 24, 28, 32)
EXPONENTIAL_S = 0.02
ROOT = Path(bouncepoll.__file__).parent

#: Patterns that are not written where they are used, and what of them is tried instead.
ELSEWHERE = {
    "bouncepoll.probing.mends: re.search(entry.host)": [entry.host for entry in _ENTRIES if entry.host],
    "bouncepoll.probing.mends: re.search(entry.said)": [entry.said for entry in _ENTRIES if entry.said],
    "bouncepoll.diagnose._spf: re.split(f-string)": ["[.+_/=-]"],
}
#: Patterns that take more than linear time, on text that no mail and no server writes.
OF_OUR_OWN = {
    "bouncepoll.settings.masking._URL_PASSWORD": "a URL of the configuration, about to be shown",
    "bouncepoll.classify.prefilter._GAP": "a rule, from the program itself or from the administrator's file",
}

ALL = found_patterns()
EXPANDED = [
    *(one for one in ALL if one.pattern is not None),
    *(
        Found(f"{name} {text}", re.compile(text, re.IGNORECASE), frozenset({"search"}))
        for name, texts in ELSEWHERE.items()
        for text in texts
    ),
]


def _work(pattern: Any, method: str, text: str | bytes) -> None:
    if method in {"match", "fullmatch", "search"}:
        getattr(pattern, method)(text)
    else:
        for _ in pattern.finditer(text):
            pass


def _cost_s(work: Callable[[], None], runs: int, enough_s: float = 0.0) -> float:
    """Return the processor's time of the quickest of some runs, fewer when one is quick enough."""
    best = float("inf")
    for _ in range(runs):
        start = time.process_time()
        work()
        best = min(best, time.process_time() - start)
        if best <= enough_s:
            break
    return best


def superlinear(found: Found) -> str | None:
    """Return a text that takes this pattern more than linear time, or None."""
    methods = {method if method in {"match", "fullmatch", "search"} else "finditer" for method in found.methods}
    if isinstance(found.pattern, linear.Pattern):
        # One match is linear by construction; a row of matches is not, when each looks on to the end.
        methods &= {"finditer"}
    for method, text in product(sorted(methods), worst_texts(found.pattern)):

        def cost_s(size: int, runs: int, enough_s: float = 0.0, *, method: str = method, text: Pumped = text) -> float:
            octets = isinstance(found.pattern.pattern, bytes)
            read = text.of(size).encode("utf-8", "replace") if octets else text.of(size)
            return _cost_s(lambda: _work(found.pattern, method, read), runs, enough_s)

        if any(cost_s(size, 2, EXPONENTIAL_S) > EXPONENTIAL_S for size in SHORT):
            return f"{method}, exponential: {text.of(SHORT[0])!r}"
        if cost_s(SIZE, 4, SUSPICIOUS_S) <= SUSPICIOUS_S:
            continue
        # Side by side, for the machine's pace changes. From some size on RE2 takes another way, which is one step and no
        # growth: what grows with the square, grows from each size to the next.
        if all(min(cost_s(2 * size, 3) / cost_s(size, 3) for _ in range(3)) > 2.6 for size in (SIZE, 2 * SIZE)):
            return f"{method}: {text.of(60)!r}"
    return None


@pytest.mark.parametrize("number", range(8))
def test_no_pattern_takes_more_than_linear_time(number: int) -> None:
    gc.collect()
    gc.disable()
    try:
        slow = {found.name: superlinear(found) for found in EXPANDED[number::8] if found.name not in OF_OUR_OWN}
    finally:
        gc.enable()
    assert not {name: text for name, text in slow.items() if text}


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"(?:a+)+b", "match"),
        (r"a*a*b", "match"),
        (r"<.*>", "finditer"),
        (r"(?:a|aa)+!", "match"),
        (r"x(?:.*y)?", "finditer"),
    ],
)
def test_a_bad_pattern_would_be_found(pattern: str, method: str) -> None:
    assert superlinear(Found("bad", re.compile(pattern), frozenset({method})))


def test_each_pattern_is_found() -> None:
    names = {found.name for found in ALL}
    assert {"bouncepoll.mime.words._WORD", "bouncepoll.sources.imap._dialogue._TAGGED"} <= names
    assert {found.name for found in ALL if found.pattern is None} == set(ELSEWHERE)
    assert set(OF_OUR_OWN) <= names
    # Counted in the source, too: what is compiled while a module is imported, is found.
    compiled = sum(
        len(re.findall(r"\b(?:re|linear)\.compile\(", path.read_text("utf-8"))) for path in ROOT.rglob("*.py")
    )
    assert len(names) >= compiled


def test_no_group_is_repeated_possessively() -> None:
    # Python before 3.11.5 (Debian 12 has 3.11.2) goes on behind what the last, failed repetition had read of the text;
    # "(?>(?:ab)*)" means the same, and is read rightly.
    possessive = re.compile(r"(?<!\\)\)(?:[*+?]|\{\d*,?\d*\})\+")
    patterns = [found.pattern.pattern for found in EXPANDED if isinstance(found.pattern, re.Pattern)]
    texts = [text.decode("latin-1") if isinstance(text, bytes) else text for text in patterns]
    assert [text for text in texts if possessive.search(text)] == []
    assert possessive.search(r"(?:ab)*+")
    assert len(texts) > 100


def test_what_is_compiled_later_is_a_rule_or_a_signature() -> None:
    assert local_patterns() == {
        "bouncepoll.classify.linear.check",
        "bouncepoll.classify.linear.named",
        "bouncepoll.classify.linear._matcher_of",
        "bouncepoll.classify.rulebook.compile_pattern",
        "bouncepoll.classify.notice.__init__",
        "bouncepoll.classify.engine.__init__",
    }


def test_rules_run_on_re2_and_on_nothing_else() -> None:
    assert isinstance(compile_pattern("user unknown"), linear.Pattern)
    for pattern in (r"(a)\1", r"(?=a)b", r"(?<!a)b", r"a++b"):
        with pytest.raises(linear.PatternError):
            compile_pattern(pattern).check()
    for module in (ROOT / "classify").glob("rule*.py"):
        # Only our own helpers are matched by the other engine there: no text of a rule is ever given to it.
        assert not re.search(r"\bre\.(?:compile|search|match|fullmatch|sub)\((?!r?\")", module.read_text("utf-8"))
