"""poplib with every answer bounded, long lines taken, and the connection made our way (proxy, TLS)."""

import errno
import poplib
import re
import ssl
from collections.abc import Iterable
from contextlib import suppress
from io import BufferedReader
from typing import Any, NamedTuple, cast

from bouncepoll.sources import _proxy
from bouncepoll.sources._options import MailboxOptions

#: What poplib raises when a connection fails, or an answer makes no sense to it.
FAILURES = (poplib.error_proto, OSError, ValueError, LookupError, AttributeError)
#: How long an answer of one line, or a list of capabilities, may be.
ANSWER_OCTETS = 64 * 1024

_READ_OCTETS = 64 * 1024
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")


class Text(NamedTuple):
    """The first octets of a mail as a command gave them, and how many it gave; ``octets`` may be fewer."""

    octets: bytes
    size_octets: int


class BoundedPOP3(poplib.POP3):
    """poplib refuses lines over 2,048 octets and takes any number of them; here each answer has an allowance."""

    def __init__(self, options: MailboxOptions, context: ssl.SSLContext | None) -> None:
        """Connect and take the greeting; ``context`` is for TLS from the first octet.

        Raises:
            FAILURES: that does not work.
        """
        self._options = options
        self._context = context
        self._left_octets = ANSWER_OCTETS
        try:
            super().__init__(options.host, options.tcp_port, options.timeout)
        except BaseException:
            with suppress(*FAILURES):
                self.close()
            raise

    def _create_socket(self, _timeout: float | None) -> Any:
        sock = _proxy.connect(self._options)
        if self._context is None:
            return sock
        try:
            return self._context.wrap_socket(sock, server_hostname=self.host)
        except BaseException:
            sock.close()
            raise

    def allow(self, octets: int) -> None:
        """Begin an answer: it may have so many octets."""
        self._left_octets = octets

    def chunk(self) -> bytes:
        """Return a line with its end, or a part of one that is long."""
        chunk = self.file.readline(_READ_OCTETS)
        self._left_octets -= len(chunk)
        if not chunk:
            raise ConnectionAbortedError(errno.ECONNABORTED, "the server closed the connection")
        if self._left_octets < 0:
            raise ConnectionAbortedError(errno.ECONNABORTED, "its answer is too large")
        return chunk

    def _getline(self) -> tuple[bytes, int]:
        # Every line poplib itself reads: replies and capabilities. A reply has at most 512 octets (RFC 2449 section 4).
        line = self.chunk()
        if not line.endswith(b"\n"):
            raise ConnectionAbortedError(errno.ECONNABORTED, "a line of its answer does not end")
        return line.rstrip(b"\r\n"), len(line)

    def send(self, commands: Iterable[str]) -> None:
        """Send commands at once.

        Raises:
            ValueError: one holds a control character; what stands behind a line end would be a command of its own.
        """
        commands = list(commands)
        if any(map(_CONTROL.search, commands)):
            raise ValueError("a POP3 command must not hold control characters")
        self.sock.sendall("".join(f"{command}\r\n" for command in commands).encode())

    def reply(self) -> bytes:
        """Return a positive reply, or a continuation (``+ …``, RFC 5034).

        Raises:
            poplib.error_proto: it is negative, or none.
        """
        return bytes(self._getresp())  # type: ignore[attr-defined] # typeshed leaves it out.

    def widen(self) -> None:
        """Read more at once from now on; to be called when no answer is under way."""
        self.file.close()
        self.file = cast("BufferedReader", self.sock.makefile("rb", _READ_OCTETS))

    def text(self, keep_octets: int) -> Text:
        """Read a multi-line answer to its end, and keep its first octets (RFC 1939 section 3)."""
        at_hand = self._text_at_hand()
        if at_hand is not None:
            return Text(at_hand[:keep_octets], len(at_hand))
        kept = bytearray()
        size_octets = 0
        at_line_start = True
        while True:
            chunk = self.chunk()
            if at_line_start and chunk[0] == 0x2E:
                if chunk in (b".\r\n", b".\n"):
                    return Text(bytes(kept), size_octets)
                chunk = chunk[1:]
            at_line_start = chunk.endswith(b"\n")
            size_octets += len(chunk)
            if len(kept) < keep_octets:
                kept += chunk[: keep_octets - len(kept)]

    def _text_at_hand(self) -> bytes | None:
        """Return an answer that was received whole already, as most are; None when it has to be read line by line."""
        buffered = cast("BufferedReader", self.file).peek()
        end = buffered.find(b"\r\n.\r\n") + 2
        text = buffered[:end]
        # Lines that end with a bare LF count as lines too; nearly no server has any.
        if end < 2 or b"\n.\n" in text or text[:2] == b".\n" or text[:3] == b".\r\n":
            return None
        if text.count(b"\n.") != text.count(b"\r\n."):
            return None
        self.file.read(end + 3)
        self._left_octets -= end + 3
        text = text.replace(b"\r\n.", b"\r\n")
        return text[1:] if text.startswith(b".") else text


def negative(exc: BaseException) -> bool:
    """Whether the server said no (RFC 1939 section 3), rather than something else or nothing."""
    answer = exc.args[0] if isinstance(exc, poplib.error_proto) and exc.args else b""
    return isinstance(answer, bytes) and answer.startswith(b"-")
