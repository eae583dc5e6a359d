"""The octets of one IMAP connection: lines and literals, each command with an allowance for its answers.

imaplib opens the connection, reads the greeting and does STARTTLS; everything after that is read here, for imaplib
reads literals of any announced size, any number of lines, and each of them through five calls.
"""

import errno
import imaplib
import select
import socket
import ssl
from contextlib import suppress
from typing import Any

from bouncepoll.sources import _proxy
from bouncepoll.sources._options import MailboxOptions

#: What an answer without mails may have, in octets.
ANSWER_OCTETS = 4 * 1024**2
# Larger ones would be mapped and unmapped for each read (M_MMAP_THRESHOLD of glibc).
_READ_OCTETS = 96 * 1024
_TLS_RECORD_OCTETS = 16 * 1024
# A line is an answer without literals: the longest is that to a SEARCH.
_LINE_OCTETS = 1024**2


class Wire:
    """Reads from a socket. After an exception it is of no use any more."""

    def __init__(self, sock: socket.socket) -> None:
        self.socket = sock
        self._receive = sock.recv
        self._read_octets = _TLS_RECORD_OCTETS if isinstance(sock, ssl.SSLSocket) else _READ_OCTETS
        self._buffer = b""
        self._at = 0
        self._allowed_octets = ANSWER_OCTETS

    def allow(self, octets: int, *, more: bool = False) -> None:
        """Let the answers to come have so many octets; ``more`` adds to what is left."""
        self._allowed_octets = octets + (self._allowed_octets if more else 0)

    def line(self) -> bytes:
        """Return the next line with its end.

        Raises:
            OSError: the connection broke, timed out, or the server broke its bounds.
        """
        end = self.fill_line()
        line = self._buffer[self._at : end]
        self._at = end
        self._spend(len(line))
        return line

    def fill_line(self) -> int:
        """Receive until a whole line is ready, and return where it ends; raises like ``line``."""
        end = self._buffer.find(b"\n", self._at)
        while end < 0:
            have = len(self._buffer) - self._at
            if have > _LINE_OCTETS:
                raise _broken("a line of its answer does not end")
            self._buffer = self._buffer[self._at :] + self._more()
            self._at = 0
            end = self._buffer.find(b"\n", have)
        return end + 1

    def fill(self, octets: int) -> None:
        """Receive until so many octets are ready, which have to be allowed; raises like ``line``."""
        if octets > self._allowed_octets:
            self._spend(octets)
        parts = [self._buffer[self._at :]]
        have = len(parts[0])
        while have < octets:
            parts.append(self._more("the connection was closed within a literal"))
            have += len(parts[-1])
        self._buffer, self._at = b"".join(parts), 0

    def literal(self, size_octets: int) -> bytes:
        """Return the octets of a literal (RFC 9051 section 4.3); raises like ``line``."""
        self._spend(size_octets)
        start, end = self._at, self._at + size_octets
        if end <= len(self._buffer):
            self._at = end
            return self._buffer[start:end]
        parts = [self._buffer[start:]]
        missing = size_octets - len(parts[0])
        while missing > 0:
            chunk = self._more("the connection was closed within a literal")
            parts.append(chunk[:missing])
            self._buffer, self._at = chunk, min(missing, len(chunk))
            missing -= len(chunk)
        return b"".join(parts)

    @property
    def ready(self) -> tuple[bytes, int]:
        """What was received so far, and where in it the next answer begins; for those who read many answers at once."""
        return self._buffer, self._at

    def skip(self, octets: int) -> None:
        """Go on behind so many octets of ``ready``; raises like ``line``."""
        self._spend(octets)
        self._at += octets

    def waiting(self, timeout_s: float, wake: int | None = None) -> bool:
        """Whether there is something to read, or comes within the time and before ``wake`` can be read."""
        if self._at < len(self._buffer):
            return True
        if isinstance(self.socket, ssl.SSLSocket) and self.socket.pending():
            return True
        poll = select.poll()
        poll.register(self.socket, select.POLLIN)
        if wake is not None:
            poll.register(wake, select.POLLIN)
        ours = self.socket.fileno()
        return any(ready == ours for ready, _what in poll.poll(timeout_s * 1000))

    def _more(self, otherwise: str = "the server closed the connection") -> bytes:
        chunk = self._receive(self._read_octets)
        if not chunk:
            raise _broken(otherwise)
        return chunk

    def _spend(self, octets: int) -> None:
        if octets > self._allowed_octets:
            raise _broken(f"its answer is too large: {octets} octets where {self._allowed_octets} are left")
        self._allowed_octets -= octets


class BoundedIMAP4(imaplib.IMAP4):
    """imaplib over a ``Wire``; ``wire`` is a fresh one after STARTTLS, so that nothing said before it is believed."""

    def __init__(self, options: MailboxOptions, context: ssl.SSLContext | None) -> None:
        """Connect, with TLS from the first octet where ``context`` is given, and read the greeting."""
        self._options = options
        self._context = context
        self._left_open: list[Any] = []
        super().__init__(options.host, options.tcp_port, options.timeout)

    @property
    def sock(self) -> socket.socket:
        return self.wire.socket

    @sock.setter
    def sock(self, sock: socket.socket) -> None:
        self.wire = Wire(sock)

    @property
    def file(self) -> Any:
        """Nothing reads from it: imaplib makes one at STARTTLS, and it keeps the socket open until it is closed."""
        return self._left_open[-1] if self._left_open else None

    @file.setter
    def file(self, file: Any) -> None:
        self._left_open.append(file)

    def open(self, host: str = "", port: int = 143, timeout: float | None = None) -> None:  # noqa: ARG002 - in options.
        """Connect, through the proxy where there is one."""
        self.host, self.port = host, port
        sock = _proxy.connect(self._options)
        if self._context is not None:
            try:
                sock = self._context.wrap_socket(sock, server_hostname=host)
            except BaseException:
                sock.close()
                raise
        self.sock = sock

    def read(self, size: int) -> bytes:
        """Return octets, for imaplib."""
        return self.wire.literal(size)

    def readline(self) -> bytes:
        """Return a line, for imaplib."""
        return self.wire.line()

    def send(self, data: Any) -> None:
        """Send octets."""
        self.wire.socket.sendall(data)

    def shutdown(self) -> None:
        """Close the connection."""
        for file in self._left_open:
            with suppress(OSError, ValueError):
                file.close()
        with suppress(OSError):
            self.wire.socket.shutdown(socket.SHUT_RDWR)
        self.wire.socket.close()


def _broken(why: str) -> OSError:
    return ConnectionAbortedError(errno.ECONNABORTED, why)
