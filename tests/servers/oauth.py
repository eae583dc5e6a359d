"""A local OAuth 2 issuer: token, device and authorization end-points, OpenID metadata as msal wants it.

Access tokens are JWTs signed with HS256, whose key a Dovecot can have. What goes wrong is queued with ``play``.
"""

import base64
import hashlib
import hmac
import json
import secrets
import ssl
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote_plus, urlencode, urlsplit

import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

TENANT = "tenant.example"
_DEVICE = "urn:ietf:params:oauth:grant-type:device_code"
_ASSERTION = "urn:ietf:params:oauth:grant-type:jwt-bearer"


class Refused(Exception):
    """An error of RFC 6749 section 5.2, with its description."""


@dataclass(frozen=True)
class Played:
    """An answer instead of the usual one; a body of text is sent as it is."""

    status: int
    body: Mapping[str, Any] | str
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass
class Request:
    """What was asked: the end-point's path, and the form or query."""

    path: str
    form: dict[str, str]


class OAuthServer:
    """A running issuer with one app: ``client_id``, and ``client_secret`` where that is not None."""

    client_id = "bouncepoll-test"

    def __init__(self) -> None:
        self.client_secret: str | None = "app-secret-Zq81"
        self.certificate: x509.Certificate | None = None
        self.service_account_key: RSAPublicKey | None = None
        self.key = secrets.token_bytes(32)
        self.lifetime_s = 3600
        self.rotates = False
        self.refresh_expires_in: int | None = None
        self.gives_refresh_tokens = True
        self.username = "nobody@example.org"
        self.app_username = "nobody@example.org"
        self.declines = False
        self.padding = ""
        self.approve_at_once = False
        self.interval_s = 0
        self.requests: list[Request] = []
        self.refresh_tokens: dict[str, str] = {}
        self.used_refresh_tokens: list[str] = []
        self.mistakes: list[str] = []
        self.base = ""
        self._played: deque[Played] = deque()
        self._pending: dict[str, bool] = {}
        self._codes: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()

    @property
    def authority(self) -> str:
        """The authority as msal wants it."""
        return f"{self.base}/{TENANT}"

    def play(self, status: int, body: Mapping[str, Any] | str, *, times: int = 1, **headers: str) -> None:
        """Give this answer at the token end-point the next time(s); ``_`` in names of headers stands for ``-``."""
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        self._played.extend([Played(status, body, named)] * times)

    def refuse(self, error: str, description: str = "", *, times: int = 1) -> None:
        """Refuse at the token end-point the next time(s)."""
        self.play(400, {"error": error, "error_description": description}, times=times)

    def new_refresh_token(self, username: str) -> str:
        """Return a refresh token for a user."""
        token = f"rt-{secrets.token_hex(12)}"
        self.refresh_tokens[token] = username
        return token

    def grants(self, grant_type: str) -> int:
        """Return how often the token end-point was asked for this kind of grant."""
        return sum(1 for request in self.requests if request.form.get("grant_type") == grant_type)

    def approve(self) -> None:
        """Let everybody who waits with a device code in."""
        for code in self._pending:
            self._pending[code] = True

    def access_token(self, username: str, lifetime_s: int | None = None) -> str:
        """Return a JWT for a user."""
        now = int(time.time())
        claims = {
            "iss": self.base,
            "sub": username,
            "email": username,
            "aud": self.client_id,
            "azp": "default",
            "iat": now - 5,
            "nbf": now - 5,
            "exp": now + (self.lifetime_s if lifetime_s is None else lifetime_s),
            "jti": secrets.token_hex(8),
            "padding": self.padding,
        }
        signed = ".".join(_part(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
        return f"{signed}.{_part(hmac.new(self.key, signed.encode(), 'sha256').digest())}"

    def answer(self, path: str, form: dict[str, str], basic: tuple[str, str] | None) -> Played:
        """Answer a request that is no authorization request."""
        with self._lock:
            self.requests.append(Request(path, form))
            if path.endswith("/openid-configuration"):
                return Played(200, self._metadata())
            if path.endswith(("/device", "/devicecode")):
                return self._device(form)
            if not path.endswith("/token"):
                return Played(404, {"error": "not_found"})
            if self._played:
                return self._played.popleft()
            try:
                return Played(200, self._token(form, basic))
            except Refused as exc:
                return Played(400, {"error": exc.args[0], "error_description": exc.args[1]})

    def redirect(self, query: dict[str, str]) -> str:
        """Return where the browser of ``username``, who consents, is sent."""
        self.requests.append(Request("/authorize", query))
        answer = {"state": query["state"]}
        if self.declines:
            answer |= {"error": "access_denied", "error_description": "the user said no"}
        else:
            code = secrets.token_urlsafe(16)
            self._codes[code] = query
            answer |= {"code": code}
        return f"{query['redirect_uri']}?{urlencode(answer)}"

    def _metadata(self) -> dict[str, str]:
        at = f"{self.authority}/oauth2/v2.0"
        return {
            "issuer": f"{self.authority}/v2.0",
            "authorization_endpoint": f"{at}/authorize",
            "token_endpoint": f"{at}/token",
            "device_authorization_endpoint": f"{at}/devicecode",
            "jwks_uri": f"{self.authority}/keys",
        }

    def _device(self, form: dict[str, str]) -> Played:
        if form.get("client_id") != self.client_id:
            return Played(400, {"error": "invalid_client", "error_description": "no such app"})
        code = secrets.token_urlsafe(16)
        self._pending[code] = self.approve_at_once
        return Played(
            200,
            {
                "device_code": code,
                "user_code": "WDJB-MJHT",
                "verification_uri": f"{self.base}/enter",
                "expires_in": 600,
                "interval": self.interval_s,
            },
        )

    def _token(self, form: dict[str, str], basic: tuple[str, str] | None) -> dict[str, Any]:
        kind = form.get("grant_type")
        if kind == _ASSERTION:
            return self._tokens(self._asserted(form["assertion"])["sub"], renewable=False)
        self._check_client(form, basic)
        if kind == "client_credentials":
            return self._tokens(self.app_username, renewable=False)
        if kind == "refresh_token":
            return self._refreshed(form.get("refresh_token", ""))
        if kind == _DEVICE:
            return self._by_device(form.get("device_code", ""))
        if kind == "authorization_code":
            return self._by_code(form)
        raise Refused("unsupported_grant_type", "")

    def _check_client(self, form: dict[str, str], basic: tuple[str, str] | None) -> None:
        if form.get("client_id") != self.client_id:
            raise Refused("unauthorized_client", "AADSTS700016: Application with identifier was not found")
        if form.get("client_assertion"):
            self._check_assertion(form["client_assertion"])
        elif self.client_secret is not None:
            given = basic[1] if basic is not None and basic[0] == self.client_id else form.get("client_secret")
            if given != self.client_secret:
                raise Refused("invalid_client", "AADSTS7000215: Invalid client secret provided.")

    def _check_assertion(self, assertion: str) -> None:
        """Verify what msal made of a certificate: PS256 with the certificate's SHA-256 thumbprint."""
        header, claims, signature, signed = _taken_apart(assertion)
        certificate = self.certificate
        if certificate is None or str(header.get("x5t#S256")).rstrip("=") != _part(
            certificate.fingerprint(hashes.SHA256())
        ):
            raise Refused("invalid_client", "AADSTS700027: The certificate is not registered")
        key = certificate.public_key()
        assert isinstance(key, RSAPublicKey)
        pss = padding.PSS(padding.MGF1(hashes.SHA256()), padding.PSS.AUTO)
        key.verify(signature, signed, pss, hashes.SHA256())
        if claims["iss"] != self.client_id or claims["aud"] != self._metadata()["token_endpoint"]:
            raise Refused("invalid_client", "AADSTS50027: the assertion is another one's")

    def _asserted(self, assertion: str) -> dict[str, Any]:
        _header, claims, signature, signed = _taken_apart(assertion)
        if self.service_account_key is None:
            raise Refused("invalid_grant", "Invalid JWT Signature.")
        self.service_account_key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
        if "sub" not in claims or claims["scope"] != "https://mail.google.com/":
            raise Refused("unauthorized_client", "Client is unauthorized to retrieve access tokens using this method")
        return claims

    def _refreshed(self, refresh_token: str) -> dict[str, Any]:
        username = self.refresh_tokens.get(refresh_token)
        if username is None:
            raise Refused("invalid_grant", "the refresh token has expired or was revoked")
        if self.rotates:
            del self.refresh_tokens[refresh_token]
            self.used_refresh_tokens.append(refresh_token)
        return self._tokens(username, renewable=self.rotates)

    def _by_device(self, code: str) -> dict[str, Any]:
        if code not in self._pending:
            raise Refused("expired_token", "")
        if self.declines:
            raise Refused("access_denied", "the user said no")
        if not self._pending[code]:
            raise Refused("authorization_pending", "")
        del self._pending[code]
        return self._tokens(self.username, renewable=self.gives_refresh_tokens)

    def _by_code(self, form: dict[str, str]) -> dict[str, Any]:
        query = self._codes.pop(form.get("code", ""), None)
        challenge = _part(hashlib.sha256(form.get("code_verifier", "").encode()).digest())
        if query is None or query["code_challenge"] != challenge or query["redirect_uri"] != form.get("redirect_uri"):
            raise Refused("invalid_grant", "the code is not good")
        return self._tokens(self.username, renewable=self.gives_refresh_tokens)

    def _tokens(self, username: str, *, renewable: bool) -> dict[str, Any]:
        made: dict[str, Any] = {
            "access_token": self.access_token(username),
            "token_type": "Bearer",
            "expires_in": self.lifetime_s,
        }
        if renewable:
            made["refresh_token"] = self.new_refresh_token(username)
            if self.refresh_expires_in is not None:
                made["refresh_token_expires_in"] = self.refresh_expires_in
        return made


class _Handler(BaseHTTPRequestHandler):
    server: "_Http"
    protocol_version = "HTTP/1.1"
    timeout = 10

    def do_GET(self) -> None:
        parts = urlsplit(self.path)
        query = dict(parse_qsl(parts.query))
        if parts.path.endswith("/authorize"):
            self._say(Played(302, "", {"Location": self.server.issuer.redirect(query)}))
        else:
            self._say(self.server.issuer.answer(parts.path, query, None))

    def do_POST(self) -> None:
        octets = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self._say(self.server.issuer.answer(urlsplit(self.path).path, dict(parse_qsl(octets.decode())), self._basic()))

    def _basic(self) -> tuple[str, str] | None:
        scheme, _space, value = self.headers.get("Authorization", "").partition(" ")
        if scheme != "Basic":
            return None
        name, _colon, secret = base64.b64decode(value).decode().partition(":")
        return unquote_plus(name), unquote_plus(secret)

    def _say(self, played: Played) -> None:
        body = played.body if isinstance(played.body, str) else json.dumps(played.body)
        self.send_response(played.status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body.encode())))
        self.send_header("Connection", "close")
        for name, value in played.headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())
        self.close_connection = True

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the library's name.
        pass


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    issuer: OAuthServer
    context: ssl.SSLContext | None = None

    def get_request(self) -> tuple[Any, Any]:
        sock, address = super().get_request()
        sock.settimeout(10)
        return (sock if self.context is None else self.context.wrap_socket(sock, server_side=True)), address

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that do not trust the certificate hang up; anything else is a mistake of this server.
        exc = sys.exc_info()[1]
        if not isinstance(exc, OSError):
            self.issuer.mistakes.append(repr(exc))


@contextmanager
def issuing(authority: trustme.CA | None = None) -> Iterator[OAuthServer]:
    """Run an issuer: with TLS as localhost where an authority is given, else without on 127.0.0.1."""
    issuer = OAuthServer()
    http = _Http(("127.0.0.1", 0), _Handler)
    http.issuer = issuer
    if authority is not None:
        http.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("localhost").configure_cert(http.context)
    issuer.base = f"https://localhost:{http.server_port}" if authority else f"http://127.0.0.1:{http.server_port}"
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield issuer
    finally:
        http.shutdown()
        http.server_close()
        thread.join(10)
        assert not issuer.mistakes, issuer.mistakes


def _part(octets: bytes) -> str:
    return base64.urlsafe_b64encode(octets).rstrip(b"=").decode()


def _taken_apart(token: str) -> tuple[dict[str, Any], dict[str, Any], bytes, bytes]:
    header, claims, signature = token.split(".")
    octets = [base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)) for part in (header, claims, signature)]
    return json.loads(octets[0]), json.loads(octets[1]), octets[2], f"{header}.{claims}".encode()
