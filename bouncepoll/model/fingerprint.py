"""The identity of a mail that survives a server's rebuilding of its MIME."""

import hashlib
from collections.abc import Iterable, Mapping

_FIELDS = ("message-id", "date", "from", "subject")
_MAX_CHARS = 16 * 1024
#: ASCII white space and quotation marks.
_NOT_COUNTED = b' \t\n\r\x0b\x0c"'
_LOWER_CASE = bytes(range(256)).lower()


def fingerprint(index: Mapping[str, str], texts: Iterable[str], octets: bytes) -> str:
    """Return 64 hexadecimal digits: SHA-256 over some fields and the text that whoever sent this mail wrote.

    ``index`` has the first value of each field by its name in lower case, ``texts`` are those of all parts but of the
    returned mails, for servers cut these as they like. White space, case and quotation marks do not count: other
    boundaries, transfer encodings, foldings, line ends and added trace fields change nothing. Two reports of the same
    second that name two addresses differ. A mail that says nothing of all this is known by its ``octets``.
    """
    values = [index.get(name, "")[:_MAX_CHARS] for name in _FIELDS]
    words = "".join([text[:_MAX_CHARS] for text in texts])
    said = _normalised("\0".join([*values, words[:_MAX_CHARS]]))
    return hashlib.sha256(said if said.strip(b"\0") else octets).hexdigest()


def _normalised(text: str) -> bytes:
    if text.isascii():
        return text.encode().translate(_LOWER_CASE, _NOT_COUNTED)
    return text.casefold().encode("utf-8", "replace").translate(None, _NOT_COUNTED)
