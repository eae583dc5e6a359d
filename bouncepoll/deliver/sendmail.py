"""Hands mails to a sendmail program, which puts them into the queue of this machine's mail server."""

import os
import subprocess
from collections.abc import Iterator, Sequence

from pydantic import Field

from bouncepoll.deliver import _probe
from bouncepoll.deliver._head import one_line, require_addresses
from bouncepoll.errors import DeliveryDeferred, DeliveryFailed
from bouncepoll.model.delivery import DeliveryResult, Outgoing
from bouncepoll.model.message import Envelope
from bouncepoll.model.probe import Probe
from bouncepoll.model.status import EnhancedStatus, SmtpReply
from bouncepoll.options import Options as StrictOptions
from bouncepoll.options import Seconds

_MAX_SAID_OCTETS = 500
#: Exit statuses of sysexits.h that no further try changes.
_PERMANENT = frozenset({os.EX_USAGE, os.EX_DATAERR, os.EX_NOINPUT, os.EX_NOUSER, os.EX_NOHOST, os.EX_NOPERM})


class Options(StrictOptions):
    """A sendmail program."""

    command: tuple[str, ...] = Field(
        ("/usr/sbin/sendmail", "-i"),
        min_length=1,
        description="The program and its arguments, as a list (no shell); `-f REVERSE-PATH -- FORWARD-PATH…` is added.",
    )
    timeout: Seconds = Field(60.0, gt=0, le=120, description="Longest run of the program, in seconds.")


class SendmailBackend:
    """A ``Backend`` over a sendmail program. It takes all recipients or none: its queue tells the rest by mail."""

    def __init__(self, options: Options) -> None:
        self._options = options

    def send(self, outgoing: Outgoing) -> Sequence[DeliveryResult]:
        """Run the program once for the mail.

        Raises:
            DeliveryDeferred: it cannot be run, failed and may work later, or took too long.
            DeliveryFailed: it refused the mail for good, or an address of the envelope is none.
        """
        require_addresses(outgoing)
        name = self._options.command[0]
        command = [*self._options.command, "-f", outgoing.reverse_path or "<>", "--", *outgoing.forward_paths]
        # A sendmail program reads what a Unix program writes: lines that end in LF.
        octets = outgoing.octets.replace(b"\r\n", b"\n")
        try:
            done = subprocess.run(  # noqa: S603 - a list of arguments, and "--" before the addresses.
                command, input=octets, capture_output=True, timeout=self._options.timeout, check=False
            )
        except subprocess.TimeoutExpired as exc:
            raise DeliveryDeferred(f"{name}: did not end within {self._options.timeout:g} s") from exc
        except (OSError, ValueError) as exc:
            raise DeliveryDeferred(f"{name}: cannot be run ({exc}); check delivery.sendmail.command") from exc
        if done.returncode == 0:
            reply = SmtpReply(250, f"{name} took it", EnhancedStatus(2, 0, 0))
            return [DeliveryResult(path, reply) for path in outgoing.forward_paths]
        said = one_line((done.stderr or done.stdout)[:_MAX_SAID_OCTETS].decode("utf-8", "replace"))
        message = f"{name} ended with status {done.returncode}: {said}"
        if done.returncode in _PERMANENT:
            raise DeliveryFailed(message)
        raise DeliveryDeferred(message)

    def close(self) -> None:
        """Nothing stays open between mails."""


def create(options: Options) -> SendmailBackend:
    """Build the backend."""
    return SendmailBackend(options)


def probe(options: Options, _envelope: Envelope) -> Iterator[Probe]:
    """Yield what ``bouncepoll doctor`` looks at; see ``model.probe``."""
    return _probe.program(options.command)
