"""``bouncepoll demo``: the main job on one machine, through real sockets, with sample mails.

A private IMAP server (pymap) and an SMTP receiver (aiosmtpd) run on loopback while it lasts; the mailbox is filled with
the package's sample mails, polled by the real pipeline into SQLite, and the human mails are forwarded by SMTP.
"""

import datetime as dt
import imaplib
import json
import os
import secrets
import shlex
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import resources
from importlib.resources.abc import Traversable
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from bouncepoll.bootstrap import Application
from bouncepoll.errors import SourceUnavailable, UsageError
from bouncepoll.model.filter import BounceFilter
from bouncepoll.settings import load

_HOST = "127.0.0.1"
_START_TIMEOUT_S = 20.0
_PLACEHOLDER = b"@FILTER@"
_MARK = '# Written by "bouncepoll demo"'
_MAILS = "mails"
_OWN_FILES = frozenset(
    {
        "ca.pem",
        "key.pem",
        "config.toml",
        "bouncepoll.db",
        "bouncepoll.db-wal",
        "bouncepoll.db-shm",
        "bouncepoll.db.lock",
    }
)


@dataclass(frozen=True, slots=True)
class DemoRow:
    """One line of the demo's table: what became of one sample mail, for one recipient."""

    mail: str
    filter: str | None
    kind: str
    reason: str | None
    recipient: str | None
    severity: str | None
    forwarded_to: tuple[str, ...]

    @property
    def outcome(self) -> str:
        """The kind, severity and reason in two short lines, so that the table fits on 80 columns."""
        kind = self.kind if self.severity is None else f"{self.kind} ({self.severity})"
        return kind if self.reason is None else f"{kind}\n{self.reason}"


def run(folder: Path) -> list[DemoRow]:
    """Run the demo and return its table; ``folder`` is made and keeps the database and the configuration.

    Raises:
        UsageError: ``folder`` holds something else, or the extra ``bouncepoll[demo]`` is not installed.
    """
    _prepare(folder)
    password = secrets.token_hex(16)
    with _imap_server(folder, password) as imap_port, _smtp_receiver() as (smtp_port, received):
        config = _write_config(folder, password, imap_port, smtp_port)
        with Application(load(config, env={}, cwd=folder)) as application:
            team = application.store.filters.add(
                BounceFilter(0, "news", "", forward_to=("us@team.test",)),
                lambda number: f"news+f{number}@example.org",
            )
            mails = _fill_in(folder / _MAILS, team.filter_address)
            names = _deliver(imap_port, folder / "ca.pem", password, mails)
            outcome = application.poll("news")
            if outcome.error is not None:
                raise outcome.error
            application.drain()
            return _rows(application, names, team, received)


def next_steps(folder: Path) -> tuple[str, ...]:
    """Return the command lines that look at what the demo left in ``folder``."""
    program = f"bouncepoll --config {shlex.quote(str(folder / 'config.toml'))}"
    mail = shlex.quote(str(folder / _MAILS / "two-readers.eml"))
    return (f"{program} events list", f"{program} message list --unrouted", f"{program} explain {mail}")


def _prepare(folder: Path) -> None:
    """Make the folder, or empty one that an earlier demo filled; nothing is removed where anything is not ours."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        found = [path for path in folder.iterdir() if path.name != _MAILS or path.is_symlink() or not path.is_dir()]
        mails = list((folder / _MAILS).iterdir()) if (folder / _MAILS).is_dir() else []
        own = {sample.name for sample in _samples()}
        strangers = sorted(path.name for path in found if path.name not in _OWN_FILES)
        strangers += sorted(f"{_MAILS}/{path.name}" for path in mails if path.name not in own)
        if not strangers and not _left_by_a_demo(folder, {path.name for path in found}):
            strangers = ["a database or a config.toml that the demo did not write"]
        if strangers:
            raise UsageError(f"{folder} holds other files ({strangers[0]}); name another one with --folder")
        for path in found + mails:
            path.unlink()
    except OSError as exc:
        raise UsageError(f"{folder} cannot be used: {exc}; name another one with --folder") from exc


def _left_by_a_demo(folder: Path, names: set[str]) -> bool:
    """Whether the configuration is the demo's: an installation in use has files of the same names."""
    if "config.toml" in names:
        with (folder / "config.toml").open("rb") as file:
            return file.read(len(_MARK)) == _MARK.encode()
    return names <= {"ca.pem", "key.pem"}


def _write_config(folder: Path, password: str, imap_port: int, smtp_port: int) -> Path:
    config = folder / "config.toml"
    # It holds the password of the demo's mailbox, and 'serve' refuses one that others may read.
    config.touch(0o600)
    config.chmod(0o600)
    config.write_text(
        f"""\
{_MARK}; its servers are gone, the database is left to look at.
[instance]
id = "demo"
[database]
url = {json.dumps(f"sqlite:///{(folder / 'bouncepoll.db').resolve()}")}
[mailboxes.news]
protocol = "imap"
host = "localhost"
port = {imap_port}
security = "starttls"
ca_file = {json.dumps(str((folder / "ca.pem").resolve()))}
username = "news"
address = "news@example.org"
folders = ["INBOX"]
on_done = "move:Processed"
[mailboxes.news.auth]
password = "{password}"
[delivery]
backend = "smtp"
[delivery.smtp]
host = "{_HOST}"
port = {smtp_port}
security = "none"
[forward]
from_address = "news@example.org"
""",
        encoding="utf-8",
    )
    return config


def _samples() -> list[Traversable]:
    folder = resources.files("bouncepoll.samples")
    return sorted((entry for entry in folder.iterdir() if entry.name.endswith(".eml")), key=lambda entry: entry.name)


def _fill_in(folder: Path, filter_address: str) -> list[Path]:
    """Write the sample mails into ``folder``, addressed to the filter; return their files in order."""
    folder.mkdir(exist_ok=True)
    mails = []
    for sample in _samples():
        octets = sample.read_bytes().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
        mail = folder / sample.name
        mail.write_bytes(octets.replace(_PLACEHOLDER, filter_address.encode()))
        mails.append(mail)
    return mails


def _deliver(port: int, ca_file: Path, password: str, mails: list[Path]) -> dict[str, str]:
    """Put mails into the mailbox; return their names by UID."""
    names = {}
    with imaplib.IMAP4("localhost", port, timeout=_START_TIMEOUT_S) as imap:
        context = ssl.create_default_context(cafile=str(ca_file))
        context.minimum_version = ssl.TLSVersion.TLSv1_2
        imap.starttls(context)
        imap.login("news", password)
        for mail in mails:
            _status, answer = imap.append("INBOX", "", "", mail.read_bytes())
            uid = answer[0].decode().split("]")[0].split()[-1]
            names[uid] = mail.stem
    return names


def _rows(
    application: Application, names: dict[str, str], team: BounceFilter, received: list[tuple[str, bytes]]
) -> list[DemoRow]:
    rows = []
    for uid, name in names.items():
        stored = application.store.messages.at("news", "INBOX", uid)
        if stored is None:
            rows.append(DemoRow(name, None, "not stored", None, None, None, ()))
            continue
        mark = (stored.message_id or "\0").encode()
        forwarded = tuple(sorted({path for path, octets in received if mark in octets}))
        filter_name = team.name if stored.routes else None
        base = DemoRow(name, filter_name, str(stored.kind), None, None, None, forwarded)
        rows += [
            DemoRow(name, filter_name, event.kind, event.reason, event.recipient, event.severity, forwarded)
            for event in stored.events
        ] or [base]
    return rows


@contextmanager
def _imap_server(folder: Path, password: str) -> Iterator[int]:
    port = _free_port()
    _write_certificate(folder)
    command = [sys.executable, "-c", "from pymap.main import main; main()"]
    command += ["--host", _HOST, "--port", str(port), "--no-service", "admin"]
    command += ["--cert", str(folder / "ca.pem"), "--key", str(folder / "key.pem")]
    command += ["dict", "--demo-user", "news", "--demo-password", password]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)  # noqa: S603
    try:
        _wait_for(port, process)
        yield port
    finally:
        process.terminate()
        try:
            process.communicate(timeout=5)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        (folder / "key.pem").unlink(missing_ok=True)


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            said = process.stderr.read().decode(errors="replace").strip().splitlines() if process.stderr else []
            raise UsageError(
                f"the demo's IMAP server did not start ({said[-1] if said else 'no message'}); "
                "install it with: pip install 'bouncepoll[demo]'"
            )
        with socket.socket() as probe:
            if probe.connect_ex((_HOST, port)) == 0:
                return
        time.sleep(0.05)
    raise SourceUnavailable(f"the demo's IMAP server did not listen on port {port} within {_START_TIMEOUT_S:.0f} s")


@contextmanager
def _smtp_receiver() -> Iterator[tuple[int, list[tuple[str, bytes]]]]:
    try:
        from aiosmtpd.controller import Controller  # noqa: PLC0415 - an extra that only the demo needs.
    except ImportError as exc:
        raise UsageError("the demo needs aiosmtpd; install it with: pip install 'bouncepoll[demo]'") from exc
    received: list[tuple[str, bytes]] = []

    class Keep:
        async def handle_DATA(self, _server: Any, _session: Any, envelope: Any) -> str:  # noqa: N802 - aiosmtpd's name.
            received.extend((forward_path, envelope.content) for forward_path in envelope.rcpt_tos)
            return "250 2.0.0 kept"

    port = _free_port()
    controller = Controller(Keep(), hostname=_HOST, port=port, enable_SMTPUTF8=True)
    controller.start()
    try:
        yield port, received
    finally:
        controller.stop()


def _write_certificate(folder: Path) -> None:
    """Write a certificate for ``localhost`` that signs itself, so that TLS is verified in the demo too."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "bouncepoll demo")])
    now = dt.datetime.now(dt.UTC)
    names = x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(IPv4Address(_HOST))])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(names, critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    (folder / "ca.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    file = os.open(folder / "key.pem", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(file, "wb") as output:
        output.write(private)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((_HOST, 0))
        port: int = probe.getsockname()[1]
        return port
