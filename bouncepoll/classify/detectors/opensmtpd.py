"""Notices of OpenSMTPD (usr.sbin/smtpd/bounce.c): one line a recipient, the error behind the address."""

from bouncepoll.classify import linear
from bouncepoll.classify.notice import ADDRESS, TextNotice

TIER = 30

_SIGNATURE = (
    r"^[ \t]*(?:This is the MAILER-DAEMON, please DO NOT REPLY"
    r"|An error has occurred while attempting to deliver a message"
    r"|A message is delayed for more than|Hi! This is the MAILER-DAEMON)"
)
_LINE = linear.compile(r"(?im)^[ \t]{0,4}<?" + ADDRESS + r">?:[ \t]")


def create() -> TextNotice:
    """Build the detector."""
    return TextNotice("opensmtpd", _SIGNATURE, (_LINE,))
