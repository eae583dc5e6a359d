"""How much of one mail is looked at, and which mails are too wild for the readers that are not bounded themselves.

Everything here is checked before work is done: a mail is written by whoever likes to write it.
"""

import re

#: Octets of a mail that are looked at; the rest is never read.
MAX_OCTETS = 256 * 1024
#: Octets of a mail that flanker may see: its time grows with the square of the size on hostile mails.
MAX_FLANKER_OCTETS = 64 * 1024
#: Parts listed in a ``Message``.
MAX_PARTS = 200
#: Containers (multipart, message/rfc822) within one another; what is deeper is not opened.
MAX_DEPTH = 20
#: Header fields of one part.
MAX_FIELDS = 500
#: Octets of all header fields of one part together.
MAX_HEADER_OCTETS = 64 * 1024
#: Octets of a parametrized field (Content-Type, Content-Disposition) that are looked at, and its parameters.
MAX_PARAMETER_OCTETS = 8 * 1024
MAX_PARAMETERS = 64
#: Characters of text kept of one part.
MAX_TEXT_CHARS = 128 * 1024
#: Characters of a file name.
MAX_FILENAME_CHARS = 255
#: Entries of ``Message.defects``, and their length in characters.
MAX_DEFECTS = 50
MAX_DEFECT_CHARS = 200

_MAX_CONTAINER_WORDS = 60
_MAX_DELIMITER_LINES = 2_000
_MAX_LINES_TIMES_CONTAINERS = 400_000
_MAX_CONTENT_TYPE_OCTETS = 4 * 1024
_MAX_CONTENT_TYPES_OCTETS = 16 * 1024

_CONTAINER_WORD = re.compile(r"multipart/|message/", re.IGNORECASE)
_CONTENT_TYPE = re.compile(r"^content-type[ \t]*+:[^\n]*+(?>(?:\n[ \t][^\n]*+)*)", re.IGNORECASE | re.MULTILINE)


def is_tame(text: str) -> bool:
    """Whether flanker and the standard library read this mail in little time: counts only, linear, nothing is parsed.

    ``text`` is the mail with LF line ends, one character an octet. Each line is tested against the boundary of each
    open multipart by the standard library, and long Content-Type fields are split in quadratic time by both.
    """
    containers = sum(1 for _ in _CONTAINER_WORD.finditer(text))
    if containers > _MAX_CONTAINER_WORDS or containers * text.count("\n") > _MAX_LINES_TIMES_CONTAINERS:
        return False
    if text.count("\n--") > _MAX_DELIMITER_LINES:
        return False
    lengths = [len(match[0]) for match in _CONTENT_TYPE.finditer(text)]
    return sum(lengths) <= _MAX_CONTENT_TYPES_OCTETS and max(lengths, default=0) <= _MAX_CONTENT_TYPE_OCTETS
