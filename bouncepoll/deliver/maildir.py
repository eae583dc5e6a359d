"""Puts mails into a Maildir on this machine, for a local reader or another program."""

import itertools
import os
import re
import socket
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from pydantic import Field

from bouncepoll.deliver import _probe
from bouncepoll.deliver._head import require_addresses
from bouncepoll.errors import DeliveryDeferred
from bouncepoll.model.delivery import DeliveryResult, Outgoing
from bouncepoll.model.message import Envelope
from bouncepoll.model.probe import Probe
from bouncepoll.model.status import EnhancedStatus, SmtpReply
from bouncepoll.options import Options as StrictOptions

_counter = itertools.count()


class Options(StrictOptions):
    """A Maildir."""

    path: Path | None = Field(
        None, description="The Maildir; it is made when missing. Needed as soon as there is something to forward."
    )


class MaildirBackend:
    """A ``Backend`` that writes files: one a mail, whatever the recipients, who stand in Delivered-To fields."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def send(self, outgoing: Outgoing) -> Sequence[DeliveryResult]:
        """Write the mail to ``tmp``, make it durable, and move it to ``new``.

        Raises:
            DeliveryDeferred: the folder cannot be written.
            DeliveryFailed: an address of the envelope is none.
        """
        require_addresses(outgoing)
        path = self._options.path
        if path is None:
            raise DeliveryDeferred("delivery.maildir.path is not set; set it to the Maildir that takes the forwards")
        try:
            for folder in ("tmp", "new", "cur"):
                (path / folder).mkdir(mode=0o700, parents=True, exist_ok=True)
            self._write(path, outgoing)
        except OSError as exc:
            raise DeliveryDeferred(f"{path}: cannot be written: {exc.strerror}; check space and owner") from exc
        reply = SmtpReply(250, "kept in the Maildir", EnhancedStatus(2, 0, 0))
        return [DeliveryResult(forward_path, reply) for forward_path in outgoing.forward_paths]

    def close(self) -> None:
        """Nothing stays open between mails."""

    def _write(self, path: Path, outgoing: Outgoing) -> None:
        host = re.sub(r"[^A-Za-z0-9.-]", "_", socket.gethostname())
        name = f"{time.time_ns()}.P{os.getpid()}Q{next(_counter)}.{host}"
        above = [f"Return-Path: <{outgoing.reverse_path}>", *(f"Delivered-To: {p}" for p in outgoing.forward_paths)]
        try:
            self._write_durably(path / "tmp" / name, "".join(f"{line}\n" for line in above).encode(), outgoing.octets)
            (path / "tmp" / name).rename(path / "new" / name)
        except OSError:
            (path / "tmp" / name).unlink(missing_ok=True)
            raise
        folder = os.open(path / "new", os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    @staticmethod
    def _write_durably(path: Path, above: bytes, octets: bytes) -> None:
        file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(file, "wb") as output:
            output.write(above)
            output.write(octets.replace(b"\r\n", b"\n"))
            output.flush()
            os.fsync(output.fileno())


def create(options: Options) -> MaildirBackend:
    """Build the backend."""
    return MaildirBackend(options)


def probe(options: Options, _envelope: Envelope) -> Iterator[Probe]:
    """Yield what ``bouncepoll doctor`` looks at; see ``model.probe``."""
    return _probe.folder("delivery.maildir.path", options.path)
