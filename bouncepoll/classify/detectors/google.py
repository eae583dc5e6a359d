"""Text notices of Gmail and Google Workspace before they had report parts, and of Google Groups."""

from bouncepoll.classify import linear, notice
from bouncepoll.classify.notice import BARE_HEAD, TextNotice
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 30

_SIGNATURE = (
    r"^[ \t]*(?:Delivery to the following recipients? (?:failed permanently|has been delayed)"
    r"|Technical details of (?:permanent|temporary) failure"
    r"|This is an automatically generated Delivery Status Notification"
    r"|Message will be retried for .{1,20} more day|Your message wasn't delivered to"
    r"|We're writing to let you know that the group you tried to contact|Google tried to deliver your message)"
)
_SENDER = linear.compile(r"mailer-daemon@(?:google|googlemail|gmail)\.com")


class GoogleDetector:
    """Knows the English words, else the sender and X-Failed-Recipients: the text may be in any of sixty languages."""

    name = "google"
    signature = _SIGNATURE
    fields = frozenset({"x-failed-recipients"})

    def __init__(self) -> None:
        self._in_english = TextNotice(self.name, _SIGNATURE, (BARE_HEAD,))

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each recipient the notice names."""
        detection = self._in_english.detect(reading)
        if detection is not None:
            return detection
        if not _SENDER.fullmatch(reading.sender) or not notice.failed_recipients(reading):
            return None
        claims = notice.fallback_claims(reading)
        return Detection(Kind.BOUNCE, claims, notice.FAILURES, Passage(reading.sender, "From"))


def create() -> GoogleDetector:
    """Build the detector."""
    return GoogleDetector()
