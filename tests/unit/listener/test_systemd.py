"""Sockets handed over by systemd: which are taken, and what of them is refused."""

import os
import socket
from collections.abc import Iterator

import pytest

from bouncepoll.errors import ConfigurationError
from bouncepoll.sources.listener import _systemd
from bouncepoll.sources.listener._systemd import passed


@pytest.fixture
def handed_over(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[socket.socket]]:
    """Yield three sockets with numbers in a row: two that listen, and a datagram socket."""
    first = 900
    made = [socket.create_server(("127.0.0.1", 0)), socket.create_server(("127.0.0.1", 0))]
    made.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
    for place, sock in enumerate(made):
        os.dup2(sock.fileno(), first + place, inheritable=True)
    monkeypatch.setattr(_systemd, "_FIRST", first)
    yield made
    for place, sock in enumerate(made):
        sock.close()
        try:
            os.close(first + place)
        except OSError:
            assert place < 3


def _env(names: str, count: str = "3", pid: int | None = None) -> dict[str, str]:
    return {"LISTEN_FDS": count, "LISTEN_FDNAMES": names, "LISTEN_PID": str(pid or os.getpid())}


def test_all_sockets_of_a_name_are_taken_and_not_handed_on(handed_over: list[socket.socket]) -> None:
    found = passed("smtp", _env("smtp:smtp:other"))
    try:
        assert [sock.getsockname() for sock in found] == [sock.getsockname() for sock in handed_over[:2]]
        assert not any(os.get_inheritable(sock.fileno()) for sock in found)
    finally:
        for sock in found:
            sock.close()


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"LISTEN_FDS": "3", "LISTEN_FDNAMES": "smtp"},
        _env("smtp", count=""),
        _env("smtp", count="three"),
        _env("smtp", count="-1"),
        _env("smtp", count="0"),
        _env("smtp", count="9" * 500),
        _env("other:smtp", count="1"),
        _env("lmtp:other"),
        _env("smtp", pid=1),
    ],
)
def test_what_is_not_ours_is_not_touched(handed_over: list[socket.socket], env: dict[str, str]) -> None:
    with pytest.raises(ConfigurationError, match="FileDescriptorName=smtp"):
        passed("smtp", env)


def test_a_socket_that_takes_no_connections_is_refused(handed_over: list[socket.socket]) -> None:
    with pytest.raises(ConfigurationError, match=r"takes no connections; write ListenStream="):
        passed("smtp", _env("smtp:other:smtp"))


def test_a_number_that_is_no_socket_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    reading, writing = os.pipe()
    monkeypatch.setattr(_systemd, "_FIRST", reading)
    try:
        with pytest.raises(ConfigurationError, match=f"file descriptor {reading}: Socket operation on non-socket"):
            passed("smtp", _env("smtp", count="1"))
    finally:
        os.close(reading)
        os.close(writing)
