"""Notes that servers hand out in place of mails."""

import re

_SUBJECT = b"Retrieval using the IMAP4 protocol failed"
_LOOKED_AT_OCTETS = 1024  # The note's head has a handful of fields.
_NOTE = re.compile(rb"(?im)^Subject:\s*Retrieval using the IMAP4 protocol failed\b")
_OF_A_REAL_MAIL = re.compile(rb"(?im)^(Received|Message-ID|Return-Path):")
_HEAD_END = re.compile(rb"\r?\n\r?\n")


def is_placeholder(octets: bytes) -> bool:
    """Whether this is Exchange's note that it cannot convert a mail, and not the mail.

    The server makes the note up at each fetch. Nobody sent it, so it lacks what every mail that was sent has, and no
    sender can pass a mail off as one.
    """
    if octets.find(_SUBJECT, 0, _LOOKED_AT_OCTETS) < 0:
        return False
    head = _HEAD_END.split(octets[:_LOOKED_AT_OCTETS], maxsplit=1)[0]
    return bool(_NOTE.search(head)) and not _OF_A_REAL_MAIL.search(head)
