"""Text notices of AOL that name its users without their domain (until about 2008)."""

from collections.abc import Iterator

from bouncepoll.classify import linear, notice
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 30

# The words, over whichever lines; then the address nobody takes mail from.
_WORDS = (
    r"Your mail to the following recipients? could not be delivered"
    r" because (?:they are|he is|she is) not accepting mail from"
)
_FIRST_WORDS = r"^[ \t]*" + _WORDS.replace(" ", r"\s+")
_SIGNATURE = linear.compile(r"(?im)" + _FIRST_WORDS + r"\s+\S{3,320}?:?[ \t]*$")
_NAME = linear.compile(r"(?m)^[ \t]*([A-Za-z0-9][A-Za-z0-9._-]{1,63})[ \t]*$")


class AolDetector:
    """Reads the names below the sentence; their domain is that of who sent the notice."""

    name = "aol"
    signature = _FIRST_WORDS

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each name."""
        shown = _SIGNATURE.search(reading.text[:4096])
        if shown is None or not notice.from_mail_system(reading):
            return None
        domain = reading.sender.partition("@")[2].split(".")
        named = tuple(_named(reading.text[shown.end() : 4096], ".".join(domain[-2:])))
        claims = tuple(notice.claim(address, shown[0], reading) for address in named)
        return Detection(
            Kind.BOUNCE, claims or notice.fallback_claims(reading), shown_by=Passage(shown[0], reading.where)
        )


def create() -> AolDetector:
    """Build the detector."""
    return AolDetector()


def _named(text: str, domain: str) -> Iterator[str]:
    for match in _NAME.finditer(text):
        yield f"{match[1]}@{domain}"
