"""``bouncepoll doctor`` at the places the listener is to listen at."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import trustme

from bouncepoll.bootstrap import Application
from bouncepoll.bootstrap._listener import ListenerDesk
from bouncepoll.diagnose import _site
from bouncepoll.model.probe import Outcome, Probe
from bouncepoll.settings import load
from tests.integration.doctor.checks import Site
from tests.servers import free_port, scripted
from tests.servers.smtp import smtp


def _found(site: Site, *endpoints: str, key: str = "smtp") -> list[Probe]:
    quoted = ", ".join(f'"{endpoint}"' for endpoint in endpoints)
    settings = load(site.write(f"[listener]\n{key} = [{quoted}]\n"), env={}, cwd=site.folder)
    return list(_site.check_listener(settings, datetime.now(UTC)))


def test_it_is_off(site: Site) -> None:
    checks = site.look("")
    assert checks.outcomes("listener") == {"listener": "skip"}
    assert checks.outcomes("mailboxes") == {"mailboxes": "fail"}


def test_free_places(site: Site) -> None:
    found = _found(site, f"127.0.0.1:{free_port()}", "systemd:smtp", f"unix:{site.folder}/socket", "127.0.0.1:0")
    assert [str(probe.outcome) for probe in found] == ["ok"] * 4
    assert found[0].found.endswith("free; 'bouncepoll serve' listens there")


@contextmanager
def _listening(site: Site, endpoint: str) -> Iterator[None]:
    config = site.write(f'[listener]\nlmtp = ["{endpoint}"]\nhostname = "mx.example.org"\n')
    with Application(load(config, env={}, cwd=site.folder)) as application:
        listener = ListenerDesk(application, lambda: None)
        listener.start()
        try:
            yield
        finally:
            listener.close()
            assert listener.wait(10.0)


def test_our_own_listener(site: Site) -> None:
    path = f"unix:{site.folder}/lmtp"
    with _listening(site, path):
        (found,) = _found(site, path, key="lmtp")
    assert found.outcome is Outcome.OK
    assert found.found == f"{path}: 'bouncepoll serve' listens there (220 mx.example.org LMTP)"


def test_another_program(site: Site) -> None:
    with scripted.scripted(smtp(greeting=b"220 mx.example.org ESMTP Postfix\r\n")) as server:
        (found,) = _found(site, f"127.0.0.1:{server.port}")
    assert found.outcome is Outcome.FAIL
    assert "another program listens there: 220 mx.example.org ESMTP Postfix" in found.found
    assert f"ss -ltnp 'sport = :{server.port}'" in found.mend[0]


def test_somebody_who_says_nothing(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_site, "_CONNECT_TIMEOUT_S", 0.1)
    with socket.create_server(("127.0.0.1", 0)) as server:
        (found,) = _found(site, f"127.0.0.1:{server.getsockname()[1]}")
    assert found.outcome is Outcome.WARN
    assert "waits for TLS or for a proxy's header" in found.found


def test_places_that_cannot_be_had(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere,) = _found(site, "192.0.2.1:2525")
    assert elsewhere.outcome is Outcome.FAIL
    assert "Cannot assign requested address" in elsewhere.found
    (folder,) = _found(site, f"unix:{site.folder}/nowhere/socket")
    assert folder.outcome is Outcome.FAIL

    def refused(_socket: socket.socket, _address: object) -> None:
        raise PermissionError

    class Refusing(socket.socket):
        bind = refused

    monkeypatch.setattr(socket, "socket", Refusing)
    (low,) = _found(site, "127.0.0.1:1")
    assert low.outcome is Outcome.FAIL
    assert "AmbientCapabilities=CAP_NET_BIND_SERVICE" in low.mend[0]


def test_it_is_part_of_the_whole(site: Site) -> None:
    checks = site.look(f'[listener]\nsmtp = ["127.0.0.1:{free_port()}"]\n')
    assert checks.outcomes("listener") == {"listener.smtp": "ok"}
    assert checks.outcomes("mailboxes") == {}


@pytest.mark.parametrize(("days", "outcome"), [(90, Outcome.OK), (5, Outcome.WARN), (-1, Outcome.FAIL)])
def test_its_certificate(site: Site, authority: trustme.CA, tmp_path: Path, days: int, outcome: Outcome) -> None:
    issued = authority.issue_cert("mx.example.org", not_after=datetime.now(UTC) + timedelta(days=days, hours=1))
    issued.cert_chain_pems[0].write_to_path(str(tmp_path / "cert.pem"))
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    files = f'cert_file = "{tmp_path}/cert.pem"\nkey_file = "{tmp_path}/key.pem"\n'
    config = site.write(f'[listener]\nsmtp = ["127.0.0.1:0"]\n{files}')
    settings = load(config, env={}, cwd=site.folder)
    found = list(_site.check_listener(settings, datetime.now(UTC)))[-1]
    assert found.check == "listener.cert_file"
    assert found.outcome is outcome
    assert "for mx.example.org, issued by trustme" in found.found
    (tmp_path / "cert.pem").write_text("no certificate")
    assert list(_site.check_listener(settings, datetime.now(UTC)))[-1].outcome is Outcome.FAIL
