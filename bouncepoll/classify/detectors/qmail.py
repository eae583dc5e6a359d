"""Notices of qmail, its family, and those who write like it (Yahoo, netqmail, ezmlm gateways)."""

from bouncepoll.classify.notice import ANGLE_HEAD, BARE_HEAD, TextNotice

TIER = 30

# qmail-send.c writes "Hi. This is the qmail-send program at HOST."; hosters translate or shorten the first line.
_SIGNATURE = (
    r"^[ \t]*(?:Hi\. (?:This is|The) the qmail-send program|This is the (?:qmail-send|machine generated message from)"
    r"|I'm afraid I wasn't able to deliver your message to the following addresses"
    r"|I've given up; this message|Sorry, we were unable to deliver your message to the following address"
    r"|Unable to deliver message to the following address|.{0,80}qmail-send program)"
)


def create() -> TextNotice:
    """Build the detector."""
    return TextNotice("qmail", _SIGNATURE, (ANGLE_HEAD, BARE_HEAD))
