"""Lists and newsletters that reach the mailbox: RFC 2369, RFC 2919, Precedence, and what says so at its end."""

from bouncepoll.classify import linear, notice
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Detection, Kind, Passage

TIER = 60

# RFC 2919, RFC 2369, RFC 8058; ezmlm, Mailman, LISTSERV; then the fields of mailing programs and providers.
_FIELDS = (
    "List-Id",
    "List-Unsubscribe",
    "List-Unsubscribe-Post",
    "List-Post",
    "List-Help",
    "Mailing-List",
    "X-Mailing-List",
    "X-Mailman-Version",
    "X-BeenThere",
    "X-Listserver",
    "Feedback-ID",
    "X-Campaign",
    "X-CampaignID",
    "X-Campaign-Id",
    "X-MC-User",
    "X-Mailgun-Tag",
    "X-CSA-Complaints",
    "X-Newsletter",
    "X-Mailer-RecptId",
)
_PRECEDENCES = frozenset({"bulk", "list", "junk"})
_ANSWER = linear.compile(
    r"(?i)^\s*(?:\[[^\]]{1,60}\]\s*)?(?:re|aw|antw(?:ort)?|sv|vs|odp|res|rif|r|ref|ynt|ang|vá|atb|απ|отв|на|回复|回覆|答复|返信"
    r"|fwd?|wg|tr|rv|enc|vb|pd|i|doorst|転送|转发|轉寄)\s*(?:\[\d{1,3}\])?\s*[:：]"
)
_QUOTED = linear.compile(r"(?m)^[ \t]*>.*\n[ \t]*>")
_BULK = frozenset({Kind.BULK})


class BulkDetector:
    """Knows bulk mail by its header fields, else leaves it to the rules."""

    name = "bulk"

    def detect(self, reading: Reading) -> Detection | None:
        """Return kind ``bulk``, but for an answer: a group address puts list fields on what people write to it.

        What a mail system sends is no bulk mail: if nobody understood it, a person should see it.
        """
        message = reading.message
        if message.header("In-Reply-To") or message.header("References") or _ANSWER.match(reading.subject):
            return None
        if _QUOTED.search(reading.text) or notice.from_mail_system(reading):
            return None
        if message.header("X-Google-Group-Id") and not message.header("Feedback-ID"):
            return Detection(None, may_be=_BULK)
        for field in _FIELDS:
            value = message.header(field)
            if value:
                return Detection(Kind.BULK, shown_by=Passage(value, field))
        precedence = (message.header("Precedence") or "").strip().lower()
        if precedence in _PRECEDENCES:
            return Detection(Kind.BULK, shown_by=Passage(precedence, "Precedence"))
        return Detection(None, may_be=_BULK)


def create() -> BulkDetector:
    """Build the detector."""
    return BulkDetector()
