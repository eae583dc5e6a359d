"""The prefilter: a set of parts and the whole patterns find what the whole patterns find."""

import pytest

from bouncepoll.classify import load_rules
from bouncepoll.classify.prefilter import necessary, necessary_of_lines
from bouncepoll.classify.rulebook import PATTERN_FIELDS, compile_pattern


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        ("user is over quota", [("user is over quota", False)]),
        ("quota.{0,60}exceeded", [("exceeded", True)]),
        ("mailbox [^.]{0,40}full|no space", [("mailbox ", True), ("no space", True)]),
        (r"(?:virus|trojan)\S+ founded", [(" founded", True)]),
        (r"pipelining.*(?:error|not)", [("pipelining", True)]),
        (r"(?:a.{0,20}b|c)", [(r"(?:a.{0,20}b|c)", False)]),
        (r"ab.{0,20}cd", [(r"ab.{0,20}cd", False)]),
        (r"(?s)one.{0,20}another", [(r"(?s)one.{0,20}another", False)]),
        (r"[]|.*]+ twelve", [(" twelve", True)]),
        (r"\(full\).{0,20}later", [(r"later", True)]),
        (r"收件人[^。]{0,20}不存在", [("收件人", True)]),
        (r"(?:not )?(?:enough|some) \pL+ memory", [(" memory", True)]),
    ],
)
def test_the_rarest_part_without_a_gap_is_taken(pattern: str, parts: list[tuple[str, bool]]) -> None:
    assert list(necessary(pattern)) == parts


@pytest.mark.parametrize(
    ("pattern", "parts"),
    [
        (r"^[ \t]*(?:one|two)", [(r"^[ \t]*one", False), (r"^[ \t]*two", False)]),
        (r"^[ \t]*(?:one|.{0,80}MSEXCH:)", [(r"^[ \t]*one", False), ("MSEXCH:", True)]),
        (r"^(?:a|b) (?:sends|.{0,20}xyz)", [("^(?:a|b) sends", False), ("xyz", True)]),
        (r"^one$|\btwo", [("^one$", False), (r"\btwo", False)]),
        (r"^[ \t]*(?:one|two)?", [(r"^[ \t]*(?:one|two)?", False)]),
    ],
)
def test_alternatives_of_lines_stand_by_themselves(pattern: str, parts: list[tuple[str, bool]]) -> None:
    assert list(necessary_of_lines(pattern)) == parts


def test_where_a_pattern_of_ours_matches_one_of_its_parts_does() -> None:
    checked = 0
    for rule in load_rules():
        for field in PATTERN_FIELDS:
            for pattern in (*getattr(rule, field), *rule.remote):
                compile_pattern(pattern).check()
            for pattern in getattr(rule, field):
                parts = [compile_pattern(part) for part, _ in necessary(pattern)]
                for example in rule.examples:
                    text = example.subject if field == "subject" else example.text
                    if compile_pattern(pattern).search(text):
                        checked += 1
                        assert any(part.search(text) for part in parts), (rule.id, pattern)
    assert checked > 300
