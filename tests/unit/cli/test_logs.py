"""A log that cannot be written stops nothing, and says afterwards what is missing."""

import io
import json
import logging
import sys
from collections.abc import Iterator

import pytest
import structlog

from bouncepoll.cli import _logs


class Full(io.StringIO):
    """A stream on a disk that may be full."""

    full = False

    def write(self, text: str) -> int:
        if self.full:
            raise OSError(28, "No space left on device")
        return super().write(text)


@pytest.fixture
def stream(monkeypatch: pytest.MonkeyPatch) -> Iterator[Full]:
    stream = Full()
    monkeypatch.setattr(sys, "stderr", stream)
    handlers = logging.root.handlers[:]
    logging.root.handlers.clear()
    _logs.configure("info", "json")
    yield stream
    logging.root.handlers[:] = handlers
    structlog.reset_defaults()


def test_lines_are_lost_and_counted(stream: Full) -> None:
    log = structlog.get_logger()
    log.info("before")
    stream.full = True
    for _line in range(3):
        log.info("meanwhile")
    logging.getLogger("library").warning("meanwhile")
    stream.full = False
    log.info("after")
    events = [json.loads(line) for line in stream.getvalue().splitlines()]
    told = [(event["event"], event.get("lines_lost_or_late")) for event in events]
    assert told == [("before", None), ("after", None), ("log_interrupted", 4)]


def test_a_closed_stream_stops_nothing(stream: Full) -> None:
    stream.close()
    structlog.get_logger().error("into the void")
    assert stream.closed
