"""Whether a server can be reached, and whether its certificate is right: two checks, ``tcp`` and ``tls``."""

import socket
import ssl
import time
from collections.abc import Generator
from contextlib import suppress

from bouncepoll.model.probe import Probe, fail, ok, skipped
from bouncepoll.probing.certificate import Shown, certificate_mends, certificate_probe, shown
from bouncepoll.probing.way import Upgrade, Way

_LINE_OCTETS = 8192
_MAX_LINES = 100


class _NoUpgrade(Exception):
    """The server does not begin TLS; the text is what it said."""


def reached(way: Way, now: float) -> Generator[Probe, None, bool]:
    """Yield the checks ``tcp`` and ``tls`` (skipped without TLS), and return whether both are well.

    ``now`` is the present time in seconds since 1970.
    """
    started = time.perf_counter()
    try:
        sock = way.dial()
    except OSError as exc:
        yield fail("tcp", f"{way.address}: {_why_no_connection(exc)}", *_connection_mends(way, exc))
        yield from skipped(("tls",), "there is no connection")
        return False
    took_ms = (time.perf_counter() - started) * 1000
    with sock:
        yield ok("tcp", f"connected to {_peer(sock, way)} in {took_ms:.0f} ms")
        if not way.has_tls:
            yield from skipped(("tls",), f"{way.key}.security is {way.security!r}: there is no encryption")
            return True
        probe = _tls(way, sock, now)
    yield probe
    return probe.outcome not in {"fail", "skip"}


def _tls(way: Way, sock: socket.socket, now: float) -> Probe:
    try:
        context = ssl.create_default_context(cafile=way.ca_file)
    except OSError as exc:
        return fail(
            "tls",
            f"ca_file {way.ca_file}: no certificate can be read from it ({exc.strerror or type(exc).__name__})",
            f"set {way.key}.ca_file to a PEM file with the CA's certificate, readable for this user",
        )
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    try:
        _upgrade(sock, way.upgrade)
        with context.wrap_socket(sock, server_hostname=way.host) as secured:
            accepted = shown(secured.getpeercert(binary_form=True) or b"")
            return certificate_probe(accepted, secured.version() or "TLS", now)
    except ssl.SSLCertVerificationError as exc:
        found = _unverified(way)
        text = f"the certificate is not accepted: {exc.verify_message.rstrip('.')}"
        described = f"{text}; it is {found}" if found is not None else text
        return fail("tls", described, *certificate_mends(way, exc.verify_code, found, now))
    except _NoUpgrade as exc:
        return fail("tls", f"the server does not begin TLS: {exc}", f"check {way.key}.port and {way.key}.security")
    except (OSError, ValueError) as exc:
        return fail("tls", f"TLS failed ({_reason(exc)})", *_handshake_mends(way, exc))


def _unverified(way: Way) -> Shown | None:
    """Return the certificate the server shows, whatever it is; nothing is sent over this connection."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    with suppress(OSError, ValueError, _NoUpgrade), way.dial() as sock:
        _upgrade(sock, way.upgrade)
        with context.wrap_socket(sock, server_hostname=way.host) as secured:
            return shown(secured.getpeercert(binary_form=True) or b"")
    return None


def _upgrade(sock: socket.socket, upgrade: Upgrade) -> None:
    """Ask for TLS in the words of the protocol.

    Raises:
        _NoUpgrade: the server says no.
        OSError: the connection broke.
    """
    if upgrade == "none":
        return
    _answer(sock, b"220" if upgrade in {"smtp", "lmtp"} else b"+OK" if upgrade == "pop3" else b"* ")
    if upgrade == "imap":
        sock.sendall(b"a STARTTLS\r\n")
        _answer(sock, b"a OK")
    elif upgrade == "pop3":
        sock.sendall(b"STLS\r\n")
        _answer(sock, b"+OK")
    else:
        greeting = b"LHLO" if upgrade == "lmtp" else b"EHLO"
        sock.sendall(greeting + b" localhost\r\n")
        _answer(sock, b"250")
        sock.sendall(b"STARTTLS\r\n")
        _answer(sock, b"220")


def _answer(sock: socket.socket, wanted: bytes) -> None:
    # Unbuffered: not an octet of the handshake may be taken.
    with sock.makefile("rb", buffering=0) as file:
        for _line in range(_MAX_LINES):
            line = file.readline(_LINE_OCTETS)
            if not line:
                raise _NoUpgrade("it closed the connection")
            if wanted[:1].isdigit() and line[3:4] == b"-":
                continue
            if line.upper().startswith(wanted.upper()):
                return
            if wanted.startswith(b"a ") and line.startswith(b"* "):
                continue
            raise _NoUpgrade(_printable(line))
    raise _NoUpgrade("its answer does not end")


def _peer(sock: socket.socket, way: Way) -> str:
    with suppress(OSError, IndexError, TypeError):
        peer = sock.getpeername()
        if isinstance(peer, tuple) and peer[0] != way.host:
            return f"{way.host} ({peer[0]}) port {way.port}"
        if isinstance(peer, str):
            return peer
    return f"{way.host} port {way.port}"


def _why_no_connection(exc: OSError) -> str:
    match exc:
        case socket.gaierror():
            return f"the host name cannot be resolved ({exc.strerror})"
        case TimeoutError():
            return "no answer"
        case ConnectionRefusedError():
            return "nothing accepts connections there"
        case _:
            return f"no connection ({exc.strerror or type(exc).__name__})"


def _connection_mends(way: Way, exc: OSError) -> tuple[str, ...]:
    key = way.key
    if "proxy" in (exc.strerror or ""):
        return (f"check {key}.proxy, and that the proxy may connect to {way.address}",)
    match exc:
        case socket.gaierror():
            return (f"check the spelling of {key}.host, and that this machine resolves names: getent hosts {way.host}",)
        case TimeoutError():
            return (
                f"check {key}.host and {key}.port ({way.port}, security {way.security!r})",
                f"if they are right, a firewall is in the way: let this machine out to {way.host} TCP {way.port}",
            )
        case ConnectionRefusedError():
            return (
                f"check {key}.host and {key}.port ({way.port}, security {way.security!r}), and that the server runs",
            )
        case _:
            return (f"check {key}.host, {key}.port and this machine's network",)


def _handshake_mends(way: Way, exc: Exception) -> tuple[str, ...]:
    if isinstance(exc, ssl.SSLError) and "WRONG_VERSION" in (getattr(exc, "reason", None) or ""):
        return (
            f"port {way.port} does not begin with TLS: set {way.key}.security to 'starttls', "
            f"or {way.key}.port to the port that is for TLS",
        )
    if isinstance(exc, ssl.SSLError):
        return (f"the server has to speak TLS 1.2 or later; look at it with: {way.openssl_command}",)
    return (
        f"the server says nothing or hangs up: check {way.key}.port ({way.port}) and {way.key}.security "
        f"({way.security!r})",
    )


def _reason(exc: Exception) -> str:
    if isinstance(exc, TimeoutError):
        return "no answer in time"
    return getattr(exc, "reason", None) or getattr(exc, "strerror", None) or type(exc).__name__


def _printable(line: bytes) -> str:
    text = line[:200].decode("utf-8", "replace")
    return " ".join("".join(character if character.isprintable() else " " for character in text).split())
