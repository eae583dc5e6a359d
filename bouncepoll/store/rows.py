"""The rows of a mail: what of it is stored, cut to what the columns hold.

Everything here comes from a mail or from a server, so everything is bounded and cleaned.
"""

import re
from datetime import datetime
from email.utils import parseaddr
from typing import Any

from bouncepoll.model.delivery import OutboxState
from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.message import Message
from bouncepoll.model.storing import Entry, Judged
from bouncepoll.store.columns import clean, fitted, lengths_of, storable_size, storable_time
from bouncepoll.store.places import values_of
from bouncepoll.store.tables import events, messages, routes

_MAX_FROM_CHARS = 998
# The usual forms, in a tenth of the time: a name, bare or quoted, and an address in angle brackets; or an address, with
# or without a comment behind it. Nothing nested, escaped or listed.
_PLAIN_FROM = re.compile(
    r"""(?:"[^"\\]*"|[\w .'-]*)[ ]?<([\w.+=-]+@[\w.-]+)>|([\w.+=-]+@[\w.-]+)(?:[ ]\([^()\\]*\))?"""
)
_MAX_DEFECTS = 100
_MAX_DEFECT_CHARS = 500

_MESSAGE = lengths_of(messages)
_EVENT = lengths_of(events)
_ROUTE = lengths_of(routes)

#: The columns of the rows made here; those that all rows of a transaction share are not among them.
MESSAGE_COLUMNS = (
    *("fingerprint", "kind", "message_id", "original_message_id", "from_address", "subject", "size_octets", "defects"),
    *("detector", "rule_id", "matched_text", "matched_where", "received_at"),
)
PLACE_COLUMNS = ("source", "folder", "uidvalidity", "uid", "message_id", "duplicate", "truncated", "blob_digest")
EVENT_COLUMNS = (
    *("message_id", "recipient", "recipient_key", "kind", "reason", "permanence", "severity", "status", "reply_code"),
    *("action", "remote_mta", "diagnostic", "detector", "rule_id", "matched_text", "matched_where"),
    *("trust", "trust_reason"),
)
ROUTE_COLUMNS = ("message_id", "filter_id", "matched_by", "mailing_id", "recipient_id", "verified")


def message_row(entry: Entry) -> dict[str, Any]:
    """Return the row of a mail."""
    message, verdict = entry.message, entry.verdict
    return {
        "fingerprint": message.fingerprint,
        "kind": verdict.kind,
        "message_id": fitted(message.message_id, _MESSAGE["message_id"]),
        "original_message_id": fitted(message.original_message_id, _MESSAGE["original_message_id"]),
        "from_address": fitted(_from_address(message), _MESSAGE["from_address"]),
        "subject": fitted(message.header("Subject") or "", _MESSAGE["subject"]),
        "size_octets": storable_size(message.raw.size_octets),
        "defects": [clean(defect[:_MAX_DEFECT_CHARS]) for defect in message.defects[:_MAX_DEFECTS]],
        "detector": fitted(verdict.evidence.detector, _MESSAGE["detector"]),
        "rule_id": fitted(verdict.evidence.rule_id, _MESSAGE["rule_id"]),
        "matched_text": fitted(verdict.evidence.matched_text, _MESSAGE["matched_text"]),
        "matched_where": fitted(verdict.evidence.where, _MESSAGE["matched_where"]),
        "received_at": storable_time(message.raw.received_at),
    }


def place_row(entry: Entry, message_id: int, digest: str, *, duplicate: bool) -> dict[str, Any]:
    """Return the row of the place a mail was found at."""
    return values_of(entry.message.raw.ref) | {
        "message_id": message_id,
        "duplicate": duplicate,
        "truncated": entry.message.raw.truncated,
        "blob_digest": digest,
    }


def event_row(message_id: int, judged: Judged) -> dict[str, Any]:
    """Return the row of a finding."""
    finding, report = judged.finding, judged.finding.report
    recipient = fitted(finding.recipient or "", _EVENT["recipient"]) or ""
    reply_code = report.reply.code if report and report.reply else None
    return {
        "message_id": message_id,
        "recipient": recipient,
        "recipient_key": recipient_key(recipient),
        "kind": finding.kind,
        "reason": finding.reason,
        "permanence": finding.permanence,
        "severity": judged.severity,
        "status": fitted(str(report.status), _EVENT["status"]) if report and report.status else None,
        "reply_code": reply_code if reply_code is not None and 0 <= reply_code <= 999 else None,
        "action": report.action if report else None,
        "remote_mta": fitted(report.remote_mta, _EVENT["remote_mta"]) if report else None,
        "diagnostic": fitted(report.diagnostic_code, _EVENT["diagnostic"]) if report else None,
        "detector": fitted(finding.evidence.detector, _EVENT["detector"]),
        "rule_id": fitted(finding.evidence.rule_id, _EVENT["rule_id"]),
        "matched_text": fitted(finding.evidence.matched_text, _EVENT["matched_text"]),
        "matched_where": fitted(finding.evidence.where, _EVENT["matched_where"]),
        "trust": judged.trust,
        "trust_reason": judged.trust_reason,
    }


def recipient_key(recipient: str) -> str:
    """Return an address without case, as it is looked up."""
    return fitted(recipient.casefold(), _EVENT["recipient_key"]) or ""


def route_row(message_id: int, route: Route) -> dict[str, Any]:
    """Return the row of a route."""
    return {
        "message_id": message_id,
        "filter_id": route.filter_id,
        "matched_by": fitted(route.matched_by, _ROUTE["matched_by"]),
        "mailing_id": fitted(route.mailing_id, _ROUTE["mailing_id"]),
        "recipient_id": fitted(route.recipient_id, _ROUTE["recipient_id"]),
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
    value = (message.header("From") or "")[:_MAX_FROM_CHARS]
    plain = _PLAIN_FROM.fullmatch(value)
    if plain is not None:
        return plain[1] or plain[2]
    try:
        return parseaddr(value)[1]
    except RecursionError:
        # QUIRK: the standard library goes one call deeper at each "(", and a mail may have a thousand.
        return ""
