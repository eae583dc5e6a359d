"""Finds the filters a mail belongs to: the envelope, else the trace and address fields of its header."""

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import NamedTuple

from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.message import Message
from bouncepoll.model.trust import TokenReading
from bouncepoll.model.verdict import Kind
from bouncepoll.resolve.addresses import addresses_in, comparable_filter_address, normalise, shortened, unwrapped

#: Fields that name the address a mail was delivered to, the surest first: what the last server wrote, then forwarders,
#: then what the sender wrote (RFC 5322 sections 3.6.3 and 3.6.6).
FIELDS = (
    *("Delivered-To", "X-Original-To", "X-Forwarded-To", "X-Forwarded-For"),
    *("Envelope-To", "X-Envelope-To", "X-Real-To"),
    *("Resent-To", "Resent-Cc", "Resent-Bcc", "To", "Cc", "Apparently-To"),
)
_MAX_CANDIDATES = 500
_MAX_VALUES = 50
_MAX_WRITERS = 20
_MAX_DOMAINS = 32
_FOR_CLAUSE = re.compile(r"(?i)\bfor[ \t]+<?([^\s<>;]{3,320})>?")


class _Candidate(NamedTuple):
    """An address of a mail and the field it stands in."""

    field: str
    address: str


class FilterIndex:
    """The filters, by address. Disabled ones are known, and match nothing."""

    def __init__(self, filters: Sequence[BounceFilter]) -> None:
        self._by_id = {bounce_filter.id: bounce_filter for bounce_filter in filters}
        self._enabled = tuple(bounce_filter for bounce_filter in filters if bounce_filter.enabled)
        self._by_address = {
            comparable_filter_address(bounce_filter.filter_address): bounce_filter for bounce_filter in self._enabled
        }
        self._domains = tuple({address.rpartition("@")[2] for address in self._by_address})

    def by_id(self, filter_id: int) -> BounceFilter:
        """Return a filter.

        Raises:
            KeyError: there is none of that id.
        """
        return self._by_id[filter_id]

    def routes(self, message: Message, default_filter: str | None) -> tuple[Route, ...]:
        """Return the filters a mail belongs to, each once; none when nothing matches and there is no default.

        All addresses are tried in full first, then with SRS and BATV undone, then without their sub-addresses, then by
        their domains: the first of these steps that finds a filter decides. ``default_filter`` is a name, an id or a
        filter address; one that does not exist or is disabled counts as none, and the mail stays unrouted.
        """
        candidates = _candidates(message, self._may_match) if self._by_address else []
        found: dict[int, Route] = {}
        # Each recipient of an envelope is a delivery of its own; the fields of a header speak of one delivery.
        for group in [[one] for one in candidates] if message.raw.envelope is not None else [candidates]:
            for route in self._matches(group):
                found.setdefault(route.filter_id, route)
        return tuple(found.values()) or self.default_routes(default_filter)

    def default_routes(self, default_filter: str | None) -> tuple[Route, ...]:
        """Return the route of a mail that no filter address claims; none where there is no such filter."""
        default = self._default(default_filter)
        return () if default is None else (Route(default.id, f"default filter of the mailbox: {default.name}"),)

    def token_routes(self, readings: Sequence[TokenReading]) -> tuple[Route, ...]:
        """Return the route to the filter that the first valid token of a mail names; none where it is not there."""
        for reading in readings:
            if reading.valid and reading.claims is not None:
                named = self._by_id.get(reading.claims.filter_id)
                return () if named is None or not named.enabled else (Route(named.id, f"{reading.where}: token"),)
        return ()

    def forwards(self, message: Message, routes: Sequence[Route], kind: Kind) -> tuple[BounceFilter, ...]:
        """Return the filters of these routes that forward mails of this kind.

        What a feedback address wrote is not sent back to it: such an address is taken out of the filter's, and a filter
        without another one forwards nothing.
        """
        wanted = [entry for entry in (self._by_id[route.filter_id] for route in routes) if entry.forwards(kind)]
        if not wanted:
            return ()
        writers = set(islice(addresses_in(message.header("From") or ""), _MAX_WRITERS))
        left = (
            replace(entry, forward_to=tuple(to for to in entry.forward_to if normalise(to) not in writers))
            for entry in wanted
        )
        return tuple(entry for entry in left if entry.forward_to)

    def _may_match(self, value: str) -> bool:
        """Whether a field's value may name an address of a filter: it then names the domain of one, wrapped or not.

        Most fields of most mails do not, and finding that out costs a hundredth of reading them.
        """
        if len(self._domains) > _MAX_DOMAINS or not value.isascii():
            return True
        lowered = value.lower()
        return any(domain in lowered for domain in self._domains)

    def _matches(self, candidates: Sequence[_Candidate]) -> list[Route]:
        """Return the routes of the first step that finds any."""
        for how, forms in _STEPS:
            found: dict[int, Route] = {}
            for candidate in candidates:
                # The first form is the most specific: the filter of news+f3 wins over the one of news.
                match = next(
                    (self._by_address[form] for form in forms(candidate.address) if form in self._by_address), None
                )
                if match is not None:
                    shown = f"{candidate.field}: {candidate.address} ({how})"
                    found.setdefault(match.id, Route(match.id, shown))
            if found:
                return list(found.values())
        return []

    def _default(self, wanted: str | None) -> BounceFilter | None:
        if wanted is None:
            return None
        key = wanted.strip().casefold()
        by_name = next((f for f in self._enabled if f.name.casefold() == key), None)
        by_id = next((f for f in self._enabled if str(f.id) == key), None)
        return by_name or by_id or self._by_address.get(comparable_filter_address(wanted))


def _candidates(message: Message, may_match: Callable[[str], bool]) -> list[_Candidate]:
    """Return the addresses a mail was sent to, each once; the envelope alone when there is one (RFC 5321)."""
    found: dict[str, _Candidate] = {}
    # An envelope was bounded by whoever took it; each of its recipients was promised a delivery.
    named = (
        _envelope(message) if message.raw.envelope is not None else islice(_header(message, may_match), _MAX_CANDIDATES)
    )
    for field, address in named:
        found.setdefault(address, _Candidate(field, address))
    return list(found.values())


def _envelope(message: Message) -> Iterator[tuple[str, str]]:
    envelope = message.raw.envelope
    for path in envelope.forward_paths if envelope is not None else ():
        for address in addresses_in(path):
            yield "RCPT TO", address


def _header(message: Message, may_match: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    for field in FIELDS:
        for value in filter(may_match, _first(message.header_values(field))):
            for address in addresses_in(value):
                yield field, address
    for value in filter(may_match, _first(message.header_values("Received"))):
        for match in _FOR_CLAUSE.finditer(value[:4096]):
            for address in addresses_in(match[1]):
                yield "Received", address


def _first(values: Iterable[str]) -> Iterator[str]:
    for count, value in enumerate(values):
        if count >= _MAX_VALUES:
            return
        yield value


def _full(address: str) -> Iterator[str]:
    yield address


def _unwrapped(address: str) -> Iterator[str]:
    inner = unwrapped(address)
    if inner is not None:
        yield inner


def _shortened(address: str) -> Iterator[str]:
    for known in (address, unwrapped(address)):
        if known is not None:
            yield from shortened(known)


def _domain(address: str) -> Iterator[str]:
    for known in (address, unwrapped(address)):
        if known is not None:
            yield "@" + known.rpartition("@")[2]


_STEPS = (("full", _full), ("unwrapped", _unwrapped), ("sub-address removed", _shortened), ("domain", _domain))
