"""Text notices of Postfix: what is left when the report parts were cut off (bounce_notify_util.c)."""

from bouncepoll.classify import linear
from bouncepoll.classify.notice import ADDRESS, ANGLE_HEAD, TextNotice

TIER = 30

_SIGNATURE = (
    r"^[ \t]*(?:This is the (?:mail system|Postfix program) at host |.{0,10}The mail system$"
    r"|# {0,2}THIS IS A WARNING ONLY\.)"
)
# The address stands in the first column; what is said of it is indented, and may begin with an address as well.
_AT_MARGIN = linear.compile(r"(?im)^<" + ADDRESS + r">(?: \((?:expanded from|generated from)[^)\n]*\))?:")
_FROM_TRANSCRIPT = linear.compile(r"(?im)^(?:Out: \d{3} [^<\n]{0,40}|In: +RCPT TO:)<" + ADDRESS + r">")


def create() -> TextNotice:
    """Build the detector."""
    return TextNotice("postfix", _SIGNATURE, (_AT_MARGIN, ANGLE_HEAD, _FROM_TRANSCRIPT))
