"""How a session is held together: its replies, the client's errors, its time, and its end."""
# ruff: noqa: N802 - a hook has the name aiosmtpd gives it.

import asyncio
import ssl
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

import structlog
from aiosmtpd.proxy_protocol import V2_CMD, ProxyData
from aiosmtpd.smtp import SMTP, TLSSetupException
from aiosmtpd.smtp import Envelope as Transaction

from bouncepoll.model.message import RawMessage
from bouncepoll.model.reception import Reception, Recipient
from bouncepoll.ports import Clock
from bouncepoll.sources.listener._commands import with_status
from bouncepoll.sources.listener._limits import Memory, Seat
from bouncepoll.sources.listener._options import Options

log = structlog.get_logger()

BUSY = "451 4.3.0 Try again later"

_CLOSING = "421 4.3.2 The service is closing, try again later"
_PROXY_TIMEOUT_S = 5.0
# Closing waits until the client has read everything, and this one may never do.
_LINGER_S = 5.0
_MAX_JUNK = 100
_MAX_COMMAND_OCTETS = 2048
_READ_AHEAD_OCTETS = 64 * 1024

_T = TypeVar("_T")


class Recipients(Protocol):
    """Tells whose a forward-path is."""

    def known(self, path: str) -> bool:
        """Whether it is certainly a filter's, told without waiting for anything."""
        ...

    def answer(self, path: str) -> Recipient:
        """Return whose it is now; may wait for the database.

        Raises:
            TransientError: that cannot be found out now.
        """
        ...


#: Takes a mail and returns when it is stored for good, or raises ``TransientError``: the client has to keep it.
Receive = Callable[[RawMessage], Reception]


@dataclass
class Desk:
    """What the sessions of a listener share; ``closing`` once its end was asked for.

    Recipients are looked up in a pool of their own: whoever asks for many unknown ones holds up no mail.
    """

    options: Options
    hostname: str
    recipients: Recipients
    receive: Receive
    clock: Clock
    mail_pool: Executor
    lookup_pool: Executor
    memory: Memory
    closing: bool = False


@dataclass(frozen=True)
class Connection:
    """What a session is held over: ``kind`` is the key of its address, ``client`` None for a local socket.

    ``proxied``: it begins with a PROXY header, which names the client. ``on_end`` is told when it is lost.
    """

    kind: str
    seat: Seat
    client: str | None
    tls: ssl.SSLContext | None
    proxied: bool
    on_end: Callable[["Conduct"], None]


class Conduct(SMTP):
    """A session without its commands.

    aiosmtpd reads the command lines, speaks the PROXY protocol and starts TLS.
    """

    def __init__(self, desk: Desk, connection: Connection, loop: asyncio.AbstractEventLoop) -> None:
        # Before the base class makes its reader of it. It bounds what is read ahead, not the lines of a mail.
        self.line_length_limit = _READ_AHEAD_OCTETS
        self.desk = desk
        self.kind = connection.kind
        self.client = connection.client
        self.in_hand = False
        self.plain = True
        self._connection = connection
        self._errors = 0
        self._junk = 0
        super().__init__(
            self,
            data_size_limit=desk.options.max_octets,
            enable_SMTPUTF8=True,
            hostname=desk.hostname,
            ident="LMTP" if self.kind == "lmtp" else "ESMTP",
            tls_context=connection.tls if self.kind != "smtps" else None,
            require_starttls=desk.options.require_tls and self.kind == "smtp",
            timeout=desk.options.idle_timeout,
            auth_exclude_mechanism=["LOGIN", "PLAIN"],
            proxy_protocol_timeout=_PROXY_TIMEOUT_S if connection.proxied else None,
            loop=loop,
        )
        self.command_size_limit = _MAX_COMMAND_OCTETS
        self.command_size_limits = defaultdict(lambda: _MAX_COMMAND_OCTETS)

    @property
    def secure(self) -> bool:
        """Whether what is said is inside TLS."""
        return self.kind == "smtps" or self._tls_protocol is not None

    @property
    def read_ahead(self) -> bytearray:
        """What the client has sent and nobody has read yet."""
        ahead: bytearray = self._reader._buffer  # type: ignore[attr-defined] # noqa: SLF001 - no public way to it.
        return ahead

    def connection_lost(self, error: Exception | None) -> None:
        """Give the place of the connection back."""
        super().connection_lost(error)
        self._connection.seat.leave()
        self._connection.on_end(self)

    def close_when_idle(self) -> None:
        """End the session now, or when the mail in hand is answered."""
        if not self.in_hand:
            self._say(_CLOSING)
            self._close()

    def abort(self) -> None:
        """End the session at once."""
        if (stream := self._stream) is not None:
            stream.abort()

    async def push(self, status: str | bytes) -> None:
        """Send a reply, with its status code unless ``plain`` was set for it; count it when it is a refusal."""
        text = status if isinstance(status, str) else status.decode("ascii", "replace")
        if not self.plain:
            text = "\r\n".join(map(with_status, text.split("\r\n")))
        self.plain = False
        await super().push(text)
        # QUIRK: aiosmtpd ends a session by itself after five commands that do not exist, and says 502.
        hopeless = "Too many unrecognized" in text
        self._errors += text.startswith("5")
        if hopeless or self._errors >= self.desk.options.max_errors:
            log.info("listener_client_erred_too_often", client=self.client, errors=self._errors)
            await self.finish("421 4.7.0 Too many errors, goodbye")
        if self.desk.closing and not self.in_hand:
            await self.finish(_CLOSING)

    async def finish(self, reply: str) -> None:
        """Send the last reply and end the session: what the client has sent beyond it is not read."""
        self._say(reply)
        self._close()
        raise asyncio.CancelledError

    async def count_junk(self) -> None:
        """Count a command that brings no mail."""
        self._junk += 1
        if self._junk > _MAX_JUNK:
            log.info("listener_client_brings_nothing", client=self.client)
            await self.finish("421 4.7.0 Too many commands and no mail, goodbye")

    def begin_mail(self) -> None:
        """Note that a mail comes: its client has other times to keep, and the session does not end before the reply."""
        self.in_hand = True
        self._junk = 0
        self._reset_timeout(self.desk.options.data_timeout)

    async def in_pool(self, pool: Executor, work: Callable[..., _T], *arguments: object) -> _T:
        """Do work that waits for something, while the client's time stands still."""
        if self._timeout_handle is not None:
            self._timeout_handle.cancel()
        try:
            return await self.loop.run_in_executor(pool, work, *arguments)
        finally:
            if self.transport is not None:
                self._reset_timeout()

    async def handle_exception(self, error: Exception) -> str:
        """Return the reply to a mistake of ours; a TLS handshake that failed is the client's, and gets none."""
        self.in_hand = False
        if isinstance(error, TLSSetupException):
            log.info("listener_tls_failed", client=self.client, error=type(error.__cause__).__name__)
        else:
            log.error("listener_failed", client=self.client, exc_info=error)
        return BUSY

    async def handle_PROXY(self, _server: SMTP, _session: Any, _transaction: Transaction, proxy: ProxyData) -> bool:
        """Take over the client that a proxy names; False ends the session."""
        if proxy.command != V2_CMD.LOCAL and proxy.src_addr is not None and not isinstance(proxy.src_addr, bytes):
            self.client = str(proxy.src_addr)
        refusal = self._connection.seat.claim(self.client)
        if refusal is not None:
            self._say(refusal)
        return refusal is None

    def _timeout_cb(self) -> None:
        log.info("listener_client_too_slow", client=self.client)
        self._say("421 4.4.2 You took too long, goodbye")
        self._close()

    def _say(self, reply: str) -> None:
        """Send a reply without waiting for the client to read it."""
        stream = self._stream
        if stream is not None and not stream.is_closing():
            stream.write(f"{reply}\r\n".encode())

    def _close(self) -> None:
        if (stream := self._stream) is not None:
            self.loop.call_later(_LINGER_S, stream.abort)
            stream.close()

    @property
    def _stream(self) -> asyncio.Transport | None:
        """The way to the client; None when it is gone."""
        return self.transport if isinstance(self.transport, asyncio.Transport) else None
