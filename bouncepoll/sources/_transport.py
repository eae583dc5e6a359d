"""What the network does to a session, in words: TLS, and every way a connection can fail."""

import base64
import socket
import ssl
from functools import lru_cache
from pathlib import Path

from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.probing.dates import clock_advice
from bouncepoll.probing.old_tls import TOO_OLD, speaks_old_tls
from bouncepoll.sources import _throttle
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._proxy import ProxyFailed

_MAX_SAID_CHARACTERS = 200
_HOST_NAME_MISMATCH = (62, 64)  # X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL
# So much of a secret in a row is an echo; less stands in any sentence.
_ECHO_CHARACTERS = 6


class _Said(Exception):
    """Something a server said; the text is the server's."""

    @property
    def retry_after_s(self) -> float | None:
        """How long the server wants to be left alone, in seconds; None when it does not say."""
        return _throttle.rest_s(str(self))


class Dropped(_Said):
    """The connection is over: closed, timed out, or the server broke the protocol."""


class Refused(_Said):
    """The server understood and said no; the connection is still good. The text is the server's."""

    @property
    def busy(self) -> bool:
        """Whether the server refuses everything for a while."""
        return _throttle.busy(str(self))

    @property
    def temporary(self) -> bool:
        """Whether the server says that it may work later."""
        return _throttle.temporary(str(self))

    @property
    def over_quota(self) -> bool:
        """Whether a folder is full."""
        return _throttle.over_quota(str(self))


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Return a context that verifies certificates and host names and wants TLS 1.2 or later.

    To read all authorities of the system for each session would take longer than the rest of a poll, so sessions share
    it until the files change.

    Raises:
        ConfigurationError: ``ca_file`` cannot be read or holds no certificate.
    """
    try:
        return _tls_context(ca_file, _state_of_authorities() if ca_file is None else _state_of(ca_file))
    except OSError as exc:
        reason = exc.strerror or type(exc).__name__
        raise ConfigurationError(f"ca_file {ca_file}: no certificate can be read from it: {reason}") from exc


@lru_cache(maxsize=16)
def _tls_context(ca_file: Path | None, _state: object) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=ca_file)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def _state_of(path: str | Path) -> tuple[int, ...]:
    found = Path(path).stat()
    return (found.st_ino, found.st_mtime_ns, found.st_size)


def _state_of_authorities() -> tuple[object, ...]:
    """Return what changes when the system's authorities do."""
    places = ssl.get_default_verify_paths()
    return tuple(_state_of(place) if place else None for place in (places.cafile, places.capath))


def said(answer: object, limit: int = _MAX_SAID_CHARACTERS) -> str:
    """Return what a server (or an exception made of its answer) said, fit for one line of a message."""
    if isinstance(answer, BaseException):
        answer = answer.args[0] if answer.args else type(answer).__name__
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else str(answer)
    text = "".join(character if character.isprintable() else " " for character in text[: 4 * limit])
    return " ".join(text.split())[:limit]


def checked_secret(name: str, secret: str) -> str:
    """Return the secret if it may be sent.

    Raises:
        ConfigurationError: it is empty, or holds control characters, which would end the command that carries it.
    """
    if not secret or any(ord(character) < 0x20 or ord(character) == 0x7F for character in secret):
        raise ConfigurationError(f"mailboxes.{name}.auth: the password is empty or holds control characters")
    return secret


def login_refused(name: str, options: MailboxOptions, exc: BaseException, secret: str) -> SourceUnavailable:
    """Return the error for a refused login; a server that echoes the secret is not quoted."""
    answer = Refused(said(exc, 4 * _MAX_SAID_CHARACTERS))
    quoted = (
        "its answer is not shown, for it holds the password" if _echoes(str(answer), options, secret) else said(exc)
    )
    if answer.temporary or answer.busy:
        return SourceUnavailable(
            f"{name}: {options.address}: the server does not let {options.username} in for now ({quoted}); "
            "the next poll tries again; if that stays so, poll less often and look who else reads this mailbox",
            retry_after_s=answer.retry_after_s,
        )
    return SourceUnavailable(
        f"{name}: {options.address}: the server refused the login of {options.username} ({quoted}); "
        "check username and password, and whether the account may use this protocol"
    )


def login_broken(name: str, options: MailboxOptions, exc: BaseException, secret: str) -> SourceUnavailable:
    """Return the error for a connection that failed during the login; a server that echoes the secret is not quoted."""
    if _echoes(said(exc, 4 * _MAX_SAID_CHARACTERS), options, secret):
        exc = ValueError("its answer is not shown, for it holds the password")
    return no_connection(name, options, exc)


def _echoes(answer: str, options: MailboxOptions, secret: str) -> bool:
    """Whether an answer holds a part of the secret in any form in which it was sent, or is printed by a library."""
    escaped = secret.replace("\\", "\\\\").replace('"', '\\"')
    forms = {secret, escaped}
    forms |= {repr(form.encode())[2:-1] for form in (secret, escaped)}
    forms |= {base64.b64encode(form.encode()).decode() for form in (secret, f"\0{options.username}\0{secret}")}
    return any(
        form[start : start + _ECHO_CHARACTERS] in answer
        for form in forms
        for start in range(max(1, len(form) - _ECHO_CHARACTERS + 1))
    )


def no_connection(name: str, options: MailboxOptions, exc: BaseException) -> SourceUnavailable:
    """Return the error for a connection that could not be set up; it says what to check."""
    rest_s = None if isinstance(exc, OSError) else _throttle.rest_s(said(exc))
    return SourceUnavailable(f"{name}: {options.address}: {_why(options, exc)}", retry_after_s=rest_s)


def session_failed(name: str, folder: str, options: MailboxOptions, exc: Dropped | Refused) -> SourceUnavailable:
    """Return the error for a session that cannot go on; it says what to do where that is known."""
    mend = _throttle.mend(str(exc))
    return SourceUnavailable(
        f"{name}/{folder}: {options.address}: {exc}" + (f"; {mend}" if mend else ""), retry_after_s=exc.retry_after_s
    )


def broken(options: MailboxOptions, exc: BaseException) -> Dropped:
    """Return what is raised when an open connection fails."""
    if isinstance(exc, TimeoutError):
        return Dropped(f"no answer within {options.timeout:g} s; raise timeout if the server is just slow")
    if isinstance(exc, OSError):
        return Dropped(f"the connection broke ({exc.strerror or type(exc).__name__})")
    return Dropped(f"the server broke off or broke the protocol ({said(exc)})")


def _why(options: MailboxOptions, exc: BaseException) -> str:
    if isinstance(exc, ssl.SSLCertVerificationError):
        return _why_not_trusted(exc)
    if speaks_old_tls(exc):
        return TOO_OLD
    match exc:
        case ProxyFailed():
            found, check = str(exc.strerror), "proxy"
        case ssl.SSLError():
            found, check = f"TLS failed ({exc.reason or type(exc).__name__})", "port and security"
        case socket.gaierror():
            found, check = f"the host name cannot be resolved ({exc.strerror})", "host"
        case TimeoutError():
            found, check = f"no answer within {options.timeout:g} s", "host, port and security"
        case ConnectionRefusedError():
            found, check = "nothing accepts connections there", "host and port"
        case OSError():
            found, check = f"no connection ({exc.strerror or type(exc).__name__})", "host, port and the network"
        case _:
            found, check = f"no session ({said(exc)})", "host, port, protocol and security"
    return f"{found}; check {check}" + (f" (now {options.security!r})" if check.endswith("security") else "")


def _why_not_trusted(exc: ssl.SSLCertVerificationError) -> str:
    found = f"the server's certificate is not accepted: {exc.verify_message.rstrip('.')}"
    if exc.verify_code in _HOST_NAME_MISMATCH:
        return f"{found}; set host to a name the certificate bears"
    advice = clock_advice(exc)
    if advice is not None:
        return f"{found}; {advice}"
    return f"{found}; if the server has its own CA, set ca_file to a PEM file with that CA's certificate"
