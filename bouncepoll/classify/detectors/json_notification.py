"""Notifications in JSON of Amazon SES (bare, or in an SNS envelope) and of SendGrid: a file, or the text of a mail."""

import json
from collections.abc import Iterator, Mapping
from typing import Any

from bouncepoll.classify import diagnostic
from bouncepoll.classify.address import normalise
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import Action, RecipientReport
from bouncepoll.model.status import EnhancedStatus
from bouncepoll.model.verdict import Claim, Detection, Kind, Passage

TIER = 10

_MAX_OCTETS = 262_144
_MAX_EVENTS = 1000
# docs.aws.amazon.com/ses: notificationType (notifications) and eventType (event publishing).
_SES_KINDS = {
    "bounce": Kind.BOUNCE,
    "complaint": Kind.COMPLAINT,
    "delivery": Kind.DELIVERED,
    "deliverydelay": Kind.DELAY,
    "subscription": Kind.UNSUBSCRIBE,
}
# www.twilio.com/docs/sendgrid: the event webhook; "dropped" was never sent, for the address is on a list.
_SENDGRID_KINDS = {
    "bounce": Kind.BOUNCE,
    "blocked": Kind.BOUNCE,
    "dropped": Kind.BOUNCE,
    "deferred": Kind.DELAY,
    "delivered": Kind.DELIVERED,
    "spamreport": Kind.COMPLAINT,
    "unsubscribe": Kind.UNSUBSCRIBE,
    "group_unsubscribe": Kind.UNSUBSCRIBE,
}
_ACTIONS = {Kind.BOUNCE: Action.FAILED, Kind.DELAY: Action.DELAYED, Kind.DELIVERED: Action.DELIVERED}


class JsonNotificationDetector:
    """Reads JSON that is a notification; every other JSON is not its business."""

    name = "json_notification"

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each recipient and event."""
        source = _source(reading)
        if source is None:
            return None
        try:
            document = json.loads(source)
        except (ValueError, RecursionError):
            return None
        claims = tuple(_claims(document))[:_MAX_EVENTS]
        if not claims or claims[0].kind is None:
            return None
        return Detection(claims[0].kind, claims, shown_by=Passage(source[:80], "JSON"))


def create() -> JsonNotificationDetector:
    """Build the detector."""
    return JsonNotificationDetector()


def _source(reading: Reading) -> str | None:
    """Return the text that may be JSON: the file itself, else the text of a mail that begins with a bracket."""
    octets = reading.message.raw.octets
    if octets[:1] in {b"{", b"["} and len(octets) <= _MAX_OCTETS:
        return octets.decode("utf-8", "replace")
    if not reading.text[:1].isspace() and reading.text[:1] not in {"{", "["}:
        return None
    text = (reading.text + reading.returned_text).strip()
    # SNS by e-mail adds a footer below a line of hyphens.
    return text.partition("\n--\n")[0].strip() if text[:1] in {"{", "["} else None


def _claims(document: Any) -> Iterator[Claim]:
    if isinstance(document, list):
        for event in document[:_MAX_EVENTS]:
            yield from _claims(event)
        return
    if not isinstance(document, Mapping):
        return
    inner = document.get("Message")
    if document.get("Type") == "Notification" and isinstance(inner, str):
        try:
            yield from _ses(json.loads(inner))
        except (ValueError, RecursionError):
            return
    elif "event" in document and "email" in document:
        yield from _sendgrid(document)
    else:
        yield from _ses(document)


def _ses(document: Any) -> Iterator[Claim]:
    if not isinstance(document, Mapping):
        return
    kind = _SES_KINDS.get(_text(document.get("notificationType") or document.get("eventType")).lower())
    if kind is None:
        return
    details: Any = next(
        (document[name] for name in ("bounce", "complaint", "deliveryDelay", "delivery") if name in document), {}
    )
    if not isinstance(details, Mapping):
        return
    if kind is Kind.COMPLAINT and _text(details.get("complaintFeedbackType")).lower() == "not-spam":
        kind = Kind.NOT_SPAM
    listed = next((details[name] for name in _SES_LISTS if isinstance(details.get(name), list)), None)
    if listed is None:
        mail = document.get("mail")
        listed = mail.get("destination") if isinstance(mail, Mapping) else None
    for entry in listed if isinstance(listed, list) else ():
        fields = entry if isinstance(entry, Mapping) else {"emailAddress": entry}
        said = f"{_text(details.get('bounceType'))} {_text(details.get('bounceSubType') or details.get('delayType'))}"
        yield _claim(fields.get("emailAddress"), kind, fields.get("status"), fields.get("diagnosticCode"), said.strip())


_SES_LISTS = ("bouncedRecipients", "complainedRecipients", "delayedRecipients", "recipients")


def _sendgrid(event: Mapping[str, Any]) -> Iterator[Claim]:
    name = _text(event.get("event")).lower()
    kind = _SENDGRID_KINDS.get(name)
    if kind is not None:
        yield _claim(event.get("email"), kind, event.get("status"), event.get("reason") or event.get("response"), "")


def _claim(address: Any, kind: Kind, status: Any, said: Any, more: str) -> Claim:
    code = _text(said).removeprefix("smtp;").strip()
    seen = diagnostic.read(code)
    report = RecipientReport(
        final_recipient=normalise(_text(address)),
        action=_ACTIONS.get(kind),
        status=diagnostic.better_status(EnhancedStatus.parse(_text(status)), seen.status),
        reply=seen.reply,
        diagnostic_type="smtp" if code else None,
        diagnostic_code=code or more or None,
        remote_mta=seen.host,
    )
    passages = tuple(Passage(text, where) for text, where in ((code, "diagnosticCode"), (more, "bounceType")) if text)
    return Claim(report, kind, passages)


def _text(value: Any) -> str:
    return value if isinstance(value, str) else ""
