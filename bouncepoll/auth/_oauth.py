"""OAuth 2 with any issuer: the requests of RFC 6749, RFC 7636 (PKCE) and RFC 8628 (device code)."""

import base64
import hashlib
import secrets
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from urllib.parse import quote_plus, urlencode, urlsplit

from bouncepoll.auth._grant import Grant, read_grant
from bouncepoll.auth._http import HttpClient
from bouncepoll.auth._urls import checked_url
from bouncepoll.auth.errors import refusal, said_of
from bouncepoll.errors import ConfigurationError
from bouncepoll.ports import Clock

_DEVICE_GRANT = "urn:ietf:params:oauth:grant-type:device_code"
_SLOW_DOWN_S = 5.0  # RFC 8628 section 3.5.
_MIN_INTERVAL_S = 1.0
_MAX_INTERVAL_S = 60.0
_MAX_CODE_LIFETIME_S = 3600.0
_MAX_CODE_CHARACTERS = 4096


class OAuthClient:
    """An app at an issuer. ``client_secret`` is asked for at each request; it may give None."""

    def __init__(
        self,
        name: str,
        token_url: str,
        client_id: str,
        client_secret: Callable[[], str | None],
        http: HttpClient,
        clock: Clock,
        *,
        client_auth: str = "basic",
        by_person: bool = False,
    ) -> None:
        """``name`` is the section the tokens are for.

        ``by_person``: they are those of a login a person went through, and can go through again.

        Raises:
            ConfigurationError: the address of the end-point is not https.
        """
        self.name = name
        self.label = f"{name}: {checked_url(token_url)}"
        self.http = http
        self.clock = clock
        self.client_id = client_id
        self._token_url = token_url
        self._client_secret = client_secret
        self._basic = client_auth == "basic"
        self._by_person = by_person

    def grant(self, form: Mapping[str, str]) -> Grant:
        """Ask the token end-point.

        Raises:
            TransientError, ConfigurationError: see ``Issuer.issue``.
        """
        answer, hidden = self.ask(form)
        return read_grant(self.label, answer, self.clock(), hidden, by_person=self._by_person)

    def ask(self, form: Mapping[str, str]) -> tuple[dict[str, Any], tuple[str, ...]]:
        """Return what the token end-point answers, and the texts that no message about it may hold."""
        fields, headers = {"client_id": self.client_id, **form}, {"Accept": "application/json"}
        client_secret = self._client_secret()
        if client_secret is not None and self._basic:
            # RFC 6749 section 2.3.1: both are form-encoded before base64.
            pair = f"{quote_plus(self.client_id)}:{quote_plus(client_secret)}"
            headers["Authorization"] = f"Basic {base64.b64encode(pair.encode()).decode()}"
        elif client_secret is not None:
            fields["client_secret"] = client_secret
        hidden = [fields[name] for name in ("refresh_token", "code", "code_verifier", "device_code") if name in fields]
        return self.http.post(self._token_url, fields, headers=headers).json(), (*hidden, client_secret or "")


class RefreshIssuer:
    """Gives access tokens for a refresh token (RFC 6749 section 6)."""

    def __init__(self, client: OAuthClient, scopes: tuple[str, ...] = ()) -> None:
        """``scopes`` are named in each request where the issuer wants that; else those of the login count."""
        self._client = client
        self._scopes = scopes

    @property
    def label(self) -> str:
        """The end-point's host."""
        return self._client.label

    def issue(self, refresh_token: str | None) -> Grant:
        """Return a new access token; see ``Issuer``."""
        form = {"grant_type": "refresh_token", "refresh_token": refresh_token or ""}
        return self._client.grant(form | _scope(self._scopes))


class ClientCredentialsIssuer:
    """Gives access tokens to the app itself (RFC 6749 section 4.4)."""

    def __init__(self, client: OAuthClient, scopes: tuple[str, ...]) -> None:
        self._client = client
        self._scopes = scopes

    @property
    def label(self) -> str:
        """The end-point's host."""
        return self._client.label

    def issue(self, refresh_token: str | None) -> Grant:  # noqa: ARG002 - there is none.
        """Return a new access token; see ``Issuer``."""
        return self._client.grant({"grant_type": "client_credentials"} | _scope(self._scopes))


@dataclass
class DevicePrompt:
    """What a person has to do: open ``verification_uri`` and enter ``user_code``, until ``expires_at``.

    ``interval_s`` is how long to wait between two polls; ``state`` is what polling needs.
    """

    verification_uri: str
    user_code: str
    expires_at: datetime
    interval_s: float
    state: Any = field(repr=False)
    verification_uri_complete: str | None = None


class DeviceFlow:
    """A login on another device (RFC 8628)."""

    def __init__(self, client: OAuthClient, device_authorization_url: str, scopes: tuple[str, ...]) -> None:
        self._client = client
        self._url = device_authorization_url
        self._scopes = scopes

    def begin(self) -> DevicePrompt:
        """Ask for a code.

        Raises:
            TransientError, ConfigurationError: see ``Issuer.issue``.
        """
        form = {"client_id": self._client.client_id} | _scope(self._scopes)
        answer = self._client.http.post(self._url, form, headers={"Accept": "application/json"}).json()
        return read_prompt(f"{self._client.name}: {checked_url(self._url)}", answer, self._client.clock())

    def poll(self, prompt: DevicePrompt) -> Grant | None:
        """Return the tokens, or None when the person is not through yet.

        Raises:
            TransientError, ConfigurationError: the login was declined, took too long, or failed otherwise.
        """
        answer, hidden = self._client.ask({"grant_type": _DEVICE_GRANT, "device_code": prompt.state})
        if pending(answer, prompt):
            return None
        return read_grant(self._client.label, answer, self._client.clock(), hidden, by_person=False)


def read_prompt(label: str, answer: Mapping[str, Any], now: datetime) -> DevicePrompt:
    """Return what an answer of a device authorization end-point asks a person to do (RFC 8628 section 3.2).

    Raises:
        TransientError, ConfigurationError: it is a refusal, or makes no sense.
    """
    # QUIRK: Google writes verification_url.
    uri = answer.get("verification_uri", answer.get("verification_url"))
    user_code, device_code = answer.get("user_code"), answer.get("device_code")
    if not all(
        isinstance(text, str) and 0 < len(text) <= _MAX_CODE_CHARACTERS for text in (uri, user_code, device_code)
    ):
        raise refusal(label, answer, by_person=False)
    checked_url(str(uri))
    complete = answer.get("verification_uri_complete")
    return DevicePrompt(
        said_of(uri),
        said_of(user_code),
        now + timedelta(seconds=_bounded(answer.get("expires_in"), 900.0, _MAX_CODE_LIFETIME_S)),
        max(_bounded(answer.get("interval"), 5.0, _MAX_INTERVAL_S), _MIN_INTERVAL_S),
        device_code,
        said_of(complete) if isinstance(complete, str) and urlsplit(complete).scheme == "https" else None,
    )


def pending(answer: Mapping[str, Any], prompt: DevicePrompt) -> bool:
    """Return whether to poll again; slower, when the end-point says so."""
    if answer.get("error") == "slow_down":
        prompt.interval_s = min(prompt.interval_s + _SLOW_DOWN_S, _MAX_INTERVAL_S)
        return True
    return answer.get("error") == "authorization_pending"


class CodeFlow:
    """A login in a browser: authorization code (RFC 6749 section 4.1) with PKCE (RFC 7636)."""

    def __init__(
        self, client: OAuthClient, authorization_url: str, scopes: tuple[str, ...], extra: Mapping[str, str]
    ) -> None:
        checked_url(authorization_url)
        self._client = client
        self._url = authorization_url
        self._scopes = scopes
        self._extra = extra
        self._verifier = secrets.token_urlsafe(64)
        self.state = secrets.token_urlsafe(24)

    def address(self, redirect_uri: str, login_hint: str) -> str:
        """Return the address a person has to open."""
        challenge = base64.urlsafe_b64encode(hashlib.sha256(self._verifier.encode()).digest()).rstrip(b"=").decode()
        query = {
            "response_type": "code",
            "client_id": self._client.client_id,
            "redirect_uri": redirect_uri,
            "state": self.state,
            "code_challenge": challenge,
            "code_challenge_method": "S256",
            "login_hint": login_hint,
            **_scope(self._scopes),
            **self._extra,
        }
        return f"{self._url}{'&' if urlsplit(self._url).query else '?'}{urlencode(query)}"

    def finish(self, answer: Mapping[str, str], redirect_uri: str) -> Grant:
        """Return the tokens for what the browser was sent back with: the query of the redirect.

        Raises:
            ConfigurationError: it belongs to another login, or is a refusal.
            TransientError: the token end-point does not answer.
        """
        if not secrets.compare_digest(answer.get("state", "").encode(), self.state.encode()):
            raise ConfigurationError(
                f"{self._client.name}: this redirect belongs to another login (its state differs); start again"
            )
        code = answer.get("code", "")
        if "error" in answer or not 0 < len(code) <= _MAX_CODE_CHARACTERS:
            raise refusal(f"{self._client.name}: {checked_url(self._url)}", answer, by_person=False)
        return self._client.grant(
            {
                "grant_type": "authorization_code",
                "code": code,
                "redirect_uri": redirect_uri,
                "code_verifier": self._verifier,
            }
        )


def _scope(scopes: tuple[str, ...]) -> dict[str, str]:
    return {"scope": " ".join(scopes)} if scopes else {}


def _bounded(value: object, default: float, limit: float) -> float:
    try:
        number = float(str(value)) if value is not None else default
    except ValueError:
        number = default
    return min(number, limit) if number >= 0 else default
