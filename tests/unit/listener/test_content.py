"""Reading the octets of a mail: where it ends, what is too much, and that no memory is forgotten."""

import asyncio
from collections.abc import Iterable
from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bouncepoll.sources.listener._content import NO_MEMORY, TOO_LARGE, Content
from bouncepoll.sources.listener._limits import Memory


class Read(NamedTuple):
    """What was read: the reply to a refused mail, its octets, and what came after it."""

    fault: str | None
    octets: bytes
    left: bytes


def read(chunks: Iterable[bytes], *, max_octets: int = 10_000, memory_octets: int = 100_000) -> Read:
    """Read one mail of what comes in these chunks, with a small buffer; all its memory must be given back."""

    async def run() -> Read:
        reader = asyncio.StreamReader(limit=64)
        memory = Memory(memory_octets)
        content = Content(memory, max_octets)
        reading = asyncio.ensure_future(content.read(reader, reader._buffer))  # type: ignore[attr-defined] # No other way.
        for chunk in chunks:
            await asyncio.sleep(0)
            reader.feed_data(chunk)
        await asyncio.wait_for(reading, 5)
        reader.feed_eof()
        found = Read(content.fault, content.take(), await reader.read())
        content.release()
        content.release()
        assert memory.used_octets == 0
        return found

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("sent", "octets", "left"),
    [
        (b".\r\n", b"", b""),
        (b"\r\n.\r\n", b"\r\n", b""),
        (b"a\r\n.\r\n", b"a\r\n", b""),
        (b"a\r\n.\r\nQUIT\r\n", b"a\r\n", b"QUIT\r\n"),
        (b"..\r\n.\r\n", b".\r\n", b""),
        (b"..a\r\n...b\r\n.\r\n", b".a\r\n..b\r\n", b""),
        (b"a\r\n\r\n\r\n.\r\n", b"a\r\n\r\n\r\n", b""),
        # What ends a mail for a careless server is content here.
        (b"a\n.\nb\r\n.\r\n", b"a\n.\nb\r\n", b""),
        (b"a\n.\r\nMAIL FROM:<x@example.com>\r\n.\r\n", b"a\n.\r\nMAIL FROM:<x@example.com>\r\n", b""),
        (b"a\r.\rb\r\n.\r\n", b"a\r.\rb\r\n", b""),
        (b"a\r\n.\rb\r\n.\r\n", b"a\r\n\rb\r\n", b""),
        (b"a\r\n.\nb\r\n.\r\n", b"a\r\n\nb\r\n", b""),
        (b"a\r\n\0.\r\n.\r\n", b"a\r\n\0.\r\n", b""),
    ],
)
@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_only_crlf_dot_crlf_ends_a_mail(sent: bytes, octets: bytes, left: bytes, size: int) -> None:
    assert read(sent[start : start + size] for start in range(0, len(sent), size)) == (None, octets, left)


def test_lines_of_any_length_are_read() -> None:
    line = b"x" * 5000
    assert read([line, b"\r\n.\r\n"]).octets == line + b"\r\n"


@given(st.lists(st.sampled_from([b"\r", b"\n", b".", b"a", b"\r\n", b"\r\n.", b"\0"]), max_size=40))
def test_every_mail_comes_as_it_was_sent(pieces: list[bytes]) -> None:
    mail = b"".join(pieces) + b"\r\n"
    stuffed = (b"\r\n" + mail).replace(b"\r\n.", b"\r\n..")[2:]
    assert read([stuffed + b".\r\n", b"NOOP\r\n"]) == (None, mail, b"NOOP\r\n")


def test_a_mail_of_the_very_size_is_taken_and_one_octet_more_is_not() -> None:
    assert read([b"x" * 98 + b"\r\n.\r\n"], max_octets=100).fault is None
    assert read([b"x" * 99 + b"\r\n.\r\n"], max_octets=100).fault == TOO_LARGE


def test_dots_that_were_added_do_not_count() -> None:
    sent = b"..\r\n" * 25
    assert read([sent + b".\r\n"], max_octets=75) == (None, b".\r\n" * 25, b"")


def test_a_mail_that_is_too_large_is_read_to_its_end_and_not_kept() -> None:
    chunks = [b"x" * 1000 + b"\r\n"] * 20 + [b".\r\nNOOP\r\n"]
    assert read(chunks, max_octets=5000) == (TOO_LARGE, b"", b"NOOP\r\n")


def test_a_mail_for_which_there_is_no_memory_is_put_off() -> None:
    assert read([b"x" * 1000 + b"\r\n.\r\nNOOP\r\n"], memory_octets=500) == (NO_MEMORY, b"", b"NOOP\r\n")
