"""Google through google-auth: service accounts with domain-wide delegation, and refresh tokens."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from google.auth.exceptions import GoogleAuthError
from google.oauth2 import credentials, service_account

from bouncepoll.auth._grant import Grant, read_grant
from bouncepoll.auth._http import Answer, HttpClient
from bouncepoll.auth._urls import checked_url
from bouncepoll.auth.errors import TokenEndpointUnavailable, refusal, said_of
from bouncepoll.errors import ConfigurationError
from bouncepoll.options import read_secret_text
from bouncepoll.ports import Clock


class _Transport:
    """A request function for google-auth that keeps the last answer: it says more than google-auth's objects."""

    def __init__(self, http: HttpClient) -> None:
        self._http = http
        self.answer: Answer | None = None

    def __call__(self, *arguments: Any, **more: Any) -> Answer:
        self.answer = self._http(*arguments, **more)
        return self.answer


class GoogleServiceAccount:
    """An ``Issuer`` for a service account that acts for ``subject``."""

    def __init__(
        self,
        name: str,
        key_file: Path,
        subject: str,
        scopes: tuple[str, ...],
        token_url: str | None,
        http: HttpClient,
        clock: Clock,
    ) -> None:
        self.label = self._name = name
        self._key_file = key_file
        self._subject = subject
        self._scopes = scopes
        self._token_url = token_url
        self._http = http
        self._clock = clock

    def issue(self, refresh_token: str | None) -> Grant:  # noqa: ARG002 - there is none.
        """Return a new access token; see ``Issuer``."""
        made = self._credentials()
        self.label = f"{self._name}: {checked_url(str(made._token_uri))}"  # noqa: SLF001 - google-auth has no public name for it.
        return _refreshed(made, self._http, self._clock, self.label, (), by_person=False)

    def _credentials(self) -> Any:
        try:
            info = json.loads(read_secret_text(self._key_file))
            if self._token_url is not None:
                info["token_uri"] = self._token_url
            return service_account.Credentials.from_service_account_info(  # type: ignore[no-untyped-call] # google-auth's
                info, scopes=list(self._scopes), subject=self._subject
            )
        except (ValueError, TypeError, LookupError, AttributeError, GoogleAuthError):
            # What they say may quote the key.
            raise ConfigurationError(
                f"{self._key_file}: this is no key file of a Google service account; make one in the Google Cloud "
                "console (IAM, Service accounts, Keys, JSON)"
            ) from None


class GoogleRefresh:
    """An ``Issuer`` for a refresh token of a person's account."""

    def __init__(
        self,
        name: str,
        token_url: str,
        client_id: str,
        client_secret: Callable[[], str | None],
        scopes: tuple[str, ...],
        http: HttpClient,
        clock: Clock,
    ) -> None:
        self.label = f"{name}: {checked_url(token_url)}"
        self._token_url = token_url
        self._client_id = client_id
        self._client_secret = client_secret
        self._scopes = scopes
        self._http = http
        self._clock = clock

    def issue(self, refresh_token: str | None) -> Grant:
        """Return a new access token; see ``Issuer``."""
        client_secret = self._client_secret()
        if client_secret is None:
            raise ConfigurationError(f"{self.label}: client_secret is missing; apps of Google have one")
        made = credentials.Credentials(  # type: ignore[no-untyped-call] # google-auth's
            None,
            refresh_token=refresh_token,
            token_uri=self._token_url,
            client_id=self._client_id,
            client_secret=client_secret,
            scopes=list(self._scopes) or None,
        )
        hidden = (client_secret, refresh_token or "")
        return _refreshed(made, self._http, self._clock, self.label, hidden, by_person=True)


def _refreshed(
    made: Any, http: HttpClient, clock: Clock, label: str, hidden: tuple[str, ...], *, by_person: bool
) -> Grant:
    transport = _Transport(http)
    try:
        made.refresh(transport)
    except GoogleAuthError as exc:
        if transport.answer is None:
            raise ConfigurationError(f"{label}: {said_of(exc, hidden)}") from None
        if getattr(exc, "retryable", False):
            raise TokenEndpointUnavailable(f"{label}: it refused for now ({said_of(exc, hidden)})") from None
        raise refusal(label, transport.answer.json(), hidden, by_person=by_person) from None
    if transport.answer is None:
        raise ConfigurationError(f"{label}: google-auth made no request; is this a key for another universe domain?")
    return read_grant(label, transport.answer.json(), clock(), hidden, by_person=by_person)
