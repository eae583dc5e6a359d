"""A clock that stands still until it is told otherwise."""

from datetime import UTC, datetime, timedelta


class FakeClock:
    """A ``Clock``; ``advance`` moves it."""

    def __init__(self, start: datetime = datetime(2026, 1, 1, 12, 0, tzinfo=UTC)) -> None:
        self._now = start

    def __call__(self) -> datetime:
        """Return the present time of this clock."""
        return self._now

    def advance(self, step: timedelta) -> None:
        """Move the clock; a negative step moves it backwards."""
        self._now += step
