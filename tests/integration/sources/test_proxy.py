"""Mailboxes behind proxies, and proxies that do not do what they should."""

import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import TypeAlias

import pytest
from pydantic import SecretStr, ValidationError

from bouncepoll.errors import SourceUnavailable
from bouncepoll.sources import imap
from tests.integration.sources.conftest import Start
from tests.integration.sources.test_options import imap_options
from tests.servers import free_port
from tests.servers.proxy import USERNAME, Greet, Proxy, http_connect, proxy, saying, socks5
from tests.servers.scripted import Conversation, scripted
from tests.servers.scripted import imap as imap_session
from tests.servers.scripted import pop3 as pop3_session

LOGIN = f"{USERNAME}:proxy-p%40ss@"


#: Run a proxy until the end of the test.
Run: TypeAlias = Callable[[Greet], Proxy]


@pytest.fixture
def run() -> Iterator[Run]:
    with ExitStack() as stack:
        yield lambda greet: stack.enter_context(proxy(greet))


@pytest.mark.parametrize("login", ["", LOGIN])
@pytest.mark.parametrize(("scheme", "greet"), [("socks5", socks5), ("http", http_connect)])
def test_mails_come_through_a_proxy(
    scheme: str, greet: Callable[..., Greet], login: str, run: Run, start_imap: Start, start_pop3: Start
) -> None:
    through = run(greet(login=bool(login)))
    url = f"{scheme}://{login}127.0.0.1:{through.port}"
    imap_server, imap_source = start_imap(imap_session(), proxy=url)
    pop3_server, pop3_source = start_pop3(pop3_session(), proxy=url)
    for source in (imap_source, pop3_source):
        source.open()
        assert len(source.scan("INBOX", None).uids) == 3
        source.close()
    assert through.asked == [("localhost", imap_server.port), ("localhost", pop3_server.port)]


@pytest.mark.parametrize(
    ("scheme", "greet", "said"),
    [
        ("socks5", socks5(login=True), "does not connect us"),
        ("socks5", saying(b""), "does not connect us"),
        ("socks5", saying(b"HTTP/1.1 400 what\r\n\r\n"), "does not connect us|broke its protocol"),
        ("http", http_connect(login=True), "does not connect us .*407"),
        ("http", http_connect(answer=b"HTTP/1.1 403 Forbidden \x1b[31m\r\n\r\n"), "does not connect us .*403"),
        ("http", saying(b"\x05\x00"), "does not connect us|broke its protocol"),
        ("http", saying(b"HTTP/1.1 503 Busy\r\n"), "does not connect us .*503"),
        ("http", saying(b"HTTP/1.1 200 OK\r\n" + b"x" * 200_000), "does not connect us .*its answer does not end"),
    ],
)
def test_a_proxy_that_refuses_is_named_and_no_secret(
    scheme: str, greet: Greet, said: str, run: Run, start_imap: Start
) -> None:
    through = run(greet)
    _server, source = start_imap(imap_session(), proxy=f"{scheme}://{USERNAME}:wrong-p4ss@127.0.0.1:{through.port}")
    with pytest.raises(SourceUnavailable, match=f"the proxy 127.0.0.1:{through.port} ({said}).*check proxy") as caught:
        source.open()
    assert "wrong-p4ss" not in str(caught.value)
    assert "\x1b" not in str(caught.value)


@pytest.mark.parametrize("pause_s", [0.0, 0.02])
def test_a_greeting_is_not_taken_for_a_part_of_the_proxys_answer(pause_s: float, run: Run, start_imap: Start) -> None:
    def greet(client: socket.socket) -> tuple[str, int] | None:
        wanted = http_connect(answer=b"")(client) or ("localhost", server.port)
        for piece in (b"HTTP/1.1 200 Connection established\r\nVia: 1.1 pro", b"xy\r\n\r", b"\n* OK ready\r\n"):
            client.sendall(piece)
            time.sleep(pause_s)
        return wanted

    through = run(greet)
    server, source = start_imap(imap_session(greeting=b""), proxy=f"http://127.0.0.1:{through.port}")
    source.open()
    assert len(source.scan("INBOX", None).uids) == 3
    source.close()


def test_a_proxy_that_is_not_there_is_explained(start_imap: Start) -> None:
    _server, source = start_imap(imap_session(), proxy=f"socks5://127.0.0.1:{free_port()}")
    with pytest.raises(SourceUnavailable, match=r"no connection to the proxy .*ConnectionRefusedError.*check proxy"):
        source.open()


def test_a_proxy_that_hangs_is_given_up(start_imap: Start) -> None:
    with scripted(Conversation.hang) as hanging:
        url = f"http://127.0.0.1:{hanging.port}"
        _server, source = start_imap(imap_session(), proxy=url, timeout=0.2)
        with pytest.raises(SourceUnavailable, match=r"the proxy .* does not answer within 0\.2 s; check proxy"):
            source.open()


@pytest.mark.parametrize(
    "url",
    [
        "socks4://127.0.0.1:1080",
        "socks5://",
        "socks5://host:0x1",
        "socks5://host:99999",
        "http://host/path",
        "http://host?query",
        "127.0.0.1:1080",
        "socks5://user@host",
        "socks5://user:@host",
        f"socks5://user:{'x' * 256}@host",
        "socks5://user:a b@host",
    ],
)
def test_what_is_no_proxy_is_a_fault_of_the_configuration(url: str) -> None:
    with pytest.raises(ValidationError, match="proxy"):
        imap_options(proxy=url)


def test_the_proxys_password_does_not_show() -> None:
    options: imap.Options = imap_options(proxy="socks5://user:hush@proxy.example.org")
    assert options.proxy == SecretStr("socks5://user:hush@proxy.example.org")
    assert "hush" not in repr(options) + options.model_dump_json()
