"""``bouncepoll dns check``: what the DNS says of the filters' domains, of the forwards' sender, and of this host."""

import socket
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bouncepoll.bootstrap import Application
from bouncepoll.diagnose._domains import Host, Loop, check_domain
from bouncepoll.diagnose._providers import of_server
from bouncepoll.diagnose._resolver import Address, Resolver, a_labels, as_address
from bouncepoll.diagnose._sender import Sender, check_reverse, check_sender
from bouncepoll.errors import UsageError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.probe import Outcome, Probe
from bouncepoll.settings import Settings

__all__ = ["Plan", "Resolver", "Wishes", "addresses_of", "plan", "run"]

#: So many domains are looked at at once; the resolver answers them all.
_WORKERS = 8
_MAX_DOMAINS = 500
_LOOPBACK = frozenset({"127.0.0.1", "::1", "localhost"})


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the command line says: the host's name and addresses, the addresses forwards leave from, the domains."""

    host: str | None = None
    addresses: tuple[Address, ...] = ()
    outbound: tuple[Address, ...] = ()
    domains: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """What is checked. ``sends``: this host hands forwards to their receivers itself."""

    loops: tuple[Loop, ...]
    host: Host
    sender: Sender | None
    checks_host: bool
    sends: bool


def addresses_of(texts: Iterable[str], option: str) -> tuple[Address, ...]:
    """Return the IP addresses that were named on the command line.

    Raises:
        UsageError: one is none.
    """
    found = []
    for text in texts:
        address = as_address(text)
        if address is None:
            raise UsageError(f"{option}: {text[:80]!r} is no IP address; write one such as 192.0.2.25")
        found.append(address)
    return tuple(found)


def plan(application: Application, wishes: Wishes, resolver: Resolver) -> Plan:
    """Return what there is to check, of the settings, the stored filters, and the command line.

    Raises:
        UsageError: a name on the command line is none.
        TransientError: the database cannot be read.
    """
    settings = application.settings
    filters = [one for one in application.stored_filters() if one.enabled]
    listens = settings.listener.is_on
    sends = _sends_itself(settings)
    named = wishes.host or (settings.listener.hostname if listens else None)
    needs_host = listens or sends
    name = a_labels(named) if named else (_own_name() if needs_host else None)
    addresses = wishes.addresses or (resolver.addresses(name)[1] if name else ())
    host = Host(name, addresses)
    loops = tuple(_loops(settings, filters, wishes.domains))
    sender = _sender(settings, host, wishes.outbound, resolver, sends=sends)
    return Plan(loops, host, sender, needs_host or bool(wishes.host or wishes.addresses), sends)


def _own_name() -> str | None:
    """Return this machine's full name; None when it has none, and has to be named with --host."""
    name = socket.gethostname()
    found = name if "." in name else socket.getfqdn()
    return found.lower() if "." in found and found != "localhost.localdomain" else None


def run(wanted: Plan, resolver: Resolver) -> Iterator[tuple[str, Probe]]:
    """Yield each check with what it is about: domain by domain, then the sender, then this host."""
    with ThreadPoolExecutor(_WORKERS) as pool:
        checks = pool.map(lambda loop: list(check_domain(loop, wanted.host, resolver)), wanted.loops)
        for loop, probes in zip(wanted.loops, checks, strict=True):
            yield from ((loop.domain, probe) for probe in probes)
    if not wanted.loops:
        yield (
            "filters",
            Probe(
                "domains",
                Outcome.SKIP,
                "no filter has an address yet, and filters.mailloop_domain is not set",
                mend=("make a filter (bouncepoll filter add), or name a domain: bouncepoll dns check DOMAIN",),
            ),
        )
    if wanted.sender is not None:
        yield from ((f"sender {wanted.sender.address}", probe) for probe in check_sender(wanted.sender, resolver))
    if wanted.checks_host:
        about = f"host {wanted.host.name or '(name unknown)'}"
        yield from ((about, probe) for probe in check_reverse(wanted.host, resolver, sends=wanted.sends))


def _loops(settings: Settings, filters: Sequence[BounceFilter], named: Sequence[str]) -> Iterator[Loop]:
    """Yield the domains of the filters' addresses and of their template, or those that were named."""
    polled_at = {
        name: (options.own_address, str(getattr(options, "host", None) or getattr(options, "path", name)))
        for name, options in settings.mailboxes.items()
        if options.enabled
    }
    by_domain: dict[str, list[str]] = {}
    for domain in named:
        by_domain.setdefault(a_labels(domain), [])
    for entry in filters:
        domain = a_labels(entry.filter_address.rpartition("@")[2])
        if not named or domain in by_domain:
            by_domain.setdefault(domain, []).append(entry.filter_address)
    template = settings.filters.mailloop_domain
    if template is not None and not named:
        by_domain.setdefault(a_labels(template), [])
    if len(by_domain) > _MAX_DOMAINS:
        raise UsageError(f"the filters have {len(by_domain)} domains; name those to check")
    for domain, addresses in sorted(by_domain.items()):
        yield _loop(domain, addresses, polled_at, listens=settings.listener.is_on)


def _loop(
    domain: str, addresses: Sequence[str], polled_at: Mapping[str, tuple[str | None, str]], *, listens: bool
) -> Loop:
    """Return how the mails to a domain come in: by the listener unless a mailbox bears the filters' addresses."""
    own = {
        name: (address, where)
        for name, (address, where) in polled_at.items()
        if address is not None and address.rpartition("@")[2] == domain
    }
    mailboxes = {address for address, _where in own.values()}
    plain = {f"{one.rpartition('@')[0].partition('+')[0]}@{domain}" for one in addresses}
    all_polled = plain <= mailboxes if plain else bool(own)
    received = listens and not all_polled
    servers = () if received else tuple((name, where) for name, (_address, where) in (own or polled_at).items())
    return Loop(domain, received, servers)


def _sends_itself(settings: Settings) -> bool:
    """Whether forwards leave from this host: through its sendmail program, or an MTA on loopback."""
    backend = settings.delivery.backend
    if backend == "sendmail":
        return True
    section = getattr(settings.delivery, backend, None)
    return backend == "smtp" and str(getattr(section, "host", None)).lower() in _LOOPBACK


def _sender(
    settings: Settings, host: Host, outbound: tuple[Address, ...], resolver: Resolver, *, sends: bool
) -> Sender | None:
    """Return who sends the forwards; None where nothing leaves this site, or nobody is named."""
    address = settings.forward.from_address
    backend = settings.delivery.backend
    if address is None or (backend not in {"smtp", "sendmail"} and not outbound):
        return None
    section = getattr(settings.delivery, backend, None)
    next_hop = getattr(section, "host", None)
    provider = None if next_hop is None or outbound else of_server(next_hop)
    reverse = settings.forward.reverse_path.rpartition("@")[2]
    if outbound:
        addresses, through = outbound, "named with --outbound"
    elif sends:
        addresses, through = host.addresses, f"sent by this host, {host.shown}"
    else:
        addresses = () if next_hop is None or provider is not None else _addresses_of_host(next_hop, resolver)
        through = f"delivery.{backend}.host is {next_hop}"
    return Sender(
        address,
        a_labels(address.rpartition("@")[2]),
        through,
        addresses,
        provider,
        a_labels(reverse) if reverse else None,
    )


def _addresses_of_host(host: str, resolver: Resolver) -> tuple[Address, ...]:
    literal = as_address(host)
    return (literal,) if literal is not None else resolver.addresses(host)[1]
