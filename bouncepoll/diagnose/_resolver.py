"""Questions to the DNS, each bounded in time and answered once a run, and its failures in words."""

import ipaddress
import threading
from enum import StrEnum
from typing import Any, NamedTuple, TypeAlias

import dns.exception
import dns.name
import dns.rdatatype
import dns.resolver
import dns.reversename

from bouncepoll.errors import ConfigurationError, UsageError

#: An address of the Internet.
Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address

_DNS_PORT = 53
_MAX_RECORDS = 200
# So many questions in a row without an answer: the resolver is not there, and the others need not wait for it.
_MAX_SILENCES = 3


class State(StrEnum):
    """What a question found; ``empty``: the name is there, without such records."""

    FOUND = "found"
    EMPTY = "empty"
    NO_NAME = "no such name"
    FAILED = "failed"


class Found(NamedTuple):
    """The answer to a question. ``records`` are dnspython's; ``alias`` is where CNAMEs led, None without one."""

    state: State
    records: tuple[Any, ...] = ()
    alias: str | None = None
    error: str = ""


class Resolver:
    """Asks one recursive resolver. May be used by several threads at once."""

    def __init__(self, address: str | None = None, *, timeout_s: float = 5.0) -> None:
        """``address`` is ``ADDRESS`` or ``ADDRESS:PORT``, by default the system's; a question takes ``timeout_s``.

        Raises:
            UsageError: the address is none.
            ConfigurationError: the system has no resolver.
        """
        try:
            self._resolver = dns.resolver.Resolver(configure=address is None)
        except dns.resolver.NoResolverConfiguration:
            raise ConfigurationError(
                "this system has no resolver (/etc/resolv.conf); name one with --resolver ADDRESS"
            ) from None
        if address is not None:
            host, port = _host_and_port(address)
            self._resolver.nameservers = [host]
            self._resolver.port = port
        self._resolver.lifetime = timeout_s
        self._resolver.timeout = min(timeout_s, 2.0)
        self._answers: dict[tuple[str, str], Found] = {}
        self._silences = 0
        self._lock = threading.Lock()

    @property
    def label(self) -> str:
        """The resolver's address, for messages."""
        return ", ".join(str(server) for server in self._resolver.nameservers[:3])

    def ask(self, name: str, rdtype: str) -> Found:
        """Return the records of a name (an absolute one, with or without its last dot)."""
        key = (name.rstrip(".").lower(), rdtype)
        with self._lock:
            known = self._answers.get(key)
            silent = self._silences >= _MAX_SILENCES
        if known is not None:
            return known
        found = Found(State.FAILED, error=f"the resolver {self.label} does not answer") if silent else self._ask(*key)
        with self._lock:
            self._answers[key] = found
            if not silent:
                self._silences = self._silences + 1 if found.error.startswith("no answer") else 0
        return found

    def _ask(self, name: str, rdtype: str) -> Found:
        try:
            answer = self._answer(name, rdtype)
        except dns.resolver.NXDOMAIN as exc:
            return Found(State.NO_NAME, alias=_alias(name, exc.canonical_name))
        except dns.resolver.NoNameservers:
            return Found(State.FAILED, error="the resolver could not find out (SERVFAIL or a broken delegation)")
        except dns.exception.Timeout:
            return Found(State.FAILED, error=f"no answer from {self.label} within {self._resolver.lifetime:g} s")
        except (dns.exception.DNSException, ValueError, OSError) as exc:
            return Found(State.FAILED, error=type(exc).__name__)
        alias = _alias(name, answer.canonical_name)
        if answer.rrset is None:
            return Found(State.EMPTY, alias=alias)
        return Found(State.FOUND, tuple(answer.rrset)[:_MAX_RECORDS], alias)

    def _answer(self, name: str, rdtype: str) -> dns.resolver.Answer:
        return self._resolver.resolve(f"{name}.", rdtype, raise_on_no_answer=False, search=False)

    def addresses(self, name: str) -> tuple[Found, tuple[Address, ...]]:
        """Return the IPv4 and IPv6 addresses of a name, and the more telling one of the two answers."""
        v4, v6 = self.ask(name, "A"), self.ask(name, "AAAA")
        found = tuple(
            address
            for answer in (v4, v6)
            for record in answer.records
            if (address := as_address(getattr(record, "address", ""))) is not None
        )
        telling = next((answer for answer in (v4, v6) if answer.state is State.FOUND), v4)
        return telling, found

    def texts(self, name: str) -> tuple[Found, tuple[str, ...]]:
        """Return the TXT records of a name, the strings of each put together (RFC 7208 section 3.3)."""
        answer = self.ask(name, "TXT")
        return answer, tuple(b"".join(record.strings).decode("utf-8", "replace") for record in answer.records)

    def reverse(self, address: Address) -> tuple[Found, tuple[str, ...]]:
        """Return the names of an address (PTR)."""
        answer = self.ask(reverse_name(address), "PTR")
        return answer, tuple(record.target.to_text(omit_final_dot=True).lower() for record in answer.records)


def as_address(text: str) -> Address | None:
    """Return an IP address, or None when the text is none."""
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def reverse_name(address: Address) -> str:
    """Return the name whose PTR records an address has, with its last dot."""
    return dns.reversename.from_address(str(address)).to_text()


def a_labels(domain: str) -> str:
    """Return a domain in lower case as the DNS has it: IDNs in A-labels (RFC 5890).

    Raises:
        UsageError: it is no domain.
    """
    try:
        name = dns.name.from_text(domain.strip().rstrip("."), idna_codec=dns.name.IDNA_2008_Practical)
    except (dns.exception.DNSException, UnicodeError, ValueError):
        raise UsageError(f"{domain[:80]!r} is no domain; write one such as bounces.example.org") from None
    found = name.to_text(omit_final_dot=True).lower()
    if not domain.strip() or "\\" in found or "@" in found or len(found) > 253:
        raise UsageError(f"{domain[:80]!r} is no domain; write one such as bounces.example.org")
    return found


def _alias(name: str, canonical: dns.name.Name) -> str | None:
    found = canonical.to_text(omit_final_dot=True).lower()
    return found if found != name else None


def _host_and_port(address: str) -> tuple[str, int]:
    host, port = address, str(_DNS_PORT)
    if address.startswith("["):
        host, _, rest = address[1:].partition("]")
        port = rest.removeprefix(":") or port
    elif address.count(":") == 1:
        host, _, port = address.partition(":")
    if as_address(host) is None or not port.isascii() or not port.isdigit() or not 0 < int(port[:6]) < 65536:
        raise UsageError(
            f"--resolver: {address[:80]!r} is none; write 192.0.2.53, 192.0.2.53:5353 or [2001:db8::53]:53"
        )
    return host, int(port)
