"""Addresses as filters and header fields hold them: one bare, comparable form, and what wraps it undone."""

import re
import unicodedata
from collections.abc import Iterator
from itertools import islice

from bouncepoll.errors import UsageError

#: RFC 5321 section 4.5.3.1: 64 octets before the "@", 255 after it.
MAX_CHARACTERS = 320
_MAX_VALUE_CHARACTERS = 32_768
_MAX_ADDRESSES = 200
_DELIMITER = re.compile(r'[\\"(),;<>]')
_PLACEHOLDER = re.compile(r"\{([^{}]*)\}")

_QUOTED = r'"(?:[^"\\\r\n]|\\.){1,64}"'
_ATOM = r"[^\s<>()\[\]{}\",;:@\\]{1,255}"
_DOMAIN = r"(?:\[[0-9a-fA-F.:]{3,50}\]|[^\s<>()\[\]{}\",;:@\\'`|]{1,255})"
# An atom is tried where it begins and nowhere else: without the look-behind, a value without "@" costs 128 times more.
_ADDRESS = re.compile(rf"(?P<local>{_QUOTED}|(?<![^\s<>()\[\]{{}}\",;:@\\]){_ATOM})@(?P<domain>{_DOMAIN})")
_WHOLE = re.compile(rf"(?P<local>{_QUOTED}|{_ATOM})@(?P<domain>{_DOMAIN})")
# SRS (Shevlin): SRS0=hash=time=domain=local@forwarder, SRS1=hash=forwarder==hash=time=domain=local@forwarder. The hash
# is the forwarder's: nobody else can check it.
_SRS0 = re.compile(r"SRS0[=+-][^=]{1,16}=[^=]{1,8}=(?P<domain>[^=@]{1,255})=(?P<local>.{1,128})", re.IGNORECASE)
_SRS1 = re.compile(r"SRS1[=+-][^=]{1,16}=[^=]{1,255}=(?P<rest>[=+-].{1,255})", re.IGNORECASE)
# BATV (draft-levine-smtp-batv): prvs=tag=local, and the older forms prvs=local/tag and btv1==tag==local.
_PRVS = re.compile(r"prvs=(?P<tag>[0-9a-z]{6,16})=(?P<local>.{1,128})", re.IGNORECASE)
_PRVS_OLD = re.compile(r"prvs=(?P<local>[^=/]{1,128})/(?P<tag>[0-9a-z]{6,16})", re.IGNORECASE)
# A signed token behind a "-", where a server does not take the "+" (see ``resolve.tokens``).
_TOKEN_TAIL = re.compile(r"(?P<base>.{1,200}?)-bp1[a-z2-7]{36,300}")
_BTV1 = re.compile(r"btv1==[^=]{1,32}==(?P<local>.{1,128})", re.IGNORECASE)


def normalise(text: str | None) -> str | None:
    """Return the bare address in ``text`` in its comparable form, or None when there is none.

    Lower case, an IDN's A-labels (RFC 5891) as they are written in the DNS, a needlessly quoted local part unquoted.
    """
    return next(addresses_in(text or ""), None)


def addresses_in(value: str) -> Iterator[str]:
    """Yield the addresses of a header field's value, at most 200, in order; linear in the first 32 KiB of the value.

    What stands in a comment or in a display name (RFC 5322 section 3.4) is no address.
    """
    text = value[:_MAX_VALUE_CHARACTERS]
    if "@" not in text:
        return
    matches = (match for mailbox in _mailboxes(text) for match in _ADDRESS.finditer(mailbox))
    for match in islice(matches, _MAX_ADDRESSES):
        found = _comparable(match["local"], match["domain"])
        if found is not None:
            yield found


def valid_address(text: str) -> str | None:
    """Return an address typed by an administrator in its comparable form; None when it is not one address exactly."""
    bare = text.strip()
    if len(bare) > MAX_CHARACTERS or not bare.isprintable():
        return None
    match = _WHOLE.fullmatch(bare)
    if match is None or ("." not in match["domain"] and not match["domain"].startswith("[")):
        return None
    return _comparable(match["local"], match["domain"])


def valid_filter_address(text: str) -> str | None:
    """Return a filter address, ``local@domain`` or the catch-all ``@domain``, in its comparable form; else None."""
    bare = text.strip()
    if not bare.startswith("@"):
        return valid_address(bare)
    whole = valid_address("x" + bare)
    return None if whole is None else whole[1:]


def comparable_filter_address(text: str) -> str:
    """Return a stored filter address in its comparable form; one that is none in lower case, for it matches nothing."""
    return valid_filter_address(text) or text.strip().lower()


def without_sub_address(address: str) -> str | None:
    """Return the address without its sub-address (RFC 5233: what follows the first ``+``); None when it has none."""
    local, _, domain = address.rpartition("@")
    base, plus, _detail = local.partition("+")
    return f"{base}@{domain}" if plus and base else None


def unwrapped(address: str) -> str | None:
    """Return the address inside an SRS or BATV wrapper, None when there is none.

    A wrapper's signature is its maker's own: it cannot be checked here, so what is inside is no proof of anything.
    """
    local, _, domain = address.rpartition("@")
    for _ in range(4):
        inner = _unwrap_once(local, domain)
        if inner is None:
            break
        local, domain = inner
    found = _comparable(local, domain)
    return found if found != address else None


def shortened(address: str) -> Iterator[str]:
    """Yield what is left of an address without its sub-addresses, the most specific first; nothing when it has none.

    A VERP address gives what it was made of: ``news+f3=reader=example.net@example.org`` and
    ``news+f3+reader=example.net@example.org`` give ``news+f3@example.org``, then ``news@example.org``. A token is a
    sub-address behind a ``-`` too.
    """
    local, _, domain = address.rpartition("@")
    if "-bp1" in local and (match := _TOKEN_TAIL.fullmatch(local)) is not None:
        yield f"{match['base']}@{domain}"
    token, equals, _recipient = local.partition("=")
    forms = [token if equals and "+" in token else "", local.rpartition("+")[0], local.partition("+")[0]]
    if "+" in local:
        yield from (f"{form}@{domain}" for form in dict.fromkeys(forms) if form)


def covers(filter_address: str, address: str) -> bool:
    """Whether a mail to ``address`` would belong to this filter address: the same, a sub-address, or its domain.

    ``address`` is in its comparable form (``normalise``); ``filter_address`` may be as it was typed.
    """
    return comparable_filter_address(filter_address) in forms_of(address)


def forms_of(address: str) -> Iterator[str]:
    """Yield every filter address that a mail to ``address`` may belong to: itself, shortened, its domain, unwrapped."""
    for form in (address, unwrapped(address)):
        if form is not None:
            yield from (form, *shortened(form), "@" + form.rpartition("@")[2])


def filter_address(template: str, number: int, *, mailbox_address: str | None, mailloop_domain: str | None) -> str:
    """Return the address a new filter gets by a template.

    ``{id}`` is the filter's number, ``{mailloop_domain}`` that of the configuration; ``{local}`` and ``{domain}`` are
    those of the polled mailbox, whose own sub-address is dropped.

    Raises:
        UsageError: the template asks for something that is not known, or what comes out is no address.
    """
    base = without_sub_address(mailbox_address) or mailbox_address if mailbox_address else None
    local, _, domain = base.rpartition("@") if base else ("", "", "")
    values = {"id": str(number), "mailloop_domain": mailloop_domain or "", "local": local, "domain": domain}
    unknown = [name for name in _PLACEHOLDER.findall(template) if name not in values]
    if unknown:
        allowed = ", ".join(f"{{{name}}}" for name in values)
        raise UsageError(f"the address template {template!r} names {{{unknown[0]}}}; allowed are {allowed}")
    made = _PLACEHOLDER.sub(lambda match: values[match[1]], template)
    found = valid_address(made)
    if found is None:
        raise UsageError(
            f"the address template {template!r} gives {made!r}, which is no address; set filters.mailloop_domain, "
            "name a mailbox with an address, or give --filter-address"
        )
    return found


def _mailboxes(text: str) -> Iterator[str]:
    """Yield what holds the address of each mailbox of a list: what stands in angle brackets, else all but comments.

    A comment, a quoted string or a bracket that is never closed counts as plain text: nothing is lost by it.
    """
    plain: list[str] = []
    angle, start, quote, depth, skip = "", 0, -1, 0, 0
    for match in _DELIMITER.finditer(text):
        at, mark = match.start(), match[0]
        if at < skip:
            continue
        if mark == "\\":
            skip = at + 2
        elif quote >= 0:
            if mark == '"' and text[at + 1 : at + 2] != "@":
                plain.append(text[start:quote])
                start = at + 1
            quote = -1 if mark == '"' else quote
        elif depth:
            depth += {"(": 1, ")": -1}.get(mark, 0)
            start = start if depth else at + 1
        elif mark == '"':
            # Only where a word begins: a name like O"Neill must not swallow the mailboxes that follow.
            quote = at if at == start or text[at - 1] in " \t" else -1
        elif mark != ")":
            plain.append(text[start:at])
            angle = plain.pop() if mark == ">" and "@" in plain[-1] else angle
            start, depth = at + (mark != "("), int(mark == "(")
            if mark in ",;":
                yield angle or " ".join(plain)
                plain, angle = [], ""
    yield angle or " ".join([*plain, text[start:]])


def _comparable(local: str, domain: str) -> str | None:
    name = domain.strip(".").lower()
    if ".." in name:
        return None
    if not name.isascii():
        try:
            name = ".".join(map(_a_label, name.split(".")))
        except UnicodeError:
            return None
    if local.startswith('"'):
        bare = re.sub(r"\\(.)", r"\1", local[1:-1])
        local = bare if re.fullmatch(_ATOM, bare) else local
    found = f"{local.strip(chr(39)).lower()}@{name}"
    if not name or found.startswith("@") or len(found) > MAX_CHARACTERS or not found.isprintable():
        return None
    return found


def _a_label(label: str) -> str:
    # QUIRK: the codec is IDNA 2003 (RFC 3490), which turns these two into "ss" and another sigma: other domains today.
    if {"ß", "ς"} & set(label):
        return "xn--" + unicodedata.normalize("NFC", label).encode("punycode").decode("ascii")
    return label.encode("idna").decode("ascii")


def _unwrap_once(local: str, domain: str) -> tuple[str, str] | None:
    if (match := _SRS1.fullmatch(local)) is not None:
        # The rest is "=hash=time=domain=local" of the SRS0 address, its own separator first.
        local = f"SRS0{match['rest']}"
    if (match := _SRS0.fullmatch(local)) is not None:
        return match["local"], match["domain"]
    for pattern in (_PRVS, _PRVS_OLD, _BTV1):
        if (match := pattern.fullmatch(local)) is not None:
            return match["local"], domain
    return None
