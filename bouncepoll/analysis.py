"""From octets to what is known of a mail: read, resolve, classify. Changes nothing anywhere."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, Protocol

import structlog

from bouncepoll import mime
from bouncepoll.errors import ConfigurationError, TransientError
from bouncepoll.model.filter import BounceFilter, Route
from bouncepoll.model.loop import answers_forward, has_looped
from bouncepoll.model.message import Message, RawMessage
from bouncepoll.model.storing import Entry, Judged
from bouncepoll.model.trust import TokenReading, TokenUse
from bouncepoll.model.verdict import Evidence, Finding, Kind, Verdict
from bouncepoll.policy.trust import Tokens, TrustRules, weigh
from bouncepoll.ports import Clock
from bouncepoll.resolve import FilterIndex
from bouncepoll.resolve.token_places import read_tokens
from bouncepoll.resolve.tokens import TokenKeys

log = structlog.get_logger()

# What there is without keys, where no filter insists.
_NO_TOKENS = Tokens(TokenUse.OFF)
_HUMAN = (Kind.REPLY, Kind.UNKNOWN)


class Unprocessed(NamedTuple):
    """A mail that cannot be read, and why."""

    error: str


class Analysing(Protocol):
    """Reads mails, here or in other processes."""

    def begin(
        self, raws: Sequence[RawMessage], filters: Sequence[BounceFilter], default_filter: str | None
    ) -> Callable[[], Sequence[Entry | Unprocessed]]:
        """Begin to read mails; the function returned waits for what is known of each, in order.

        An entry's message has the mail's octets, but not necessarily its parts and all its header fields.

        Raises (one or the other):
            TransientError: nothing could be read; it may work later.
            ConfigurationError: the rules are wrong.
        """
        ...


@dataclass(frozen=True, slots=True)
class Weighing:
    """What findings are weighed by; ``token_headers`` are fields of a returned mail that may carry a token.

    Tokens are read where there are keys and a clock.
    """

    rules: TrustRules = field(default_factory=TrustRules)
    keys: TokenKeys | None = None
    token_headers: tuple[str, ...] = ()
    clock: Clock | None = None

    def readings(self, raw: RawMessage, message: Message) -> Sequence[TokenReading]:
        """Return the tokens of a mail; their age is that of the day the mailbox took the mail."""
        if self.keys is None or self.clock is None:
            return ()
        return read_tokens(message, self.keys, self.token_headers, raw.received_at or self.clock())

    def judged(
        self, message: Message, findings: Sequence[Finding], filters: Sequence[BounceFilter], tokens: Tokens
    ) -> tuple[Judged, ...]:
        """Return the findings of a mail that belongs to ``filters`` with how far each is believed."""
        domains = {entry.filter_address.rpartition("@")[2] for entry in filters}
        return weigh(message, findings, tokens, self.rules, domains)

    def tokens(self, filters: Sequence[BounceFilter], readings: Sequence[TokenReading]) -> Tokens:
        """Return the tokens of a mail with what its filters want of them: the strictest one decides."""
        if self.keys is None and TokenUse.REQUIRED not in (self.rules.use, *[entry.tokens for entry in filters]):
            return _NO_TOKENS
        wanted = {entry.id: entry.tokens or self.rules.use for entry in filters}
        uses = set(wanted.values()) or {self.rules.use}
        use = next(use for use in (TokenUse.REQUIRED, TokenUse.PREFERRED, TokenUse.OFF) if use in uses)
        chosen = frozenset(number for number, its in wanted.items() if its is use)
        if use is TokenUse.OFF or self.keys is None:
            return Tokens(use)
        return Tokens(use, readings, chosen, self.keys.names)


class Analyser:
    """Octets in, ``Entry`` out: reads a mail, finds its filters, says what it is. Changes nothing anywhere."""

    def __init__(
        self, classify: Callable[[Message], Verdict], instance_id: str, weighing: Weighing | None = None
    ) -> None:
        """``instance_id`` is what our own forwards carry in their loop header."""
        self._classify = classify
        self._instance_id = instance_id
        self._weighing = weighing or Weighing()
        # The filters asked for last, and their index: building one costs as much as reading some mails.
        self._last: tuple[Sequence[BounceFilter], FilterIndex] = ((), FilterIndex(()))

    def begin(
        self, raws: Sequence[RawMessage], filters: Sequence[BounceFilter], default_filter: str | None
    ) -> Callable[[], Sequence[Entry | Unprocessed]]:
        """Read mails now; see ``Analysing``."""
        last, index = self._last
        if last is not filters:
            index = FilterIndex(filters)
            self._last = filters, index
        answers = [self._answer(raw, index, default_filter) for raw in raws]
        return lambda: answers

    def _answer(self, raw: RawMessage, index: FilterIndex, default_filter: str | None) -> Entry | Unprocessed:
        try:
            return self.entry(raw, index, default_filter)
        except (TransientError, ConfigurationError, MemoryError):
            raise
        except Exception as exc:
            log.warning("message_unreadable", place=str(raw.ref), error=str(exc), exc_info=exc)
            return Unprocessed(f"{type(exc).__name__}: {exc}")

    def __call__(
        self, raw: RawMessage, filters: Sequence[BounceFilter] = (), default_filter: str | None = None
    ) -> Entry:
        """Return everything known of one mail; it belongs to no filter when ``filters`` is empty."""
        return self.entry(raw, FilterIndex(filters), default_filter)

    def entry(self, raw: RawMessage, index: FilterIndex, default_filter: str | None) -> Entry:
        """Return everything known of one mail, its filters looked up in ``index``."""
        message = mime.parse(raw)
        readings = self._weighing.readings(raw, message)
        # What a token names goes before a mailbox's default filter.
        routes = index.routes(message, None if readings else default_filter)
        if readings and not routes:
            routes = index.token_routes(readings) or index.default_routes(default_filter)
        verdict = self._verdict(message)
        judged: tuple[Judged, ...] = ()
        if verdict.findings or readings:
            filters = [index.by_id(route.filter_id) for route in routes]
            tokens = self._weighing.tokens(filters, readings)
            routes = _verified(routes, tokens)
            judged = self._weighing.judged(message, verdict.findings, filters, tokens)
        forwards = index.forwards(message, routes, verdict.kind)
        return Entry(message, verdict, judged, routes, forwards)

    def _verdict(self, message: Message) -> Verdict:
        if has_looped(message, self._instance_id):
            return Verdict(Kind.LOOP, (), Evidence("loop", matched_text=self._instance_id, where="X-Bouncepoll-Loop"))
        verdict = self._classify(message)
        if verdict.kind in _HUMAN and answers_forward(message):
            answered = message.header("In-Reply-To")
            return Verdict(Kind.LOOP, (), Evidence("loop", matched_text=answered, where="In-Reply-To"))
        return verdict


def _verified(routes: tuple[Route, ...], tokens: Tokens) -> tuple[Route, ...]:
    """Return the routes with what valid tokens for their filters say of the mailing and the recipient."""
    claims = {r.claims.filter_id: r.claims for r in reversed(tokens.readings) if r.valid and r.claims is not None}
    return tuple(
        route
        if (found := claims.get(route.filter_id)) is None
        else replace(route, mailing_id=found.mailing_id, recipient_id=found.recipient_id, verified=True)
        for route in routes
    )
