"""Lines and literals, over a connection that hands its octets out in any portions."""

from collections.abc import Iterable
from typing import Any, cast

import pytest

from bouncepoll.sources.imap._wire import Wire


class Portions:
    """A socket that was sent these portions, and is closed after them."""

    def __init__(self, portions: Iterable[bytes]) -> None:
        self._portions = list(portions)

    def recv(self, _octets: int) -> bytes:
        return self._portions.pop(0) if self._portions else b""


def wire(*portions: bytes) -> Wire:
    return Wire(cast("Any", Portions(portions)))


ALL = b"* 1 FETCH {5}\r\nab\ncd)\r\nA1 OK\r\n"


@pytest.mark.parametrize("size", range(1, len(ALL) + 1))
def test_portions_do_not_matter(size: int) -> None:
    read = wire(*(ALL[start : start + size] for start in range(0, len(ALL), size)))
    assert read.line() == b"* 1 FETCH {5}\r\n"
    assert read.literal(5) == b"ab\ncd"
    assert read.line() == b")\r\n"
    assert read.line() == b"A1 OK\r\n"
    with pytest.raises(OSError, match="closed the connection"):
        read.line()


@pytest.mark.parametrize("size", range(1, len(ALL) + 1))
def test_what_is_ready_can_be_read_at_once(size: int) -> None:
    read = wire(*(ALL[start : start + size] for start in range(0, len(ALL), size)))
    assert read.fill_line() - read.ready[1] == 15
    read.fill(23)
    buffer, at = read.ready
    assert buffer[at : at + 23] == ALL[:23]
    read.skip(23)
    assert read.line() == b"A1 OK\r\n"


def test_each_answer_has_an_allowance() -> None:
    read = wire(b"x" * 100 + b"\r\n" + b"y" * 100)
    read.allow(101)
    with pytest.raises(OSError, match="102 octets where 101 are left"):
        read.line()
    read = wire(b"x" * 100 + b"\r\n" + b"y" * 100 + b"\r\n")
    read.allow(60)
    read.allow(62, more=True)
    assert len(read.line()) == 102
    for take in (read.literal, read.fill, read.skip):
        with pytest.raises(OSError, match="where 20 are left"):
            take(21)


def test_a_line_has_an_end() -> None:
    read = wire(*[b"x" * 65536] * 20)
    with pytest.raises(OSError, match="does not end"):
        read.line()


def test_a_literal_has_an_end() -> None:
    for take in (Wire.literal, Wire.fill):
        with pytest.raises(OSError, match="within a literal"):
            take(wire(b"abc"), 4)


def test_what_was_received_need_not_be_waited_for() -> None:
    read = wire(b"* 1 EXISTS\r\n* 2 EXISTS\r\n")
    read.line()
    assert read.waiting(0)
