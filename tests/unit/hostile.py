"""Texts that try to end what they stand in: for hypothesis."""

import re

from hypothesis import strategies as st

#: Pieces that end a line, a string, an address or a command somewhere, and words behind them that would then count.
_PIECES = st.sampled_from(
    [
        *("\r", "\n", "\r\n", "\0", "\x0b", "\x0c", "\x1c", "\x85", "\u2028", "\u2029", "\x7f", "\x1b[2J", "\u202e"),
        *('"', "\\", "'", "<", ">", "(", ")", ",", ";", ":", "@", "{1}", "{1+}", "%", "*", "&", "~", "+", " ", "\t"),
        *("A1 DELETE INBOX", "QUIT", "RCPT TO:<x@example.com>", "Bcc: x@example.com", "X-Evil: 1", ".", "DATA", "-X"),
        *("ann@example.com", "news", "Spring", "ü", "😀", "\ud800"),
    ]
)
#: Hostile texts; often with a line end in them.
TEXTS = st.lists(_PIECES, max_size=8).map("".join)

CONTROLS = re.compile("[\x00-\x1f\x7f]")
