"""Addresses as reports and notices write them, brought into one bare form."""

import re
from collections.abc import Iterator

from bouncepoll.classify import linear

#: RFC 5321 section 4.5.3.1: 64 octets before the "@", 255 after it; UTF-8 addresses (RFC 6531) need no more characters.
_MAX_CHARACTERS = 320
_SCAN_CHARACTERS = 65_536

# The usual form, by a matcher that costs a tenth; each of its parts stops at the one character that ends it.
_PLAIN = re.compile(
    r"(?:rfc822;)?[ ]?<?([A-Za-z0-9_.!#$%&/?^{}~-]{1,64}@[A-Za-z0-9.-]{1,255}\.[A-Za-z0-9-]{1,63})>?", re.I
)
_TYPED = re.compile(
    r"(?ai)[\t\n\f\r ]*(?:rfc822|rfc-822|utf-8|utf8|smtp|x400|x-?local|unknown|addr|lmtp)[\t\n\f\r ]*[;:][\t\n\f\r ]*"
)
_ADDRESS = linear.compile(
    # No counted repetitions: they make RE2's programs huge. What is too long is refused afterwards.
    # A control character ends an address as a space does.
    r"""(?:"[^"\x00-\x1f\x7f]+"|[^\s\x00-\x1f\x7f-\x9f<>()\[\]{}",;:@\\|`（）「」【】＜＞《》：；，。、]+)@"""
    r"(?:\[[0-9a-fA-F.:]+\]|[\pL\pM\pN](?:[\pL\pM\pN_.-]*[\pL\pM\pN])?)"
)
# xtext (RFC 3461 section 4) writes "+" and "=" as +2B and +3D; any other +HH may be a sub-address such as bob+AB.
_XTEXT = linear.compile(r"\+(2B|3D)")
_UNICODE_XTEXT = linear.compile(r"\\x\{([0-9A-F]{2,6})\}")
# What no name has without quotes (RFC 5322 section 3.2.3), and what shows that this is a piece of something else.
_NO_NAME = frozenset(' <>()[]{}"\\,;')
_TRIMMED = " \t\r\n<>'\"`,;:.()[]{}*="


def normalise(text: str | None) -> str | None:
    """Return the bare address in ``text``, or None when there is none.

    Takes off the address type (``rfc822;``, RFC 3464 section 2.1.2), angle brackets, quotes, comments and punctuation,
    and undoes xtext (RFC 3461 section 4, RFC 6533 section 3). The domain becomes lower case; IDN labels stay
    as the report writes them, for that is the form the mail was sent to.
    """
    if not text:
        return None
    # Of a display name and an address in angle brackets the brackets count.
    start = text.rfind("<") if text.endswith(">") else 0
    # Of an address with a comment behind it (Postfix's From) the comment does not count.
    end = text.find(" (") if text.endswith(")") else len(text)
    plain = _PLAIN.fullmatch(text, max(start, 0), end) if len(text) <= _MAX_CHARACTERS and end > 0 else None
    if plain is not None and plain[1][0] not in "-." and ".." not in plain[1] and plain[1][-1] != "-":
        local, _, domain = plain[1].partition("@")
        return f"{local}@{domain.lower()}"
    bare = _untyped(text[: _MAX_CHARACTERS * 4])
    if "\\x{" in bare:
        bare = _UNICODE_XTEXT.sub(lambda match: _character(match[1]), bare)
    found = _ADDRESS.search(bare)
    if found is None:
        return None
    local, _, domain = found[0].strip("'`*").rpartition("@")
    if not local or "." not in domain.strip("[]") or len(found[0]) > _MAX_CHARACTERS or not found[0].isprintable():
        return None
    return f"{_undo_xtext(local)}@{domain.lower()}"


def bare_name(text: str | None) -> str | None:
    """Return what stands where an address should: an address, else a local name without a domain, else None.

    Old gateways report users by their mailbox name alone (RFC 3464 section 2.3.2 leaves it to them).
    """
    found = normalise(text)
    if found or not text:
        return found
    name = _untyped(text[:_MAX_CHARACTERS]).strip(_TRIMMED)
    if not name or len(name) > 64 or not name.isprintable() or not _NO_NAME.isdisjoint(name):
        return None
    local, at, domain = name.rpartition("@")
    if at and not local:
        return None
    return f"{local}@{domain.lower()}" if at else name


def addresses(text: str) -> Iterator[str]:
    """Yield each address in the first 64 KiB of ``text`` once, in order, normalised."""
    if "@" not in text:
        return
    seen: set[str] = set()
    for match in _ADDRESS.finditer(text[:_SCAN_CHARACTERS]):
        found = normalise(match[0])
        if found and found.casefold() not in seen:
            seen.add(found.casefold())
            yield found


def _untyped(text: str) -> str:
    """Return ``text`` without the type of an address (RFC 3464 section 2.1.2) before it."""
    typed = _TYPED.match(text)
    return text[typed.end() :] if typed else text


def _undo_xtext(local: str) -> str:
    return _XTEXT.sub(lambda match: {"2B": "+", "3D": "="}[match[1]], local) if "+" in local else local


def _character(digits: str) -> str:
    point = int(digits, 16)
    return chr(point) if 0x20 <= point <= 0x10FFFF and not 0xD800 <= point <= 0xDFFF else "\ufffd"
