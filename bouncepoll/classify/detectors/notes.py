"""Notices of the SMTP MTA of Lotus Notes 4: the reason, then the address (Lotus SMTP MTA)."""

from bouncepoll.classify import linear, notice
from bouncepoll.classify.notice import ADDRESS
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 30

_TITLE = r"^[ \t]*-{3,}[ \t]*Failure Reasons[ \t]*-{3,}[ \t]*$"
_SIGNATURE = linear.compile(f"(?im){_TITLE}")
_LINE = linear.compile(r"(?im)^[ \t]*<?" + ADDRESS + r">?[ \t]*$")


class NotesDetector:
    """Reads the list below "Failure Reasons"."""

    name = "notes"
    signature = _TITLE

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each address; the lines before it say why."""
        shown = _SIGNATURE.search(reading.text[:16_384])
        if shown is None or not notice.from_mail_system(reading):
            return None
        listed = reading.text[shown.end() :]
        claims = notice.claims(notice.blocks(listed, _LINE, backward=True), reading)
        return Detection(
            Kind.BOUNCE,
            claims or notice.fallback_claims(reading),
            notice.FAILURES,
            Passage(shown[0].strip(), reading.where),
        )


def create() -> NotesDetector:
    """Build the detector."""
    return NotesDetector()
