"""What becomes of a mail that comes by SMTP or LMTP, and of those it is for."""

from enum import Enum, auto


class Recipient(Enum):
    """Whose a forward-path is: a filter's, nobody's in a domain of ours, somebody's elsewhere, or no address at all."""

    KNOWN = auto()
    UNKNOWN = auto()
    FOREIGN = auto()
    MALFORMED = auto()


class Reception(Enum):
    """What became of a mail: stored, kept in quarantine, or refused because it goes round in a circle."""

    STORED = auto()
    QUARANTINED = auto()
    LOOPED = auto()
