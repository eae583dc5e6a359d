"""Proxies on loopback: SOCKS5 (RFC 1928) and HTTP CONNECT, with and without a login. They note what they were asked."""

import base64
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import TypeAlias

_TIMEOUT_S = 20.0
USERNAME, PASSWORD = "proxy-user", "proxy-p@ss"

#: Takes the client's request, and returns the host and the port it wants; None when it was refused.
Greet: TypeAlias = Callable[[socket.socket], "tuple[str, int] | None"]


class Proxy:
    """A running proxy; ``asked`` are the destinations of its clients."""

    def __init__(self, greet: Greet) -> None:
        self.asked: list[tuple[str, int]] = []
        self._greet = greet
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._threads = [threading.Thread(target=self._serve)]
        self._threads[0].start()

    def _serve(self) -> None:
        while True:
            try:
                client, _peer = self._listener.accept()
            except OSError:
                return
            client.settimeout(_TIMEOUT_S)
            thread = threading.Thread(target=self._connect, args=(client,))
            self._threads.append(thread)
            thread.start()

    def _connect(self, client: socket.socket) -> None:
        with client, suppress(OSError):
            wanted = self._greet(client)
            if wanted is None:
                return
            self.asked.append(wanted)
            with socket.create_connection(("127.0.0.1", wanted[1]), _TIMEOUT_S) as server:
                back = threading.Thread(target=_carry, args=(server, client))
                back.start()
                _carry(client, server)
                back.join(_TIMEOUT_S)

    def stop(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in self._threads:
            thread.join(_TIMEOUT_S)
            assert not thread.is_alive()


@contextmanager
def proxy(greet: Greet) -> Iterator[Proxy]:
    """Run a proxy."""
    running = Proxy(greet)
    try:
        yield running
    finally:
        running.stop()


def socks5(*, login: bool = False) -> Greet:
    """Return a SOCKS5 proxy that takes host names; with ``login`` only with the right user and password (RFC 1929)."""

    def greet(client: socket.socket) -> tuple[str, int] | None:
        _version, count = _exactly(client, 2)
        methods = _exactly(client, count)
        if login:
            if 2 not in methods:
                client.sendall(b"\x05\xff")
                return None
            client.sendall(b"\x05\x02")
            username = _exactly(client, _exactly(client, 2)[1])
            password = _exactly(client, _exactly(client, 1)[0])
            if (username.decode(), password.decode()) != (USERNAME, PASSWORD):
                client.sendall(b"\x01\x01")
                return None
            client.sendall(b"\x01\x00")
        else:
            client.sendall(b"\x05\x00")
        _version, _command, _reserved, kind = _exactly(client, 4)
        assert kind == 3, "the client resolved the name itself"
        host = _exactly(client, _exactly(client, 1)[0]).decode()
        port = int.from_bytes(_exactly(client, 2), "big")
        client.sendall(b"\x05\x00\x00\x01\x00\x00\x00\x00\x00\x00")
        return host, port

    return greet


def http_connect(*, login: bool = False, answer: bytes = b"HTTP/1.1 200 Connection established\r\n\r\n") -> Greet:
    """Return an HTTP proxy that gives this answer; with ``login`` only with the right user and password."""

    def greet(client: socket.socket) -> tuple[str, int] | None:
        request = b""
        while not request.endswith(b"\r\n\r\n"):
            request += _exactly(client, 1)
        host, _colon, port = request.split()[1].decode().rpartition(":")
        credentials = base64.b64encode(f"{USERNAME}:{PASSWORD}".encode())
        if login and b"Proxy-Authorization: Basic " + credentials not in request:
            client.sendall(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
            return None
        client.sendall(answer)
        return (host, int(port)) if b" 200 " in answer else None

    return greet


def saying(octets: bytes) -> Greet:
    """Return something that is no proxy: it says this, and hangs up."""

    def greet(client: socket.socket) -> None:
        client.recv(1)
        client.sendall(octets)

    return greet


def _exactly(client: socket.socket, count: int) -> bytes:
    octets = b""
    while len(octets) < count:
        part = client.recv(count - len(octets))
        if not part:
            raise OSError("the client hung up")
        octets += part
    return octets


def _carry(source: socket.socket, target: socket.socket) -> None:
    with suppress(OSError):
        while octets := source.recv(65536):
            target.sendall(octets)
    for end in (source, target):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
