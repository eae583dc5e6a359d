"""What ``bouncepoll doctor`` looks at in the next hop: a session without a mail (RFC 5321 sections 3.1 to 3.3)."""

import os
import smtplib
import socket
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from bouncepoll.deliver._options import ConnectionOptions
from bouncepoll.deliver._session import why
from bouncepoll.deliver._words import said
from bouncepoll.errors import BouncepollError
from bouncepoll.model.message import Envelope
from bouncepoll.model.probe import Outcome, Probe, fail, ok, skipped, warn
from bouncepoll.probing import Account, Way, access_mends, mends, reached

_FAILURES = (OSError, smtplib.SMTPException, ValueError, UnicodeError)
_LATER = ("mail_from", "rcpt_to")
_MAX_RECIPIENTS = 20


def session(
    protocol: Literal["smtp", "lmtp"],
    options: ConnectionOptions,
    connect: Callable[[], smtplib.SMTP],
    envelope: Envelope,
    unix_socket: Path | None = None,
) -> Iterator[Probe]:
    """Yield the checks of an SMTP or LMTP server; ``connect`` returns a connection that is greeted and logged in."""
    key = f"delivery.{protocol}"
    if unix_socket is None:
        if options.host is None:
            yield fail("tcp", f"{key}.host is not set", "set it to the server that takes the forwards")
            yield from skipped(("tls", "session", *_LATER), "there is no server")
            return
        well = yield from reached(_way(protocol, key, options, options.host), time.time())
    else:
        well = yield from _socket_reached(unix_socket, options.timeout)
    if not well:
        yield from skipped(("session", *_LATER), "there is no safe connection")
        return
    account = Account("", key, options.host or "localhost", options.username or "", "smtp")
    try:
        connection = connect()
    except BouncepollError as exc:
        found = str(exc).removeprefix(f"{options.address}: ")
        yield fail("session", found, *(mends(found, account) if options.username else ()))
        yield from skipped(_LATER, "there is no session")
        return
    except smtplib.SMTPResponseException as exc:
        found = f"{exc.smtp_code} {said(exc.smtp_error)}"
        yield fail("session", f"the server refused the session: {found}", *access_mends(found, account))
        yield from skipped(_LATER, "there is no session")
        return
    except _FAILURES as exc:
        yield fail("session", why(options, exc), f"check {key}.port and {key}.security")
        yield from skipped(_LATER, "there is no session")
        return
    try:
        yield _greeted(connection, options)
        yield from _transaction(connection, account, envelope)
    except _FAILURES as exc:
        yield fail("session", f"the session broke: {why(options, exc)}", "try again; look into the server's log")
    finally:
        with suppress(*_FAILURES):
            connection.quit()
        with suppress(*_FAILURES):
            connection.close()


def _way(protocol: Literal["smtp", "lmtp"], key: str, options: ConnectionOptions, host: str) -> Way:
    return Way(
        key=key,
        host=host,
        port=options.tcp_port,
        security=options.security,
        upgrade=protocol if options.security == "starttls" else "none",
        dial=lambda: socket.create_connection((host, options.tcp_port), options.timeout),
        ca_file=options.ca_file,
        has_tls=options.security != "none",
    )


def _socket_reached(path: Path, timeout_s: float) -> Generator[Probe, None, bool]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as sock:
        sock.settimeout(timeout_s)
        try:
            sock.connect(str(path))
        except OSError as exc:
            yield fail(
                "socket",
                f"{path}: {exc.strerror or type(exc).__name__}",
                "check that the server runs, that it listens there, and that this user may write to the socket",
            )
            return False
    yield ok("socket", f"{path} accepts connections")
    return True


def _greeted(connection: smtplib.SMTP, options: ConnectionOptions) -> Probe:
    features = ", ".join(
        f"{name.upper()} {value}".strip() for name, value in sorted(connection.esmtp_features.items()) if name != "auth"
    )
    who = f"logged in as {options.username}" if options.username is not None else "without a login"
    return ok("session", f"{who}; {said(features)[:300] or 'no extensions'}")


def _transaction(connection: smtplib.SMTP, account: Account, envelope: Envelope) -> Iterator[Probe]:
    """Begin a mail, and take it back."""
    code, answer = connection.mail(envelope.reverse_path)
    shown = f"<{envelope.reverse_path}>: {code} {said(answer)[:300]}"
    if code // 100 != 2:
        mend = access_mends(shown, account) or (
            _null_path_mend()
            if not envelope.reverse_path
            else "set forward.reverse_path to an address this account may send from",
        )
        yield _refused("mail_from", code, shown, *mend)
        yield from skipped(("rcpt_to",), "the sender was refused")
        return
    yield ok("mail_from", shown)
    if not envelope.forward_paths:
        yield from skipped(("rcpt_to",), "no filter forwards to anybody yet")
    for path in envelope.forward_paths[:_MAX_RECIPIENTS]:
        code, answer = connection.rcpt(path)
        found = f"<{path}>: {code} {said(answer)[:300]}"
        if code // 100 == 2:
            yield ok("rcpt_to", found)
        else:
            yield _refused(
                "rcpt_to",
                code,
                found,
                "check the forward address of the filter (bouncepoll filter list); if it is right, this account or "
                "host may not send to it through this server",
            )
    if len(envelope.forward_paths) > _MAX_RECIPIENTS:
        yield from skipped(("rcpt_to",), f"{len(envelope.forward_paths) - _MAX_RECIPIENTS} more addresses not tried")
    connection.rset()


def _null_path_mend() -> str:
    return "the server takes no null reverse-path: set forward.reverse_path to forward.from_address"


def _refused(check: str, code: int, found: str, *mend: str) -> Probe:
    """A 4xx answer may be another one later (greylisting): forwards are tried again."""
    return warn(check, found, "the server may take it later", *mend) if code // 100 == 4 else fail(check, found, *mend)


def program(command: tuple[str, ...]) -> Iterator[Probe]:
    """Yield the check of a sendmail program."""
    path = Path(command[0])
    if path.is_file() and os.access(path, os.X_OK):
        yield ok("program", f"{path} is there; whether its queue moves, mailq tells")
        return
    found = "may not be run by this user" if path.is_file() else "is not there"
    yield fail(
        "program",
        f"{path} {found}",
        "install a mail server that has it (Debian: postfix), or set delivery.sendmail.command to the program's path",
    )


def folder(key: str, path: Path | None) -> Iterator[Probe]:
    """Yield the check of a Maildir that forwards are written to."""
    if path is None:
        yield fail("folder", f"{key} is not set", "set it to the Maildir that takes the forwards")
        return
    there = path
    while not there.exists() and there != there.parent:
        there = there.parent
    if there.is_dir() and os.access(there, os.W_OK | os.X_OK):
        made = "may be written" if there == path else f"is not there yet, and may be made in {there}"
        yield ok("folder", f"{path} {made}")
        return
    yield Probe(
        "folder",
        Outcome.FAIL,
        f"{path} cannot be written: {there} is {'of another user' if there.is_dir() else 'no folder'}",
        mend=(f"give this user the right to write there: chown {_user()} {there}",),
    )


def _user() -> str:
    return str(os.geteuid())
