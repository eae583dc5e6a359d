"""Whether the mails to a filter's domain arrive: its MX, and what stands behind it."""

import ipaddress
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from bouncepoll.diagnose._providers import of_exchanger, of_server
from bouncepoll.diagnose._resolver import Address, Resolver, State, as_address
from bouncepoll.model.probe import Outcome, Probe, ok, skipped

TTL_S = 3600
#: So many MX hosts are looked at, the first in line.
_MAX_EXCHANGERS = 20

# Nobody on the Internet reaches these (RFC 1918, 4193, 6598, 3927, 4291).
_LOCAL = tuple(
    ipaddress.ip_network(network)
    for network in (
        "0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
        "192.168.0.0/16", "::1/128", "fc00::/7", "fe80::/10",
    )
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Host:
    """The machine that receives: its name, and the addresses it is reached at from outside; either may be unknown."""

    name: str | None
    addresses: tuple[Address, ...] = ()

    @property
    def shown(self) -> str:
        """Its name and addresses, for messages."""
        addresses = ", ".join(map(str, self.addresses[:4]))
        return f"{self.name or 'this host'} ({addresses})" if addresses else self.name or "this host"


@dataclass(frozen=True, slots=True)
class Loop:
    """A domain of filter addresses, and how its mails come in.

    ``received`` by our listener, else they are polled: ``servers`` are the mailboxes' names and their hosts, or paths
    of this machine.
    """

    domain: str
    received: bool
    servers: tuple[tuple[str, str], ...] = ()


class _Exchanger(NamedTuple):
    preference: int
    host: str
    addresses: tuple[Address, ...]


def is_local(address: Address) -> bool:
    """Whether an address means nothing outside its own network."""
    return any(address.version == network.version and address in network for network in _LOCAL)


def record(name: str, rdtype: str, value: str) -> str:
    """Return a line of a zone file, with absolute names."""
    return f"{name.rstrip('.')}. {TTL_S} IN {rdtype} {value}"


def check_domain(loop: Loop, host: Host, resolver: Resolver) -> Iterator[Probe]:
    """Yield the checks ``cname``, ``mx``, ``mx_target`` and ``address`` of a domain."""
    domain = loop.domain
    alias = resolver.ask(domain, "CNAME")
    if alias.state is State.FAILED:
        yield Probe("cname", Outcome.FAIL, f"{domain}: {alias.error}", mend=_resolver_mends(resolver, domain))
        yield from skipped(("mx", "mx_target", "address"), "the domain cannot be looked up")
        return
    if alias.state is State.FOUND:
        target = alias.records[0].target.to_text(omit_final_dot=True)
        yield Probe(
            "cname",
            Outcome.FAIL,
            f"{domain} is an alias (CNAME) of {target}",
            "no CNAME: a name with a CNAME has no MX of its own (RFC 1034 section 3.6.2)",
            (f"take the CNAME out of the zone, and give {domain} its own records",),
            tuple(_wanted_records(loop, host)),
        )
    else:
        yield ok("cname", f"{domain} is no alias")
    exchangers, probe = _exchangers(loop, host, resolver)
    yield probe
    if probe.outcome is Outcome.FAIL and not exchangers:
        yield from skipped(("mx_target", "address"), "there is no MX")
        return
    yield _targets(exchangers, resolver)
    yield _arrival(loop, host, exchangers, resolver)


def _exchangers(loop: Loop, host: Host, resolver: Resolver) -> tuple[list[_Exchanger], Probe]:
    """Return the MX hosts by preference, and the check ``mx``."""
    domain = loop.domain
    answer = resolver.ask(domain, "MX")
    wanted = tuple(_wanted_records(loop, host))
    if answer.state is State.FAILED:
        return [], Probe("mx", Outcome.FAIL, f"{domain}: {answer.error}", mend=_resolver_mends(resolver, domain))
    found = sorted((one.preference, one.exchange.to_text(omit_final_dot=True).lower()) for one in answer.records)
    del found[_MAX_EXCHANGERS:]
    if not found:
        return _implicit(loop, host, resolver, missing=answer.state is State.NO_NAME)
    shown = ", ".join(f"{preference} {name or '.'}" for preference, name in found)
    if any(name in {"", "."} for _preference, name in found):
        return [], Probe(
            "mx",
            Outcome.FAIL,
            f"{domain} has a null MX ({shown}): it says that it takes no mail (RFC 7505)",
            "an MX that names the host that takes the mails",
            ("replace the null MX",),
            wanted,
        )
    exchangers = [_Exchanger(*one, resolver.addresses(one[1])[1]) for one in found]
    return exchangers, ok("mx", f"{domain}: {shown}")


def _implicit(loop: Loop, host: Host, resolver: Resolver, *, missing: bool) -> tuple[list[_Exchanger], Probe]:
    domain = loop.domain
    _answer, addresses = resolver.addresses(domain)
    wanted = tuple(_wanted_records(loop, host))
    if not addresses:
        found = f"{domain} does not exist" if missing else f"{domain} has neither MX nor address"
        return [], Probe(
            "mx",
            Outcome.FAIL,
            found,
            "an MX that names the host that takes the mails",
            ("mails to it come back to their senders at once: add the record",),
            wanted,
        )
    shown = ", ".join(map(str, addresses[:4]))
    return [_Exchanger(0, domain, addresses)], Probe(
        "mx",
        Outcome.WARN,
        f"{domain} has no MX; its own address ({shown}) stands for one (RFC 5321 section 5.1)",
        "an MX: some senders look for nothing else",
        ("add the record",),
        wanted,
    )


def _targets(exchangers: Sequence[_Exchanger], resolver: Resolver) -> Probe:
    """Return the check ``mx_target``: each MX host is a name with addresses, and no alias."""
    faults: list[str] = []
    mend: list[str] = []
    for exchanger in exchangers:
        if as_address(exchanger.host) is not None:
            faults.append(f"{exchanger.host} is an address where a name has to stand")
            mend.append(f"give that machine a name, and write the name into the MX instead of {exchanger.host}")
            continue
        alias = resolver.ask(exchanger.host, "CNAME")
        if alias.state is State.FOUND:
            target = alias.records[0].target.to_text(omit_final_dot=True)
            faults.append(f"{exchanger.host} is an alias (CNAME) of {target}")
            mend.append(
                f"name {target} in the MX, or give {exchanger.host} addresses of its own (RFC 2181 section 10.3)"
            )
        elif not exchanger.addresses:
            faults.append(f"{exchanger.host} has no address")
            mend.append(f"add an A record for {exchanger.host}, or take it out of the MX")
        elif all(map(is_local, exchanger.addresses)):
            faults.append(f"{exchanger.host} has only addresses of a private network")
            mend.append(f"give {exchanger.host} the address it is reached at from outside")
    if faults:
        return Probe("mx_target", Outcome.FAIL, "; ".join(faults), mend=tuple(mend))
    shown = "; ".join(f"{one.host}: {', '.join(map(str, one.addresses[:4]))}" for one in exchangers[:5])
    return ok("mx_target", shown)


def _arrival(loop: Loop, host: Host, exchangers: Sequence[_Exchanger], resolver: Resolver) -> Probe:
    """Return the check ``address``: whether what the MX names is where we take the mails from."""
    if loop.received:
        return _received(loop, host, exchangers)
    return _polled(loop, exchangers, resolver)


def _received(loop: Loop, host: Host, exchangers: Sequence[_Exchanger]) -> Probe:
    ours = [one for one in exchangers if _is_ours(one, host)]
    wanted = f"every MX is {host.shown}"
    records = tuple(_wanted_records(loop, host))
    if host.name is None and not host.addresses:
        return Probe(
            "address",
            Outcome.SKIP,
            "the name and the addresses of this host are not known",
            mend=("name them with --host and --address",),
        )
    if not ours:
        shown = ", ".join(one.host for one in exchangers[:5])
        return Probe(
            "address",
            Outcome.FAIL,
            f"mails to {loop.domain} go to {shown}, not to {host.shown}",
            wanted,
            (
                "add the record and take the other MX out; if another mail server is to take the mails and hand them "
                "on to the listener (transport_maps, LMTP), all is well: then leave it",
            ),
            records,
        )
    others = [one.host for one in exchangers if one not in ours]
    if others:
        return Probe(
            "address",
            Outcome.WARN,
            f"mails to {loop.domain} go to {host.shown}, and also to {', '.join(others[:5])}",
            wanted,
            ("make sure that the others hand the mails on to this host, or take them out of the MX",),
            records,
        )
    return ok("address", f"mails to {loop.domain} come to {host.shown}")


def _is_ours(exchanger: _Exchanger, host: Host) -> bool:
    if host.addresses:
        return bool(set(exchanger.addresses) & set(host.addresses))
    return exchanger.host == (host.name or "").lower()


def _polled(loop: Loop, exchangers: Sequence[_Exchanger], resolver: Resolver) -> Probe:
    """A polled domain is right when its mails go to where the mailbox is, as far as the DNS can tell."""
    first = exchangers[0]
    if not loop.servers:
        return Probe(
            "address",
            Outcome.WARN,
            f"mails to {loop.domain} go to {first.host}, and no mailbox of the configuration is known to take them",
            "a mailbox that takes all mails of the domain (a catch-all), or the listener",
            ("add the mailbox ([mailboxes.NAME]; address names its mail address), or the section [listener]",),
        )
    provider = of_exchanger(first.host)
    for name, server in loop.servers:
        there = of_server(server)
        same_provider = provider is not None and there is not None and provider.title == there.title
        if same_provider or server.lower() == first.host:
            title = provider.title if provider is not None else first.host
            return ok(
                "address",
                f"mails to {loop.domain} go to {title}, where mailbox {name} is polled ({server}); "
                "whether they land in that mailbox, the DNS does not say: send one",
            )
        if "/" not in server and set(resolver.addresses(server)[1]) & set(first.addresses):
            return ok(
                "address",
                f"mails to {loop.domain} go to {first.host}, the machine where mailbox {name} is polled ({server})",
            )
    names = ", ".join(f"{name} at {server}" for name, server in loop.servers[:5])
    if provider is not None and any(of_server(server) is not None for _name, server in loop.servers):
        return Probe(
            "address",
            Outcome.WARN,
            f"mails to {loop.domain} go to {provider.title} ({first.host}), and another provider is polled: {names}",
            "an MX of the provider whose mailbox is polled, or a forward from one to the other",
            ("set the MX to that provider's hosts, or poll the mailbox at the provider the MX names",),
        )
    return ok(
        "address",
        f"mails to {loop.domain} go to {first.host}; polled: {names}; that these mails land there, the DNS does "
        "not say: send one",
    )


def _wanted_records(loop: Loop, host: Host) -> Iterator[str]:
    """Yield the records a received domain should have; for a polled one only its provider knows them."""
    if not loop.received:
        return
    name = host.name or "mx.example.org"
    yield record(loop.domain, "MX", f"10 {name}.")
    if name == loop.domain or host.name is None:
        return
    for address in host.addresses[:4]:
        yield record(name, "A" if address.version == 4 else "AAAA", str(address))


def _resolver_mends(resolver: Resolver, domain: str) -> tuple[str, ...]:
    return (
        f"look at it by hand: dig @{resolver.label} {domain} MX",
        "SERVFAIL is often a broken delegation or DNSSEC signature of the zone: ask who runs its name servers",
    )
