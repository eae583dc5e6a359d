"""One way of reading a mailbox, in a process of its own: imap_worker.py JSON prints mails, seconds and peak RSS.

The JSON names the way (a function below without its underscore), host, ports, user, password, the CA's file, whether to
use TLS, how many mails to read, and a folder for a database.
"""

import email
import imaplib
import json
import poplib
import re
import resource
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.sources import imap

_RANGE = 256 * 1024 + 1
_A_MAIL = RawMessage(MessageRef("", "", None, ""), b"Subject: hello\r\n\r\nhello\r\n", 27)


@dataclass(frozen=True, slots=True)
class Job:
    way: str
    user: str
    password: str
    ca_file: str
    imap_port: int
    imaps_port: int
    pop3_port: int
    tls: bool
    mails: int
    folder: str
    batch: int = 500
    workers: int = 1

    @property
    def port(self) -> int:
        return self.imaps_port if self.tls else self.imap_port

    def context(self) -> ssl.SSLContext:
        return ssl.create_default_context(cafile=self.ca_file)

    def options(self) -> dict[str, Any]:
        return {
            "host": "localhost",
            "port": self.port,
            "security": "tls" if self.tls else "insecure-loopback",
            "ca_file": self.ca_file,
            "username": self.user,
            "auth": {"password": self.password},
            "batch": self.batch,
        }


@dataclass(frozen=True, slots=True)
class Spent:
    """Time on the wall, and CPU time of this process without the others it started."""

    seconds: float
    user_s: float
    sys_s: float


class Clock:
    """Runs from when it is made: what it takes to get ready is not counted."""

    def __init__(self) -> None:
        self._before = resource.getrusage(resource.RUSAGE_SELF)
        self._begun = time.perf_counter()

    def stop(self) -> Spent:
        """Return what was spent up to now."""
        seconds = time.perf_counter() - self._begun
        after = resource.getrusage(resource.RUSAGE_SELF)
        return Spent(seconds, after.ru_utime - self._before.ru_utime, after.ru_stime - self._before.ru_stime)


def _raw(job: Job) -> tuple[int, Spent]:
    """A socket that reads and discards: the floor under every client."""
    sock = socket.create_connection(("localhost", job.port), 60)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    if job.tls:
        sock = job.context().wrap_socket(sock, server_hostname="localhost")
    buffer = bytearray(1 << 20)

    def command(line: str, tag: bytes) -> None:
        sock.sendall(f"{tag.decode()} {line}\r\n".encode())
        tail = b""
        while tag + b" OK" not in tail:
            count = sock.recv_into(buffer)
            assert count, "the server closed the connection"
            tail = (tail + buffer[max(0, count - 4096) : count])[-4096:]

    command(f'LOGIN {job.user} "{job.password}"', b"a1")
    command("EXAMINE INBOX", b"a2")
    clock = Clock()
    command(f"UID FETCH 1:{job.mails} (UID RFC822.SIZE INTERNALDATE BODY.PEEK[]<0.{_RANGE}>)", b"a3")
    spent = clock.stop()
    sock.close()
    return job.mails, spent


def _drain(job: Job) -> tuple[int, Spent]:
    """Our source, fetching only."""
    source = imap.create("bench", imap.Options(protocol="imap", **job.options()), _Password(job.password))
    source.open()
    clock = Clock()
    scan = source.scan("INBOX", None)
    batches = [scan.uids[start : start + job.batch] for start in range(0, len(scan.uids), job.batch)]
    mails = 0
    for uids, ahead in zip(batches, [*batches[1:], ()], strict=True):
        mails += sum(isinstance(answer, RawMessage) for answer in source.fetch(scan, uids, ahead))
    spent = clock.stop()
    source.close()
    return mails, spent


def _imapclient(job: Job) -> tuple[int, Spent]:
    """imapclient as its documentation shows it, in batches of 50."""
    from imapclient import IMAPClient

    client: Any = IMAPClient("localhost", job.port, ssl=job.tls, ssl_context=job.context() if job.tls else None)
    client.login(job.user, job.password)
    client.select_folder("INBOX", readonly=True)
    clock = Clock()
    uids = client.search()
    mails = 0
    for start in range(0, len(uids), 50):
        mails += len(client.fetch(uids[start : start + 50], ["RFC822.SIZE", "INTERNALDATE", "BODY.PEEK[]"]))
    spent = clock.stop()
    client.logout()
    return mails, spent


def _one_by_one(job: Job) -> tuple[int, Spent]:
    """imaplib, one mail a command."""
    client = imaplib.IMAP4("localhost", job.port)
    client.login(job.user, job.password)
    client.select("INBOX", readonly=True)
    clock = Clock()
    for uid in range(1, job.mails + 1):
        assert client.uid("FETCH", str(uid), "(RFC822.SIZE INTERNALDATE BODY.PEEK[])")[0] == "OK"
    spent = clock.stop()
    client.logout()
    return job.mails, spent


def _pipeline(job: Job) -> tuple[int, Spent]:
    """What ``bouncepoll poll --once`` does: fetch, parse, classify, store in SQLite, move."""
    from bouncepoll.bootstrap import Application
    from bouncepoll.settings import load

    folder = Path(job.folder)
    options = job.options() | {"auth": None}
    lines = [f"{key} = {json.dumps(value)}\n" for key, value in options.items() if value is not None]
    (folder / "config.toml").write_text(
        f'[database]\nurl = "sqlite:///{folder}/bench.db"\n[analysis]\nworkers = {job.workers}\n[log]\nlevel = "warning"\n[mailboxes.bench]\n'
        f'protocol = "imap"\nauth.password = "{job.password}"\n{"".join(lines)}'
    )
    _quiet()
    with Application(load(folder / "config.toml", env={}, cwd=folder)) as application:
        application.store.mailboxes.all()  # The database is made before the clock runs.
        # And who reads mails is ready: a chunk for each.
        ready = [application.analysing.begin([_A_MAIL], (), None) for _ in range(job.workers)]
        for wait in ready:
            wait()
        clock = Clock()
        outcome = application.poll("bench")
        spent = clock.stop()
    assert outcome.report is not None, outcome.error
    assert outcome.report.settled == outcome.report.recorded == job.mails, outcome.report
    return outcome.report.recorded, spent


_STATUS = re.compile(r"(?im)^(?:status|diagnostic-code):.*?\b([45])\.\d{1,3}\.\d{1,3}\b")
_PHRASES = tuple(
    re.compile(phrase, re.IGNORECASE)
    for phrase in (
        r"mailbox (unavailable|not found|does not exist)",
        r"(user|recipient|address) (unknown|not found|rejected)",
        r"no such (user|recipient|mailbox)",
        r"(account|mailbox) (has been )?(disabled|suspended)",
        r"\b55[0-4][ -]",
    )
)


def _listmonk(job: Job) -> tuple[int, Spent]:
    """The POP3 scan of listmonk, made again: STAT, then RETR one by one, parsed, judged by a status or a phrase, DELE."""
    client = poplib.POP3("localhost", job.pop3_port)
    client.user(job.user)
    client.pass_(job.password)
    clock = Clock()
    count, _octets = client.stat()
    hard = 0
    for number in range(1, count + 1):
        message = email.message_from_bytes(b"\r\n".join(client.retr(number)[1]))
        campaign, subscriber = (message.get(name) for name in ("X-Listmonk-Campaign", "X-Listmonk-Subscriber"))
        text = "\n".join(_texts(message))
        status = _STATUS.search(text)
        hard += (status[1] == "5") if status else any(phrase.search(text) for phrase in _PHRASES)
        json.dumps({"campaign": campaign, "subscriber": subscriber, "date": message.get("Date"), "hard": hard})
        client.dele(number)
    client.quit()
    return count, clock.stop()


def _texts(message: Any) -> Iterator[str]:
    for part in message.walk():
        if not part.is_multipart():
            yield part.get_payload(decode=True).decode("utf-8", "replace")
        elif part.get_content_type() == "message/delivery-status":
            yield part.as_string()


class _Password:
    mechanisms = ("PLAIN",)

    def __init__(self, password: str) -> None:
        self._password = password

    def secret(self) -> str:
        return self._password

    def refused(self) -> bool:
        return False


def _quiet() -> None:
    from bouncepoll.cli import _logs

    _logs.configure("warning", "json")


WAYS: dict[str, Callable[[Job], tuple[int, Spent]]] = {
    way.__name__[1:]: way for way in (_raw, _drain, _imapclient, _one_by_one, _pipeline, _listmonk)
}

if __name__ == "__main__":
    todo = Job(**json.loads(sys.argv[1]))
    found, took = WAYS[todo.way](todo)
    peak_octets = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"mails": found, "peak_octets": peak_octets, **asdict(took)}))
