"""Challenges: a program asks the sender to prove that he is a person (Boxbe, Spam Arrest, TMDA, qconfirm, …)."""

from bouncepoll.classify import linear
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import RecipientReport
from bouncepoll.model.verdict import Claim, Detection, Kind, Passage

# Before "dsn": Boxbe puts its requests into the form of a delivery report.
TIER = 6

_FIELDS = (
    "X-Boxbe-Challenge",
    "X-TMDA-Confirm",
    "X-ASK-Version",
    "X-ASK-Auth",
    "X-Qconfirm",
    "X-Choicemail-Registration-Request",
    "X-Bluebottle-Request",
    "X-Spamarrest-Request",
    "X-Mailinblack-Challenge",
)
_NAMES = frozenset(field.lower() for field in _FIELDS)
# A person who asks what such a mail wants forwards it, or quotes it.
_PASSED_ON = linear.compile(r"(?i)^\s*(?:fwd?|wg|tr|rv|enc|i|vs|doorst|vb|pd|továbbítás)\s*:")
_QUOTED = linear.compile(r"(?m)^[ \t]*>.*\n[ \t]*>")
_SPEAKER_LIMIT = 8192
# A word each of the rules needs: asked first, for it is much cheaper than all the rules.
_HINT = linear.compile(
    r"(?i)confirm|verif|approv|release|guest list|waitlist|courtesy|allow|junk mail|held|conf#|killer|blocker|qconfirm"
    r"|cli[cq]|klick|tira-?teima|mailinblack|authentifi|best(?:ä|ae)tig|antworten|arrest|prove|pulse|respond|rispond|подтверд"
)


class ChallengeDetector:
    """Knows challenges by their header fields, else leaves it to the rules."""

    name = "challenge"

    def detect(self, reading: Reading) -> Detection | None:
        """Return whose mailbox asks."""
        if reading.has(_NAMES):
            for field in _FIELDS:
                value = reading.message.header(field)
                if value:
                    return Detection(Kind.CHALLENGE, _claims(reading), shown_by=Passage(value, field))
        status = _delivery_status(reading)
        if status is not None:
            if not (reading.sender.endswith("boxbe.com") or "boxbe" in status.lower()):
                return None
            return Detection(Kind.CHALLENGE, _claims(reading), shown_by=Passage("boxbe", "From or report"))
        if not _HINT.search(reading.text[:_SPEAKER_LIMIT]):
            return None
        if _PASSED_ON.match(reading.subject) or _QUOTED.search(reading.text):
            return None
        return Detection(None, _claims(reading), frozenset({Kind.CHALLENGE}))


def create() -> ChallengeDetector:
    """Build the detector."""
    return ChallengeDetector()


def _claims(reading: Reading) -> tuple[Claim, ...]:
    return (Claim(RecipientReport(final_recipient=reading.sender or None), where="From"),)


def _delivery_status(reading: Reading) -> str | None:
    """Return the first characters of the mail's own delivery report, or None when it has none."""
    for part in reading.message.parts:
        if part.content_type == "message/delivery-status" and not part.returned:
            return (part.text or "")[:_SPEAKER_LIMIT]
    return None
