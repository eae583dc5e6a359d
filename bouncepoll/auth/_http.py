"""HTTP to token end-points: bounded, verified, never redirected; failures that may pass are ``TransientError``.

``post`` and ``get`` have the shape msal wants of an HTTP client, ``HttpClient.__call__`` the one google-auth wants.
"""

import email.utils
import json
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx

from bouncepoll.auth._urls import checked_url
from bouncepoll.auth.errors import TokenEndpointUnavailable
from bouncepoll.errors import ConfigurationError
from bouncepoll.ports import Clock
from bouncepoll.probing.dates import clock_advice
from bouncepoll.probing.old_tls import TOO_OLD, speaks_old_tls

_TIMEOUT_S = 15.0
_MAX_ANSWER_OCTETS = 1024 * 1024
_MAX_RETRY_AFTER_S = 3600.0
_MAX_ANSWER_S = 20.0


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer that is JSON. ``status`` and ``data`` are google-auth's names, the others msal's."""

    status_code: int
    text: str
    headers: Mapping[str, str]

    @property
    def status(self) -> int:
        """The status code."""
        return self.status_code

    @property
    def data(self) -> bytes:
        """The body."""
        return self.text.encode()

    def json(self) -> dict[str, Any]:
        """Return the object the answer is."""
        found: dict[str, Any] = json.loads(self.text)
        return found

    def raise_for_status(self) -> None:
        """Do nothing: answers that are no answers were raised when they came."""


class HttpClient:
    """A client for one issuer of tokens; ``ca_file`` names the CAs to trust instead of the system's."""

    def __init__(self, clock: Clock, ca_file: Path | None = None) -> None:
        """Build the client; nothing is connected yet.

        Raises:
            ConfigurationError: ``ca_file`` cannot be read or holds no certificate.
        """
        try:
            context = ssl.create_default_context(cafile=ca_file)
        except OSError as exc:
            raise ConfigurationError(
                f"ca_file {ca_file}: no certificate can be read from it: {exc.strerror or type(exc).__name__}"
            ) from exc
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        self._clock = clock
        self._context = context

    def post(
        self,
        url: str,
        data: Mapping[str, str | bytes] | None = None,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_more: Any,
    ) -> Answer:
        """Send a form.

        Raises:
            TokenEndpointUnavailable: no answer, one that makes no sense, 429 or 5xx.
            ConfigurationError: the address is not https.
        """
        # msal gives assertions as octets, of which httpx would write Python's notation.
        form = {name: value.decode() if isinstance(value, bytes) else value for name, value in (data or {}).items()}
        return self._ask("POST", url, params=params, headers=headers, data=form)

    def get(
        self,
        url: str,
        *,
        params: Mapping[str, str] | None = None,
        headers: Mapping[str, str] | None = None,
        **_more: Any,
    ) -> Answer:
        """Fetch a document; raises like ``post``."""
        return self._ask("GET", url, params=params, headers=headers)

    def __call__(
        self,
        url: str,
        method: str = "GET",
        body: bytes | None = None,
        headers: Mapping[str, str] | None = None,
        timeout: float | None = None,  # noqa: ARG002 - it has one of its own.
        **_more: Any,
    ) -> Answer:
        """Send what google-auth made."""
        return self._ask(method, url, headers=headers, content=body)

    def _ask(self, method: str, url: str, **more: Any) -> Answer:
        host = checked_url(url)
        try:
            # A connection each: there is a request an hour. No redirects: what is sent is meant for this address only.
            with (
                httpx.Client(verify=self._context, timeout=_TIMEOUT_S, follow_redirects=False) as client,
                client.stream(method, url, **more) as response,
            ):
                text = _text(response)
        except httpx.TimeoutException as exc:
            raise TokenEndpointUnavailable(f"{host}: no answer within {_TIMEOUT_S:g} s") from exc
        except (httpx.HTTPError, httpx.InvalidURL, ValueError) as exc:
            raise TokenEndpointUnavailable(f"{host}: {_why(exc)}") from exc
        status = response.status_code
        if status in {408, 425, 429} or status >= 500:
            retry_after_s = _retry_after_s(response.headers.get("Retry-After"), self._clock())
            raise TokenEndpointUnavailable(f"{host}: it answered {status}", retry_after_s=retry_after_s)
        if not _is_object(text):
            raise TokenEndpointUnavailable(f"{host}: it answered {status} and no JSON object; is the address right?")
        return Answer(status, text, dict(response.headers))


def _text(response: httpx.Response) -> str:
    octets, deadline = b"", time.monotonic() + _MAX_ANSWER_S
    for chunk in response.iter_bytes():
        octets += chunk
        if time.monotonic() > deadline:
            raise ValueError(f"its answer does not end within {_MAX_ANSWER_S:g} s")
        if len(octets) > _MAX_ANSWER_OCTETS:
            raise ValueError(f"its answer has more than {_MAX_ANSWER_OCTETS} octets")
    return octets.decode()


def _is_object(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False


def _why(exc: Exception) -> str:
    cause: BaseException | None = exc
    while cause is not None:
        if isinstance(cause, ssl.SSLCertVerificationError):
            advice = clock_advice(cause) or "check the address and ca_file"
            return f"its certificate is not trusted ({cause.verify_message}); {advice}"
        if speaks_old_tls(cause):
            return TOO_OLD
        cause = cause.__cause__ or cause.__context__
    if isinstance(exc, UnicodeDecodeError):
        return "its answer is not UTF-8"
    return " ".join(str(exc).split())[:200] or type(exc).__name__


def _retry_after_s(value: str | None, now: datetime) -> float | None:
    """Return what Retry-After says (RFC 9110 section 10.2.3), at most an hour; None when it says nothing usable."""
    if not value:
        return None
    if value.isascii() and value.isdigit():
        seconds = float(value[:10])
    else:
        try:
            at = email.utils.parsedate_to_datetime(value)
        except (ValueError, TypeError):
            return None
        seconds = (at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds()
    return min(max(seconds, 0.0), _MAX_RETRY_AFTER_S)
