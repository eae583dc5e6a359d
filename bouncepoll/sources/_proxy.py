"""The way to a server: straight, or through a SOCKS5 (RFC 1928) or HTTP CONNECT (RFC 9110 section 9.3.6) proxy."""

import socket
import time
from contextlib import suppress
from typing import NamedTuple, Protocol
from urllib.parse import SplitResult, unquote, urlsplit

from pydantic import SecretStr
from python_socks import ProxyConnectionError, ProxyError, ProxyTimeoutError, ProxyType
from python_socks.sync import Proxy

_TYPES = {"socks5": ProxyType.SOCKS5, "http": ProxyType.HTTP}
_DEFAULT_PORTS = {"socks5": 1080, "http": 3128}
_WANTED = "write socks5://USER:PASSWORD@HOST:PORT or http://USER:PASSWORD@HOST:PORT"
# RFC 1929 section 2: one octet tells the length.
_MAX_CREDENTIAL_OCTETS = 255
_MAX_SAID_CHARACTERS = 120
# What an HTTP proxy may answer before the tunnel begins.
_MAX_HEAD_OCTETS = 64 * 1024
_END_OF_HEAD = b"\r\n\r\n"
# A peer that is gone is noticed after about three minutes, also while nobody sends anything (IDLE).
_KEEPALIVE = (("TCP_KEEPIDLE", 60), ("TCP_KEEPINTVL", 30), ("TCP_KEEPCNT", 4))


class ProxyFailed(OSError):
    """The proxy cannot be reached, or does not connect us. The text names no user and no password."""

    def __init__(self, text: str) -> None:
        super().__init__(None, text)


class Destination(Protocol):
    """Where to connect to, and through what."""

    @property
    def host(self) -> str: ...
    @property
    def tcp_port(self) -> int: ...
    @property
    def timeout(self) -> float: ...
    @property
    def proxy(self) -> SecretStr | None: ...


class _ProxyAddress(NamedTuple):
    kind: ProxyType
    host: str
    port: int
    username: str | None
    password: str | None


def check_proxy(url: str) -> None:
    """Make sure that a proxy's URL can be used.

    Raises:
        ValueError: it cannot; the message does not quote the URL, which may hold a password.
    """
    _parsed(url)


def connect(destination: Destination) -> socket.socket:
    """Return a connected socket with ``timeout`` set, small writes sent at once, and TCP keepalive on.

    IMAP and POP3 both call this, and wrap the socket in TLS themselves.

    Raises:
        OSError: no connection (``ProxyFailed`` when it is the proxy's fault).
    """
    address = (destination.host, destination.tcp_port)
    sock = (
        socket.create_connection(address, destination.timeout)
        if destination.proxy is None
        else _through(_parsed(destination.proxy.get_secret_value()), *address, destination.timeout)
    )
    try:
        sock.settimeout(destination.timeout)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        for name, value in _KEEPALIVE:
            if hasattr(socket, name):  # macOS calls the first one otherwise.
                sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)
    except OSError:
        with suppress(OSError):
            sock.close()
        raise
    return sock


def _through(proxy: _ProxyAddress, host: str, port: int, timeout_s: float) -> socket.socket:
    shown = f"the proxy {proxy.host}:{proxy.port}"
    try:
        # The proxy resolves the name: behind a firewall we often cannot.
        if proxy.kind is not ProxyType.HTTP:
            return Proxy(*proxy, rdns=True).connect(host, port, timeout=timeout_s)
        tunnel = Proxy(*proxy, forward=_ToHttpProxy(*proxy)).connect(host, port, timeout=timeout_s)
        return socket.socket(fileno=tunnel.detach())
    except ProxyTimeoutError:
        raise ProxyFailed(f"{shown} does not answer within {timeout_s:g} s") from None
    except ProxyConnectionError as exc:
        # It quotes the address it was given, and the cause.
        raise ProxyFailed(f"no connection to {shown} ({type(exc.__cause__).__name__})") from None
    except OSError as exc:
        raise ProxyFailed(f"{shown} does not connect us to {host}:{port} ({exc.strerror or 'it hung up'})") from None
    except ProxyError as exc:
        said = "".join(character for character in str(exc) if character.isprintable())[:_MAX_SAID_CHARACTERS]
        for secret in (proxy.username, proxy.password):
            said = said.replace(secret, "…") if secret else said
        raise ProxyFailed(f"{shown} does not connect us to {host}:{port} ({said or 'it hung up'})") from None
    except (UnicodeError, ValueError, LookupError) as exc:
        raise ProxyFailed(f"{shown} broke its protocol ({type(exc).__name__})") from None


class _ToHttpProxy(Proxy):
    """The way to an HTTP proxy.

    QUIRK: python-socks (3.2) takes what it receives first for the proxy's whole answer. One that comes in pieces would
    be read as the server's, and a greeting that comes with it would be lost.
    """

    def connect(self, dest_host: str, dest_port: int, timeout: float | None = None, **_: object) -> "_HeadSocket":
        """Return a connection to the proxy, of which no more than the answer's head can be read."""
        try:
            plain = socket.create_connection((dest_host, dest_port), timeout)
        except OSError as exc:
            raise ProxyConnectionError(exc.errno, "no connection") from exc
        sock = _HeadSocket(fileno=plain.detach())
        sock.settimeout(timeout)
        return sock


class _HeadSocket(socket.socket):
    """A socket from which the head of an HTTP answer is read, and not an octet more."""

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Return the answer up to its blank line; less where the peer closes, or says something else than HTTP.

        Raises:
            OSError: it does not end.
        """
        deadline = time.monotonic() + (self.gettimeout() or 0.0)
        head = b""
        while _END_OF_HEAD not in head and b"HTTP/".startswith(head[:5]):
            if len(head) > _MAX_HEAD_OCTETS or time.monotonic() > deadline:
                raise ProxyFailed("its answer does not end")
            known = len(head)
            try:
                seen = head + super().recv(size, flags | socket.MSG_PEEK)
            except ConnectionError:
                # What it said before it hung up says why.
                if head:
                    break
                raise
            if len(seen) == known:
                break
            # The blank line may be cut in two.
            end = seen.find(_END_OF_HEAD)
            head += super().recv((end + len(_END_OF_HEAD) if end >= 0 else len(seen)) - known, flags)
        return head


def _parsed(url: str) -> _ProxyAddress:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        raise ValueError(f"this is no proxy's URL; {_WANTED}") from None
    if parts.scheme not in _TYPES or not parts.hostname or parts.path.strip("/") or parts.query or parts.fragment:
        raise ValueError(f"this is no proxy's URL; {_WANTED}")
    if not url.isprintable() or " " in url:
        raise ValueError("a proxy's URL holds no spaces and no control characters; write them as %20 and so on")
    username, password = _credentials(parts)
    return _ProxyAddress(_TYPES[parts.scheme], parts.hostname, port or _DEFAULT_PORTS[parts.scheme], username, password)


def _credentials(parts: SplitResult) -> tuple[str | None, str | None]:
    username = None if parts.username is None else unquote(parts.username)
    password = None if parts.password is None else unquote(parts.password)
    if username is not None and not password:
        raise ValueError(f"a proxy's user needs a password; {_WANTED}")
    for part in (username, password):
        if part is not None and not 0 < len(part.encode()) <= _MAX_CREDENTIAL_OCTETS:
            raise ValueError(f"a proxy's user and password have 1 to {_MAX_CREDENTIAL_OCTETS} octets")
    return username, password
