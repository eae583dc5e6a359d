"""SPF (RFC 7208): what a domain's record says, how many look-ups it costs, and whether an address passes."""

import ipaddress
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple

from bouncepoll.diagnose._resolver import Address, Found, Resolver, State

#: Section 4.6.4: terms that cost a look-up, those that may find nothing, and MX or PTR records of one term.
MAX_LOOKUPS = 10
MAX_VOID_LOOKUPS = 2
_MAX_NAMES = 10
# So far a survey goes on beyond the limit, to tell by how much it is exceeded.
_MAX_SURVEYED = 3 * MAX_LOOKUPS

_MAX_RECORD_CHARACTERS = 4096
_TERM = re.compile(
    r"(?P<qualifier>[+\-~?])?(?P<name>all|include|a|mx|ptr|ip4|ip6|exists)"
    r"(?::(?P<value>[^/\s]+))?(?P<v4>/\d{1,2})?(?://(?P<v6>\d{1,3}))?",
    re.IGNORECASE,
)
_NETWORK = re.compile(r"(?P<qualifier>[+\-~?])?(?P<name>ip4|ip6):(?P<value>[0-9A-Fa-f.:]+(?:/\d{1,3})?)", re.IGNORECASE)
_MODIFIER = re.compile(r"(?P<name>[A-Za-z][A-Za-z0-9._-]*)=(?P<value>\S*)")
_MACRO = re.compile(
    r"%(?:\{(?P<letter>[slodiphcrtv])(?P<digits>\d{0,3})(?P<reverse>r?)(?P<by>[.\-+,/_=]*)\}|(?P<one>[%_-]))",
    re.IGNORECASE,
)
_NEEDS_DOMAIN = frozenset({"include", "exists"})
_COSTS = frozenset({"include", "a", "mx", "ptr", "exists"})


class Result(StrEnum):
    """What a receiver concludes (section 2.6)."""

    PASS = "pass"  # noqa: S105 - no password.
    FAIL = "fail"
    SOFTFAIL = "softfail"
    NEUTRAL = "neutral"
    NONE = "none"
    TEMPERROR = "temperror"
    PERMERROR = "permerror"


_QUALIFIERS = {"+": Result.PASS, "-": Result.FAIL, "~": Result.SOFTFAIL, "?": Result.NEUTRAL}


class Term(NamedTuple):
    """A mechanism: ``value`` is its domain or network, empty where it has none."""

    result: Result
    name: str
    value: str
    v4: int = 32
    v6: int = 128

    def __str__(self) -> str:
        sign = {result: sign for sign, result in _QUALIFIERS.items() if sign != "+"}.get(self.result, "")
        return f"{sign}{self.name}{':' if self.value else ''}{self.value}"


@dataclass(frozen=True, slots=True)
class Record:
    """A parsed record; ``faults`` are what breaks its syntax."""

    text: str
    terms: tuple[Term, ...]
    redirect: str | None = None
    faults: tuple[str, ...] = ()

    @property
    def default(self) -> Result | None:
        """What ``all`` says, None without it."""
        return next((term.result for term in self.terms if term.name == "all"), None)


@dataclass(slots=True)
class Survey:
    """Everything a record leads to, as if no term ever matched."""

    lookups: int = 0
    costs: list[str] = field(default_factory=list)
    domains: list[str] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)
    voids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)


class _Over(Exception):
    """The evaluation is over with an error."""

    def __init__(self, result: Result, why: str) -> None:
        super().__init__(why)
        self.result = result


class Verdict(NamedTuple):
    """What a receiver concludes of an address, and the term or the error that decided."""

    result: Result
    why: str


def records_of(texts: Sequence[str]) -> list[str]:
    """Return the SPF records among TXT records (section 4.5)."""
    return [text for text in texts if text.lower() == "v=spf1" or text.lower().startswith("v=spf1 ")]


def parse(text: str) -> Record:
    """Return what a record says; what cannot be read stands in ``faults``."""
    terms: list[Term] = []
    faults: list[str] = []
    redirects: list[str] = []
    for word in text[:_MAX_RECORD_CHARACTERS].split()[1:]:
        modifier = _MODIFIER.fullmatch(word)
        if modifier is not None:
            if modifier["name"].lower() == "redirect":
                redirects.append(modifier["value"])
            continue
        term = _term(word)
        if term is None:
            faults.append(f"{word[:60]!r} is no term of RFC 7208")
        else:
            terms.append(term)
    if len(redirects) > 1:
        faults.append("redirect= stands there twice")
    return Record(text, tuple(terms), redirects[0] if redirects else None, tuple(faults))


def _term(word: str) -> Term | None:
    network = _NETWORK.fullmatch(word)
    if network is not None:
        version = 4 if network["name"].lower() == "ip4" else 6
        try:
            parsed = ipaddress.ip_network(network["value"], strict=False)
        except ValueError:
            return None
        if parsed.version != version:
            return None
        return Term(_QUALIFIERS[network["qualifier"] or "+"], network["name"].lower(), network["value"])
    found = _TERM.fullmatch(word)
    if found is None:
        return None
    name, value = found["name"].lower(), found["value"] or ""
    v4 = int(found["v4"][1:]) if found["v4"] else 32
    v6 = int(found["v6"]) if found["v6"] else 128
    has_prefix = bool(found["v4"] or found["v6"])
    wrong = (
        name in {"ip4", "ip6"}
        or (name in _NEEDS_DOMAIN and not value)
        or (name == "all" and bool(value))
        or (has_prefix and name not in {"a", "mx"})
        or v4 > 32
        or v6 > 128
    )
    return None if wrong else Term(_QUALIFIERS[found["qualifier"] or "+"], name, value, v4, v6)


class Spf:
    """The SPF of a domain, for mails from ``sender``."""

    def __init__(self, resolver: Resolver, domain: str, sender: str) -> None:
        self._resolver = resolver
        self._domain = domain
        self._sender = sender
        self._lookups = 0
        self._voids = 0

    def survey(self) -> Survey:
        """Follow everything the record leads to, and count."""
        found = Survey()
        self._follow(self._domain, found, ())
        return found

    def _follow(self, domain: str, found: Survey, above: tuple[str, ...]) -> None:
        if domain in above:
            found.faults.append(f"{domain} includes itself")
            return
        if found.lookups > _MAX_SURVEYED:
            return
        answer, texts = self._resolver.texts(domain)
        records = records_of(texts)
        if answer.state is State.FAILED:
            found.failures.append(f"{domain}: {answer.error}")
        elif len(records) != 1:
            what = "no SPF record" if not records else f"{len(records)} SPF records"
            found.faults.append(f"{domain} has {what}")
        if len(records) != 1:
            return
        found.domains.append(domain)
        record = parse(records[0])
        found.faults += [f"{domain}: {fault}" for fault in record.faults]
        for term in record.terms:
            if term.name in _COSTS:
                self._count(term, domain, found)
            if term.name == "include" and "%" not in term.value:
                self._follow(term.value.rstrip(".").lower(), found, (*above, domain))
        if record.redirect and record.default is None:
            found.lookups += 1
            found.costs.append(f"redirect={record.redirect}")
            if "%" not in record.redirect:
                self._follow(record.redirect.rstrip(".").lower(), found, (*above, domain))

    def _count(self, term: Term, domain: str, found: Survey) -> None:
        found.lookups += 1
        found.costs.append(str(term))
        target = (term.value or domain).rstrip(".").lower()
        if term.name in {"a", "mx"} and "%" not in target and found.lookups <= _MAX_SURVEYED:
            answer = self._resolver.ask(target, "MX") if term.name == "mx" else self._resolver.addresses(target)[0]
            if answer.state in {State.EMPTY, State.NO_NAME}:
                found.voids.append(str(term))

    def check(self, address: Address) -> Verdict:
        """Return what a receiver concludes of a mail from this address (``check_host`` of section 4)."""
        self._lookups = self._voids = 0
        try:
            return self._check(self._domain, address)
        except _Over as over:
            return Verdict(over.result, str(over))

    def _check(self, domain: str, address: Address) -> Verdict:
        answer, texts = self._resolver.texts(domain)
        if answer.state is State.FAILED:
            raise _Over(Result.TEMPERROR, f"{domain}: {answer.error}")
        records = records_of(texts)
        if not records:
            return Verdict(Result.NONE, f"{domain} has no SPF record")
        if len(records) > 1:
            raise _Over(Result.PERMERROR, f"{domain} has {len(records)} SPF records")
        record = parse(records[0])
        if record.faults:
            raise _Over(Result.PERMERROR, f"{domain}: {record.faults[0]}")
        for term in record.terms:
            if self._matches(term, domain, address):
                return Verdict(term.result, str(term))
        if record.redirect is None or record.default is not None:
            return Verdict(Result.NEUTRAL, "no term matches")
        self._spend()
        target = self._expanded(record.redirect, domain, address)
        verdict = self._check(target, address)
        if verdict.result is Result.NONE:
            raise _Over(Result.PERMERROR, f"redirect={target}: there is no SPF record")
        return verdict

    def _matches(self, term: Term, domain: str, address: Address) -> bool:
        if term.name == "all":
            return True
        if term.name in {"ip4", "ip6"}:
            return address in ipaddress.ip_network(term.value, strict=False)
        self._spend()
        target = self._expanded(term.value, domain, address) if term.value else domain
        match term.name:
            case "include":
                return self._included(target, address)
            case "exists":
                return bool(self._looked_up(self._resolver.ask(target, "A")).records)
            case "ptr":
                return self._ptr_matches(target, address)
            case "mx":
                names = self._mail_exchangers(target)
            case _:
                names = [target]
        return any(self._near(name, term, address) for name in names)

    def _included(self, target: str, address: Address) -> bool:
        verdict = self._check(target, address)
        if verdict.result is Result.NONE:
            raise _Over(Result.PERMERROR, f"include:{target}: there is no SPF record")
        return verdict.result is Result.PASS

    def _mail_exchangers(self, target: str) -> list[str]:
        records = self._looked_up(self._resolver.ask(target, "MX")).records
        if len(records) > _MAX_NAMES:
            raise _Over(Result.PERMERROR, f"mx:{target}: more than {_MAX_NAMES} MX records")
        return [record.exchange.to_text(omit_final_dot=True) for record in records]

    def _near(self, name: str, term: Term, address: Address) -> bool:
        answer, found = self._resolver.addresses(name)
        self._looked_up(answer)
        prefix = term.v4 if address.version == 4 else term.v6
        network = ipaddress.ip_network(f"{address}/{prefix}", strict=False)
        return any(one.version == address.version and one in network for one in found)

    def _ptr_matches(self, target: str, address: Address) -> bool:
        _answer, names = self._resolver.reverse(address)
        return any(
            (name == target or name.endswith(f".{target}")) and address in self._resolver.addresses(name)[1]
            for name in names[:_MAX_NAMES]
        )

    def _looked_up(self, answer: Found) -> Found:
        if answer.state is State.FAILED:
            raise _Over(Result.TEMPERROR, answer.error)
        if answer.state in {State.EMPTY, State.NO_NAME}:
            self._voids += 1
            if self._voids > MAX_VOID_LOOKUPS:
                raise _Over(Result.PERMERROR, f"more than {MAX_VOID_LOOKUPS} look-ups find nothing")
        return answer

    def _spend(self) -> None:
        self._lookups += 1
        if self._lookups > MAX_LOOKUPS:
            raise _Over(Result.PERMERROR, f"more than {MAX_LOOKUPS} look-ups")

    def _expanded(self, text: str, domain: str, address: Address) -> str:
        """Return a domain-spec with its macros replaced (section 7)."""
        local, _, sender_domain = self._sender.rpartition("@")
        nibbles = ".".join(address.exploded.replace(":", "")) if address.version == 6 else str(address)
        values = {
            "s": self._sender,
            "l": local,
            "o": sender_domain,
            "d": domain,
            "i": nibbles,
            "h": domain,
            "p": "unknown",
            "v": "in-addr" if address.version == 4 else "ip6",
        }
        try:
            found = _MACRO.sub(lambda match: _replaced(match, values), text)
        except KeyError:
            raise _Over(Result.PERMERROR, f"{text[:60]!r} has a macro that is for explanations only") from None
        return found.rstrip(".").lower()[-253:].lstrip(".")


def _replaced(match: re.Match[str], values: dict[str, str]) -> str:
    if match["one"]:
        return {"%": "%", "_": " ", "-": "%20"}[match["one"]]
    parts = re.split(f"[{re.escape(match['by'] or '.')}]", values[match["letter"].lower()])
    if match["reverse"]:
        parts.reverse()
    return ".".join(parts[-int(match["digits"]) :] if match["digits"] and int(match["digits"]) else parts)
