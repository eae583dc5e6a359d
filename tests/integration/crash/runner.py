"""The real command line, killed by itself (SIGKILL) at a named point: ``runner.py POINT:N MINUTES ARGUMENTS…``.

The process dies when it comes to POINT for the N-th time (``-:0``: never). Its clock is MINUTES ahead, so that what a
dead process had leased is due again.
"""

import os
import signal
import smtplib
import sys
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from bouncepoll import bootstrap, mime
from bouncepoll.cli.app import run
from bouncepoll.ports import Source
from bouncepoll.store import outbox, unit

#: Every step after which the world differs, in the order of a mail's life.
POINTS = (
    "after-fetch",
    "in-parse",
    "before-insert",
    "after-insert",
    "before-commit",
    "after-commit",
    "before-settle",
    "after-settle",
    "after-claim",
    "before-dot",
    "after-dot",
    "before-mark",
    "after-mark",
)
#: Between the final dot and the mark the next hop has the mail and we do not know it: the one unavoidable window.
WINDOW = ("after-dot", "before-mark")

_DOT = b"\r\n.\r\n"


class Fuse:
    """Kills this process at the given point."""

    def __init__(self, spec: str) -> None:
        self._point, _, number = spec.partition(":")
        self._left = int(number)

    def __call__(self, point: str) -> None:
        if point == self._point:
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str, before: str = "", after: str = "") -> None:
        """Put points before and after a function of ``owner``."""
        inner: Callable[..., Any] = getattr(owner, name)

        def outer(*args: Any, **kwargs: Any) -> Any:
            self(before)
            result = inner(*args, **kwargs)
            self(after)
            return result

        setattr(owner, name, outer)


def _arm(fuse: Fuse) -> None:
    def source(application: bootstrap.Application, name: str) -> Source:
        made = built(application, name)
        fetch = made.fetch

        def fetched(*args: Any, **kwargs: Any) -> Iterator[Any]:
            answers: Sequence[Any] = list(fetch(*args, **kwargs))
            fuse("after-fetch")
            return iter(answers)

        made.fetch = fetched  # type: ignore[method-assign]  # a fault put in on purpose
        fuse.around(made, "settle", "before-settle", "after-settle")
        return made

    def send(connection: smtplib.SMTP, octets: Any) -> None:
        ends = isinstance(octets, bytes) and octets.endswith(_DOT)
        if ends:
            fuse("before-dot")
        plain_send(connection, octets)
        if ends:
            fuse("after-dot")

    built = bootstrap.Application.source
    plain_send = smtplib.SMTP.send
    bootstrap.Application.source = source  # type: ignore[assignment,method-assign]
    smtplib.SMTP.send = send  # type: ignore[assignment,method-assign]
    fuse.around(mime, "parse", "in-parse")
    fuse.around(unit.SqlUnitOfWork, "record", "before-insert", "after-insert")
    fuse.around(unit.SqlUnitOfWork, "commit", "before-commit", "after-commit")
    fuse.around(outbox.SqlOutbox, "claim", after="after-claim")
    fuse.around(outbox.SqlOutbox, "settle", "before-mark", "after-mark")


def main(spec: str, minutes: str, *arguments: str) -> None:
    """Run the command line with a fuse in it."""
    _arm(Fuse(spec))
    ahead = timedelta(minutes=int(minutes))
    bootstrap.Application.__init__.__defaults__ = (lambda: datetime.now(UTC) + ahead,)
    sys.argv[1:] = arguments
    run()


if __name__ == "__main__":
    main(*sys.argv[1:])
