"""What is kept of a login that a person went through once, and when credentials end."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True, slots=True)
class StoredCredential:
    """One login's row. ``sealed`` is encrypted (None: nothing was stored yet), ``version`` counts its changes.

    ``expires_at`` is when the refresh token in it ends, None where nobody said. ``failure`` and ``retry_at`` tell of
    the last refresh when it failed: no one is to try before ``retry_at``; ``failure_permanent`` when waiting changes
    nothing.
    """

    name: str
    sealed: str | None
    version: int
    updated_at: datetime
    expires_at: datetime | None = None
    lease_until: datetime | None = None
    retry_at: datetime | None = None
    failure: str | None = None
    failure_permanent: bool = False


@dataclass(frozen=True, slots=True)
class Expiry:
    """When a credential ends: ``name`` is the section that uses it, such as ``mailboxes.news``."""

    name: str
    what: str
    expires_at: datetime
