"""What the receiving host found out about who sent a mail: its Authentication-Results field (RFC 8601).

Anybody may write such a field into a mail. Believed is one only: the first from the top whose authserv-id is exactly
one of ours, and above which no Received field stands that a host which is not ours wrote. Every host that writes the
field writes it above what was there, so a forged one is never the first (a host that does not write it into every mail
has to take out those with its own name, RFC 8601 section 5). ARC (RFC 8617) is not looked at: whom to believe a seal
is a list of its own.
"""

import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

import authres

from bouncepoll.model.message import Header

_MAX_FIELDS = 100
_MAX_CHARS = 4096
_MAX_RESULTS = 30
_BY = re.compile(r"(?:^|\s)by\s+([A-Za-z0-9.:_\[\]-]{1,255})", re.IGNORECASE)
# In the parser a nested comment is a call, and what it does not understand is an error of one of these kinds.
_UNREADABLE = (authres.core.AuthResError, ValueError, TypeError, AttributeError, RecursionError)


class Outcome(StrEnum):
    """What the receiving host says of the domain in From; ``none``: it says nothing that decides."""

    PASSED = "pass"
    FAILED = "fail"
    NONE = "none"


class _Result(NamedTuple):
    method: str
    result: str
    domains: frozenset[str]


def outcome(headers: Sequence[Header], authserv_ids: frozenset[str], from_domain: str | None) -> Outcome:
    """Return what the receiving host says of a mail from ``from_domain`` (lower case; None: From is not clear).

    ``fail``: DMARC failed, or SPF did and no DKIM signature held. ``pass``: DMARC, or SPF or DKIM with the very domain.
    """
    value = _ours(headers, authserv_ids)
    results = () if value is None else _results(value, authserv_ids)
    dmarc = next((found for found in results if found.method == "dmarc"), None)
    if dmarc is not None and dmarc.result == "fail":
        return Outcome.FAILED
    spf_failed = any(found.method == "spf" and found.result == "fail" for found in results)
    dkim_held = any(found.method == "dkim" and found.result == "pass" for found in results)
    if dmarc is None and spf_failed and not dkim_held:
        return Outcome.FAILED
    passed = (found for found in results if found.result == "pass" and found.method in ("dmarc", "spf", "dkim"))
    return Outcome.PASSED if any(from_domain in found.domains for found in passed) else Outcome.NONE


def _ours(headers: Iterable[Header], authserv_ids: frozenset[str]) -> str | None:
    """Return the value of the field that is believed, or None."""
    for count, (name, value) in enumerate(headers):
        if count >= _MAX_FIELDS:
            return None
        lowered = name.casefold()
        if lowered == "authentication-results":
            if _authserv_id(value) in authserv_ids:
                return value
        elif lowered == "received":
            writer = _BY.search(value[:_MAX_CHARS])
            if writer is None or writer[1].lower().strip("[]") not in authserv_ids:
                return None
    return None


def _authserv_id(value: str) -> str | None:
    """Return the authserv-id a field begins with; None when anything else (a comment, a quoted string) does."""
    found = re.match(r"\s*([A-Za-z0-9._-]{1,255})(?=[\s;]|$)", value[:_MAX_CHARS])
    return None if found is None else found[1].lower()


def _results(value: str, authserv_ids: frozenset[str]) -> Sequence[_Result]:
    if len(value) > _MAX_CHARS:
        return ()
    try:
        parsed = authres.parse_value(value)
    except _UNREADABLE:
        return ()
    if parsed.authserv_id not in authserv_ids:
        return ()
    return [_Result(str(found.method), str(found.result), _domains(found)) for found in parsed.results[:_MAX_RESULTS]]


def _domains(found: authres.core.AuthenticationResult) -> frozenset[str]:
    """Return the domains a result is about: header.from (DMARC), header.d (DKIM), smtp.mailfrom and smtp.helo (SPF)."""
    wanted = {"dmarc": {"header.from"}, "dkim": {"header.d", "header.i"}, "spf": {"smtp.mailfrom", "smtp.helo"}}
    names = wanted.get(str(found.method), set())
    return frozenset(
        str(prop.value).rpartition("@")[2].lower().rstrip(".")
        for prop in found.properties[:_MAX_RESULTS]
        if f"{prop.type}.{prop.name}" in names and prop.value
    )
