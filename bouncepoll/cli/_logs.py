"""Logging: one event a line. JSON for programs, colours on a terminal."""

import logging
import sys

import structlog


def configure(level: str = "info", style: str = "auto") -> None:
    """Set up logging to standard error: ``style`` is ``auto`` (colours on a terminal), ``json`` or ``console``."""
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
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=False,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")
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
