"""Reads the octets of a mail: whatever the length of its lines, within bounds, and only CRLF.CRLF ends it."""

import asyncio

import structlog

from bouncepoll.sources.listener._limits import Memory

log = structlog.get_logger()

TOO_LARGE = "552 5.3.4 The mail is larger than what is accepted here"
NO_MEMORY = "452 4.3.1 Too much mail at once, try again later"

_CRLF = b"\r\n"
_END = b"\r\n.\r\n"


class Content:
    """A mail while it is received. Its memory is reserved until ``release``; ``fault`` is the reply when it is refused.

    A mail that is refused is still read to its end, for the client listens only then; nothing of it is kept.
    """

    def __init__(self, memory: Memory, max_octets: int) -> None:
        self.fault: str | None = None
        self._memory = memory
        self._max_octets = max_octets
        # A dot before each line that begins with one does not count: this many may come before it is too much.
        self._max_sent_octets = max_octets + max_octets // 64 + 4096
        self._sent_octets = 0
        self._taken_octets = 0
        self._octets = bytearray()

    async def read(self, reader: asyncio.StreamReader, read_ahead: bytearray) -> None:
        """Read to the end. ``read_ahead`` is the buffer of ``reader``.

        A line that ends otherwise than with CRLF ends nothing: SMTP smuggling needs a server that is less strict.
        """
        # The first line may be the last dot: the CRLF before it was read with the command, and is put back.
        read_ahead[:0] = _CRLF
        while True:
            try:
                self._add(await reader.readuntil(_END))
            except asyncio.LimitOverrunError as exc:
                self._add(await reader.readexactly(exc.consumed))
            else:
                break
        # What is left is every octet between the CRLF before it and the last dot, without the dots that were added
        # (RFC 5321 section 4.5.2).
        del self._octets[-len(_END) + len(_CRLF) :]
        if _CRLF + b"." in self._octets:
            self._octets = self._octets.replace(_CRLF + b".", _CRLF)
        del self._octets[: len(_CRLF)]
        if len(self._octets) > self._max_octets:
            self._refuse(TOO_LARGE)

    def take(self) -> bytes:
        """Return the mail, its last line end included, and keep nothing of it; its memory stays reserved."""
        taken = bytes(self._octets)
        self._octets = bytearray()
        return taken

    def release(self) -> None:
        """Give the memory back; may be called twice."""
        self._memory.give_back(self._taken_octets)
        self._taken_octets = 0
        self._octets.clear()

    def _add(self, chunk: bytes) -> None:
        self._sent_octets += len(chunk)
        if self.fault is not None:
            return
        if self._sent_octets > self._max_sent_octets:
            self._refuse(TOO_LARGE)
        elif not self._memory.take(len(chunk)):
            log.warning("listener_memory_full", used_octets=self._memory.used_octets)
            self._refuse(NO_MEMORY)
        else:
            self._taken_octets += len(chunk)
            self._octets += chunk

    def _refuse(self, fault: str) -> None:
        self.fault = fault
        self.release()
