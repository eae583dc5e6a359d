"""Rules of an administrator are read again when their file changes."""

from pathlib import Path

import structlog
from structlog.testing import capture_logs

from bouncepoll.classify import create_classifier
from bouncepoll.classify.reload import ChangedRules
from bouncepoll.classify.rulebook import RuleBook
from bouncepoll.classify.rulefile import read_rules

RULE = '[[rule]]\nid = "{id}"\nreason = "blocked"\nsource = "us"\npattern = ["x"]\nexamples = ["x"]\n'


class Seconds:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def test_a_changed_file_gives_new_rules_once_and_not_more_than_once_a_second(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(RULE.format(id="a"))
    clock = Seconds()
    changed = ChangedRules(own, lambda: RuleBook(read_rules(own)), clock)
    own.write_text(RULE.format(id="a-new-one"))
    assert changed() is None
    clock.now = 1.5
    book = changed()
    assert book is not None
    assert [rule.id for rule in book.rules] == ["a-new-one"]
    clock.now = 3
    assert changed() is None


def test_a_wrong_or_missing_file_keeps_the_rules_and_says_so(tmp_path: Path) -> None:
    structlog.reset_defaults()
    own = tmp_path / "own.toml"
    own.write_text(RULE.format(id="a"))
    clock = Seconds()
    changed = ChangedRules(own, lambda: RuleBook(read_rules(own)), clock)
    own.write_text("[[rule")
    with capture_logs() as logs:
        clock.now = 2
        assert changed() is None
        own.unlink()
        clock.now = 4
        assert changed() is None
    assert [entry["event"] for entry in logs] == ["rules_unchanged", "rules_unchanged"]


def test_the_classifier_uses_the_rules_of_the_changed_file(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(RULE.format(id="mine"))
    found = create_classifier(own)
    assert found.rules.rules[0].id == "mine"
    assert "dsn" in found.detectors
