"""One POP3 connection: poplib with every answer bounded and every failure named.

Nothing but ``Refused``, ``Dropped``, ``SourceUnavailable`` and ``ConfigurationError`` comes out of here.
"""

import base64
import errno
import poplib
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import islice
from typing import Any, NamedTuple

from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import (
    Dropped,
    Refused,
    broken,
    checked_secret,
    login_broken,
    login_refused,
    no_connection,
    said,
    tls_context,
)

# poplib raises the last three when an answer makes no sense to it.
_FAILURES = (poplib.error_proto, OSError, ValueError, LookupError, AttributeError)
_ANSWER_OCTETS = 64 * 1024
# Twenty to eighty octets a mail: a maildrop of 200,000 mails at least.
_LISTING_OCTETS = 16 * 1024**2
_READ_OCTETS = 64 * 1024
_SLACK_OCTETS = 1024**2
# So few short commands fit into any server's receive buffer: it never waits for us while we wait for it.
_PIPELINED = 50


class Text(NamedTuple):
    """The first octets of a mail as a command gave them, and how many it gave; ``octets`` may be fewer."""

    octets: bytes
    size_octets: int


class _BoundedPOP3(poplib.POP3):
    """poplib refuses lines over 2,048 octets and takes any number of them; here each answer has an allowance."""

    def __init__(self, options: MailboxOptions, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._left_octets = _ANSWER_OCTETS
        try:
            super().__init__(options.host, options.tcp_port, options.timeout)
        except BaseException:
            with suppress(*_FAILURES):
                self.close()
            raise

    def _create_socket(self, timeout: float | None) -> Any:
        sock = super()._create_socket(timeout)  # type: ignore[misc]
        if self._context is None:
            return sock
        return self._context.wrap_socket(sock, server_hostname=self.host)

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
        """Send commands at once."""
        self.sock.sendall("".join(f"{command}\r\n" for command in commands).encode())

    def reply(self) -> bytes:
        """Return a positive reply.

        Raises:
            poplib.error_proto: it is negative, or none.
        """
        return bytes(self._getresp())  # type: ignore[attr-defined]

    def text(self, keep_octets: int) -> Text:
        """Read a multi-line answer to its end, and keep its first octets (RFC 1939 section 3)."""
        kept = bytearray()
        size_octets = 0
        at_line_start = True
        while True:
            chunk = self.chunk()
            if at_line_start and chunk.startswith(b"."):
                if chunk in (b".\r\n", b".\n"):
                    return Text(bytes(kept), size_octets)
                chunk = chunk[1:]
            at_line_start = chunk.endswith(b"\n")
            size_octets += len(chunk)
            if len(kept) < keep_octets:
                kept += chunk[: keep_octets - len(kept)]


class Connection:
    """A logged-in connection. After ``Dropped``, ``quit`` and ``drop`` it is closed."""

    def __init__(self, name: str, options: MailboxOptions, secret: str) -> None:
        """Connect and log in.

        Raises:
            SourceUnavailable: no connection, a certificate that is not accepted, a refused login.
            ConfigurationError: ``ca_file`` or the password cannot be used.
        """
        self._name = name
        self._options = options
        context = None if options.security == "insecure-loopback" else tls_context(options.ca_file)
        try:
            self._client = _BoundedPOP3(options, context if options.security == "tls" else None)
        except _FAILURES as exc:
            raise no_connection(name, options, exc) from exc
        try:
            if options.security == "starttls":
                self._starttls(context)
            self._capabilities = self._login(checked_secret(name, secret))
        except BaseException:
            self.drop()
            raise

    def _starttls(self, context: ssl.SSLContext | None) -> None:
        try:
            self._client.allow(_ANSWER_OCTETS)
            self._client.stls(context)
        except _FAILURES as exc:
            raise no_connection(self._name, self._options, exc) from exc

    def _login(self, secret: str) -> dict[str, list[str]]:
        client, username = self._client, self._options.username
        try:
            offered = self._capa()
            client.allow(_ANSWER_OCTETS)
            if "USER" not in offered and "PLAIN" in offered.get("SASL", []):
                # RFC 5034: an initial response would not fit into a line of 255 octets with a long password.
                client.send(["AUTH PLAIN"])
                client.reply()
                client.send([base64.b64encode(f"\0{username}\0{secret}".encode()).decode()])
                client.reply()
            else:
                client.user(username)
                client.pass_(secret)
            return self._capa() or offered
        except poplib.error_proto as exc:
            if _negative(exc):
                raise login_refused(self._name, self._options, exc, secret) from None
            raise login_broken(self._name, self._options, exc, secret) from None
        except (Dropped, *_FAILURES) as exc:
            raise login_broken(self._name, self._options, exc, secret) from None

    def _capa(self) -> dict[str, list[str]]:
        """Return the capabilities (RFC 2449); none where the server does not know the command."""
        with self._command():
            try:
                return {name.upper(): arguments for name, arguments in self._client.capa().items()}
            except poplib.error_proto:
                return {}

    def supports(self, capability: str) -> bool | None:
        """Whether the server announced a capability (RFC 2449 section 6); None when it announces none at all."""
        return capability in self._capabilities if self._capabilities else None

    def sizes(self) -> dict[int, int]:
        """Return the sizes of the mails by number, ascending, as the server says."""
        return {number: int(size) for number, size in self._listing("LIST") if size.isascii() and size.isdigit()}

    def unique_ids(self) -> dict[int, str]:
        """Return the unique-ids of the mails by number (UIDL); not necessarily of all, nor unique.

        Raises:
            Refused: the server does not know the command.
        """
        return dict(self._listing("UIDL"))

    def _listing(self, command: str) -> Iterator[tuple[int, str]]:
        with self._command(_LISTING_OCTETS):
            self._client.send([command])
            self._client.reply()
            text = self._client.text(_LISTING_OCTETS).octets.decode("utf-8", "backslashreplace")
        for line in text.split("\n"):
            number, _space, value = line.strip("\r ").partition(" ")
            # Nine digits: more mails cannot be listed within the allowance anyway.
            if number.isascii() and number.isdigit() and len(number) < 10:
                yield int(number), value.strip()

    def texts(self, commands: Sequence[str], keep_octets: int) -> Iterator[Text | Refused]:
        """Send RETR or TOP commands and yield an answer to each, in their order; all of them have to be taken."""
        for group in self._groups(commands):
            with self._command():
                self._client.send(group)
            for _command in group:
                yield self._text(keep_octets)

    def _text(self, keep_octets: int) -> Text | Refused:
        try:
            with self._command(max(self._options.max_octets, keep_octets) + _SLACK_OCTETS):
                self._client.reply()
                return self._client.text(keep_octets)
        except Refused as exc:
            return exc

    def delete(self, numbers: Sequence[int]) -> dict[int, str]:
        """Mark mails as deleted and return what was said of those that were refused, by number."""
        refused: dict[int, str] = {}
        for group in self._groups(numbers):
            with self._command():
                self._client.send(f"DELE {number}" for number in group)
            for number in group:
                try:
                    with self._command():
                        self._client.reply()
                except Refused as exc:
                    refused[number] = str(exc)
        return refused

    def quit(self) -> None:
        """End the session: now, and only now, what was marked is deleted (RFC 1939 section 6).

        Raises:
            Refused, Dropped: it is not certain what was deleted. The connection is closed anyway.
        """
        try:
            with self._command():
                self._client.send(["QUIT"])
                self._client.reply()
        finally:
            self.drop()

    def drop(self) -> None:
        """Close without a word: nothing is deleted. Never raises."""
        with suppress(*_FAILURES):
            self._client.close()

    def _groups(self, items: Sequence[Any]) -> Iterator[list[Any]]:
        size = _PIPELINED if self.supports("PIPELINING") else 1
        pending = iter(items)
        while group := list(islice(pending, size)):
            yield group

    @contextmanager
    def _command(self, allowance_octets: int = _ANSWER_OCTETS) -> Iterator[None]:
        try:
            self._client.allow(allowance_octets)
            yield
        except poplib.error_proto as exc:
            if _negative(exc):
                raise Refused(said(exc)) from exc
            self.drop()
            raise broken(self._options, exc) from exc
        except _FAILURES as exc:
            self.drop()
            raise broken(self._options, exc) from exc


def _negative(exc: poplib.error_proto) -> bool:
    """Whether the server said no (RFC 1939 section 3), rather than something else or nothing."""
    answer = exc.args[0] if exc.args else b""
    return isinstance(answer, bytes) and answer.startswith(b"-")
