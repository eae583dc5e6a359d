"""Opt-outs by mail: what a ``mailto:`` in List-Unsubscribe (RFC 2369 section 3.2) makes a mail program send."""

from bouncepoll.classify import notice
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.verdict import Claim, Detection, Kind, Passage

TIER = 20

#: Whoever writes more than this has something to say that a person should read.
_LONGEST_TEXT = 1000
_LONGEST_SUBJECT = 80
_SUBJECT = frozenset({"subject"})
_BEGINNING = frozenset({"subject", "opening"})


class UnsubscribeDetector:
    """Leaves it to the rules; a mail server, a program or a list never opts out."""

    name = "unsubscribe"

    def detect(self, reading: Reading) -> Detection | None:
        """Return who opts out. In an answer to a mail only the text counts, and only where it stands alone."""
        message = reading.message
        text = reading.text.strip()
        pressed = (message.header("X-Apple-Unsubscribe") or "").strip().lower() == "true"
        if pressed and reading.sender:
            # QUIRK: Apple Mail marks the mail its button sends "Auto-Submitted: auto-replied".
            return Detection(Kind.UNSUBSCRIBE, _claims(reading), shown_by=Passage("true", "X-Apple-Unsubscribe"))
        if not reading.sender or len(text) > _LONGEST_TEXT or len(reading.subject) > _LONGEST_SUBJECT:
            return None
        automatic = (message.header("Auto-Submitted") or "no").strip().lower() != "no"
        if automatic or message.header("List-Id") or notice.from_mail_system(reading):
            return None
        may_be = frozenset({Kind.UNSUBSCRIBE})
        return Detection(None, _claims(reading), may_be, led_by=_BEGINNING if text else _SUBJECT)


def create() -> UnsubscribeDetector:
    """Build the detector."""
    return UnsubscribeDetector()


def _claims(reading: Reading) -> tuple[Claim, ...]:
    return (Claim(RecipientReport(final_recipient=reading.sender), where="From"),)
