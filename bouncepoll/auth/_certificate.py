"""The certificate that stands for an app instead of a secret."""

from collections.abc import Mapping
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import serialization

from bouncepoll.errors import ConfigurationError
from bouncepoll.options import read_secret_text


def certificate_credential(certificate_file: Path, key_file: Path | None) -> Mapping[str, str]:
    """Return a certificate and its key as msal takes them; msal works out the thumbprint.

    Raises:
        ConfigurationError: a file cannot be read, the key is open to others, or they do not belong together.
    """
    certificate = load_certificate(certificate_file)
    key_path = key_file or certificate_file
    key_pem = read_secret_text(key_path)
    try:
        key = serialization.load_pem_private_key(key_pem.encode(), None)
    except (ValueError, TypeError) as exc:
        raise ConfigurationError(f"{key_path}: there is no unencrypted PEM private key in it") from exc
    encoding = (serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
    if key.public_key().public_bytes(*encoding) != certificate.public_key().public_bytes(*encoding):
        raise ConfigurationError(f"{key_path}: this key does not belong to the certificate in {certificate_file}")
    private_key = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "private_key": private_key.decode(),
        "public_certificate": certificate.public_bytes(serialization.Encoding.PEM).decode(),
    }


def load_certificate(path: Path) -> x509.Certificate:
    """Return the first certificate of a PEM file.

    Raises:
        ConfigurationError: there is none.
    """
    try:
        return x509.load_pem_x509_certificate(path.read_bytes())
    except OSError as exc:
        raise ConfigurationError(f"{path}: this certificate cannot be read: {exc.strerror}") from exc
    except ValueError as exc:
        raise ConfigurationError(f"{path}: there is no PEM certificate in it") from exc
