"""Notices of the DragonFly Mail Agent (dma, mail.c: bounce)."""

from bouncepoll.classify import linear
from bouncepoll.classify.notice import ADDRESS, TextNotice

TIER = 30

_SIGNATURE = r"^[ \t]*This is the DragonFly Mail Agent\b"
_DELIVERING = linear.compile(r"(?im)^[ \t]*There was an error delivering your mail to <?" + ADDRESS + r">?\.?[ \t]*$")


def create() -> TextNotice:
    """Build the detector."""
    return TextNotice("dragonfly", _SIGNATURE, (_DELIVERING,))
