"""Status codes: RFC 3463 enhanced status codes and RFC 5321 replies."""

import re
from enum import StrEnum
from typing import NamedTuple

_ENHANCED = re.compile(r"(?<![\d.])([245])\.(\d{1,3})\.(\d{1,3})(?![\d.]*\d)")


class Permanence(StrEnum):
    """Whether trying again could help: what the mail says, not what a policy makes of it."""

    PERMANENT = "permanent"
    TRANSIENT = "transient"
    SUCCESS = "success"
    UNKNOWN = "unknown"


_BY_CLASS = {2: Permanence.SUCCESS, 4: Permanence.TRANSIENT, 5: Permanence.PERMANENT}


class EnhancedStatus(NamedTuple):
    """An enhanced mail system status code, ``class.subject.detail`` (RFC 3463 section 2)."""

    class_digit: int
    subject: int
    detail: int

    @classmethod
    def parse(cls, text: str) -> "EnhancedStatus | None":
        """Return the first status code in ``text``, or None. IP addresses and version numbers are no status codes."""
        match = _ENHANCED.search(text)
        return cls(int(match[1]), int(match[2]), int(match[3])) if match else None

    @property
    def permanence(self) -> Permanence:
        """What the class digit says (RFC 3463 section 3.1)."""
        return _BY_CLASS[self.class_digit]

    def __str__(self) -> str:
        return f"{self.class_digit}.{self.subject}.{self.detail}"


class SmtpReply(NamedTuple):
    """A reply of an SMTP or LMTP server (RFC 5321 section 4.2); ``text`` has its lines joined by single spaces."""

    code: int
    text: str = ""
    enhanced: EnhancedStatus | None = None

    @property
    def permanence(self) -> Permanence:
        """What the first digit of the code says (RFC 5321 section 4.2.1)."""
        return _BY_CLASS.get(self.code // 100, Permanence.UNKNOWN)

    def __str__(self) -> str:
        return f"{self.code} {self.text}".rstrip()
