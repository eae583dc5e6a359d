"""Stored logins in memory."""

import threading
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from bouncepoll.model.credential import StoredCredential


class FakeCredentialStore:
    """A ``CredentialStore`` over ``rows`` and ``owners`` (who claimed which row)."""

    def __init__(self) -> None:
        self.rows: dict[str, StoredCredential] = {}
        self.owners: dict[str, str] = {}
        self._lock = threading.Lock()

    def get(self, name: str) -> StoredCredential | None:
        """Return one row."""
        return self.rows.get(name)

    def all(self) -> Sequence[StoredCredential]:
        """Return all rows by name."""
        return [self.rows[name] for name in sorted(self.rows)]

    def claim(self, name: str, owner: str, now: datetime, until: datetime) -> bool:
        """Claim a row."""
        with self._lock:
            row = self.rows.setdefault(name, StoredCredential(name, None, 0, now))
            if row.lease_until is not None and row.lease_until > now:
                return False
            self.rows[name] = replace(row, lease_until=until)
            self.owners[name] = owner
            return True

    def release(self, name: str, owner: str) -> None:
        """Let go of a row."""
        with self._lock:
            if self.owners.get(name) == owner:
                del self.owners[name]
                self.rows[name] = replace(self.rows[name], lease_until=None)

    def save(self, name: str, sealed: str, expires_at: datetime | None, now: datetime, version: int | None) -> bool:
        """Store a new secret."""
        with self._lock:
            before = self.rows.get(name)
            if before is not None and version is not None and before.version != version:
                return False
            after = 1 if before is None else before.version + 1
            self.rows[name] = StoredCredential(name, sealed, after, now, expires_at=expires_at)
            self.owners.pop(name, None)
            return True

    def fail(self, name: str, owner: str, failure: str, retry_at: datetime, *, permanent: bool) -> None:
        """Remember a failure."""
        with self._lock:
            if self.owners.get(name) == owner:
                del self.owners[name]
                self.rows[name] = replace(
                    self.rows[name],
                    lease_until=None,
                    retry_at=retry_at,
                    failure=failure,
                    failure_permanent=permanent,
                )

    def reseal(self, name: str, before: str, after: str) -> bool:
        """Replace one sealed text."""
        with self._lock:
            if name not in self.rows or self.rows[name].sealed != before:
                return False
            self.rows[name] = replace(self.rows[name], sealed=after)
            return True
