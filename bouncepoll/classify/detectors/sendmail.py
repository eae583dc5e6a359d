"""Text notices of Sendmail, version 5 on (savemail.c, deliver.c): a list of addresses and a transcript."""

from collections.abc import Iterator

from bouncepoll.classify import linear, notice
from bouncepoll.classify.notice import ADDRESS
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 30

_TITLES = (
    r"^[ \t]*-{3,} ?(?:Transcript of session follows|The following addresses (?:had|have)"
    r"|Session transcript follows"
    r"|Unsent message follows|Recipients of this delivery) ?-{3,}"
)
_SIGNATURE = linear.compile(f"(?im){_TITLES}")
_TRANSCRIPT = linear.compile(
    r"(?im)^[ \t]*-{3,} ?(?:Transcript of session follows|Session transcript follows) ?-{3,}[^\n]*$"
)
_LISTED = linear.compile(
    r"(?im)^[ \t]*<" + ADDRESS + r">(?:[ \t,:]|$)|^[ \t]*" + ADDRESS + r"(?:[ \t]+\((?:expanded|reason)|[ \t]*$)"
)
# The line with the address ends what was said of it: ">>> RCPT To:<…>", "<<< 550 …", "550 <…>... User unknown".
_CONCLUDED = linear.compile(r"(?im)^\d{3}[ -](?:\d\.\d{1,3}\.\d{1,3} )?<?" + ADDRESS + r">?(?:\.\.\.|:)[^\n]*$")
_ASKED = linear.compile(r"(?im)^>>> RCPT To: ?<" + ADDRESS + r">")


class SendmailDetector:
    """Reads the list of addresses, else the transcript."""

    name = "sendmail"
    signature = _TITLES

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each address listed, or concluded in the transcript."""
        shown = _SIGNATURE.search(reading.text[:16_384])
        if shown is None or not notice.from_mail_system(reading):
            return None
        claims = notice.claims(_found(reading.text), reading) or notice.fallback_claims(reading)
        return Detection(Kind.BOUNCE, claims, notice.FAILURES, Passage(shown[0].strip(), reading.where))


def create() -> SendmailDetector:
    """Build the detector."""
    return SendmailDetector()


def _found(text: str) -> Iterator[tuple[str, str]]:
    """Yield the listed addresses, each with its lines and what the transcript says of it; else the transcript's own."""
    transcript = _TRANSCRIPT.search(text)
    at = transcript.start() if transcript else len(text)
    spoken = text[transcript.end() :] if transcript else ""
    concluded = list(notice.blocks(spoken, _CONCLUDED, backward=True)) or list(notice.blocks(spoken, _ASKED))
    listed = list(notice.blocks(text[:at], _LISTED))
    if not listed:
        yield from concluded
        return
    yield from listed
    names = {address.casefold() for address, _ in listed}
    said = [(address, block) for address, block in concluded if address.casefold() in names]
    if said:
        yield from said
    elif len(names) == 1 and spoken:
        yield listed[0][0], spoken
