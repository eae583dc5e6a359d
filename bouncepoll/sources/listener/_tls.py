"""TLS of the listener: at least 1.2, and certificates that are renewed while the service runs."""

import os
import ssl
import time
from collections.abc import Callable
from pathlib import Path

import structlog

from bouncepoll.options import exposure

log = structlog.get_logger()

_LOOK_EVERY_S = 60.0


class Certificate:
    """A certificate and its key, read again when one of the files changes; a broken pair leaves the old one in use."""

    def __init__(self, cert_file: Path, key_file: Path, monotonic: Callable[[], float] = time.monotonic) -> None:
        """Read the files.

        Raises:
            OSError: they cannot be read, or do not fit each other; says what to do.
        """
        self._files = (cert_file, key_file)
        self._monotonic = monotonic
        self._context = server_context()
        load_pair(self._context, cert_file, key_file)
        self._read = self._marks()
        self._looked_at = monotonic()

    @property
    def context(self) -> ssl.SSLContext:
        """The context for a new session."""
        now = self._monotonic()
        if now - self._looked_at >= _LOOK_EVERY_S:
            self._looked_at = now
            self._refresh()
        return self._context

    def _refresh(self) -> None:
        marks = self._marks()
        if marks == self._read:
            return
        try:
            # Into a context of its own first: half a new pair would break the one in use.
            load_pair(server_context(), *self._files)
            load_pair(self._context, *self._files)
        except OSError as exc:
            log.error("listener_certificate_not_read", error=str(exc))  # noqa: TRY400 - the message says it all.
            return
        self._read = marks
        log.info("listener_certificate_read", file=str(self._files[0]))

    def _marks(self) -> tuple[tuple[int, int] | None, ...]:
        """Return what changes when a file is written anew; None for one that cannot be looked at."""
        found: list[tuple[int, int] | None] = []
        for file in self._files:
            try:
                status = file.stat()
            except OSError:
                found.append(None)
            else:
                found.append((status.st_mtime_ns, status.st_ino))
        return tuple(found)


def server_context() -> ssl.SSLContext:
    """Return a context for the server's side, without a certificate yet."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def load_pair(context: ssl.SSLContext, cert_file: Path, key_file: Path) -> None:
    """Load a certificate chain and its key.

    Raises:
        OSError: they cannot be read, are no PEM, do not fit each other, or others may read the key; says which and
            what to do.
    """
    for file in (cert_file, key_file):
        try:
            with file.open("rb") as opened:
                exposed = exposure(file, os.fstat(opened.fileno())) if file is key_file else None
        except OSError as exc:
            raise OSError(f"{file}: cannot be read: {exc.strerror}; check its name, its owner and its mode") from None
        if exposed is not None:
            raise OSError(f"{file}: {exposed}")
    try:
        # A password is never asked for at a terminal that is not there.
        context.load_cert_chain(cert_file, key_file, password=lambda: "")
    except (ssl.SSLError, ValueError) as exc:
        said = getattr(exc, "reason", None) or "no PEM"
        raise OSError(
            f"{cert_file} and {key_file}: no certificate (PEM) and its key without a passphrase: {said}; "
            "compare 'openssl x509 -pubkey -noout -in CERT' with 'openssl pkey -pubout -in KEY'"
        ) from None
