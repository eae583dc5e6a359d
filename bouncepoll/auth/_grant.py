"""What a token end-point gives, and what gives it."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Protocol

from bouncepoll.auth.errors import refusal
from bouncepoll.auth.sasl import check_bearer

_DEFAULT_LIFETIME_S = 3600.0
_MAX_LIFETIME_S = 366 * 86400.0
_MAX_REFRESH_LIFETIME_S = 3660 * 86400.0
_MAX_TOKEN_CHARACTERS = 64 * 1024


@dataclass(frozen=True, slots=True)
class Grant:
    """Tokens. ``refresh_token`` is None when the one before stays valid; ``refresh_expires_at`` None: nobody said."""

    access_token: str = field(repr=False)
    expires_at: datetime
    refresh_token: str | None = field(default=None, repr=False)
    refresh_expires_at: datetime | None = None


class Issuer(Protocol):
    """Gives access tokens. Each ``issue`` is a request to the end-point; nothing is cached."""

    @property
    def label(self) -> str:
        """The end-point's name in messages."""
        ...

    def issue(self, refresh_token: str | None) -> Grant:
        """Return a new access token, for a refresh token where the kind of login has one.

        Raises:
            TransientError: not now.
            ConfigurationError: not before something is mended; ``LoginNeeded``: before a person logs in again.
        """
        ...


def read_grant(
    label: str,
    answer: Mapping[str, Any],
    now: datetime,
    secrets: Iterable[str] = (),
    *,
    by_person: bool,
) -> Grant:
    """Return the tokens of an answer (RFC 6749 section 5.1).

    Raises:
        TransientError, ConfigurationError: it is a refusal, or makes no sense; see ``errors.refusal``.
    """
    token = answer.get("access_token")
    if not isinstance(token, str) or not token or "error" in answer:
        raise refusal(label, answer, secrets, by_person=by_person)
    if len(token) > _MAX_TOKEN_CHARACTERS:
        raise refusal(
            label, {"error": "too_large", "error_description": "the access token is too large"}, by_person=by_person
        )
    check_bearer(token)
    refresh_token = answer.get("refresh_token")
    usable = isinstance(refresh_token, str) and 0 < len(refresh_token) <= _MAX_TOKEN_CHARACTERS
    refresh_s = _seconds(
        answer.get("refresh_token_expires_in", answer.get("refresh_expires_in")), _MAX_REFRESH_LIFETIME_S
    )
    return Grant(
        token,
        now + timedelta(seconds=_seconds(answer.get("expires_in"), _MAX_LIFETIME_S) or _DEFAULT_LIFETIME_S),
        refresh_token if usable and isinstance(refresh_token, str) else None,
        now + timedelta(seconds=refresh_s) if refresh_s else None,
    )


def _seconds(value: object, limit_s: float) -> float | None:
    """Return a lifetime; some end-points write numbers as text, and 0 for "never"."""
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        seconds = float(value)
    except ValueError:
        return None
    return min(seconds, limit_s) if seconds > 0 else None
