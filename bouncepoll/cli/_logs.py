"""Logging: one event a line. JSON for programs, colours on a terminal."""

import json
import logging
import sys
import threading
from typing import TextIO, cast

import structlog


class LastingStream:
    """A stream of log lines that may be lost: a full disk or a closed pipe must not stop the work that is logged.

    When lines can be written again, one says how many could not be; what the stream kept of them comes late.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._guard = threading.Lock()
        self._failed = 0

    def write(self, text: str) -> int:
        """Write lines, or count them as lost; never raises."""
        with self._guard:
            try:
                self._stream.write(text)
                self._stream.flush()
                if self._failed:
                    told = {"event": "log_interrupted", "lines_lost_or_late": self._failed, "level": "warning"}
                    self._failed = 0
                    self._stream.write(f"{json.dumps(told)}\n")
                    self._stream.flush()
            except (OSError, ValueError):
                self._failed += 1
        return len(text)

    def flush(self) -> None:
        """Nothing is kept back."""

    def isatty(self) -> bool:
        """Whether people read it."""
        return self._stream.isatty()


def configure(level: str = "info", style: str = "auto") -> None:
    """Set up logging to standard error: ``style`` is ``auto`` (colours on a terminal), ``json`` or ``console``."""
    # Typed as what structlog asks for; it writes and flushes, and does nothing else.
    stream = cast("TextIO", LastingStream(sys.stderr))
    as_json = style == "json" or (style == "auto" and not sys.stderr.isatty())
    renderer: structlog.typing.Processor = (
        structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    )
    # Tracebacks without local variables: those hold mails and passwords.
    exceptions: structlog.typing.Processor = (
        structlog.processors.ExceptionRenderer(structlog.tracebacks.ExceptionDictTransformer(show_locals=False))
        if as_json
        else structlog.processors.format_exc_info
    )
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            exceptions,
            _escape_controls,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(getattr(logging, level.upper())),
        logger_factory=structlog.WriteLoggerFactory(file=stream),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=stream, format="%(levelname)s %(name)s %(message)s")
    # APScheduler tells every skipped run at WARNING; the scheduler's own listener says it once, with fields.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def _escape_controls(
    _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Text from outside must not be able to write to the terminal or to fake a log line."""
    for key, value in event.items():
        if isinstance(value, str) and not value.isprintable():
            lines = value.split("\n") if key == "exception" else [value]
            event[key] = "\n".join(line.encode("unicode_escape").decode() for line in lines)
    return event
