"""Text and HTML notices of Exchange 5.5 to 2019, Exchange Online and Outlook.com."""

from bouncepoll.classify import linear
from bouncepoll.classify.notice import ADDRESS, BARE_HEAD, TextNotice

TIER = 30

_SIGNATURE = (
    r"^[ \t]*(?:did not reach the following recipient|The following recipient\(?s\)? (?:could not|cannot) be reached"
    r"|Diagnostic information for administrators|Your message did not reach some or all of the intended recipients"
    r"|Delivery has failed to these recipients or|Delivery is delayed to these recipients|Generating server:"
    r"|Your message couldn't be delivered|Your message to .{3,200} couldn't be delivered"
    r"|Die Nachricht konnte an die folgenden Empf|Fehler bei der Zustellung der Nachricht an folgende"
    r"|.{0,80}MSEXCH:)"
)
_ON_DATE = linear.compile(r"(?im)^[ \t]*['\"<]?" + ADDRESS + r"['\">]? (?:on|am|le|el|il|op) [^\n]{6,80}$")
_ADMINISTRATORS = linear.compile(
    r"(?im)^[ \t]*" + ADDRESS + r"[ \t]*(?:\n[ \t]*)?(?:Remote Server returned|#|[^\n]{0,20}#[<45])"
)
_SENTENCE = linear.compile(r"(?im)^[ \t]*Your message to " + ADDRESS + r" couldn't be delivered")
_MAILTO = linear.compile(r"(?im)^[^\n]{0,80}(?:\(|<mailto:|mailto:)" + ADDRESS + r"\)?>?")


def create() -> TextNotice:
    """Build the detector."""
    return TextNotice("exchange", _SIGNATURE, (_ADMINISTRATORS, _ON_DATE, _SENTENCE, BARE_HEAD, _MAILTO))
