"""Hands mails to an LMTP server (RFC 2033), such as Dovecot's, which answers for each recipient."""

import smtplib
import socket
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from pydantic import Field

from bouncepoll.deliver import _probe
from bouncepoll.deliver._options import ConnectionOptions, Security
from bouncepoll.deliver._session import Session, opened, tls_context
from bouncepoll.errors import DeliveryDeferred
from bouncepoll.model.delivery import DeliveryResult, Outgoing
from bouncepoll.model.message import Envelope
from bouncepoll.model.probe import Probe
from bouncepoll.ports import TokenSource


class Options(ConnectionOptions):
    """An LMTP server: a Unix socket, or host and port."""

    default_ports: ClassVar[Mapping[Security, int]] = {"starttls": 24, "tls": 24, "none": 24}

    socket: Path | None = Field(None, description="A Unix socket to connect to instead of host and port.")

    @property
    def address(self) -> str:
        """The socket, else ``host:port``, for messages."""
        return str(self.socket) if self.socket is not None else f"{self.host}:{self.tcp_port}"


class LmtpBackend:
    """A ``Backend`` over LMTP."""

    def __init__(self, options: Options, tokens: TokenSource | None = None) -> None:
        """``tokens`` gives the secret of a login with ``auth``; without it the password of the options counts."""
        self._options = options
        self._tokens = tokens
        self._session = Session(options, self.connect)

    def send(self, outgoing: Outgoing) -> Sequence[DeliveryResult]:
        """Hand over one mail; each accepted recipient has a reply of its own to the data."""
        return self._session.send(outgoing, one_reply_a_recipient=True)

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def connect(self) -> smtplib.SMTP:
        """Return a connection that is greeted, protected and logged in."""
        options = self._options
        if options.host is None and options.socket is None:
            raise DeliveryDeferred("delivery.lmtp: neither socket nor host is set; set one of them")
        connection = _Lmtp(options)
        return opened(
            connection,
            connection.greet,
            options,
            starttls=options.security == "starttls" and options.socket is None,
            tokens=self._tokens,
        )


class _Lmtp(smtplib.SMTP):
    """smtplib's own LMTP class takes no TLS from the first octet, and no time-out on Unix sockets."""

    ehlo_msg = "lhlo"

    def __init__(self, options: Options) -> None:
        super().__init__(timeout=options.timeout, local_hostname=options.local_hostname)
        self._options = options
        self._host = options.host or "localhost"

    def greet(self) -> tuple[int, bytes]:
        """Connect and return the greeting."""
        options = self._options
        if options.socket is not None:
            self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            self.sock.settimeout(options.timeout)
            self.sock.connect(str(options.socket))
        else:
            self.sock = socket.create_connection((self._host, options.tcp_port), options.timeout)
            if options.security == "tls":
                self.sock = tls_context(options).wrap_socket(self.sock, server_hostname=self._host)
        self.file = None
        return self.getreply()


def create(options: Options, tokens: TokenSource | None = None) -> LmtpBackend:
    """Build the backend; it connects when it first sends. ``tokens`` is what ``auth`` stands for."""
    return LmtpBackend(options, tokens)


def probe(options: Options, envelope: Envelope, tokens: TokenSource | None = None) -> Iterator[Probe]:
    """Yield what ``bouncepoll doctor`` looks at; see ``model.probe``."""
    return _probe.session("lmtp", options, LmtpBackend(options, tokens).connect, envelope, options.socket)
