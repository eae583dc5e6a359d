"""From what is configured to what gives tokens. msal, google-auth and httpx are imported only where they are used."""

# ruff: noqa: PLC0415 - each of them takes 0.2 s, which no other command needs.

import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from bouncepoll.auth._endpoints import Endpoints, endpoints_of
from bouncepoll.auth._grant import Grant, Issuer
from bouncepoll.auth._options import (
    AuthorizationCodeAuth,
    ClientCredentialsAuth,
    ClientOptions,
    DeviceCodeAuth,
    OAuthOptions,
    RefreshTokenAuth,
    ServiceAccountAuth,
)
from bouncepoll.auth._place import Place, allowed, is_entra, missing
from bouncepoll.auth._settings import CredentialsSettings
from bouncepoll.errors import ConfigurationError
from bouncepoll.ports import Clock

if TYPE_CHECKING:
    from bouncepoll.auth._http import HttpClient
    from bouncepoll.auth._microsoft import EntraApp, EntraDevice
    from bouncepoll.auth._oauth import CodeFlow, DevicePrompt, OAuthClient


class DeviceLogin(Protocol):
    """A login on another device."""

    def begin(self) -> "DevicePrompt":
        """Ask for a code; raises like ``Issuer.issue``."""
        ...

    def poll(self, prompt: "DevicePrompt") -> Grant | None:
        """Return the tokens, or None when the person is not through yet; raises like ``Issuer.issue``."""
        ...


class Builder:
    """Builds what is needed for one login."""

    def __init__(self, place: Place, auth: OAuthOptions, credentials: CredentialsSettings, clock: Clock) -> None:
        """Look up the end-points.

        Raises:
            ConfigurationError: something is missing, such as an address.
        """
        faults = [f"{place.name}.{key}: {problem}" for key, problem in missing(place, auth, credentials)]
        if faults:
            raise ConfigurationError(*faults)
        self._place = place
        self._auth = auth
        self._clock = clock
        self._endpoints: Endpoints = endpoints_of(place.oauth)

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms for the tokens."""
        return allowed(self._place.mechanisms, self._endpoints.mechanisms)

    @property
    def binding(self) -> str:
        """What a stored login is for; one for something else is not used."""
        auth = self._auth
        tells = [self._place.username, self._place.oauth, self._place.service, *auth.scopes]
        tells += [getattr(auth, key, None) for key in ("kind", "client_id", "tenant", "authority", "token_url")]
        return json.dumps(tells)

    def issuer(self) -> Issuer:
        """Return what gives the tokens.

        Raises:
            ConfigurationError: an address or a file is missing.
        """
        match self._auth:
            case ServiceAccountAuth() as account:
                return self._service_account(account)
            case ClientCredentialsAuth() as app:
                return self._client_credentials(app)
            case DeviceCodeAuth() as device if is_entra(device, self._endpoints):
                return self._entra_device(device)
            case ClientOptions() as client:
                return self._refresh(client)
        raise ConfigurationError(f"{self._place.name}.auth: this kind has no tokens")

    def device_login(self) -> DeviceLogin:
        """Return the login on another device; raises like ``issuer``."""
        auth = self._auth
        if not isinstance(auth, DeviceCodeAuth):
            raise ConfigurationError(f"{self._place.name}.auth: this is no login by device code")
        if is_entra(auth, self._endpoints):
            return self._entra_device(auth)
        from bouncepoll.auth._oauth import DeviceFlow

        url = self._url("device_authorization_url")
        return DeviceFlow(self._client(auth, by_person=True), url, self._scopes())

    def code_login(self) -> "tuple[CodeFlow, str]":
        """Return the login in a browser, and the host of its redirect URI; raises like ``issuer``."""
        auth = self._auth
        if not isinstance(auth, AuthorizationCodeAuth):
            raise ConfigurationError(f"{self._place.name}.auth: this is no login by authorization code")
        from bouncepoll.auth._oauth import CodeFlow

        url = self._url("authorization_url")
        flow = CodeFlow(self._client(auth, by_person=True), url, self._scopes(), self._endpoints.extra)
        return flow, auth.redirect_host or self._endpoints.redirect_host

    def _service_account(self, auth: ServiceAccountAuth) -> Issuer:
        from bouncepoll.auth._google import GoogleServiceAccount

        return GoogleServiceAccount(
            self._place.name,
            auth.key_file,
            auth.subject or self._place.username,
            auth.scopes or endpoints_of("google").scopes[self._place.service],
            auth.token_url,
            self._http(),
            self._clock,
        )

    def _client_credentials(self, auth: ClientCredentialsAuth) -> Issuer:
        scopes = auth.scopes or self._endpoints.app_scopes
        if not is_entra(auth, self._endpoints):
            from bouncepoll.auth._oauth import ClientCredentialsIssuer

            return ClientCredentialsIssuer(self._client(auth, by_person=False), scopes)
        from bouncepoll.auth import _microsoft

        certificate_file, key_file = auth.certificate_file, auth.key_file
        credential: Callable[[], Any] = auth.secret_of_client
        if certificate_file is not None:
            from bouncepoll.auth._certificate import certificate_credential

            credential = lambda: certificate_credential(certificate_file, key_file)  # noqa: E731
        return _microsoft.EntraClientCredentials(self._entra(auth, credential), scopes)

    def _entra_device(self, auth: DeviceCodeAuth) -> "EntraDevice":
        from bouncepoll.auth import _microsoft

        return _microsoft.EntraDevice(self._entra(auth, lambda: None), self._scopes())

    def _entra(self, auth: ClientOptions, credential: Callable[[], Any]) -> "EntraApp":
        from bouncepoll.auth import _microsoft

        authority = auth.authority or self._filled(self._endpoints.authority or "", auth)
        return _microsoft.EntraApp(
            self._place.name,
            authority,
            auth.client_id,
            credential,
            self._http(),
            self._clock,
            own_authority=auth.authority is not None,
        )

    def _refresh(self, auth: ClientOptions) -> Issuer:
        if self._place.oauth == "google" and isinstance(auth, RefreshTokenAuth):
            from bouncepoll.auth._google import GoogleRefresh

            return GoogleRefresh(
                self._place.name,
                self._url("token_url"),
                auth.client_id,
                auth.secret_of_client,
                auth.scopes,
                self._http(),
                self._clock,
            )
        from bouncepoll.auth._oauth import RefreshIssuer

        # Microsoft's refresh tokens are good for several resources: each request says for which.
        scopes = self._scopes() if self._place.oauth == "microsoft" else auth.scopes
        return RefreshIssuer(self._client(auth, by_person=True), scopes)

    def _client(self, auth: ClientOptions, *, by_person: bool) -> "OAuthClient":
        from bouncepoll.auth._oauth import OAuthClient

        return OAuthClient(
            self._place.name,
            self._url("token_url"),
            auth.client_id,
            auth.secret_of_client,
            self._http(),
            self._clock,
            client_auth=auth.client_auth or self._endpoints.client_auth,
            by_person=by_person,
        )

    def _http(self) -> "HttpClient":
        from bouncepoll.auth._http import HttpClient

        return HttpClient(self._clock, self._auth.ca_file)

    def _scopes(self) -> tuple[str, ...]:
        return self._auth.scopes or self._endpoints.scopes.get(self._place.service, ())

    def _url(self, key: str) -> str:
        """Return an end-point's address: the one that is configured, else the issuer's."""
        found = getattr(self._auth, key) or getattr(self._endpoints, key)
        return self._filled(str(found), self._auth)

    @staticmethod
    def _filled(url: str, auth: OAuthOptions) -> str:
        return url.replace("{tenant}", str(getattr(auth, "tenant", "")))
