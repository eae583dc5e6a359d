"""The time, as the system tells it."""

from datetime import UTC, datetime


def system_clock() -> datetime:
    """Return the present time; the one place that asks the system."""
    return datetime.now(UTC)
