"""The process that reads mails: one chunk in, one answer out, until nobody asks any more."""

import gc
import os
import signal
from collections.abc import Callable
from importlib import resources
from multiprocessing.connection import Connection
from typing import Any

import structlog

from bouncepoll.analysis import Analysing, Unprocessed
from bouncepoll.errors import BouncepollError, TransientError
from bouncepoll.isolation._limits import OUT_OF_MEMORY, Limits, bound_cpu, bound_memory
from bouncepoll.isolation._transfer import Answer, Failed, Request, digest_of, dumps, loads
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.message import MessageRef, RawMessage

_EXCEPTION_CHARS = 20_000


def work(connection: Connection, build: Callable[[], Analysing], limits: Limits) -> None:
    """Answer requests until the other side closes; the first answer, without digests, says that the worker is ready."""
    # A terminal's Ctrl-C and a service manager's end go to all processes: the main one says when it is over.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    logged: list[tuple[str, dict[str, Any]]] = []
    _collect(logged)
    try:
        analyser = build()
        _warm(analyser)
    except BouncepollError as exc:
        connection.send_bytes(dumps(_failed(exc)))
        return
    # The rules stay: the collector need not walk through them again and again, which takes a tenth of the time.
    gc.collect()
    gc.freeze()
    logged.clear()
    bound_memory(limits.memory_octets)
    connection.send_bytes(dumps(Answer(())))
    filters: tuple[BounceFilter, ...] = ()
    while True:
        try:
            request: Request = loads(connection.recv_bytes())
            filters = filters if request.filters is None else request.filters
            answer = _read(analyser, request, filters, limits)
            octets = dumps(answer if isinstance(answer, Failed) else Answer(answer, tuple(logged)))
            logged.clear()
            connection.send_bytes(octets)
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return
        except MemoryError:
            # What memory there is left is not known to be in order.
            os._exit(OUT_OF_MEMORY)


def _read(
    analyser: Analysing, request: Request, filters: tuple[BounceFilter, ...], limits: Limits
) -> "tuple[Any, ...] | Failed":
    digests = []
    try:
        for raw in request.raws:
            bound_cpu(limits.cpu_s)
            (answer,) = analyser.begin((raw,), filters, request.default_filter)()
            digests.append(answer if isinstance(answer, Unprocessed) else digest_of(answer))
    except BouncepollError as exc:
        return _failed(exc)
    finally:
        bound_cpu(0)
    return tuple(digests)


def _failed(exc: BouncepollError) -> Failed:
    return Failed(tuple(getattr(exc, "faults", (str(exc),))), transient=isinstance(exc, TransientError))


def _warm(analyser: Analysing) -> None:
    """Read the sample mails: what is built when it is first needed must not be charged to the first mails."""
    for sample in resources.files("bouncepoll.samples").iterdir():
        if sample.name.endswith(".eml"):
            octets = sample.read_bytes()
            raw = RawMessage(MessageRef("", "", None, sample.name), octets, len(octets))
            analyser.begin((raw,), (), None)()


def _collect(logged: list[tuple[str, dict[str, Any]]]) -> None:
    """Have log events kept in a list: the process that asked writes them where all the others go."""

    def keep(_logger: Any, method: str, event: structlog.typing.EventDict) -> structlog.typing.EventDict:
        event.pop("exc_info", None)
        shown = {key: str(value)[-_EXCEPTION_CHARS:] for key, value in event.items()}
        logged.append(("error" if method == "exception" else method, shown))
        raise structlog.DropEvent

    structlog.configure(processors=[structlog.processors.format_exc_info, keep], cache_logger_on_first_use=False)
