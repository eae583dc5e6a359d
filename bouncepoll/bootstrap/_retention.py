"""Retention believes a clock that was steady for a day, and no other: what it deletes does not come back.

A clock that is years ahead would make everything old. So each run notes the time it saw. A time that is more than a day
after the last one noted, or before it, starts a day of waiting, in which nothing is deleted: the clock was set, or the
service did not run, and nobody can tell which. The notes are in the database, so that a restart ends no waiting.
"""

from collections.abc import Callable
from datetime import datetime, timedelta

import structlog

from bouncepoll.settings.sections import RetentionSettings
from bouncepoll.store import SqlStore

log = structlog.get_logger()

_STEADY = timedelta(days=1)
#: A run comes every hour; one more is allowed for.
_LONGEST_GAP = _STEADY + timedelta(hours=1)
#: Time servers set a clock back by so much, and mean nothing by it.
_TOLERANCE = timedelta(minutes=5)
_SEEN, _SINCE = "clock_seen", "clock_steady_since"


def retain(store: SqlStore, ages: RetentionSettings, now: datetime, should_stop: Callable[[], bool]) -> None:
    """Delete what is older than the retention times, if the clock can be believed.

    Raises:
        StoreUnavailable: the database failed; what was deleted before stays deleted.
    """
    since = _steady_since(store, now)
    if now - since < _STEADY:
        log.info("retention_waits", until=(since + _STEADY).isoformat(), steady_since=since.isoformat())
        return
    counts = store.retention(now, _days(ages.raw), _days(ages.events), should_stop=should_stop)
    log.info(
        "retention_done",
        raw_mails=counts.blobs,
        events=counts.events,
        forwards=counts.forwards,
        messages=counts.messages,
    )


def _steady_since(store: SqlStore, now: datetime) -> datetime:
    """Note the time, and return since when the clock went on steadily."""
    marks = store.marks.all()
    seen, since = marks.get(_SEEN), marks.get(_SINCE)
    if seen is None or since is None:
        since = now
    elif not seen - _TOLERANCE <= now <= seen + _LONGEST_GAP:
        log.warning("clock_doubted", now=now.isoformat(), last_seen=seen.isoformat(), retention="waits for a day")
        since = now
    store.marks.set({_SEEN: now, _SINCE: since})
    return since


def _days(age_s: float | None) -> float | None:
    return None if age_s is None else age_s / 86400
