"""What the documents show works, and names everything there is."""

import re
from pathlib import Path

from bouncepoll.classify import check_rules, load_rules
from bouncepoll.classify.rulefile import parse_rules
from bouncepoll.model.verdict import Kind, Reason
from bouncepoll.policy.severity import HARD

CLASSIFICATION = (Path(__file__).resolve().parents[2] / "docs" / "classification.md").read_text(encoding="utf-8")


def _rows(section: str) -> dict[str, list[str]]:
    text = CLASSIFICATION.split(f"\n## {section}\n")[1].split("\n## ")[0]
    cells = [
        [cell.strip() for cell in line.strip("|").split("|")] for line in text.splitlines() if line.startswith("| `")
    ]
    return {row[0].strip("`"): row[1:] for row in cells}


def test_every_kind_and_every_reason_stands_in_its_table() -> None:
    assert list(_rows("Kinds")) == [str(kind) for kind in Kind]
    assert set(_rows("Reasons")) == {str(reason) for reason in Reason}


def test_the_table_says_what_the_policy_does() -> None:
    hard = {reason for reason, row in _rows("Reasons").items() if row[1] == "hard"}
    assert hard == {str(reason) for reason in HARD}


def test_the_rule_that_is_shown_is_right() -> None:
    shown = re.findall(r"```toml\n(.*?)```", CLASSIFICATION, re.DOTALL)
    (rule,) = parse_rules(shown[0], "docs", tier=0)
    assert check_rules([rule, *load_rules()]) == []


def test_the_detector_that_is_shown_is_the_real_one() -> None:
    shown = re.findall(r"```python\n(.*?)```", CLASSIFICATION, re.DOTALL)
    real = Path(__file__).resolve().parents[2] / "bouncepoll" / "classify" / "detectors" / "dragonfly.py"
    assert shown == [real.read_text(encoding="utf-8")]


def test_every_promise_names_tests_that_are_there() -> None:
    tests = Path(__file__).resolve().parents[1]
    text = (tests.parent / "docs" / "reliability.md").read_text(encoding="utf-8")
    promises = [line.split("|")[3] for line in text.splitlines() if line.startswith("| ")][1:]
    named = [
        re.findall(r"`(?:tests/)?((?:unit|integration|contracts|corpus|fuzz|migrations)[\w/.]*)`", cell)
        for cell in promises
    ]
    assert all(named)
    assert not [name for names in named for name in names if not (tests / name).exists()]
