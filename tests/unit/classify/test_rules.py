"""The rules that come with bouncepoll, and what proves rules right."""

import re
from pathlib import Path

import pytest

from bouncepoll.classify import check_rules, create_classifier, load_rules, unused_rules
from bouncepoll.classify.rulebook import Facts, RuleBook
from bouncepoll.classify.rulefile import parse_rules, read_rules
from bouncepoll.errors import ConfigurationError
from bouncepoll.model.status import EnhancedStatus
from bouncepoll.model.verdict import Kind, Passage, Reason
from tests.unit.classify.mails import dsn, reading, verdict

LANGUAGES = ("en", "de", "fr", "es", "it", "pt", "nl", "pl", "ru", "tr", "sv", "ja", "zh", "ko")


def rule(body: str, rule_id: str = "r", extra: str = "") -> str:
    return f'[[rule]]\nid = "{rule_id}"\nsource = "a server"\n{body}\n{extra}\n'


GOOD = rule('reason = "blocked"\npattern = ["go away"]\nexamples = ["550 go away"]')


def faults(source: str) -> str:
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(source, "own.toml", 0)
    return str(caught.value)


def test_each_of_our_rules_for_failures_is_reached_by_its_examples() -> None:
    assert [fault for fault in check_rules(load_rules(None)) if fault[0] in "1234"] == []


def test_every_reason_that_a_text_can_give_has_a_rule() -> None:
    reasons = {rule.reason for rule in load_rules(None)}
    assert set(Reason) - reasons == {Reason.UNDEFINED}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_main_reasons_are_known_in_each_language(language: str) -> None:
    of = {rule.reason for rule in load_rules(None) if language in re.split(r", ?", rule.language)}
    kinds = {rule.kind for rule in load_rules(None) if language in re.split(r", ?", rule.language)}
    if language != "en":
        assert {Reason.USER_UNKNOWN, Reason.MAILBOX_FULL} <= of
    assert {Kind.BOUNCE, Kind.DELAY} <= kinds


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("rule = 1", "write each rule as a table"),
        ("rule = [1]", "write each rule as a table"),
        ("[[rule", "not TOML"),
        (rule('reason = "blocked"\npattern = ["a("]\nexamples = ["a"]'), "RE2 does not take 'a('"),
        (rule('reason = "blocked"\npattern = ["(?!a)b"]\nexamples = ["b"]'), "look-around"),
        (rule('reason = "blocked"\npattern = [""]\nexamples = ["b"]'), "matches everything"),
        (rule('reason = "blocked"\npattern = "x"\nexamples = ["b"]'), "write a list of texts in quotes"),
        (rule('reason = "bloked"\npattern = ["x"]\nexamples = ["x"]'), "did you mean 'blocked'?"),
        (rule('kind = "bouncy"\ntext = ["x"]\nexamples = ["x"]'), "did you mean 'bounce'?"),
        (rule('pattern = ["x"]\nexamples = ["x"]'), "give either 'reason'"),
        (rule('reason = "blocked"\nkind = "bounce"\ntext = ["x"]\nexamples = ["x"]'), "give either 'reason'"),
        (rule('kind = "bounce"\npattern = ["x"]\nexamples = ["x"]'), "a rule with 'kind' looks at"),
        (rule('reason = "blocked"\ntext = ["x"]\nexamples = ["x"]'), "a rule with 'reason' looks at"),
        (rule('reason = "blocked"\nexamples = ["x"]'), "nothing to match on"),
        (rule('reason = "blocked"\npattern = ["x"]'), "give at least one text this rule is for"),
        (rule('reason = "blocked"\npattern = ["x"]\nexamples = "x"'), "examples: found 'x'; write a list"),
        (rule('reason = "blocked"\npattern = ["x"]\nexamples = [1]'), "write a text or a table of text, subject"),
        (rule('reason = "blocked"\npattern = ["x"]\nexamples = [{ txt = "x" }]'), "did you mean 'text'?"),
        (rule('reason = "blocked"\nstatus = ["5"]\nexamples = ["x"]'), "write '5.2.2'"),
        (rule('reason = "blocked"\nreply = [50]\nexamples = ["x"]'), "lies between 200 and 599"),
        (rule('reason = "blocked"\nreply = ["550"]\nexamples = ["x"]'), "write a list of numbers"),
        (rule('reason = "blocked"\npatern = ["x"]\nexamples = ["x"]'), "did you mean 'pattern'?"),
        (rule('reason = "blocked"\npattern = ["x"]\nlanguage = 1\nexamples = ["x"]'), "write text in quotes"),
        ('[[rule]]\nid = "a"\nreason = "blocked"\npattern = ["x"]\nexamples = ["x"]', "say who writes this text"),
        (
            '[[rule]]\nsource = "s"\nreason = "blocked"\npattern = ["x"]\nexamples = ["x"]',
            "rule number 1: id: is missing",
        ),
        (GOOD + GOOD, "'r' is used twice"),
    ],
)
def test_a_fault_in_a_rule_file_is_named(source: str, said: str) -> None:
    found = faults(source)
    assert said in found
    assert found.startswith("own.toml")


def test_all_faults_are_named_at_once() -> None:
    with pytest.raises(ConfigurationError) as caught:
        parse_rules(rule('reason = "x"\nstatus = ["9"]\nreply = [1]'), "own.toml", 0)
    assert len(str(caught.value).splitlines()) >= 4


def test_a_file_that_cannot_be_read_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_rules(tmp_path / "none.toml")
    (tmp_path / "latin.toml").write_bytes(b"\xff")
    with pytest.raises(ConfigurationError, match="cannot be read"):
        read_rules(tmp_path / "latin.toml")
    (tmp_path / "large.toml").write_bytes(b"#" * 1_048_577)
    with pytest.raises(ConfigurationError, match="larger than"):
        read_rules(tmp_path / "large.toml")


def test_an_own_rule_goes_before_all_of_ours(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(rule('reason = "on_hold"\npattern = ["user unknown"]\nexamples = ["550 user unknown"]', "mine"))
    match = RuleBook(load_rules(own)).reason([Passage("550 5.1.1 user unknown", "Diagnostic-Code")], Facts())
    assert match is not None
    assert (match.rule.id, match.rule.tier, match.matched_text) == ("mine", 0, "user unknown")


def test_an_own_rule_is_asked_for_every_text(tmp_path: Path) -> None:
    own = tmp_path / "own.toml"
    own.write_text(rule('reason = "on_hold"\npattern = ["ticket held"]\nexamples = ["ticket held"]', "mine"))
    passages = [Passage("550 5.1.1 user unknown", "Diagnostic-Code"), Passage("Your ticket held us up", "part 1")]
    match = RuleBook(load_rules(own)).reason(passages, Facts())
    assert match is not None
    assert (match.rule.id, match.where) == ("mine", "part 1")


def test_unreachable_and_repeated_rules_are_found() -> None:
    first = rule('reason = "blocked"\npattern = ["go"]\nexamples = ["550 go"]', "a")
    second = rule('reason = "rejected"\npattern = ["go away"]\nexamples = ["550 go away", "nothing"]', "b")
    found = check_rules(parse_rules(first + second, "own.toml", 0))
    assert "rule 'b': rule 'a' (own.toml) matches its example '550 go away' first, on 'go'" in found[0]
    assert "nothing matches its example 'nothing'" in found[1]
    doubled = parse_rules(first, "x.toml", 0) + parse_rules(first, "y.toml", 0)
    found = check_rules(doubled)
    assert any("the id is used in" in fault for fault in found)
    assert any("is written more than once" in fault for fault in found)


def test_rules_that_decided_nothing_are_reported() -> None:
    rules = load_rules(None)
    left = unused_rules(
        rules, [verdict(dsn("Final-Recipient: rfc822; b@example.org\nAction: failed\nStatus: 5.1.1\n"))]
    )
    assert len(left) == len(rules) - 1
    assert "user_unknown.codes" not in {rule.id for rule in left}


@pytest.mark.parametrize(
    ("text", "status", "reply", "remote", "reason"),
    [
        ("550 5.7.1 message looks like spam", "5.7.1", 550, "", "spam_detected"),
        ("over quota", "5.0.0", None, "", "mailbox_full"),
        ("550 no", "5.1.1", 550, "", "user_unknown"),
        ("550 Unknown user x@docomo.example", "5.2.0", 550, "mfsmax.docomo.ne.jp", "filtered"),
        ("550 Unknown user x@example.org", "5.2.0", 550, "mx.example.org", "user_unknown"),
        (
            "550-5.1.1 The email account that you tried to reach does not exist. Please 550-5.1.1 try",
            "5.1.1",
            550,
            "",
            "user_unknown",
        ),
        ("550 <quota-exceeded@example.org>: no", "5.1.1", 550, "", "user_unknown"),
        ("550 5.7.1 Access denied", "5.7.1", 550, "", "rejected"),
        ("550 5.7.26 no DMARC pass", "5.7.26", 550, "", "auth_failure"),
        ("no", None, 556, "", "not_accept"),
    ],
)
def test_the_strongest_evidence_decides(
    text: str, status: str | None, reply: int | None, remote: str, reason: str
) -> None:
    facts = Facts(EnhancedStatus.parse(status) if status else None, reply, remote)
    match = create_classifier().rules.reason([Passage(text, "Diagnostic-Code")], facts)
    assert match is not None
    assert match.rule.reason == reason


def test_no_rule_is_no_match() -> None:
    book = RuleBook(parse_rules(GOOD, "own.toml", 0))
    assert book.reason([Passage("550 hello", "x"), Passage("", "y")], Facts()) is None
    assert book.kind(reading("From: a@example.org\n\nhello\n"), frozenset({Kind.BOUNCE})) is None


def test_each_field_of_a_rule_for_a_kind_has_to_match() -> None:
    source = rule(
        'kind = "delay"\nsubject = ["late"]\ntext = ["will retry"]\nexamples = [{ subject = "late", text = "will retry" }]'
    )
    book = RuleBook(parse_rules(source, "own.toml", 0))
    delay = frozenset({Kind.DELAY})
    match = book.kind(reading("Subject: late\n\nwe will retry\n"), delay)
    assert match is not None
    assert (match.matched_text, match.where) == ("late", "Subject")
    assert book.kind(reading("Subject: late\n\nbye\n"), delay) is None
    assert book.kind(reading("Subject: late\n\nwe will retry\n"), delay, frozenset({"text"})) is None


@pytest.mark.parametrize("spelling", ["5.2.2", "5.2.*", "5.*", "*.2.2", "*.2.*"])
def test_a_status_is_spelled_in_five_ways(spelling: str) -> None:
    book = RuleBook(
        parse_rules(rule(f'reason = "mailbox_full"\nstatus = ["{spelling}"]\nexamples = ["5.2.2"]'), "o", 0)
    )
    assert book.reason([], Facts(EnhancedStatus(5, 2, 2))) is not None
    assert book.reason([], Facts(EnhancedStatus(4, 3, 1))) is None
