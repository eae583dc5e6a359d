"""Drains the outbox: hands over what is due, and decides what becomes of what was not taken."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

import structlog

from bouncepoll.errors import DeliveryDeferred, DeliveryFailed, TransientError
from bouncepoll.model.delivery import DeliveryResult, OutboxItem, OutboxRecipient, Outgoing
from bouncepoll.model.status import EnhancedStatus, SmtpReply
from bouncepoll.ports import Backend, Clock, Outbox

log = structlog.get_logger()

#: Longer than any session lasts: each of its commands is bounded by the backend's time-out, two minutes at most.
_LEASE = timedelta(minutes=30)
_MAX_FACTOR_POWER = 64


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """When a deferred forward is tried again: ``first_s`` seconds, then ``factor`` times longer, at most ``max_s``.

    After ``max_age_s`` seconds in the outbox it is given up.
    """

    first_s: float = 60.0
    factor: float = 2.0
    max_s: float = 3600.0
    max_age_s: float = 5 * 86400.0

    def delay_s(self, attempts: int, rng: random.Random) -> float:
        """Return how long a forward rests after ``attempts`` failed tries (1 or more), ±20 % so that they spread."""
        power = min(max(attempts - 1, 0), _MAX_FACTOR_POWER)
        return min(self.first_s * self.factor**power, self.max_s) * rng.uniform(0.8, 1.2)


@dataclass(slots=True)
class DrainReport:
    """What became of the forwards that were due, in recipients; ``dead`` are dead letters, kept and shown."""

    sent: int = 0
    deferred: int = 0
    dead: int = 0


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of an item; what ``Outbox.settle`` takes."""

    item: OutboxItem
    results: Mapping[int, DeliveryResult]
    retry_at: Mapping[int, datetime | None]
    now: datetime


def drain(
    outbox: Outbox,
    backend: Backend,
    prepare: Callable[[OutboxItem], Outgoing],
    *,
    clock: Clock,
    policy: RetryPolicy,
    stop: Callable[[], bool],
    rng: random.Random,
    unnoted: list[Outcome] | None = None,
) -> DrainReport:
    """Hand over everything that is due; what one mail does keeps no other from going out.

    ``unnoted`` keeps what became of mails while the database could not be told: the next drain that is given the same
    list tells it first.

    Raises:
        StoreUnavailable: the database failed. A mail that was handed over and never recorded, because the process
            ended before, goes out again when its lease ends, with the same Message-ID.
    """
    report = DrainReport()
    unnoted = [] if unnoted is None else unnoted
    _note(outbox, unnoted)
    while not stop():
        # One at a time: a drain that is stopped then leaves nothing leased that it did not begin.
        items = outbox.claim(1, clock(), _LEASE)
        if not items:
            break
        for item in items:
            if item.lease_until is not None and clock() >= item.lease_until:
                # Frozen since the claim: somebody else has it by now, and what is sent twice is seen twice.
                log.warning("forward_left", fingerprint=item.fingerprint, lease_until=item.lease_until.isoformat())
                continue
            _deliver(outbox, backend, prepare, item, clock, policy, rng, report, unnoted)
    return report


def _note(outbox: Outbox, unnoted: list[Outcome]) -> None:
    """Store outcomes; one that cannot be stored stays in the list, so that its mail is not sent again for that."""
    while unnoted:
        first = unnoted[0]
        outbox.settle(first.item, first.results, first.retry_at, first.now)
        del unnoted[0]


def _deliver(
    outbox: Outbox,
    backend: Backend,
    prepare: Callable[[OutboxItem], Outgoing],
    item: OutboxItem,
    clock: Clock,
    policy: RetryPolicy,
    rng: random.Random,
    report: DrainReport,
    unnoted: list[Outcome],
) -> None:
    results = dict(zip(item.recipients, _attempt(backend, prepare, item), strict=True))
    now = clock()
    retry_at = {
        recipient.id: _retry_at(recipient, result, item, policy, rng, now) for recipient, result in results.items()
    }
    unnoted.append(Outcome(item, {recipient.id: result for recipient, result in results.items()}, retry_at, now))
    _note(outbox, unnoted)
    _count(results, retry_at, report)


def _attempt(backend: Backend, prepare: Callable[[OutboxItem], Outgoing], item: OutboxItem) -> Sequence[DeliveryResult]:
    """Return one result a recipient; an error stands for all of them."""
    try:
        return _in_order(item, backend.send(prepare(item)))
    except DeliveryDeferred as exc:
        reply = SmtpReply(451, str(exc), EnhancedStatus(4, 4, 0))
    except DeliveryFailed as exc:
        reply = SmtpReply(554, str(exc), EnhancedStatus(5, 0, 0))
    except TransientError:
        raise
    except Exception as exc:
        log.warning("forward_failed", fingerprint=item.fingerprint, error=type(exc).__name__, exc_info=True)
        reply = SmtpReply(554, f"bouncepoll could not forward it: {type(exc).__name__}", EnhancedStatus(5, 6, 0))
    return [DeliveryResult(recipient.forward_path, reply) for recipient in item.recipients]


def _in_order(item: OutboxItem, results: Sequence[DeliveryResult]) -> Sequence[DeliveryResult]:
    """Return the results in the order of the recipients; one without an answer is deferred, never taken for sent."""
    answered = {result.forward_path: result for result in results}
    silence = SmtpReply(451, "the next hop gave no answer for this recipient", EnhancedStatus(4, 5, 0))
    return [answered.get(r.forward_path, DeliveryResult(r.forward_path, silence)) for r in item.recipients]


def _retry_at(
    recipient: OutboxRecipient,
    result: DeliveryResult,
    item: OutboxItem,
    policy: RetryPolicy,
    rng: random.Random,
    now: datetime,
) -> datetime | None:
    """Return when a recipient is tried again; None when it is done, refused for good, or too old."""
    if result.reply.code // 100 in {2, 5}:
        return None
    due = now + timedelta(seconds=policy.delay_s(recipient.attempts + 1, rng))
    return due if due <= item.created_at + timedelta(seconds=policy.max_age_s) else None


def _count(
    results: Mapping[OutboxRecipient, DeliveryResult], retry_at: Mapping[int, datetime | None], report: DrainReport
) -> None:
    for recipient, result in results.items():
        if result.reply.code // 100 == 2:
            outcome = "sent"
            report.sent += 1
        elif retry_at[recipient.id] is not None:
            outcome = "deferred"
            report.deferred += 1
        else:
            outcome = "dead"
            report.dead += 1
        log.info(
            "forward_tried",
            outbox=recipient.id,
            outcome=outcome,
            code=result.reply.code,
            attempts=recipient.attempts + 1,
        )
