"""A server's certificate, in words: whose it is, who signed it, how long it is good, and what mends it."""

from dataclasses import dataclass
from datetime import UTC, datetime

from cryptography import x509
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.x509.oid import NameOID

from bouncepoll.model.probe import Probe, ok, warn
from bouncepoll.probing.way import Way

#: A certificate with fewer days left is warned of: those that renew themselves do it 30 days before.
WARN_DAYS = 14

_SHOWN_NAMES = 5
# X509_V_ERR_* of OpenSSL, as ``ssl.SSLCertVerificationError.verify_code`` has them.
_NOT_YET_VALID = 9
_EXPIRED = 10
_SELF_SIGNED = 18
_UNKNOWN_ISSUER = frozenset({2, 19, 20, 21})
_WRONG_NAME = frozenset({62, 64})


@dataclass(frozen=True, slots=True)
class Shown:
    """What a certificate says. Names are those it is for (RFC 6125), printable and bounded."""

    subject: str
    issuer: str
    names: tuple[str, ...]
    begins: datetime
    ends: datetime
    fingerprint: str

    def __str__(self) -> str:
        names = ", ".join(self.names[:_SHOWN_NAMES]) + (", …" if len(self.names) > _SHOWN_NAMES else "")
        return (
            f"for {names or self.subject}, issued by {self.issuer}, "
            f"good from {self.begins:%Y-%m-%d} to {self.ends:%Y-%m-%d}"
        )


def shown(der: bytes) -> Shown:
    """Return what a certificate says.

    Raises:
        ValueError: it is none.
    """
    return _shown(x509.load_der_x509_certificate(der))


def shown_in(pem: bytes) -> Shown:
    """Return what the first certificate of a PEM file says; raises like ``shown``."""
    return _shown(x509.load_pem_x509_certificate(pem))


def _shown(certificate: x509.Certificate) -> Shown:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = (
            *extension.get_values_for_type(x509.DNSName),
            *map(str, extension.get_values_for_type(x509.IPAddress)),
        )
    except (x509.ExtensionNotFound, x509.DuplicateExtension, ValueError):
        names = ()
    return Shown(
        _name(certificate.subject),
        _name(certificate.issuer),
        tuple(_clean(name) for name in names[:50]),
        certificate.not_valid_before_utc,
        certificate.not_valid_after_utc,
        certificate.fingerprint(SHA256()).hex(":").upper(),
    )


def certificate_probe(found: Shown, version: str, now: float) -> Probe:
    """Return the check of a certificate that was accepted; one that ends soon is warned of."""
    days = int((found.ends.timestamp() - now) // 86400)
    text = f"{version}, certificate {found}, {days} days left"
    if days < WARN_DAYS:
        return warn("tls", text, f"the server's certificate ends on {found.ends:%Y-%m-%d}: have it renewed before")
    return ok("tls", text)


def certificate_mends(  # noqa: PLR0911 - one return a fault.
    way: Way, verify_code: int, found: Shown | None, now: float
) -> tuple[str, ...]:
    """Return what mends a certificate that is not accepted."""
    today = datetime.fromtimestamp(now, UTC)
    if verify_code in _WRONG_NAME:
        names = ", ".join(found.names[:_SHOWN_NAMES]) if found and found.names else "a name the certificate bears"
        return (f"set {way.key}.host to a name the certificate bears: {names}",)
    if verify_code in (_EXPIRED, _NOT_YET_VALID) and found is not None:
        clock = f"this machine's clock says {today:%Y-%m-%d %H:%M} UTC; if that is wrong, set it (timedatectl)"
        if verify_code == _EXPIRED:
            return (f"the server needs a new certificate: this one ended on {found.ends:%Y-%m-%d}", clock)
        return (clock, f"else the server shows a certificate that is good from {found.begins:%Y-%m-%d} only")
    if verify_code == _SELF_SIGNED and found is not None:
        return (
            "the server signed its certificate itself; ask its administrator whether this is its SHA-256 fingerprint: "
            f"{found.fingerprint}",
            f"if it is, fetch it: {way.openssl_command} </dev/null | openssl x509 -out server.pem",
            f'and trust it: {way.key}.ca_file = "server.pem"',
        )
    if way.ca_file is not None:
        return (
            f"{way.ca_file} does not hold the certificate of the CA that signed it"
            + (f" ({found.issuer})" if found else "")
            + f"; put that into the file, or take {way.key}.ca_file out to trust the system's CAs",
        )
    if verify_code in _UNKNOWN_ISSUER:
        issuer = found.issuer if found else "its own CA"
        return (
            f"if {issuer} is a CA of your own, write its certificate into a PEM file and set {way.key}.ca_file to it",
            "if it is a public CA, the server leaves out its intermediate certificate (have it send the whole chain), "
            "or this machine's CA certificates are old (Debian: apt install --reinstall ca-certificates)",
        )
    return ("have the server's certificate mended; verification cannot be switched off",)


def _name(name: x509.Name) -> str:
    for kind in (NameOID.COMMON_NAME, NameOID.ORGANIZATION_NAME, NameOID.ORGANIZATIONAL_UNIT_NAME):
        found = name.get_attributes_for_oid(kind)
        if found:
            return _clean(str(found[0].value))
    return _clean(name.rfc4514_string()) or "nobody"


def _clean(text: str) -> str:
    return "".join(character for character in text if character.isprintable())[:100]
