"""A verdict as the JSON object that ``bouncepoll classify --json`` prints."""

from collections.abc import Sequence
from typing import Any

from bouncepoll.model.message import Message
from bouncepoll.model.verdict import Absence, Evidence, Finding, Severity, Verdict


def as_json(message: Message, verdict: Verdict, severities: Sequence[Severity | None]) -> dict[str, Any]:
    """Return the object for one mail; ``path``, ``index`` and ``error`` are added by who knows them.

    ``severities`` has one entry a finding, in their order. None stands where the mail does not say.
    A finding has ``facts`` only where an automatic reply states some.

    Raises:
        ValueError: there are more or fewer severities than findings.
    """
    return {
        "kind": str(verdict.kind),
        "fingerprint": message.fingerprint,
        "message_id": message.message_id,
        "original_message_id": message.original_message_id,
        "findings": [_finding(*pair) for pair in zip(verdict.findings, severities, strict=True)],
        "defects": list(message.defects),
    }


def _finding(finding: Finding, severity: Severity | None) -> dict[str, Any]:
    report = finding.report
    status = report.status if report else None
    reply = report.reply if report else None
    action = report.action if report else None
    shown: dict[str, Any] = {
        "recipient": finding.recipient,
        "kind": str(finding.kind),
        "reason": _text(finding.reason),
        "permanence": str(finding.permanence),
        "severity": _text(severity),
        "status": _text(status),
        "reply_code": reply.code if reply else None,
        "action": _text(action),
        "remote_mta": report.remote_mta if report else None,
        "diagnostic": report.diagnostic_code if report else None,
        "evidence": evidence_json(finding.evidence),
    }
    if finding.absence:
        shown["facts"] = _facts(finding.absence)
    return shown


def _facts(absence: Absence) -> dict[str, Any]:
    return {
        "away_until": _text(absence.away_until),
        "back_on": _text(absence.back_on),
        "left": absence.left,
        "write_to": list(absence.write_to),
    }


def evidence_json(evidence: Evidence) -> dict[str, Any]:
    """Return the object for an evidence."""
    return {
        "detector": evidence.detector,
        "rule_id": evidence.rule_id,
        "matched_text": evidence.matched_text,
        "where": evidence.where,
    }


def _text(value: object) -> str | None:
    return None if value is None else str(value)
