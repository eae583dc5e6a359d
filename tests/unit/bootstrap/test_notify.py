"""What the service manager hears, over a real datagram socket; and what the process gives up."""

import os
import resource
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from bouncepoll.bootstrap._notify import Notifier
from bouncepoll.bootstrap._process import hardened


@pytest.fixture
def manager(tmp_path: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(str(tmp_path / "notify"))
        sock.settimeout(10)
        yield sock


def _env(manager: socket.socket, **more: str) -> dict[str, str]:
    return {"NOTIFY_SOCKET": manager.getsockname(), **more}


def test_the_manager_is_told_of_the_beginning_life_and_the_end(manager: socket.socket) -> None:
    notifier = Notifier.of_environment(_env(manager, WATCHDOG_USEC="3000000", WATCHDOG_PID=str(os.getpid())))
    assert notifier.watchdog_s == 3.0
    notifier.ready("polls 2\nREADY=0 mailboxes")
    notifier.alive()
    notifier.stopping()
    assert manager.recv(4096) == b"READY=1\nSTATUS=polls 2 READY=0 mailboxes\n"
    assert manager.recv(4096) == b"WATCHDOG=1\n"
    assert manager.recv(4096).startswith(b"STOPPING=1\nSTATUS=")


def test_an_abstract_socket_is_a_socket_too() -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind(f"\0bouncepoll-test-{os.getpid()}")
        sock.settimeout(10)
        Notifier(f"@bouncepoll-test-{os.getpid()}").alive()
        assert sock.recv(4096) == b"WATCHDOG=1\n"


@pytest.mark.parametrize(
    "env",
    [
        {},
        {"NOTIFY_SOCKET": ""},
        {"NOTIFY_SOCKET": "@"},
        {"NOTIFY_SOCKET": "vsock:2:1234"},
        {"WATCHDOG_USEC": "1000000"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "0"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "-5"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "²"},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "9" * 400},
        {"NOTIFY_SOCKET": "/nowhere", "WATCHDOG_USEC": "1000000", "WATCHDOG_PID": "1"},
    ],
)
def test_without_a_manager_that_watches_nothing_is_done(env: dict[str, str]) -> None:
    notifier = Notifier.of_environment(env)
    assert notifier.watchdog_s is None
    notifier.alive()


def test_a_manager_that_went_away_ends_nothing(manager: socket.socket) -> None:
    notifier = Notifier.of_environment(_env(manager))
    manager.close()
    with structlog.testing.capture_logs() as logs:
        notifier.stopping()
    assert [(line["event"], line["state"]) for line in logs] == [("service_manager_not_told", "STOPPING=1")]


def test_what_is_written_is_this_users_alone_and_no_core_is_left(tmp_path: Path) -> None:
    before = os.umask(0o022)
    limits = resource.getrlimit(resource.RLIMIT_CORE)
    try:
        with hardened():
            (tmp_path / "inside").write_text("x")
            (tmp_path / "folder").mkdir()
            assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0
        (tmp_path / "outside").write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "inside").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "folder").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "outside").stat().st_mode & 0o777 == 0o644
    assert resource.getrlimit(resource.RLIMIT_CORE) == limits


def test_a_sandbox_that_forbids_to_set_limits_is_no_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_which: int) -> tuple[int, int]:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(resource, "getrlimit", refuse)
    before = os.umask(0o022)
    with hardened():
        assert os.umask(0o077) == 0o077
    assert os.umask(before) == 0o022


@pytest.mark.parametrize(("user", "warned"), [(0, True), (1000, False)])
def test_root_is_told_that_it_is_not_needed(monkeypatch: pytest.MonkeyPatch, user: int, warned: bool) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with structlog.testing.capture_logs() as logs, hardened():
        pass
    assert [line["event"] for line in logs] == ["service_runs_as_root"] * warned
