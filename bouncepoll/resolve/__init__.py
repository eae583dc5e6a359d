"""Which filter a mail belongs to, and the addresses that decide it."""

from bouncepoll.resolve.index import FilterIndex

__all__ = ["FilterIndex"]
