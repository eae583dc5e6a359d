"""The page of metrics over real sockets: it is found, and whoever misbehaves is bounded."""

import socket
from collections.abc import Iterator
from contextlib import closing
from http.client import HTTPConnection

import pytest

from bouncepoll.bootstrap import _metrics_server as module
from bouncepoll.bootstrap._metrics_server import MetricsServer
from bouncepoll.errors import ConfigurationError
from tests.servers import free_port, listening, wait_until


@pytest.fixture
def port() -> Iterator[int]:
    server = MetricsServer("127.0.0.1", free_port(), lambda: b"answer 42\n")
    yield server.start()
    server.close()
    server.close()


def _get(port: int, path: str) -> tuple[int, str, bytes]:
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.headers["Content-Type"], answer.read()


def test_the_page(port: int) -> None:
    assert _get(port, "/metrics") == (200, "text/plain; version=0.0.4; charset=utf-8", b"answer 42\n")
    assert _get(port, "/metrics?name=x")[0] == 200
    assert _get(port, "/")[0] == 404
    with closing(HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        connection.request("POST", "/metrics", b"x")
        assert connection.getresponse().status == 501


def test_a_port_in_use_is_said_to_be(port: int) -> None:
    with pytest.raises(ConfigurationError, match=r"metrics\.listen: nothing can be listened at .* in use"):
        MetricsServer("127.0.0.1", port, lambda: b"").start()


def test_silent_clients_are_few_and_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_LONGEST_S", 0.2)
    server = MetricsServer("127.0.0.1", free_port(), lambda: b"answer 42\n")
    port = server.start()
    silent = [socket.create_connection(("127.0.0.1", port), 20) for _client in range(12)]
    try:
        # Those above the bound are closed at once, the others a moment later.
        assert [client.recv(1) for client in silent] == [b""] * 12
        wait_until(lambda: _get(port, "/metrics")[0] == 200, "an answer")
    finally:
        for client in silent:
            client.close()
        server.close()
    assert not listening(port)


def test_a_page_that_fails_ends_one_request(port: int) -> None:
    def fail() -> bytes:
        raise ZeroDivisionError

    server = MetricsServer("127.0.0.1", free_port(), fail)
    broken = server.start()
    with pytest.raises(OSError, match=r"without response|reset"):
        _get(broken, "/metrics")
    server.close()
    assert _get(port, "/metrics")[0] == 200
