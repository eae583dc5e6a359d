"""Logging: one event a line. JSON for programs, colours on a terminal."""

import json
import logging
import sys
import threading
from typing import TextIO, cast

import structlog

#: Of a value no more is logged: a server or a mail may say megabytes.
_MAX_CHARACTERS = 16_000


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
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Lines("%(levelname)s %(name)s %(message)s"))
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    # APScheduler tells every skipped run at WARNING; the scheduler's own listener says it once, with fields.
    logging.getLogger("apscheduler").setLevel(logging.ERROR)


def _escape_controls(
    _logger: structlog.typing.WrappedLogger, _name: str, event: structlog.typing.EventDict
) -> structlog.typing.EventDict:
    """Text from outside must not be able to write to the terminal or to fake a log line."""
    for key, value in event.items():
        if not isinstance(value, str):
            continue
        if len(value) > _MAX_CHARACTERS:
            value = f"{value[:_MAX_CHARACTERS]}… ({len(value) - _MAX_CHARACTERS} characters more)"  # noqa: PLW2901
        lines = value.split("\n") if key == "exception" else [value]
        # Indented, so that no text within a traceback can fake a line of the log.
        event[key] = "\n    ".join(map(_escaped, lines))
    return event


class _Lines(logging.Formatter):
    """What libraries log: one line, and of a traceback the others indented, so that no text can fake a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the record, escaped and bounded."""
        text = super().format(record)[:_MAX_CHARACTERS]
        return "\n    ".join(map(_escaped, text.split("\n")))


def _escaped(text: str) -> str:
    return text if text.isprintable() else text.encode("unicode_escape").decode()
