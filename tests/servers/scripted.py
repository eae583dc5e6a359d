"""IMAP and POP3 servers that say exactly what a test tells them to, byte for byte, on a loopback port."""

import base64
import socket
import ssl
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import TypeAlias

from tests.servers import wait_until

_TIMEOUT_S = 30.0


class Hangup(Exception):
    """The client closed the connection, or the script wants to."""


class Conversation:
    """One connection, as the server sees it."""

    def __init__(self, connection: socket.socket, tls: ssl.SSLContext | None) -> None:
        self.commands: list[bytes] = []
        self._socket = connection
        self._tls = tls
        self._received = b""

    def say(self, octets: bytes) -> None:
        """Send octets."""
        try:
            self._socket.sendall(octets)
        except OSError as exc:
            raise Hangup from exc

    def line(self) -> bytes:
        """Return what the client sends next, up to CR LF."""
        while b"\r\n" not in self._received:
            try:
                octets = self._socket.recv(65536)
            except OSError as exc:
                raise Hangup from exc
            if not octets:
                raise Hangup
            self._received += octets
        line, _end, self._received = self._received.partition(b"\r\n")
        self.commands.append(line)
        return line

    def hang(self) -> None:
        """Say nothing until the client gives up."""
        while True:
            self.line()

    def start_tls(self) -> None:
        """Take the TLS handshake."""
        assert self._tls is not None
        try:
            self._socket = self._tls.wrap_socket(self._socket, server_side=True)
        except OSError as exc:
            raise Hangup from exc

    def close(self) -> None:
        """Close the connection."""
        with suppress(OSError):
            self._socket.shutdown(socket.SHUT_RDWR)
        self._socket.close()


#: What happens in one connection.
Session: TypeAlias = Callable[[Conversation], None]
#: What is answered to a command: octets (``TAG`` stands for the command's tag), or a function that does something.
Answer: TypeAlias = bytes | Callable[[Conversation, bytes], None]


class Scripted:
    """A listening server; ``commands`` has what each connection was sent."""

    host = "localhost"

    def __init__(self, sessions: tuple[Session, ...], tls: ssl.SSLContext | None, *, implicit: bool) -> None:
        self._sessions = sessions
        self._tls = tls
        self._implicit = implicit
        self._conversations: list[Conversation] = []
        self._fault: BaseException | None = None
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._serve)
        self._threads: list[threading.Thread] = []

    @property
    def commands(self) -> list[list[bytes]]:
        """What the clients sent so far, by connection."""
        return [conversation.commands for conversation in self._conversations]

    def waited_for(self, connections: int) -> None:
        """Wait until so many clients have connected."""
        wait_until(lambda: len(self._conversations) >= connections, f"{connections} connections")

    def _serve(self) -> None:
        while True:
            try:
                accepted, _peer = self._listener.accept()
            except OSError:
                return
            accepted.settimeout(_TIMEOUT_S)
            conversation = Conversation(accepted, self._tls)
            self._conversations.append(conversation)
            session = self._sessions[min(len(self._conversations), len(self._sessions)) - 1]
            # Each in a thread of its own: a mailbox may have two connections at once.
            thread = threading.Thread(target=self._converse, args=(conversation, session))
            self._threads.append(thread)
            thread.start()

    def _converse(self, conversation: Conversation, session: Session) -> None:
        try:
            if self._implicit:
                conversation.start_tls()
            session(conversation)
        except Hangup:
            pass
        except BaseException as exc:  # noqa: BLE001 - raised in the test's own thread.
            self._fault = exc
        finally:
            conversation.close()

    def _stop(self) -> None:
        # Closing a listening socket does not wake its accept; shutting it down does.
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for thread in (self._thread, *self._threads):
            thread.join(_TIMEOUT_S)
            assert not thread.is_alive(), "a scripted session did not end"
        if self._fault:
            raise self._fault


@contextmanager
def scripted(*sessions: Session, tls: ssl.SSLContext | None = None, implicit: bool = False) -> Iterator[Scripted]:
    """Run a server: the first connection gets the first session, and so on; the last one serves all that follow."""
    server = Scripted(sessions, tls, implicit=implicit)
    server._thread.start()
    try:
        yield server
    finally:
        server._stop()


def imap(
    answers: Mapping[bytes, Answer] | None = None,
    *,
    capabilities: bytes = b"IMAP4rev1 AUTH=PLAIN UIDPLUS MOVE",
    greeting: bytes = b"* OK ready\r\n",
) -> Session:
    """Return an IMAP session: login works, INBOX holds three mails (UIDs 11, 12, 13), ``answers`` override by prefix.

    Prefixes are matched on the command without its tag, in upper case, the longest first.
    """
    known: dict[bytes, Answer] = {
        b"CAPABILITY": b"* CAPABILITY " + capabilities + b"\r\nTAG OK done\r\n",
        b"AUTHENTICATE PLAIN": _authenticated,
        b"LOGIN": b"TAG OK logged in\r\n",
        b"STARTTLS": _starttls,
        b"EXAMINE": _SELECTED,
        b"SELECT": _SELECTED,
        b"UID SEARCH": b"* SEARCH 11 12 13\r\nTAG OK done\r\n",
        b"LIST": b'* LIST () "/" "INBOX"\r\nTAG OK done\r\n',
        b"LOGOUT": b"* BYE bye\r\nTAG OK done\r\n",
        b"": b"TAG OK done\r\n",
        **(answers or {}),
    }

    def session(conversation: Conversation) -> None:
        conversation.say(greeting)
        while True:
            tag, _space, command = conversation.line().partition(b" ")
            _answered(conversation, known, command, tag)

    return session


def pop3(
    answers: Mapping[bytes, Answer] | None = None,
    *,
    capabilities: bytes = b"USER\r\nUIDL\r\nTOP\r\nPIPELINING\r\nSTLS\r\n",
    greeting: bytes = b"+OK ready\r\n",
) -> Session:
    """Return a POP3 session: login works, there are three mails (unique-ids a, b, c), ``answers`` override by prefix."""
    known: dict[bytes, Answer] = {
        b"CAPA": b"+OK\r\n" + capabilities + b".\r\n",
        b"STLS": _stls,
        b"LIST": b"+OK\r\n1 20\r\n2 20\r\n3 20\r\n.\r\n",
        b"UIDL": b"+OK\r\n1 a\r\n2 b\r\n3 c\r\n.\r\n",
        b"RETR": lambda conversation, command: conversation.say(b"+OK\r\nSubject: " + command[5:] + b"\r\n\r\n.\r\n"),
        b"": b"+OK\r\n",
        **(answers or {}),
    }

    def session(conversation: Conversation) -> None:
        conversation.say(greeting)
        while True:
            _answered(conversation, known, conversation.line(), b"")

    return session


def hang(conversation: Conversation, _command: bytes) -> None:
    """Say nothing any more."""
    conversation.hang()


def hang_up(_conversation: Conversation, _command: bytes) -> None:
    """Close the connection at once."""
    raise Hangup


def saying_then_close(octets: bytes) -> Answer:
    """Return an answer after which the connection is closed."""

    def answer(conversation: Conversation, _command: bytes) -> None:
        conversation.say(octets)
        raise Hangup

    return answer


def without_end(octets: bytes) -> Answer:
    """Return an answer that repeats octets until the client hangs up."""

    def answer(conversation: Conversation, _command: bytes) -> None:
        while True:
            conversation.say(octets)

    return answer


_SELECTED = (
    b"* FLAGS (\\Seen \\Deleted)\r\n* 3 EXISTS\r\n* 0 RECENT\r\n* OK [UIDVALIDITY 7] ok\r\n* OK [UIDNEXT 14] ok\r\n"
    b"TAG OK done\r\n"
)


def _answered(conversation: Conversation, known: Mapping[bytes, Answer], command: bytes, tag: bytes) -> None:
    prefix = max((prefix for prefix in known if command.upper().startswith(prefix)), key=len)
    answer = known[prefix]
    if callable(answer):
        answer(conversation, command if not tag else tag + b" " + command)
    else:
        conversation.say(answer.replace(b"TAG", tag))
    if command.upper() in (b"LOGOUT", b"QUIT"):
        raise Hangup


def _authenticated(conversation: Conversation, command: bytes) -> None:
    conversation.say(b"+ \r\n")
    base64.b64decode(conversation.line(), validate=True)
    conversation.say(command.split()[0] + b" OK logged in\r\n")


def _starttls(conversation: Conversation, command: bytes) -> None:
    conversation.say(command.split()[0] + b" OK begin\r\n")
    conversation.start_tls()


def _stls(conversation: Conversation, _command: bytes) -> None:
    conversation.say(b"+OK begin\r\n")
    conversation.start_tls()
