"""Logins that are kept: refresh tokens, encrypted, renewed once however many threads and processes ask.

The row of a login is claimed (a lease, with a version that fences it), never locked: no transaction is open while the
token end-point is asked. The new tokens are committed before anybody gets the access token, for a refresh token that
was replaced is worth nothing from then on. The others that wait find the new access token in the row.
"""

import hashlib
import json
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from bouncepoll.auth._grant import Grant, Issuer
from bouncepoll.auth._tokens import YOUNG, Wait, fresh, pause
from bouncepoll.auth.errors import LoginNeeded, TokenEndpointUnavailable, said_of
from bouncepoll.auth.keys import Keyring
from bouncepoll.errors import BouncepollError, ConfigurationError, StoreUnavailable, TransientError
from bouncepoll.model.credential import StoredCredential
from bouncepoll.ports import Clock, CredentialStore

# Longer than the two requests of a renewal take at worst: 15 s to connect, 15 s to send, 20 s and 15 s to answer each.
_LEASE = timedelta(seconds=180)
_WAIT_S = 0.2
#: Token end-points are left alone for an hour at most.
_LONGEST_REST_S = 3600.0
_MAX_WAITS = 1000


@dataclass(frozen=True, slots=True)
class Login:
    """What is sealed. ``binding`` tells for which configuration it is; times are None where nobody said."""

    binding: str
    refresh_token: str = field(repr=False)
    refresh_expires_at: datetime | None
    access_token: str | None = field(default=None, repr=False)
    expires_at: datetime | None = None
    since: datetime | None = None


class Vault:
    """Stored logins, sealed with the keys of ``keyring``."""

    def __init__(self, store: Callable[[], CredentialStore], keyring: Keyring) -> None:
        """``store`` is called when it is first needed: most kinds of login need none."""
        self._store = store
        self._keyring = keyring

    @property
    def store(self) -> CredentialStore:
        """The rows."""
        return self._store()

    def read(self, row: StoredCredential | None) -> Login | None:
        """Return what a row holds; None when nothing.

        Raises:
            ConfigurationError: none of the keys opens it.
        """
        if row is None or row.sealed is None:
            return None
        kept = json.loads(self._keyring.open(row.sealed))
        if kept["name"] != row.name:
            raise ConfigurationError(f"{row.name}: the stored login is another one's; log in again")
        return Login(
            kept["binding"],
            kept["refresh_token"],
            _time(kept["refresh_expires_at"]),
            kept["access_token"],
            _time(kept["expires_at"]),
            _time(kept["since"]),
        )

    def write(self, name: str, login: Login, now: datetime, version: int | None) -> bool:
        """Store a login; False when the row is not of ``version`` any more. Raises like ``Keyring.seal``."""
        kept = {
            "name": name,
            "binding": login.binding,
            "refresh_token": login.refresh_token,
            "refresh_expires_at": _text(login.refresh_expires_at),
            "access_token": login.access_token,
            "expires_at": _text(login.expires_at),
            "since": _text(login.since),
        }
        sealed = self._keyring.seal(json.dumps(kept))
        return self.store.save(name, sealed, login.refresh_expires_at, now, version)

    def check(self) -> None:
        """Make sure that something can be stored; raises like ``Keyring.seal``."""
        self._keyring.seal("")

    def rotate(self) -> int:
        """Encrypt every row with the first key; return how many there are.

        Raises:
            ConfigurationError: none of the keys opens one of them.
        """
        count = 0
        for found in self.store.all():
            row: StoredCredential | None = found
            # A login that is renewed meanwhile is read again.
            while row is not None and row.sealed is not None:
                if self.store.reseal(row.name, row.sealed, self._keyring.rotate(row.sealed)):
                    count += 1
                    break
                row = self.store.get(row.name)
        return count


class VaultTokens:
    """A ``TokenSource`` over a stored login."""

    def __init__(
        self,
        name: str,
        issuer: Issuer,
        vault: Vault,
        clock: Clock,
        mechanisms: tuple[str, ...],
        *,
        binding: str,
        seed: Callable[[], str] | None,
        wait: Wait,
    ) -> None:
        """``name`` is the section the login is for. ``seed`` gives the first refresh token where it is configured.

        ``binding`` tells apart what the login is for; ``wait`` waits while somebody else asks the token end-point.
        """
        self.mechanisms = mechanisms
        self._name = name
        self._issuer = issuer
        self._vault = vault
        self._clock = clock
        self._binding = binding
        self._seed = seed
        self._wait = wait
        self._owner = secrets.token_hex(8)
        self._lock = threading.Lock()
        self._login: Login | None = None
        self._refused: str | None = None
        self._unsaved: tuple[Login, int] | None = None

    def secret(self) -> str:
        """Return an access token that is valid for a while; see ``TokenSource``."""
        with self._lock:
            if (token := self._usable(self._login)) is not None:
                return token
            self._save_unsaved()
            for _attempt in range(_MAX_WAITS):
                row = self._vault.store.get(self._name)
                if (token := self._usable(self._read(row))) is not None:
                    return token
                self._raise_failure(row)
                now = self._clock()
                # Looked at first, for a claim takes the database's write lock.
                free = row is None or row.lease_until is None or row.lease_until <= now
                if free and self._vault.store.claim(self._name, self._owner, now, now + _LEASE):
                    return self._renewed()
                self._wait(_WAIT_S)
            raise TokenEndpointUnavailable(
                f"{self._issuer.label}: another process has asked it for long; look at its log"
            )

    def refused(self) -> bool:
        """Forget the access token; True when it was not just given out."""
        with self._lock:
            login, self._login = self._login, None
            if login is None or login.access_token is None:
                return False
            self._refused = login.access_token
            return login.since is not None and self._clock() - login.since > YOUNG

    def check(self) -> None:
        """Make sure that a login can be kept, before somebody goes through it; raises like ``keep``."""
        self._vault.check()
        self._vault.store.get(self._name)

    def keep(self, grant: Grant) -> None:
        """Store what a person's login gave, in place of what was stored.

        Raises:
            ConfigurationError: there is no key to encrypt it with.
            StoreUnavailable: it cannot be stored.
        """
        with self._lock:
            now = self._clock()
            login = self._of(grant, grant.refresh_token or "", None, now)
            self._vault.write(self._name, login, now, None)
            self._login, self._refused, self._unsaved = login, None, None

    def _usable(self, login: Login | None) -> str | None:
        if login is None or login.access_token is None or login.expires_at is None:
            return None
        if login.access_token == self._refused or not fresh(login.expires_at, login.since, self._clock()):
            return None
        self._login = login
        return login.access_token

    def _read(self, row: StoredCredential | None) -> Login | None:
        """Return the stored login if it is for what is configured now."""
        login = self._vault.read(row)
        return login if login is not None and login.binding == self._bound() else None

    def _bound(self) -> str:
        # Another refresh token in the configuration takes the place of the stored one.
        seed = self._seed() if self._seed is not None else ""
        return hashlib.sha256(f"{self._binding}\0{seed}".encode()).hexdigest()

    def _raise_failure(self, row: StoredCredential | None) -> None:
        if row is None or row.failure is None or row.retry_at is None or self._clock() >= row.retry_at:
            return
        rest_s = (row.retry_at - self._clock()).total_seconds()
        if rest_s > _LONGEST_REST_S:
            return  # A clock that was ahead wrote that.
        if row.failure_permanent:
            raise ConfigurationError(row.failure)
        raise TokenEndpointUnavailable(row.failure, retry_after_s=rest_s)

    def _renewed(self) -> str:
        """Ask the token end-point; the row is claimed."""
        store = self._vault.store
        try:
            row = store.get(self._name)
            before = self._read(row)
            if (token := self._usable(before)) is not None:
                # Somebody renewed it between our look and our claim.
                store.release(self._name, self._owner)
                return token
            refresh_token = before.refresh_token if before is not None else self._first()
            # Not to find out that nothing can be encrypted when the old refresh token is worth nothing any more.
            self._vault.check()
            grant = self._issuer.issue(refresh_token)
        except (TransientError, ConfigurationError) as exc:
            explained = self._explained(exc)
            self._note(explained, pause(exc))
            if explained is exc:
                raise
            raise explained from None
        except BaseException:
            store.release(self._name, self._owner)
            raise
        now = self._clock()
        login = self._of(grant, refresh_token, before, now)
        self._unsaved = (login, row.version if row is not None else 0)
        self._save_unsaved()
        if (token := self._usable(login)) is None:
            raise TokenEndpointUnavailable(
                f"{self._issuer.label}: it gave a token that has ended already, or was refused"
            )
        return token

    def _first(self) -> str:
        if self._seed is None:
            raise LoginNeeded("nobody logged in yet")
        return self._seed()

    def _of(self, grant: Grant, refresh_token: str, before: Login | None, now: datetime) -> Login:
        kept_until = before.refresh_expires_at if before is not None and grant.refresh_token is None else None
        return Login(
            self._bound(),
            grant.refresh_token or refresh_token,
            grant.refresh_expires_at or kept_until,
            grant.access_token,
            grant.expires_at,
            now,
        )

    def _save_unsaved(self) -> None:
        """Store what was given but could not be stored: without it, a refresh token that was replaced is lost."""
        if self._unsaved is None:
            return
        login, version = self._unsaved
        self._vault.write(self._name, login, self._clock(), version)
        # False: somebody stored a later one meanwhile.
        self._unsaved = None

    def _note(self, exc: BouncepollError, rest: timedelta) -> None:
        try:
            permanent = isinstance(exc, ConfigurationError)
            self._vault.store.fail(self._name, self._owner, str(exc), self._clock() + rest, permanent=permanent)
        except StoreUnavailable:
            # The claim ends by itself, and the failure is raised anyway.
            return

    def _explained(self, exc: BouncepollError) -> BouncepollError:
        if not isinstance(exc, LoginNeeded):
            return exc
        mend = (
            f"run 'bouncepoll mailbox login {self._name.removeprefix('mailboxes.')}'"
            if self._seed is None
            else f"write a new one to {self._name}.auth.refresh_token"
        )
        return ConfigurationError(f"{said_of(exc)}; {mend}")


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat()
