"""All logins of an installation: their token sources, built once, and when their credentials end."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from datetime import UTC, date, datetime, timedelta
from datetime import time as time_of_day
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from bouncepoll.auth._build import Builder
from bouncepoll.auth._endpoints import endpoints_of
from bouncepoll.auth._options import (
    AuthorizationCodeAuth,
    ClientCredentialsAuth,
    ClientOptions,
    DeviceCodeAuth,
    OAuthOptions,
    RefreshTokenAuth,
    ServiceAccountAuth,
    TokenCommandAuth,
)
from bouncepoll.auth._password import PasswordTokens
from bouncepoll.auth._place import Place, allowed, is_kept
from bouncepoll.auth._settings import CredentialsSettings
from bouncepoll.auth._tokens import CachedTokens, CommandTokens, Wait
from bouncepoll.auth.sasl import PASSWORD_MECHANISMS
from bouncepoll.errors import ConfigurationError, UsageError
from bouncepoll.model.credential import Expiry
from bouncepoll.options import Options, PasswordOptions
from bouncepoll.ports import Clock, CredentialStore, TokenSource

if TYPE_CHECKING:
    from bouncepoll.auth._vault import VaultTokens
    from bouncepoll.auth.login import Terminal

log = structlog.get_logger()

#: How long before its end a credential is warned of.
WARNING_TIME = timedelta(days=14)
_WARN_EVERY = timedelta(days=1)


class Logins:
    """The token sources of all places, each built when first asked for and then kept, with its cached tokens."""

    def __init__(
        self,
        settings: CredentialsSettings,
        store: Callable[[], CredentialStore],
        clock: Clock,
        wait: Wait = time.sleep,
    ) -> None:
        """``store`` is called when a login is first kept or looked up."""
        self._settings = settings
        self._store = store
        self._clock = clock
        self._wait = wait
        self._lock = threading.Lock()
        self._built: dict[str, TokenSource] = {}
        self._warned: dict[tuple[str, str], datetime] = {}

    def tokens(self, place: Place, auth: Options) -> TokenSource:
        """Return what a place logs in with.

        Raises:
            ConfigurationError: an address or a file is missing.
        """
        with self._lock:
            if place.name not in self._built:
                self._built[place.name] = self._tokens(place, auth)
            return self._built[place.name]

    def _tokens(self, place: Place, auth: Options) -> TokenSource:
        match auth:
            case PasswordOptions():
                return PasswordTokens(auth, allowed(place.mechanisms, PASSWORD_MECHANISMS))
            case TokenCommandAuth():
                known = endpoints_of(place.oauth).mechanisms
                return CommandTokens(auth.token_command, allowed(place.mechanisms, known))
            case OAuthOptions() if not is_kept(auth):
                builder = Builder(place, auth, self._settings, self._clock)
                return CachedTokens(builder.issuer(), self._clock, builder.mechanisms)
            case ClientOptions():
                return self.kept(place, auth)
        raise ConfigurationError(f"{place.name}.auth: this kind of auth is not known")

    def kept(self, place: Place, auth: ClientOptions) -> "VaultTokens":
        """Return the tokens of a login that is kept in the database; raises like ``tokens``."""
        from bouncepoll.auth._vault import Vault, VaultTokens  # noqa: PLC0415 - as _build.py.
        from bouncepoll.auth.keys import Keyring  # noqa: PLC0415

        builder = Builder(place, auth, self._settings, self._clock)
        return VaultTokens(
            place.name,
            builder.issuer(),
            Vault(self._store, Keyring(self._settings)),
            self._clock,
            builder.mechanisms,
            binding=builder.binding,
            seed=auth.seed if isinstance(auth, RefreshTokenAuth) else None,
            wait=self._wait,
        )

    def log_in(self, place: Place, auth: Options, terminal: "Terminal") -> None:
        """Walk a person through the login of a place, and store what it gives.

        Raises:
            UsageError: this kind of auth needs no login.
            TransientError, ConfigurationError: it failed.
        """
        from bouncepoll.auth import login  # noqa: PLC0415 - as _build.py.

        if not isinstance(auth, DeviceCodeAuth | AuthorizationCodeAuth):
            kind = getattr(auth, "kind", "password")
            raise UsageError(
                f"{place.name}.auth: the kind {kind!r} needs no login by a person; kinds that do: device_code, "
                "authorization_code"
            )
        tokens = self.kept(place, auth)
        tokens.check()
        builder = Builder(place, auth, self._settings, self._clock)
        if isinstance(auth, DeviceCodeAuth):
            grant = login.by_device(builder.device_login(), terminal, self._clock, self._wait)
        else:
            flow, host = builder.code_login()
            grant = login.in_browser(flow, host, auth.redirect_port, place.username, terminal)
        tokens.keep(login.renewable(place.name, grant))
        # What is cached is of the login before.
        self._built.pop(place.name, None)

    def rotate(self) -> int:
        """Encrypt every stored login with the first key; return how many there are.

        Raises:
            ConfigurationError: none of the keys opens one of them.
        """
        from bouncepoll.auth._vault import Vault  # noqa: PLC0415 - as _build.py.
        from bouncepoll.auth.keys import Keyring  # noqa: PLC0415

        return Vault(self._store, Keyring(self._settings)).rotate()

    def expiries(self, place: Place, auth: Options) -> tuple[Expiry, ...]:
        """Return when the credentials of a place end, as far as that is known; the soonest first.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        found = (Expiry(place.name, what, at) for what, at in self._ends(place, auth))
        return tuple(sorted(found, key=lambda expiry: expiry.expires_at))

    def warn_of_end(self, place: Place, auth: Options) -> None:
        """Log what ends within 14 days, or has ended; once a day.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        now = self._clock()
        for expiry in self.expiries(place, auth):
            last = self._warned.get((place.name, expiry.what))
            if not ends_soon(expiry, now) or (last is not None and now - last < _WARN_EVERY):
                continue
            self._warned[place.name, expiry.what] = now
            days = (expiry.expires_at - now) // timedelta(days=1)
            more = {"section": place.name, "what": expiry.what, "expires_at": expiry.expires_at.isoformat()}
            if days < 0:
                log.error("credential_expired", **more)
            else:
                log.warning("credential_expires", days_left=days, **more)

    def _ends(self, place: Place, auth: Options) -> Iterator[tuple[str, datetime]]:
        match auth:
            case ClientCredentialsAuth(certificate_file=Path() as path):
                from bouncepoll.auth._certificate import load_certificate  # noqa: PLC0415 - as _build.py.

                # That it cannot be read is told by whoever logs in with it.
                with suppress(ConfigurationError):
                    yield "certificate", load_certificate(path).not_valid_after_utc
            case ClientOptions(expires=date() as day):
                yield "client secret", _start_of(day)
            case ServiceAccountAuth(expires=date() as day):
                yield "service account key", _start_of(day)
        row = self._store().get(place.name) if is_kept(auth) else None
        if row is not None and row.expires_at is not None:
            yield "refresh token", row.expires_at


def ends_soon(expiry: Expiry, now: datetime) -> bool:
    """Return whether a credential ends within 14 days, or has ended."""
    return expiry.expires_at - now <= WARNING_TIME


def _start_of(day: date) -> datetime:
    return datetime.combine(day, time_of_day.min, UTC)
