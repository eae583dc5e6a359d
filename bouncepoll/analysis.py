"""From octets to what is known of a mail: read, resolve, classify. Changes nothing anywhere."""

from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from bouncepoll import mime
from bouncepoll.errors import ConfigurationError, TransientError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.loop import answers_forward, has_looped
from bouncepoll.model.message import Message, RawMessage
from bouncepoll.model.verdict import Evidence, Kind, Verdict
from bouncepoll.policy.severity import severity
from bouncepoll.ports import Entry, Judged
from bouncepoll.resolve import FilterIndex

log = structlog.get_logger()

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


class Analyser:
    """Octets in, ``Entry`` out: reads a mail, finds its filters, says what it is. Changes nothing anywhere."""

    def __init__(self, classify: Callable[[Message], Verdict], instance_id: str) -> None:
        """``instance_id`` is what our own forwards carry in their loop header."""
        self._classify = classify
        self._instance_id = instance_id
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
        routes = index.routes(message, default_filter)
        verdict = self._verdict(message)
        judged = tuple(Judged(finding, severity(finding)) for finding in verdict.findings)
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
