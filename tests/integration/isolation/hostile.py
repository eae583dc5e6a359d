"""An analyser that does what a mail's subject says, in the process of a worker."""

import os
import signal
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import structlog

from bouncepoll.analysis import Analyser
from bouncepoll.errors import ConfigurationError, StoreUnavailable
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import Message, MessageRef, RawMessage
from bouncepoll.model.verdict import Evidence, Kind, Verdict

HUMAN = Verdict(Kind.REPLY, (), Evidence("test", where="Subject"))
FILTERS: Sequence[BounceFilter] = (BounceFilter(1, "news", "news@example.org", ("team@example.net",)),)


def build() -> Analyser:
    """Return the analyser; what a worker calls."""
    return Analyser(classify, "here")


def wrong_rules() -> Analyser:
    """Be a rule file that cannot be read."""
    raise ConfigurationError("rules.toml: line 3: there is no reason 'foo'", "rules.toml: line 9: no examples")


def no_memory() -> Analyser:
    """Be a machine on which no worker can start."""
    os._exit(3)


def counting(marks: Path) -> Callable[[], Analyser]:
    """Return a ``build`` that leaves a file in ``marks`` for each worker that starts."""
    return partial(_counted, marks)


def _counted(marks: Path) -> Analyser:
    (marks / str(os.getpid())).touch()
    return build()


def mail(subject: str, number: int = 1) -> RawMessage:
    """Return a mail to our filter."""
    octets = f"To: news@example.org\r\nFrom: r{number}@example.com\r\nSubject: {subject}\r\nX-Other: 1\r\n\r\ntext\r\n".encode()
    return RawMessage(MessageRef("news", "INBOX", 7, str(number)), octets, len(octets))


def classify(message: Message) -> Verdict:
    """Do what the subject says."""
    subject = message.header("Subject") or ""
    act = _ACTS.get(subject)
    if act is not None:
        act()
    return HUMAN


def _spin() -> None:
    # In one call that Python cannot interrupt.
    sum(range(10**12))


def _devour() -> None:
    kept = [bytearray(16 * 1024 * 1024) for _ in range(1000)]
    assert kept


def _raise() -> None:
    raise RuntimeError("a detector failed")


def _unavailable() -> None:
    raise StoreUnavailable("the database is gone")


def _misconfigured() -> None:
    raise ConfigurationError("rules.toml was broken meanwhile")


def _wait() -> None:
    time.sleep(3600)


def _log() -> None:
    try:
        _raise()
    except RuntimeError:
        structlog.get_logger().exception("detector_failed", detector="test", octets=b"\x1b[0m")


_ACTS: dict[str, Callable[[], None]] = {
    "spin": _spin,
    "devour": _devour,
    "raise": _raise,
    "log": _log,
    "wait": _wait,
    "unavailable": _unavailable,
    "misconfigured": _misconfigured,
    "segfault": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "abort": os.abort,
    "exit": lambda: os._exit(3),
    "killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
}
