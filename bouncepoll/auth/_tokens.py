"""Token sources that keep an access token until shortly before it ends, and get the next one once."""

import threading
from collections.abc import Callable
from datetime import datetime, timedelta

from bouncepoll.auth._grant import Grant, Issuer
from bouncepoll.auth.errors import TokenEndpointUnavailable
from bouncepoll.errors import BouncepollError, ConfigurationError, TransientError
from bouncepoll.options import run_secret_command
from bouncepoll.ports import Clock

_AHEAD = timedelta(minutes=5)
#: How long a failure keeps others from asking, where the end-point does not say; polls ask less often anyway.
_TRANSIENT_PAUSE_S = 10.0
_PERMANENT_PAUSE_S = 30.0
#: A token that was given out so shortly ago is not worth another one when a server refuses it.
YOUNG = timedelta(seconds=30)


class CommandTokens:
    """A ``TokenSource`` over a program that prints an access token; it is run at each login."""

    def __init__(self, command: tuple[str, ...], mechanisms: tuple[str, ...]) -> None:
        self.mechanisms = mechanisms
        self._command = command

    def secret(self) -> str:
        """Return what the program prints."""
        return run_secret_command(self._command, "token_command")

    def refused(self) -> bool:
        """Return False: the program was just asked."""
        return False


class CachedTokens:
    """A ``TokenSource`` over an ``Issuer``; may be asked by any number of threads, one of which asks the issuer."""

    def __init__(self, issuer: Issuer, clock: Clock, mechanisms: tuple[str, ...]) -> None:
        self.mechanisms = mechanisms
        self._issuer = issuer
        self._clock = clock
        self._lock = threading.Lock()
        self._grant: Grant | None = None
        self._since: datetime | None = None
        self._failure: BouncepollError | None = None
        self._retry_at: datetime | None = None

    def secret(self) -> str:
        """Return an access token that is valid for a while."""
        with self._lock:
            now = self._clock()
            if self._grant is None or not fresh(self._grant.expires_at, self._since, now):
                self._renew(now)
            assert self._grant is not None  # noqa: S101 - _renew raises otherwise.
            return self._grant.access_token

    def refused(self) -> bool:
        """Forget the token; True when it was not just given out."""
        with self._lock:
            since, self._grant = self._since, None
            return since is not None and self._clock() - since > YOUNG

    def _renew(self, now: datetime) -> None:
        # A clock that was set back meanwhile makes no pause longer.
        retry_at, failure = self._retry_at, self._failure
        if failure is not None and retry_at is not None and now < retry_at <= now + pause(failure):
            raise again(failure)
        self._grant = None
        try:
            self._grant, self._since = self._issuer.issue(None), now
        except (TransientError, ConfigurationError) as exc:
            self._failure, self._retry_at = exc, now + pause(exc)
            raise
        self._failure = self._retry_at = None


def fresh(expires_at: datetime, since: datetime | None, now: datetime) -> bool:
    """Return whether a token is still good for a login: five minutes, or a tenth of its life where that is short."""
    ahead = _AHEAD if since is None else min(_AHEAD, (expires_at - since) / 10)
    return now + ahead < expires_at


def pause(exc: BouncepollError) -> timedelta:
    """Return how long nobody is to ask again after this failure."""
    if isinstance(exc, TokenEndpointUnavailable) and exc.retry_after_s is not None:
        return timedelta(seconds=exc.retry_after_s)
    return timedelta(seconds=_TRANSIENT_PAUSE_S if isinstance(exc, TransientError) else _PERMANENT_PAUSE_S)


def again(exc: BouncepollError) -> BouncepollError:
    """Return the same error once more, without its traceback growing each time."""
    return exc.with_traceback(None)


#: Waits some seconds.
Wait = Callable[[float], None]
