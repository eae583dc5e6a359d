"""Notices of Ipswitch IMail (SMTP32): a line for each recipient, the reason before the address."""

from bouncepoll.classify import linear, notice
from bouncepoll.classify.notice import ADDRESS
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 30

_PROGRAM = linear.compile(r"(?i)^<?(?:SMTP32|IMail)\b")
_LINE = linear.compile(
    r"(?im)^[ \t]*(?:[^@\n]{3,80}(?::|\bto)[ \t]+<?" + ADDRESS + r">?[ \t]*$|undeliverable to <?" + ADDRESS + r">?)"
)


class ImailDetector:
    """Knows the program by its X-Mailer and the subject it writes."""

    name = "imail"
    fields = frozenset({"x-mailer"})

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each recipient the notice lists."""
        program = reading.message.header("X-Mailer") or ""
        if not _PROGRAM.match(program) or not reading.subject.lower().startswith("undeliverable"):
            return None
        claims = notice.claims(notice.blocks(reading.text[:4096], _LINE), reading) or notice.fallback_claims(reading)
        return Detection(Kind.BOUNCE, claims, notice.FAILURES, Passage(program, "X-Mailer"))


def create() -> ImailDetector:
    """Build the detector."""
    return ImailDetector()
