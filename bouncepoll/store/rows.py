"""The rows of a mail: what of it is stored, cut to what the columns hold.

Everything here comes from a mail or from a server, so everything is bounded and cleaned.
"""

from datetime import datetime
from email.utils import parseaddr
from typing import Any

from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.message import Message
from bouncepoll.model.records import PlaceState
from bouncepoll.ports import Entry, Judged
from bouncepoll.store.columns import clean, fit, storable_size, storable_time
from bouncepoll.store.places import values_of
from bouncepoll.store.tables import events, messages, routes

_MAX_FROM_CHARS = 998
_MAX_DEFECTS = 100
_MAX_DEFECT_CHARS = 500


def message_row(entry: Entry, now: datetime) -> dict[str, Any]:
    """Return the row of a mail."""
    message, verdict = entry.message, entry.verdict
    return {
        "fingerprint": message.fingerprint,
        "kind": verdict.kind,
        "message_id": fit(message.message_id, messages.c.message_id),
        "original_message_id": fit(message.original_message_id, messages.c.original_message_id),
        "from_address": fit(_from_address(message), messages.c.from_address),
        "subject": fit(message.header("Subject") or "", messages.c.subject),
        "size_octets": storable_size(message.raw.size_octets),
        "defects": [clean(defect[:_MAX_DEFECT_CHARS]) for defect in message.defects[:_MAX_DEFECTS]],
        "detector": fit(verdict.evidence.detector, messages.c.detector),
        "rule_id": fit(verdict.evidence.rule_id, messages.c.rule_id),
        "matched_text": fit(verdict.evidence.matched_text, messages.c.matched_text),
        "matched_where": fit(verdict.evidence.where, messages.c.matched_where),
        "received_at": storable_time(message.raw.received_at),
        "recorded_at": now,
        "stripped": False,
    }


def place_row(entry: Entry, message_id: int, digest: str, *, duplicate: bool, now: datetime) -> dict[str, Any]:
    """Return the row of the place a mail was found at."""
    return values_of(entry.message.raw.ref) | {
        "message_id": message_id,
        "state": PlaceState.STORED,
        "duplicate": duplicate,
        "settled": False,
        "truncated": entry.message.raw.truncated,
        "blob_digest": digest,
        "recorded_at": now,
    }


def event_row(message_id: int, judged: Judged, now: datetime) -> dict[str, Any]:
    """Return the row of a finding."""
    finding, report = judged.finding, judged.finding.report
    recipient = fit(finding.recipient or "", events.c.recipient) or ""
    reply_code = report.reply.code if report and report.reply else None
    return {
        "message_id": message_id,
        "recipient": recipient,
        "recipient_key": recipient_key(recipient),
        "kind": finding.kind,
        "reason": finding.reason,
        "permanence": finding.permanence,
        "severity": judged.severity,
        "status": fit(str(report.status), events.c.status) if report and report.status else None,
        "reply_code": reply_code if reply_code is not None and 0 <= reply_code <= 999 else None,
        "action": report.action if report else None,
        "remote_mta": fit(report.remote_mta, events.c.remote_mta) if report else None,
        "diagnostic": fit(report.diagnostic_code, events.c.diagnostic) if report else None,
        "detector": fit(finding.evidence.detector, events.c.detector),
        "rule_id": fit(finding.evidence.rule_id, events.c.rule_id),
        "matched_text": fit(finding.evidence.matched_text, events.c.matched_text),
        "matched_where": fit(finding.evidence.where, events.c.matched_where),
        "recorded_at": now,
    }


def recipient_key(recipient: str) -> str:
    """Return an address without case, as it is looked up."""
    return fit(recipient.casefold(), events.c.recipient_key) or ""


def route_row(message_id: int, route: Route) -> dict[str, Any]:
    """Return the row of a route."""
    return {
        "message_id": message_id,
        "filter_id": route.filter_id,
        "matched_by": fit(route.matched_by, routes.c.matched_by),
        "mailing_id": fit(route.mailing_id, routes.c.mailing_id),
        "recipient_id": fit(route.recipient_id, routes.c.recipient_id),
        "verified": route.verified,
    }


def outbox_rows(message_id: int, bounce_filter: BounceFilter, digest: str, now: datetime) -> list[dict[str, Any]]:
    """Return the rows that wait to be forwarded, one a feedback address."""
    return [
        {
            "message_id": message_id,
            "filter_id": bounce_filter.id,
            "forward_path": forward_path,
            "state": OutboxState.QUEUED,
            "blob_digest": digest,
            "attempts": 0,
            "created_at": now,
            "next_attempt_at": now,
        }
        for forward_path in dict.fromkeys(clean(address) for address in bounce_filter.forward_to)
    ]


def _from_address(message: Message) -> str:
    try:
        return parseaddr((message.header("From") or "")[:_MAX_FROM_CHARS])[1]
    except RecursionError:
        # QUIRK: the standard library goes one call deeper at each "(", and a mail may have a thousand.
        return ""
