"""Disposition notifications (RFC 8098): somebody displayed, deleted or processed a mail. Never a bounce."""

import re

from bouncepoll.classify import linear
from bouncepoll.classify.address import normalise
from bouncepoll.classify.fields import first, groups
from bouncepoll.model.message import Part
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.verdict import Claim, Detection, Kind, Passage

# Before "dsn": the fields of both reports have the same names.
TIER = 5

_TYPES = frozenset({"message/disposition-notification", "message/global-disposition-notification"})
_REPORT = linear.compile(r"(?i)multipart/report\b.*\breport-type\s*=\s*\"?disposition-notification")
_DISPOSITION = linear.compile(
    r"(?im)^Disposition:[ \t]*[^\n;]{1,80};[ \t]*(?:displayed|deleted|denied|dispatched|processed|failed)"
)
# Exchange and Outlook without the report: "Read: ", "Not read: ", "Gelesen: ", …; Notes and Mozilla: "Return Receipt".
# Every subject is looked at, and RE2 takes longer to be asked than this does to answer.
_SUBJECT = re.compile(
    r"(?i)\s*+(?:(?:not |un)?read|(?:un|nicht )?gelesen|lu|non lu|le(?:í|i)do|no le(?:í|i)do|letto|non letto"
    r"|lida|n(?:ã|a)o lida"
    r"|gelezen|niet gelezen|l(?:ä|a)st|ej l(?:ä|a)st|ol(?:ä|a)st|lest|ulest|l(?:æ|ae)st|ul(?:æ|ae)st|luettu"
    r"|ei luettu"
    r"|przeczytan[eao]|nieprzeczytan[eao]|прочтено|прочитано|не прочтено|не прочитано|p(?:ř|r)e(?:č|c)teno"
    r"|nep(?:ř|r)e(?:č|c)teno"
    r"|okundu|okunmad(?:ı|i)|olvasott|开封|開封済み|已读|已讀|읽음|return receipt[^:]*+|lesebest(?:ä|ae)tigung"
    r"|empfangsbest(?:ä|ae)tigung"
    r"|accus(?:é|e) de (?:lecture|r(?:é|e)ception))(?:\s*+[:(]|$)"
)


class MdnDetector:
    """Reads message/disposition-notification parts; leaves receipts without one to the rules."""

    name = "mdn"

    def detect(self, reading: Reading) -> Detection | None:
        """Return the recipient who sent the receipt."""
        for part in reading.message.parts:
            if not part.returned and (part.content_type in _TYPES or _holds_disposition(part)):
                return _receipt(part)
        written = reading.message.header("Content-Type") or ""
        if "disposition-notification" in written.lower() and _REPORT.search(written):
            claim = Claim(RecipientReport(final_recipient=reading.sender or None), where="From")
            return Detection(Kind.RECEIPT, (claim,), shown_by=Passage("disposition-notification", "Content-Type"))
        if _SUBJECT.match(reading.subject):
            claim = Claim(RecipientReport(final_recipient=reading.sender or None), where="From")
            return Detection(None, (claim,), frozenset({Kind.RECEIPT}))
        return None


def create() -> MdnDetector:
    """Build the detector."""
    return MdnDetector()


def _holds_disposition(part: Part) -> bool:
    """Whether the part is a notification under another media type."""
    if not part.text or part.text.find("isposition:", 0, 4096) < 0 or part.content_type.startswith("text/html"):
        return False
    return "inal-recipient" in part.text[:4096].lower() and bool(_DISPOSITION.search(part.text[:4096]))


def _receipt(part: Part) -> Detection:
    merged = {name: values for group in groups(part.text or "") for name, values in group.items()}
    report = RecipientReport(
        final_recipient=normalise(first(merged, "final-recipient")),
        original_recipient=normalise(first(merged, "original-recipient")),
    )
    disposition = first(merged, "disposition") or part.content_type
    return Detection(Kind.RECEIPT, (Claim(report),), shown_by=Passage(disposition, "Disposition"))
