"""Microsoft Entra through msal: client credentials by secret or certificate, and device code."""

import logging
import warnings
from collections.abc import Callable, Mapping
from typing import Any

from msal.application import ConfidentialClientApplication, PublicClientApplication

from bouncepoll.auth._grant import Grant, read_grant
from bouncepoll.auth._http import HttpClient
from bouncepoll.auth._oauth import DevicePrompt, pending, read_prompt
from bouncepoll.auth.errors import said_of
from bouncepoll.errors import ConfigurationError
from bouncepoll.ports import Clock

# msal asks for these by itself, and refuses to be asked for them.
_RESERVED_SCOPES = frozenset({"openid", "profile", "offline_access"})


class EntraApp:
    """An app registration. ``credential`` gives what msal takes: a secret, a certificate, or None for a public client.

    ``own_authority``: an authority that was configured is trusted as it is, and not asked Microsoft about.
    """

    def __init__(
        self,
        name: str,
        authority: str,
        client_id: str,
        credential: Callable[[], str | Mapping[str, str] | None],
        http: HttpClient,
        clock: Clock,
        *,
        own_authority: bool,
    ) -> None:
        # msal logs answers it cannot read, whole.
        logging.getLogger("msal").setLevel(logging.CRITICAL)
        self.label = f"{name}: {authority.split('//', 1)[-1]}"
        self.clock = clock
        self._authority = authority
        self._client_id = client_id
        self._credential = credential
        self._http = http
        self._own_authority = own_authority

    def application(self) -> tuple[Any, tuple[str, ...]]:
        """Return msal's application, and the texts that no message about it may hold.

        Raises:
            TransientError: the authority does not answer.
            ConfigurationError: there is none at that address, or the credential cannot be used.
        """
        credential = self._credential()
        hidden = (credential,) if isinstance(credential, str) else ()
        kind: Any = PublicClientApplication if credential is None else ConfidentialClientApplication
        more = {} if credential is None else {"client_credential": credential}
        try:
            made = kind(
                self._client_id,
                authority=self._authority,
                http_client=self._http,
                instance_discovery=False if self._own_authority else None,
                **more,
            )
        except (ValueError, LookupError, TypeError) as exc:
            raise ConfigurationError(
                f"{self.label}: this authority cannot be used; check tenant and authority ({said_of(exc, hidden)})"
            ) from None
        return made, hidden

    def grant(self, answer: Mapping[str, Any], hidden: tuple[str, ...], *, by_person: bool) -> Grant:
        """Return the tokens of msal's answer."""
        return read_grant(self.label, answer, self.clock(), hidden, by_person=by_person)


class EntraClientCredentials:
    """An ``Issuer`` for the app itself."""

    def __init__(self, app: EntraApp, scopes: tuple[str, ...]) -> None:
        self._app = app
        self._scopes = scopes

    @property
    def label(self) -> str:
        """The authority."""
        return self._app.label

    def issue(self, refresh_token: str | None) -> Grant:  # noqa: ARG002 - there is none.
        """Return a new access token; see ``Issuer``."""
        application, hidden = self._app.application()
        answer = application.acquire_token_for_client(list(self._scopes))
        return self._app.grant(answer, hidden, by_person=False)


class EntraDevice:
    """A ``DeviceFlow`` and the ``Issuer`` for the refresh token it ends with."""

    def __init__(self, app: EntraApp, scopes: tuple[str, ...]) -> None:
        self._app = app
        self._scopes = [scope for scope in scopes if scope not in _RESERVED_SCOPES]
        self._application: Any = None
        self._hidden: tuple[str, ...] = ()

    @property
    def label(self) -> str:
        """The authority."""
        return self._app.label

    def issue(self, refresh_token: str | None) -> Grant:
        """Return a new access token; see ``Issuer``."""
        application, hidden = self._app.application()
        answer = application.acquire_token_by_refresh_token(refresh_token or "", self._scopes)
        return self._app.grant(answer, (*hidden, refresh_token or ""), by_person=True)

    def begin(self) -> DevicePrompt:
        """Ask for a code; see ``DeviceFlow``."""
        self._application, self._hidden = self._app.application()
        try:
            flow = self._application.initiate_device_flow(self._scopes)
        except ValueError as exc:
            raise ConfigurationError(f"{self.label}: no login by device code here: {said_of(exc)}") from None
        prompt = read_prompt(self.label, flow, self._app.clock())
        # With an interval of 0, msal would ask again and again by itself.
        prompt.state = {**flow, "interval": 1}
        return prompt

    def poll(self, prompt: DevicePrompt) -> Grant | None:
        """Return the tokens, or None when the person is not through yet; see ``DeviceFlow``."""
        with warnings.catch_warnings():
            # Whoever calls this keeps the interval; msal would look at the time by itself.
            warnings.simplefilter("ignore")
            answer = self._application.acquire_token_by_device_flow(prompt.state, exit_condition=lambda _flow: True)
        if pending(answer, prompt):
            return None
        return self._app.grant(answer, (*self._hidden, str(prompt.state["device_code"])), by_person=False)
