"""The commands that read mails without storing anything: classify, explain."""

from collections import Counter
from pathlib import Path
from typing import Annotated, Any

import typer

from bouncepoll.bootstrap import Application
from bouncepoll.classify import as_json as verdict_as_json
from bouncepoll.classify import evidence_json
from bouncepoll.cli._output import JsonOption, console, print_fields, print_json, print_table
from bouncepoll.cli._paths import Found, mails
from bouncepoll.cli._state import state_of
from bouncepoll.errors import UsageError
from bouncepoll.model.storing import Entry

PathsArgument = Annotated[list[Path], typer.Argument(help="Files, folders, Maildir, mbox, or - for standard input.")]


def register(app: typer.Typer) -> None:
    """Add the commands to the main program."""
    app.command()(classify)
    app.command()(explain)


def classify(context: typer.Context, paths: PathsArgument, as_json: JsonOption = False) -> None:
    """Say what mails are: one JSON object a mail, or a table; a mail that cannot be read does not stop the others."""
    kinds: Counter[str] = Counter()
    rows = []
    with state_of(context).application() as application:
        for found in mails(paths):
            record = _record(application, found)
            kinds[record["kind"] or "error"] += 1
            if as_json:
                print_json(record)
            else:
                rows += _rows(record)
    if not as_json:
        print_table("Mails", ("mail", "kind", "recipient", "reason", "severity", "status", "rule or error"), rows)
        console().print(", ".join(f"{kind} {count}" for kind, count in kinds.most_common()) or "no mails")


def explain(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A mail, or - for standard input; of an mbox the first mail.")],
    as_json: JsonOption = False,
) -> None:
    """Show how one mail is read: its structure, its route and why, each finding with its rule and the matched text."""
    found = next(mails([file]), None)
    if found is None or found.raw is None:
        raise UsageError(f"{file}: {found.error if found else 'there is no mail in it'}")
    with state_of(context).application() as application:
        filters = application.stored_filters()
        names = {entry.id: entry.name for entry in filters}
        entry = application.analyser(found.raw, filters)
    if as_json:
        print_json(_explained(entry, names))
        return
    _print_structure(entry)
    print_table(
        "Route",
        ("filter", "matched by", "token", "mailing", "recipient id"),
        ((names[r.filter_id], r.matched_by, r.verified, r.mailing_id, r.recipient_id) for r in entry.routes),
    )
    evidence = entry.verdict.evidence
    print_fields(
        f"Verdict: {entry.verdict.kind}",
        {
            "detector": evidence.detector,
            "rule": evidence.rule_id,
            "matched": evidence.matched_text,
            "where": evidence.where,
            "forwarded": bool(entry.forwards),
        },
    )
    for judged in entry.judged:
        _print_finding(_finding(judged))


def _record(application: Application, found: Found) -> dict[str, Any]:
    if found.raw is not None:
        try:
            entry = application.analyser(found.raw)
            view = verdict_as_json(entry.message, entry.verdict, [judged.severity for judged in entry.judged])
        except Exception as exc:  # noqa: BLE001 - one mail must not stop the others; the line says what happened.
            error: str | None = f"{type(exc).__name__}: {exc}"
        else:
            return {"path": found.path, "index": found.index, **view, "error": None}
    else:
        error = found.error
    nothing = dict.fromkeys(("kind", "fingerprint", "message_id", "original_message_id"))
    return {"path": found.path, "index": found.index, **nothing, "findings": [], "defects": [], "error": error}


def _rows(record: dict[str, Any]) -> list[tuple[object, ...]]:
    name = record["path"] if not record["index"] else f"{record['path']}#{record['index']}"
    if not record["findings"]:
        return [(name, record["kind"], None, None, None, None, record["error"])]
    return [
        (name, f["kind"], f["recipient"], f["reason"], f["severity"], f["status"], f["evidence"]["rule_id"])
        for f in record["findings"]
    ]


def _explained(entry: Entry, names: dict[int, str]) -> dict[str, Any]:
    view = verdict_as_json(entry.message, entry.verdict, [judged.severity for judged in entry.judged])
    parts = [
        {"path": p.path, "content_type": p.content_type, "charset": p.charset, "size_octets": p.size_octets,
         "returned": p.returned, "filename": p.filename}
        for p in entry.message.parts
    ]  # fmt: skip
    routes = [
        {"filter": names[route.filter_id], "matched_by": route.matched_by, "verified": route.verified}
        for route in entry.routes
    ]
    for shown, judged in zip(view["findings"], entry.judged, strict=True):
        shown |= {"trust": judged.trust, "trust_reason": judged.trust_reason}
    view["evidence"] = evidence_json(entry.verdict.evidence)
    return {**view, "parts": parts, "routes": routes, "forwarded": bool(entry.forwards)}


def _print_structure(entry: Entry) -> None:
    message = entry.message
    print_fields(
        "Mail",
        {
            "from": message.header("From"),
            "to": message.header("To"),
            "subject": message.header("Subject"),
            "date": message.header("Date"),
            "message-id": message.message_id,
            "original message-id": message.original_message_id,
            "size (octets)": message.raw.size_octets,
            "fingerprint": message.fingerprint,
            "defects": message.defects,
        },
    )
    print_table(
        "Parts",
        ("path", "type", "charset", "octets", "returned"),
        ((p.path, p.content_type, p.charset, p.size_octets, p.returned) for p in message.parts),
    )


def _finding(judged: Any) -> dict[str, Any]:
    finding = judged.finding
    report = finding.report
    return {
        "recipient": finding.recipient,
        "kind": finding.kind,
        "reason": finding.reason,
        "permanence": finding.permanence,
        "severity": judged.severity,
        "trust": judged.trust,
        "trust reason": judged.trust_reason,
        "status": None if report is None else report.status,
        "reply": None if report is None else report.reply,
        "action": None if report is None else report.action,
        "remote mta": None if report is None else report.remote_mta,
        "diagnostic": None if report is None else report.diagnostic_code,
        "detector": finding.evidence.detector,
        "rule": finding.evidence.rule_id,
        "matched": finding.evidence.matched_text,
        "where": finding.evidence.where,
    }


def _print_finding(fields: dict[str, Any]) -> None:
    print_fields(f"Finding: {fields['recipient'] or 'recipient not named'}", fields)
