"""A listener over the database in memory, and a client that says what it is told to."""

import socket
import ssl
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import trustme

from bouncepoll.analysis import Analyser
from bouncepoll.classify import create_classifier
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import Message
from bouncepoll.model.verdict import Verdict
from bouncepoll.ports import Store
from bouncepoll.receive import FilterBook, Receiver
from bouncepoll.sources.listener import Options
from bouncepoll.sources.listener.server import Listener
from bouncepoll.testing import FakeClock, FakeStore

classify = create_classifier(None).classify

SPRING = BounceFilter(1, "spring", "news@example.org", ("team@example.net",))
AUTUMN = BounceFilter(2, "autumn", "fall@example.org")
OFF = BounceFilter(3, "off", "off@example.org", enabled=False)
FILTERS = (SPRING, AUTUMN, OFF)
MAIL = b"From: Ann <ann@example.com>\r\nSubject: Re: News\r\nMessage-ID: <m1@example.com>\r\n\r\nHello\r\n"


def numbered(number: int) -> bytes:
    """Return a mail of its own."""
    return MAIL.replace(b"<m1@", f"<m{number}@".encode())


class Talk:
    """A client's end of a session; replies are returned with their lines joined by LF."""

    def __init__(self, sock: socket.socket, *, greeting: bool = True) -> None:
        self.sock = sock
        self._read = b""
        sock.settimeout(10)
        if greeting:
            assert self.reply().startswith("220 ")

    def __enter__(self) -> "Talk":
        return self

    def __exit__(self, *_exc: object) -> None:
        self.sock.close()

    def reply(self) -> str:
        """Return the next reply, ``""`` when the server has closed."""
        lines = []
        while True:
            line = self._line()
            lines.append(line)
            if line[3:4] != "-":
                return "\n".join(lines)

    def say(self, *lines: str | bytes) -> str:
        """Send lines at once, and return the reply to the last."""
        self.sock.sendall(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\r\n" for line in lines))
        return [self.reply() for _ in lines][-1]

    def begin(self, *paths: str, sender: str = "<>", hello: str = "EHLO") -> list[str]:
        """Greet and name the recipients; return the replies to RCPT."""
        assert self.say(f"{hello} client.example").startswith("250")
        assert self.say(f"MAIL FROM:{sender}").startswith("250")
        return [self.say(f"RCPT TO:<{path}>") for path in paths]

    def data(self, octets: bytes = MAIL) -> str:
        """Send a mail that needs no dots added, and return the (first) reply."""
        assert self.say("DATA").startswith("354")
        self.sock.sendall(octets + b".\r\n")
        return self.reply()

    def deliver(self, *paths: str, octets: bytes = MAIL) -> str:
        """Bring a mail, and return the reply to it."""
        self.begin(*(paths or ("news@example.org",)))
        return self.data(octets)

    def starttls(self, context: ssl.SSLContext, hostname: str = "mx.example.org") -> None:
        """Begin TLS."""
        assert self.say("STARTTLS").startswith("220 2.0.0")
        self.sock = context.wrap_socket(self.sock, server_hostname=hostname)

    def ended(self) -> bool:
        """Whether the server has closed the connection."""
        return self.reply() == ""

    def _line(self) -> str:
        while b"\r\n" not in self._read:
            try:
                octets = self.sock.recv(65536)
            except ConnectionError:
                octets = b""
            if not octets:
                assert self._read == b"", self._read
                return ""
            self._read += octets
        line, _, self._read = self._read.partition(b"\r\n")
        return line.decode()


class Running:
    """A listener that runs."""

    def __init__(self, listener: Listener, store: Any, addresses: Sequence[tuple[str, str]]) -> None:
        self.listener = listener
        self.store = store
        self.addresses = addresses

    def address(self, key: str = "smtp") -> str:
        """Return the first address of a key."""
        return next(address for name, address in self.addresses if name == key)

    def port(self, key: str = "smtp") -> int:
        """Return the port of the first address of a key."""
        return int(self.address(key).rpartition(":")[2])

    def connect(self, key: str = "smtp", source: str | None = None, *, greeting: bool = True) -> Talk:
        """Begin a session."""
        address = self.address(key)
        if address.startswith("unix:"):
            sock = socket.socket(socket.AF_UNIX)
            sock.connect(address[5:])
        else:
            host, _, port = address.rpartition(":")
            bind = None if source is None else (source, 0)
            sock = socket.create_connection((host.strip("[]"), int(port)), 10, source_address=bind)
        return Talk(sock, greeting=greeting)

    @property
    def mails(self) -> list[bytes]:
        """The octets of the stored mails."""
        return [message.entry.message.raw.octets for message in self.store.tables.messages.values()]


@contextmanager
def listening(
    store: Store | None = None,
    classifying: Callable[[Message], Verdict] = classify,
    filters: Callable[[], Sequence[BounceFilter]] | None = None,
    **options: Any,
) -> Iterator[Running]:
    """Run a listener; ``options`` are keys of its section, by default SMTP and LMTP on any free port."""
    fake = FakeStore(FILTERS)
    given = Options.model_validate(
        {"smtp": ["127.0.0.1:0"], "lmtp": ["127.0.0.1:0"], "hostname": "mx.example.org", **options}
    )
    load = filters or (lambda: fake.tables.filters)
    book = FilterBook(load, mailloop_domain="mailloop.example", default_filter=given.default_filter)
    receiver = Receiver(store or fake, Analyser(classifying, "here"), book, clock=FakeClock())
    listener = Listener(given, recipients=book, receive=receiver, clock=FakeClock())
    running = Running(listener, store or fake, listener.start())
    try:
        yield running
    finally:
        listener.close()
        listener.wait(5)


@pytest.fixture
def running() -> Iterator[Running]:
    """Return a listener with its defaults."""
    with listening() as made:
        yield made


@pytest.fixture(scope="session")
def certificate(authority: trustme.CA, tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the options of a certificate for ``mx.example.org``."""
    folder = tmp_path_factory.mktemp("listener")
    issued = authority.issue_cert("mx.example.org")
    (folder / "cert.pem").write_bytes(b"".join(blob.bytes() for blob in issued.cert_chain_pems))
    (folder / "key.pem").write_bytes(issued.private_key_pem.bytes())
    (folder / "key.pem").chmod(0o600)
    return {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}


@pytest.fixture
def trusting(ca_file: Path) -> ssl.SSLContext:
    """Return a client's TLS that trusts the authority of the tests."""
    return ssl.create_default_context(cafile=str(ca_file))
