"""What mailing lists answer to a mail they do not pass on at once: Mailman 2 and 3, and those that write like them."""

from bouncepoll.classify import linear, notice
from bouncepoll.classify.address import normalise
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 20

# Mailman 2: Mailman/Handlers/Hold.py and Mailman/ListAdmin.py (templates postheld.txt, refuse.txt); Mailman 3 the same.
_REFUSED = linear.compile(r"(?i)^\s*request to mailing list .{1,100} rejected\s*$")
_HELD = linear.compile(r"(?i)^\s*your message to .{1,200} awaits moderator approval\s*$")
_ROLE = linear.compile(r"-(?:bounces|owner|admin|request|confirm)(?:\+[^@]*)?@")
_LIMIT = 4096


class ListsDetector:
    """Knows the program by its header field, what it says by the subject it writes."""

    name = "lists"
    fields = frozenset({"x-mailman-version", "x-list-administrivia"})

    def detect(self, reading: Reading) -> Detection | None:
        """Return the list that refused the mail (a failure), or holds it until its moderator decides (a delay)."""
        message = reading.message
        program = message.header("X-Mailman-Version") or message.header("X-List-Administrivia")
        if not program:
            return None
        refused = _REFUSED.match(reading.subject)
        shown = refused or _HELD.match(reading.subject)
        if shown is None:
            return None
        listed = normalise(message.header("X-BeenThere")) or _ROLE.sub("@", reading.sender)
        said = notice.claim(listed or None, reading.text[:_LIMIT], reading, "X-BeenThere", alone=True)
        return Detection(Kind.BOUNCE if refused else Kind.DELAY, (said,), shown_by=Passage(shown[0], "Subject"))


def create() -> ListsDetector:
    """Build the detector."""
    return ListsDetector()
