"""Complaints and other feedback in the Abuse Reporting Format (RFC 5965, RFC 6591, RFC 6650)."""

from bouncepoll.classify import linear, notice
from bouncepoll.classify.address import normalise
from bouncepoll.classify.fields import Group, first, groups
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.verdict import Claim, Detection, Kind, Passage

TIER = 10

_TYPE = "message/feedback-report"
# RFC 5965 section 3.1 and section 7.3; "dmarc" is written by some senders of failure reports (RFC 7489 section 7.3).
_KINDS = {
    "abuse": Kind.COMPLAINT,
    "fraud": Kind.COMPLAINT,
    "virus": Kind.COMPLAINT,
    "other": Kind.COMPLAINT,
    "opt-out": Kind.COMPLAINT,
    "opt-out-list": Kind.COMPLAINT,
    "miscategorized": Kind.COMPLAINT,
    "not-spam": Kind.NOT_SPAM,
    "auth-failure": Kind.REPORT,
    "dmarc": Kind.REPORT,
    "dkim": Kind.REPORT,
    "spf": Kind.REPORT,
}
_RECIPIENT_FIELDS = ("original-rcpt-to", "removal-recipient", "original-recipient", "x-original-rcpt-to", "recipient")
# https://sendersupport.olc.protection.outlook.com/snds/JMRP.aspx; the field holds who clicked "junk".
_JMRP = linear.compile(r"(?i)^\s*complaint about message from\b")
_REDACTED = frozenset({"redacted", "x", "xxx", "undisclosed", "hidden", "removed"})


class ArfDetector:
    """Reads message/feedback-report parts."""

    name = "arf"

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each recipient who complained, one without an address when it is redacted."""
        for part in reading.message.parts:
            if part.content_type == _TYPE and not part.returned:
                group = _flat(groups(part.text or ""))
                feedback = (first(group, "feedback-type") or "abuse").strip().lower()
                kind = _KINDS.get(feedback, Kind.COMPLAINT)
                claims = () if kind is Kind.REPORT else _claims(group, reading)
                return Detection(kind, claims, shown_by=Passage(f"Feedback-Type: {feedback}", f"part {part.path}"))
        return _microsoft(reading)


def create() -> ArfDetector:
    """Build the detector."""
    return ArfDetector()


def _microsoft(reading: Reading) -> Detection | None:
    """Return a complaint of Microsoft's Junk Mail Reporting Program: the mail complained of, without a report part."""
    if "omplaint" not in reading.subject and "OMPLAINT" not in reading.subject:
        return None
    if not _JMRP.search(reading.subject):
        return None
    for header in reading.message.returned_headers[:20]:
        if header.name.casefold() == "x-hmxmroriginalrecipient":
            recipient = normalise(header.value)
            return Detection(
                Kind.COMPLAINT, (_claim(recipient, header.name),), shown_by=Passage(header.value, header.name)
            )
    return None


def _flat(found: list[Group]) -> Group:
    merged: Group = {}
    for group in found:
        for name, values in group.items():
            merged.setdefault(name, []).extend(values)
    return merged


def _claims(group: Group, reading: Reading) -> tuple[Claim, ...]:
    for name in _RECIPIENT_FIELDS:
        named = [found for value in group.get(name, ()) if (found := normalise(value)) and not _is_redacted(found)]
        if named:
            return tuple(_claim(address, name.title()) for address in dict.fromkeys(named))
    returned = [address for address in notice.returned_recipients(reading) if not _is_redacted(address)]
    if len(returned) == 1:
        return (_claim(returned[0], "returned To"),)
    return (_claim(None, "redacted"),)


def _claim(address: str | None, where: str) -> Claim:
    return Claim(RecipientReport(original_recipient=address), where=where)


def _is_redacted(address: str) -> bool:
    local = address.partition("@")[0].strip("[]<>*_").casefold()
    return local in _REDACTED or not local.strip("x*")
