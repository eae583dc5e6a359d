"""The order of detectors, what becomes of their claims, and the severity of the default policy."""

from types import ModuleType

import pytest

from bouncepoll import registry
from bouncepoll.classify import as_json, create_classifier
from bouncepoll.classify.engine import MAX_FINDINGS, Classifier, Tiered
from bouncepoll.classify.rulebook import RuleBook
from bouncepoll.errors import ConfigurationError
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import Action, RecipientReport
from bouncepoll.model.status import EnhancedStatus, Permanence, SmtpReply
from bouncepoll.model.verdict import Claim, Detection, Evidence, Finding, Kind, Passage, Reason, Severity
from bouncepoll.policy.severity import severity
from tests.unit.classify.mails import classifier, dsn, message, notice, only, summary, verdict


class Says:
    def __init__(self, name: str, detection: Detection | None) -> None:
        self.name = name
        self._detection = detection

    def detect(self, reading: Reading) -> Detection | None:
        return self._detection


class Breaks:
    name = "breaks"

    def detect(self, reading: Reading) -> Detection | None:
        raise ValueError("hostile")


def engine(*tiered: Tiered) -> Classifier:
    return Classifier(tiered, RuleBook([]))


def claim(address: str | None, kind: Kind | None = None) -> Claim:
    return Claim(RecipientReport(final_recipient=address), kind)


MAIL = message("From: a@example.org\n\nhello\n")


def test_the_lower_tier_is_asked_first_and_a_broken_detector_is_passed_over() -> None:
    late = Tiered(20, Says("a", Detection(Kind.BULK)))
    early = Tiered(10, Says("z", Detection(Kind.REPORT)))
    found = engine(late, early, Tiered(5, Breaks()), Tiered(6, Says("none", None)))
    assert found.detectors == ("breaks", "none", "z", "a")
    assert found.classify(MAIL).evidence.detector == "z"


def test_a_detection_without_a_kind_needs_a_rule() -> None:
    assert (
        engine(Tiered(1, Says("x", Detection(None, may_be=frozenset({Kind.BOUNCE}))))).classify(MAIL).kind == Kind.REPLY
    )


def test_one_recipient_is_one_finding_and_failure_beats_delay() -> None:
    claims = (
        claim("A@example.org", Kind.DELAY),
        claim("a@example.org", Kind.BOUNCE),
        claim(None),
        claim("b@example.org"),
    )
    found = engine(Tiered(1, Says("x", Detection(Kind.DELIVERED, claims)))).classify(MAIL)
    assert [(f.recipient, f.kind) for f in found.findings] == [
        ("a@example.org", Kind.BOUNCE),
        ("b@example.org", Kind.DELIVERED),
    ]
    assert found.kind == Kind.BOUNCE


def test_the_number_of_findings_is_bounded() -> None:
    claims = tuple(claim(f"u{n}@example.org") for n in range(MAX_FINDINGS + 5))
    assert len(engine(Tiered(1, Says("x", Detection(Kind.BOUNCE, claims)))).classify(MAIL).findings) == MAX_FINDINGS


def test_nothing_at_all_is_unknown_and_a_person_is_a_reply() -> None:
    assert verdict("").kind == Kind.UNKNOWN
    assert verdict("From: bob@example.org\nSubject: Re: News\n\nThanks!\n").kind == Kind.REPLY
    assert verdict("Content-Type: image/png\n\nPNG\n").kind == Kind.REPLY


@pytest.mark.parametrize(
    "source",
    [
        dsn(
            "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.1.1\nDiagnostic-Code: smtp; 550 5.1.1 no\n"
        ),
        notice("This is the mail system at host x.\n\n<bob@example.org>: host y said: 550 5.2.2 over quota\n"),
        notice("This is a warning only. bob@example.org\n"),
    ],
)
def test_line_ends_do_not_matter_and_every_cut_gives_an_answer(source: str) -> None:
    seen = summary(source)
    assert summary(source.replace("\n", "\r\n")) == seen
    assert summary(source.replace("\n", "\r")) == seen
    for at in range(0, len(source), max(1, len(source) // 50)):
        assert verdict(source[:at]).kind in Kind


@pytest.mark.parametrize(
    ("fields", "permanence", "expected"),
    [
        ("Action: failed\nStatus: 5.1.1", Permanence.PERMANENT, Severity.HARD),
        ("Action: failed\nStatus: 4.1.1", Permanence.UNKNOWN, Severity.HARD),
        ("Action: delayed\nStatus: 4.1.1", Permanence.TRANSIENT, Severity.SOFT),
        ("Action: failed\nStatus: 4.0.0\nDiagnostic-Code: x; user unknown", Permanence.UNKNOWN, Severity.HARD),
        ("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: x; user unknown", Permanence.PERMANENT, Severity.HARD),
        ("Action: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 450 user unknown", Permanence.TRANSIENT, Severity.SOFT),
        ("Action: failed\nDiagnostic-Code: x; user unknown", Permanence.UNKNOWN, Severity.HARD),
        ("Action: failed\nStatus: 5.7.1\nDiagnostic-Code: smtp; 550 5.7.1 spam", Permanence.PERMANENT, Severity.SOFT),
        ("Action: failed\nStatus: 5.7.26", Permanence.PERMANENT, Severity.SOFT),
        ("Action: delayed\nStatus: 4.4.1", Permanence.TRANSIENT, Severity.SOFT),
        ("Action: delivered\nStatus: 2.0.0", Permanence.SUCCESS, None),
    ],
)
def test_permanence_and_severity(fields: str, permanence: Permanence, expected: Severity | None) -> None:
    found = only(dsn(f"Final-Recipient: rfc822; bob@example.org\n{fields}\n"))
    assert (found.permanence, severity(found)) == (permanence, expected)


@pytest.mark.parametrize("reason", list(Reason))
def test_only_a_dead_address_is_hard(reason: Reason) -> None:
    found = Finding("a@example.org", Kind.BOUNCE, reason, Permanence.PERMANENT, Evidence("x"))
    dead = {Reason.USER_UNKNOWN, Reason.HOST_UNKNOWN, Reason.HAS_MOVED, Reason.NOT_ACCEPT}
    assert (severity(found) is Severity.HARD) is (reason in dead)


def test_evidence_names_detector_rule_text_and_place() -> None:
    found = only(
        dsn(
            "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 user unknown\n"
        )
    )
    assert found.evidence == Evidence("dsn", "user_unknown.text", "user unknown", "Diagnostic-Code")


def test_the_json_view_has_each_field() -> None:
    mail = message(
        dsn(
            "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.1.1\nRemote-MTA: dns; MX.example.org\n"
        )
    )
    shown = as_json(mail, classifier().classify(mail), [Severity.HARD])
    assert shown["kind"] == "bounce"
    assert shown["message_id"] == "<1@mx.example.net>"
    assert shown["findings"][0] == {
        "recipient": "bob@example.org", "kind": "bounce", "reason": "user_unknown", "permanence": "permanent",
        "severity": "hard", "status": "5.1.1", "reply_code": None, "action": "failed", "remote_mta": "mx.example.org",
        "diagnostic": None,
        "evidence": {"detector": "dsn", "rule_id": "user_unknown.codes", "matched_text": "5.1.1", "where": "Status"},
    }  # fmt: skip
    with pytest.raises(ValueError, match="zip"):
        as_json(mail, classifier().classify(mail), [])


def test_the_report_keeps_what_it_says() -> None:
    found = only(
        dsn(
            "Final-Recipient: rfc822; bob@example.org\nAction: failed\nStatus: 5.0.0\nDiagnostic-Code: smtp; 550 5.2.2 full\n"
        )
    )
    assert found.report is not None
    assert found.report.status == EnhancedStatus(5, 2, 2)
    assert found.report.reply == SmtpReply(550, "5.2.2 full", EnhancedStatus(5, 2, 2))
    assert found.report.action is Action.FAILED
    assert Passage("a", "b").where == "b"


def test_an_installed_detector_without_a_tier_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("theirs")
    monkeypatch.setattr(registry, "plugins", lambda package: {"theirs": module})
    with pytest.raises(ConfigurationError, match="does not define TIER as a number"):
        create_classifier()


def test_an_installed_detector_is_asked_in_its_tier(monkeypatch: pytest.MonkeyPatch) -> None:
    module = ModuleType("theirs")
    module.TIER = 1  # type: ignore[attr-defined]  # a module made for the test
    module.create = lambda: Says("theirs", Detection(Kind.BULK))  # type: ignore[attr-defined]  # as above
    known = dict(registry.plugins("bouncepoll.classify.detectors"))
    monkeypatch.setattr(registry, "plugins", lambda package: {**known, "theirs": module})
    found = create_classifier()
    assert found.detectors[0] == "theirs"
    assert found.classify(MAIL).evidence.detector == "theirs"
