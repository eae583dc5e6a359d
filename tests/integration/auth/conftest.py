"""An issuer of tokens, and logins that ask it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import trustme
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID
from pydantic import TypeAdapter

from bouncepoll.auth import Auth, CredentialsSettings, Place
from bouncepoll.auth.keys import generate
from bouncepoll.auth.logins import Logins
from bouncepoll.options import Options
from bouncepoll.ports import TokenSource
from bouncepoll.testing import FakeClock, FakeCredentialStore
from tests.servers.oauth import OAuthServer, issuing

SECTION = "mailboxes.news"


class Desk:
    """Logins over a store in memory, with a clock that waiting moves on."""

    def __init__(self, key_file: Path, ca_file: Path, issuer: OAuthServer) -> None:
        self.store = FakeCredentialStore()
        self.clock = FakeClock(datetime.now(UTC))
        self.waited: list[float] = []
        self.issuer = issuer
        self.key_file = key_file
        self._ca_file = ca_file
        self.logins = self.restarted()

    def restarted(self) -> Logins:
        """Return the logins of another process."""
        return Logins(CredentialsSettings(key_file=self.key_file), lambda: self.store, self.clock, self._wait)

    def auth(self, kind: str, **more: Any) -> Options:
        """Return options of a kind of login at the issuer, by its generic end-points."""
        values: dict[str, Any] = {"kind": kind, "ca_file": self._ca_file}
        if kind != "service_account":
            values |= {"client_id": self.issuer.client_id, "client_secret": self.issuer.client_secret}
        if "authority" not in more and kind != "service_account":
            values["token_url"] = f"{self.issuer.base}/token"
        if kind == "device_code" and "authority" not in more:
            values["device_authorization_url"] = f"{self.issuer.base}/device"
        if kind == "authorization_code":
            values["authorization_url"] = f"{self.issuer.base}/authorize"
        made: Options = TypeAdapter(Auth).validate_python(values | more)
        return made

    def entra(self, kind: str, **more: Any) -> tuple[Place, Options]:
        """Return a place of Microsoft's, and options whose authority is the issuer."""
        return place("microsoft"), self.auth(kind, authority=self.issuer.authority, **more)

    def tokens(self, auth: Options, at: Place | None = None) -> TokenSource:
        return self.logins.tokens(at or place(), auth)

    def _wait(self, seconds: float) -> None:
        self.waited.append(seconds)
        self.clock.advance(timedelta(seconds=seconds))


def place(oauth: str | None = None, name: str = SECTION, username: str = "news@example.org") -> Place:
    return Place(name, username, "imap", oauth)


@dataclass
class FakeTerminal:
    """A terminal; ``on_say`` is called with each line that is shown."""

    on_say: Callable[[str], None] = lambda _text: None
    lines: list[str] = field(default_factory=list)
    input: Any = None

    def say(self, text: str) -> None:
        self.lines.append(text)
        self.on_say(text)


def approving(issuer: OAuthServer) -> FakeTerminal:
    """Return a terminal before which somebody enters the code at once."""
    return FakeTerminal(lambda text: issuer.approve() if "enter the code" in text else None)


def logged_in(desk: Desk, **more: Any) -> Options:
    auth = desk.auth("device_code", **more)
    desk.logins.log_in(place(), auth, approving(desk.issuer))
    return auth


@pytest.fixture
def issuer(authority: trustme.CA) -> Iterator[OAuthServer]:
    with issuing(authority) as server:
        yield server


@pytest.fixture
def desk(issuer: OAuthServer, ca_file: Path, tmp_path: Path) -> Desk:
    key_file = tmp_path / "keys"
    generate(key_file)
    return Desk(key_file, ca_file, issuer)


class Certified(NamedTuple):
    """A certificate of an app and its key, as PEM files."""

    certificate: x509.Certificate
    certificate_file: Path
    key_file: Path


def certified(folder: Path, ends: datetime) -> Certified:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bouncepoll")])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(ends - timedelta(days=365))
        .not_valid_after(ends)
        .sign(key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    certificate_file, key_file = folder / "app.pem", folder / "app.key"
    certificate_file.write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    key_file.write_bytes(pem)
    key_file.chmod(0o600)
    return Certified(certificate, certificate_file, key_file)
