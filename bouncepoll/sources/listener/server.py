"""Listens, hands each connection to a session, and ends gently. One thread for all sessions, a pool for the work."""

import asyncio
import errno
import ipaddress
import logging
import os
import socket
import stat
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import structlog

from bouncepoll.errors import ConfigurationError
from bouncepoll.ports import Clock
from bouncepoll.sources.listener._conduct import Conduct, Connection, Desk, Receive, Recipients
from bouncepoll.sources.listener._limits import Gate, Memory, Seat
from bouncepoll.sources.listener._options import Endpoint, Options
from bouncepoll.sources.listener._session import FOLDERS, SOURCE, Session
from bouncepoll.sources.listener._systemd import passed
from bouncepoll.sources.listener._tls import Certificate

__all__ = ["FOLDERS", "SOURCE", "Listener"]

log = structlog.get_logger()

_BACKLOG = 256
_HANDSHAKE_TIMEOUT_S = 20.0
_LOOKUP_THREADS = 4
# The path of a socket that systemd made stays: it listens there again as soon as we end.
_KEEP_PATH: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
_ADVICE = {
    errno.EACCES: "this user may not listen at a port below 1024; grant the service CAP_NET_BIND_SERVICE "
    '(AmbientCapabilities=), let systemd listen (a .socket unit, and "systemd:NAME" here), or choose a higher port',
    errno.EADDRINUSE: "another program listens there; find it with 'ss -lptn', or choose another port",
    errno.EADDRNOTAVAIL: "this machine does not have that address; 'ip address' shows those it has",
}


class Listener:
    """Takes mails by SMTP and LMTP from ``start`` to the end of ``wait``."""

    def __init__(self, options: Options, *, recipients: Recipients, receive: Receive, clock: Clock) -> None:
        """``receive`` is called from several threads at once."""
        self._options = options
        self._pools = (
            ThreadPoolExecutor(options.workers, thread_name_prefix="listener-mail"),
            ThreadPoolExecutor(_LOOKUP_THREADS, thread_name_prefix="listener-lookup"),
        )
        hostname = options.hostname or socket.gethostname()
        self._desk = Desk(options, hostname, recipients, receive, clock, *self._pools, Memory(options.max_buffered))
        self._gate = Gate(options.max_connections, options.max_connections_per_client)
        self._proxies = tuple(map(ipaddress.ip_network, options.proxy_networks))
        self._certificate: Certificate | None = None
        self._sessions: set[Conduct] = set()
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> Sequence[tuple[str, str]]:
        """Listen; return the addresses, each with its key (``smtp``, ``smtps``, ``lmtp``), ports as they really are.

        Raises:
            ConfigurationError: an address cannot be listened at, the certificate cannot be read; nothing is left open.
        """
        # It logs every command with its addresses; what is worth a line is logged here.
        logging.getLogger("mail.log").setLevel(logging.CRITICAL)
        logging.getLogger("mail.debug").setLevel(logging.CRITICAL)
        if self._options.cert_file is not None and self._options.key_file is not None:
            try:
                self._certificate = Certificate(self._options.cert_file, self._options.key_file)
            except OSError as exc:
                raise ConfigurationError(f"listener.cert_file: {exc}") from None
        ready: Future[list[tuple[str, str]]] = Future()
        self._thread = threading.Thread(target=self._run, args=(ready,), name="listener", daemon=True)
        self._thread.start()
        addresses = ready.result()
        log.info("listener_started", **_by_key(addresses))
        return addresses

    def close(self) -> None:
        """Take no new connections, end each session when the mail it has in hand is answered; returns at once."""
        self._tell(self._close)

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end of all sessions after ``close``, then cut off those that are left; whether none was."""
        if self._thread is None:
            return True
        self._thread.join(timeout_s)
        ended = not self._thread.is_alive()
        if not ended:
            self._tell(self._abort)
            self._thread.join(1.0)
        log.info("listener_stopped", finished=ended)
        return ended

    def _tell(self, what: Any) -> None:
        if self._loop is not None and not self._loop.is_closed():
            self._loop.call_soon_threadsafe(what)

    def _run(self, ready: "Future[list[tuple[str, str]]]") -> None:
        asyncio.run(self._main(ready))

    async def _main(self, ready: "Future[list[tuple[str, str]]]") -> None:
        self._loop = asyncio.get_running_loop()
        self._loop.set_exception_handler(_note)
        self._end = asyncio.Event()
        addresses: list[tuple[str, str]] = []
        try:
            for key, text in self._options.endpoints():
                before = len(self._servers)
                await self._open(key, text)
                opened = [sock for server in self._servers[before:] for sock in server.sockets]
                addresses += [(key, _shown(sock.getsockname())) for sock in opened]
        except ConfigurationError as exc:
            await self._shut()
            ready.set_exception(exc)
            return
        ready.set_result(addresses)
        await self._end.wait()
        await self._shut()

    async def _shut(self) -> None:
        self._close()
        while self._sessions:
            await asyncio.sleep(0.02)
        # What a client that hung up has brought is stored all the same.
        for pool in self._pools:
            await asyncio.to_thread(pool.shutdown)

    def _close(self) -> None:
        self._desk.closing = True
        for server in self._servers:
            server.close()
        for path in self._paths:
            path.unlink(missing_ok=True)
        for session in tuple(self._sessions):
            session.close_when_idle()
        if self._end is not None:
            self._end.set()

    def _abort(self) -> None:
        for session in tuple(self._sessions):
            session.abort()

    async def _open(self, key: str, text: str) -> None:
        """Listen at one address, or at all sockets of one name."""
        where = Endpoint.parse(text)
        loop = asyncio.get_running_loop()
        context = self._certificate.context if key == "smtps" and self._certificate is not None else None
        more: dict[str, Any] = {"ssl": context, "backlog": _BACKLOG}
        if context is not None:
            more["ssl_handshake_timeout"] = _HANDSHAKE_TIMEOUT_S
        try:
            if where.port is not None:
                server = await loop.create_server(lambda: _Door(self, key), where.host, where.port, **more)
                self._servers.append(server)
                return
            for sock in self._given(where):
                if sock.family == socket.AF_UNIX:
                    own = more | _KEEP_PATH
                    server = await loop.create_unix_server(lambda: _Door(self, key), sock=sock, **own)
                else:
                    server = await loop.create_server(lambda: _Door(self, key), sock=sock, **more)
                self._servers.append(server)
        except OSError as exc:
            advice = _ADVICE.get(exc.errno or 0, "check the address")
            if where.path is not None:
                advice = "check that nothing is there, that no other program listens there, and the folder's owner"
            said = os.strerror(exc.errno) if exc.errno and exc.errno > 0 else exc.strerror or type(exc).__name__
            raise ConfigurationError(f"listener.{key}: {text}: cannot be listened at: {said}; {advice}") from exc

    def _given(self, where: Endpoint) -> list[socket.socket]:
        if where.path is None:
            return passed(where.systemd or "")
        _remove_stale(where.path)
        sock = socket.socket(socket.AF_UNIX)
        try:
            sock.bind(str(where.path))
            # Nobody can connect before it is listened at: the mode is right from the first moment on.
            where.path.chmod(int(self._options.socket_mode, 8))
        except BaseException:
            sock.close()
            raise
        self._paths.append(where.path)
        return [sock]

    def _enter(self, transport: asyncio.Transport, kind: str) -> None:
        """Make a session of a new connection, or refuse it."""
        peer = transport.get_extra_info("peername")
        client = str(peer[0]).partition("%")[0] if isinstance(peer, tuple) else None
        proxied = kind != "smtps" and self._is_proxy(client)
        seat = Seat(self._gate)
        refusal = seat.claim(None if proxied else client)
        if self._desk.closing or refusal is not None:
            log.info("listener_connection_refused", client=client)
            transport.write(f"{refusal or '421 4.3.2 The service is closing'}\r\n".encode())
            transport.close()
            seat.leave()
            return
        tls = self._certificate.context if self._certificate is not None else None
        connection = Connection(kind, seat, client, tls, proxied, self._sessions.discard)
        session = Session(self._desk, connection, asyncio.get_running_loop())
        self._sessions.add(session)
        transport.set_protocol(session)
        session.connection_made(transport)

    def _is_proxy(self, client: str | None) -> bool:
        if client is None or not self._proxies:
            return False
        address: ipaddress.IPv4Address | ipaddress.IPv6Address = ipaddress.ip_address(client)
        if isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._proxies)


class _Door(asyncio.Protocol):
    """Stands at a new connection until it is a session."""

    def __init__(self, listener: Listener, kind: str) -> None:
        self._listener = listener
        self._kind = kind

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A stream server has no other transports.
        if isinstance(transport, asyncio.Transport):
            self._listener._enter(transport, self._kind)  # noqa: SLF001 - a part of it.


def _note(_loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what asyncio would print: that no more connections can be had, or that one broke while a reply was sent."""
    if isinstance(context.get("exception"), OSError) and "socket" in context:
        log.error("listener_cannot_accept", error=str(context["exception"]))
        return
    log.debug("listener_connection_broke", said=str(context.get("message")), error=str(context.get("exception")))


def _by_key(addresses: Sequence[tuple[str, str]]) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for key, address in addresses:
        found.setdefault(key, []).append(address)
    return found


def _shown(name: Any) -> str:
    if isinstance(name, tuple):
        host, port = name[0], name[1]
        return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    return f"unix:{name}"


def _remove_stale(path: Path) -> None:
    """Remove a socket nobody listens at.

    Raises:
        OSError: somebody does, or it is no socket.
    """
    try:
        is_socket = stat.S_ISSOCK(path.stat().st_mode)
    except FileNotFoundError:
        return
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(1.0)
        if not is_socket or probe.connect_ex(str(path)) == 0:
            raise OSError(errno.EADDRINUSE, os.strerror(errno.EADDRINUSE))
    path.unlink()
