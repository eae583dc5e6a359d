"""Logins as a user has them: the command line, a local issuer, and a Dovecot that takes its tokens."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import structlog
import trustme

from bouncepoll.cli.app import run
from bouncepoll.store import schema
from tests.integration.auth.conftest import certified
from tests.servers import oauth_dovecot
from tests.servers.dovecot import Dovecot, DovecotUser
from tests.servers.oauth import OAuthServer
from tests.servers.oauth import issuing as run_issuer

pytestmark = [pytest.mark.server, pytest.mark.xdist_group("dovecot-oauth")]

MAIL = b"From: a@example.com\r\nSubject: hello\r\nMessage-ID: <1@example.com>\r\n\r\nhello\r\n"


@pytest.fixture(scope="module")
def mail_server(authority: trustme.CA, ca_file: Path) -> Iterator[tuple[Dovecot, bytes]]:
    with oauth_dovecot.running(authority, ca_file, "cram-md5 scram-sha-1 scram-sha-256") as running:
        yield running


class Machine:
    """A configured bouncepoll with the mailbox ``news``."""

    def __init__(
        self,
        folder: Path,
        server: Dovecot,
        issuer: OAuthServer,
        protocol: str,
        monkeypatch: pytest.MonkeyPatch,
        capture: pytest.CaptureFixture[str],
    ) -> None:
        self.folder = folder
        self._monkeypatch = monkeypatch
        self._capture = capture
        monkeypatch.chdir(folder)
        self.server = server
        self.issuer = issuer
        self.user: DovecotUser = server.new_user()
        self.protocol = protocol
        issuer.username = issuer.app_username = self.user.name
        server.append(self.user, "INBOX", MAIL)

    def configure(self, auth: dict[str, Any], **more: Any) -> None:
        port = self.server.imaps_port if self.protocol == "imap" else self.server.pop3s_port
        mailbox = {
            "protocol": self.protocol,
            "host": "localhost",
            "port": port,
            "ca_file": str(self.server.ca_file),
            "username": self.user.name,
            "on_done": "leave",
            **more,
        }
        lines = ['[database]\nurl = "sqlite:///mails.db"\n[credentials]\nkey_file = "keys"\n[mailboxes.news]']
        lines += [f"{key} = {json.dumps(value)}" for key, value in mailbox.items()]
        lines += ["[mailboxes.news.auth]", *(f"{key} = {json.dumps(value)}" for key, value in auth.items())]
        (self.folder / "config.toml").write_text("\n".join(lines))

    def oauth(self, kind: str, **more: Any) -> dict[str, Any]:
        """Return a login at the issuer by its generic end-points."""
        return {
            "kind": kind,
            "client_id": self.issuer.client_id,
            "client_secret": self.issuer.client_secret,
            "token_url": f"{self.issuer.base}/token",
            "ca_file": str(self.server.ca_file),
            **more,
        }

    def start(self, *arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "bouncepoll", *arguments],
            cwd=self.folder,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONUNBUFFERED": "1", "COLUMNS": "1000"},
        )

    def run(self, *arguments: str, status: int = 0) -> str:
        """Run a command that has to end so, and return what it prints; in this process, for a start takes a second."""
        self._monkeypatch.setattr(sys, "argv", ["bouncepoll", *arguments])
        self._capture.readouterr()
        found: object = 0
        try:
            run()
        except SystemExit as exc:
            found = exc.code
        out, err = self._capture.readouterr()
        assert found == status or (found is None and status == 0), out + err
        assert "Traceback" not in err
        return out + err


@pytest.fixture
def issuer(authority: trustme.CA, mail_server: tuple[Dovecot, bytes]) -> Iterator[OAuthServer]:
    with run_issuer(authority) as server:
        server.key = mail_server[1]
        yield server


@pytest.fixture(scope="module")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """Return the octets of a database without rows; copying it is quicker than making one."""
    file = tmp_path_factory.mktemp("template") / "mails.db"
    schema.upgrade(f"sqlite:///{file}")
    return file.read_bytes()


@pytest.fixture(params=["imap", "pop3"])
def machine(
    request: pytest.FixtureRequest,
    tmp_path: Path,
    mail_server: tuple[Dovecot, bytes],
    issuer: OAuthServer,
    empty_database: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Iterator[Machine]:
    (tmp_path / "mails.db").write_bytes(empty_database)
    yield Machine(tmp_path, mail_server[0], issuer, request.param, monkeypatch, capsys)
    structlog.reset_defaults()


only_imap = pytest.mark.parametrize("machine", ["imap"], indirect=True)


@pytest.mark.parametrize("mechanism", ["OAUTHBEARER", "XOAUTH2"])
def test_client_credentials_read_the_mailbox(machine: Machine, mechanism: str) -> None:
    machine.configure(machine.oauth("client_credentials"), mechanisms=[mechanism])
    machine.run("poll", "--once")
    assert machine.issuer.grants("client_credentials") == 1
    assert f"method={mechanism}" in machine.server.log()
    assert '"auth": "client_credentials"' in machine.run("mailbox", "list", "--json")


@pytest.mark.parametrize("mechanism", ["SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN"])
def test_passwords_by_each_mechanism(machine: Machine, mechanism: str) -> None:
    machine.configure({"password": machine.user.password}, mechanisms=[mechanism])
    machine.run("poll", "--once")
    assert f"user=<{machine.user.name}>, method={mechanism}" in machine.server.log()


def test_a_wrong_password(machine: Machine) -> None:
    machine.configure({"password": "wrong-one"})
    found = machine.run("poll", "--once", status=1)
    assert "refused the login" in found
    assert "wrong-one" not in found


@only_imap
def test_a_device_login_from_the_terminal(machine: Machine) -> None:
    machine.configure(
        machine.oauth("device_code", device_authorization_url=f"{machine.issuer.base}/device", scopes=["mail"])
    )
    assert "keys: 1 key." in machine.run("keys", "generate", "keys")
    assert "nobody logged in yet; run 'bouncepoll mailbox login news'" in machine.run("poll", "--once", status=2)
    with machine.start("mailbox", "login", "news") as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        assert f"Open {machine.issuer.base}/enter on any device and enter the code WDJB-MJHT" in first
        machine.issuer.approve()
        out, err = process.communicate(timeout=60)
    assert process.returncode == 0, out + err
    assert "The login is stored." in out
    assert "news: the mailbox accepts it." in out
    asked = len(machine.issuer.requests)
    machine.run("poll", "--once")
    assert len(machine.issuer.requests) == asked
    assert "encrypted with the first key: 1" in machine.run("keys", "rotate")


@only_imap
def test_a_browser_login_from_the_terminal(machine: Machine) -> None:
    machine.run("keys", "generate", "keys")
    machine.configure(
        machine.oauth("authorization_code", authorization_url=f"{machine.issuer.base}/authorize", scopes=["mail"])
    )
    for paste in (False, True):
        with machine.start("mailbox", "login", "news") as process:
            assert process.stdout is not None
            assert process.stdin is not None
            process.stdout.readline()
            url = process.stdout.readline().strip()
            with httpx.Client(verify=False, trust_env=False, timeout=10) as browser:
                came_back = browser.get(url).headers["Location"]
                assert urlsplit(came_back).hostname == "127.0.0.1"
                if paste:
                    process.stdin.write(f"{came_back}\n")
                    process.stdin.flush()
                else:
                    assert "you may close this window" in browser.get(came_back).text
            out, err = process.communicate(timeout=60)
        assert process.returncode == 0, out + err
        assert "news: the mailbox accepts it." in out


@only_imap
def test_a_login_for_another_mailbox_is_stored_and_said_to_be_refused(machine: Machine) -> None:
    machine.run("keys", "generate", "keys")
    machine.configure(machine.oauth("device_code", device_authorization_url=f"{machine.issuer.base}/device"))
    machine.issuer.username = "somebody-else@example.org"
    machine.issuer.approve_at_once = True
    found = machine.run("mailbox", "login", "news", status=1)
    assert "The login is stored." in found
    assert "refused the login" in found
    assert "status=invalid_token" in found


@pytest.mark.parametrize(
    ("play", "status", "said"),
    [
        (("invalid_client", "AADSTS7000222: The provided client secret keys are expired."), 2, "has expired"),
        (("invalid_scope", ""), 2, "check scopes"),
        (("temporarily_unavailable", ""), 1, "refused for now"),
    ],
)
@only_imap
def test_a_refusal_of_the_token_end_point(machine: Machine, play: tuple[str, str], status: int, said: str) -> None:
    machine.issuer.refuse(*play)
    machine.configure(machine.oauth("client_credentials"))
    assert said in machine.run("poll", "--once", status=status)


@only_imap
def test_a_busy_token_end_point(machine: Machine) -> None:
    machine.issuer.play(429, "", Retry_After="30")
    machine.configure(machine.oauth("client_credentials"))
    assert "answered 429" in machine.run("poll", "--once", status=1)


def test_a_token_that_has_ended_is_refused_and_never_shown(machine: Machine) -> None:
    token = machine.issuer.access_token(machine.user.name, -60)
    machine.configure({"kind": "token_command", "token_command": ["echo", token]})
    found = machine.run("poll", "--once", status=1)
    assert "refused the login" in found
    assert token.split(".")[1][:30] not in found
    machine.configure(
        {"kind": "token_command", "token_command": ["echo", machine.issuer.access_token(machine.user.name)]}
    )
    machine.run("poll", "--once")


@only_imap
def test_a_server_that_takes_no_tokens(machine: Machine, dovecot: Dovecot) -> None:
    machine.configure({"kind": "token_command", "token_command": ["echo", "abc"]}, port=dovecot.imaps_port)
    found = machine.run("poll", "--once", status=2)
    assert "it offers LOGIN, PLAIN" in found
    assert "OAUTHBEARER, XOAUTH2" in found


@only_imap
def test_the_end_of_credentials_is_warned_of(machine: Machine, tmp_path: Path) -> None:
    soon = datetime.now(UTC) + timedelta(days=10)
    auth = machine.oauth("client_credentials", expires=soon.date().isoformat())
    machine.configure(auth)
    text = (tmp_path / "config.toml").read_text()
    (tmp_path / "config.toml").write_text(re.sub(r'expires = "(.*)"', r"expires = \1", text))
    logged = machine.run("poll", "--once")
    assert "credential_expires" in logged
    assert '"days_left": 9' in logged
    listed = json.loads(machine.run("mailbox", "list", "--json"))
    assert listed["expires"] == "client secret"
    assert listed["expires_at"].startswith(soon.date().isoformat())
    assert listed["expires_soon"] is True
    assert "client" in machine.run("mailbox", "list")


@only_imap
def test_the_end_of_a_certificate_is_read_from_it(machine: Machine, tmp_path: Path) -> None:
    proof = certified(tmp_path, datetime.now(UTC) - timedelta(days=1))
    machine.issuer.certificate = proof.certificate
    machine.configure(
        {
            "kind": "client_credentials",
            "client_id": machine.issuer.client_id,
            "authority": machine.issuer.authority,
            "certificate_file": str(proof.certificate_file),
            "key_file": str(proof.key_file),
            "ca_file": str(machine.server.ca_file),
        },
        oauth="microsoft",
    )
    logged = machine.run("poll", "--once")
    assert "credential_expired" in logged
    assert "method=XOAUTH2" in machine.server.log()


@only_imap
def test_keys_that_are_missing_and_keys_that_are_there(machine: Machine) -> None:
    machine.configure(machine.oauth("device_code", device_authorization_url=f"{machine.issuer.base}/device"))
    assert "keys: this secret file cannot be read" in machine.run("mailbox", "login", "news", status=2)
    machine.run("keys", "generate", "keys")
    assert (machine.folder / "keys").stat().st_mode & 0o777 == 0o600
    assert "must not be overwritten" in machine.run("keys", "generate", "keys", status=2)
    assert "2 keys" in machine.run("keys", "generate", "keys", "--add")
    assert "there is no such file" in machine.run("keys", "generate", "none", "--add", status=2)
    assert "there is no mailbox 'old'" in machine.run("mailbox", "login", "old", status=2)
    assert "nothing to log in with" in machine.run("mailbox", "login", "delivery.smtp", status=2)
