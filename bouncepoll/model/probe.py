"""What a check of an installation found: of a mailbox, the next hop, the database, the DNS.

A source or a backend may define ``probe``, beside ``Options`` and ``create``; ``bouncepoll doctor`` then asks it::

    def probe(name: str, options: Options, tokens: TokenSource | None) -> Iterator[Probe]              # a source
    def probe(options: Options, envelope: Envelope) -> Iterator[Probe]                                 # a backend

A backend whose options have an ``auth`` section takes what that stands for as a third argument, as with ``create``.
It yields one ``Probe`` a check, in the order in which they were made; a check that depends on one that failed is
yielded too, as skipped. It changes nothing at the server, sends no mail, ends by itself within a few of its options'
time-outs, and never raises. No text holds a secret.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum


class Outcome(StrEnum):
    """How a check ended; ``skip``: it was not made, for what it needs was not there."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIP = "skip"


@dataclass(frozen=True, slots=True)
class Probe:
    """One check: its name, how it ended, what was found, and what to do about it, a line each.

    ``wanted`` says what should have been found, where that is not plain. ``records`` are lines of a zone file
    (RFC 1035 section 5.1) to add or to have.
    """

    check: str
    outcome: Outcome
    found: str
    wanted: str = ""
    mend: tuple[str, ...] = ()
    records: tuple[str, ...] = ()


def ok(check: str, found: str) -> Probe:
    """Return a check that is as it should be."""
    return Probe(check, Outcome.OK, found)


def warn(check: str, found: str, *mend: str) -> Probe:
    """Return a check that works today, and should be looked after."""
    return Probe(check, Outcome.WARN, found, mend=mend)


def fail(check: str, found: str, *mend: str) -> Probe:
    """Return a check that failed, and what mends it."""
    return Probe(check, Outcome.FAIL, found, mend=mend)


def skipped(checks: Sequence[str], why: str) -> Iterator[Probe]:
    """Yield checks that were not made."""
    for check in checks:
        yield Probe(check, Outcome.SKIP, why)
