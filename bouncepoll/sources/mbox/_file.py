"""An mbox file (RFC 4155, mboxo and mboxrd): where its mails begin and end, read in pieces, under a shared lock."""

import errno
import fcntl
import os
import re
import stat
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

_PIECE_OCTETS = 1024 * 1024
# A From_ line names the sender and the time of delivery: "From ann@example.org Mon Nov  2 10:00:00 2026".
_FROM_LINE = re.compile(rb"From [^\r\n]{1,500}\r?\n")
_TIME = re.compile(rb"\d:\d\d")
_YEAR = re.compile(rb"(?<!\d)\d{4}(?!\d)")
#: The longest boundary, so that one on the edge of two pieces is found.
_OVERLAP_OCTETS = 600
_FIRST_LINE_OCTETS = 600
#: A last mail without an empty line behind it is whole when nobody wrote for so long.
_QUIET_S = 60.0
#: A ".lock" file that is older than this was left behind by a program that died.
_STALE_LOCK_S = 600.0
_RETRY_S = 0.05
_GENERATION_BITS = 4


class Span(NamedTuple):
    """Where a mail stands in the file: the offsets of its From_ line, and of the octet behind its last one."""

    start: int
    end: int


class Locked(Exception):
    """Somebody else has the file locked."""


class MboxFile:
    """An open mbox; to be closed."""

    def __init__(self, path: Path) -> None:
        """Open the file.

        Raises:
            OSError: it is not there, may not be read, or is no regular file.
        """
        self._path = path
        self._descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        if not stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            self.close()
            raise OSError(errno.EINVAL, "it is no regular file")

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    @property
    def size_octets(self) -> int:
        """The size of the file now."""
        return os.fstat(self._descriptor).st_size

    def identity(self) -> int:
        """Return a number of 27 bits that changes when another file takes the place of this one, or it begins anew."""
        first_line = self.read(0, _FIRST_LINE_OCTETS).partition(b"\n")[0]
        return zlib.crc32(b"%d %b" % (os.fstat(self._descriptor).st_ino, first_line)) & (2**27 - 1)

    def begins_mail(self, offset: int) -> bool:
        """Whether a mail begins at an offset: a From_ line at the file's beginning, or behind an empty line."""
        before = self.read(max(0, offset - 3), min(offset, 3))
        line = _FROM_LINE.match(self.read(offset, _FIRST_LINE_OCTETS))
        return (not before or before.endswith((b"\n\n", b"\n\r\n"))) and line is not None and _is_dated(line[0])

    @property
    def is_mbox(self) -> bool:
        """Whether the file begins as an mbox does; one that is empty, or whose first line is not whole, may."""
        return b"\n" not in self.read(0, _FIRST_LINE_OCTETS) or self.begins_mail(0)

    def spans(self, start: int, now: float) -> list[Span]:
        """Return the mails from the one at offset ``start`` on; without a last one that is being written.

        ``now`` is the time in seconds since 1970.
        """
        state = os.fstat(self._descriptor)
        if start >= state.st_size or not self.begins_mail(start):
            return []
        starts = [start, *self._boundaries(start, state.st_size)]
        spans = [Span(begin, end) for begin, end in zip(starts, [*starts[1:], state.st_size], strict=True)]
        if not self._ends_empty(state.st_size) and now - state.st_mtime < _QUIET_S:
            spans.pop()
        return spans

    def _boundaries(self, start: int, end: int) -> Iterator[int]:
        """Yield the offsets of further From_ lines; the file is read in pieces."""
        offset, last = start, start
        while offset < end:
            piece = self.read(offset, min(_PIECE_OCTETS + _OVERLAP_OCTETS, end - offset))
            position = 0
            while (position := piece.find(b"\nFrom ", position)) >= 0:
                position += 1
                found = offset + position
                line = _FROM_LINE.match(piece, position)
                if found > last and line and _is_dated(line[0]) and self._behind_empty_line(piece, position, offset):
                    last = found
                    yield found
            offset += _PIECE_OCTETS

    def _behind_empty_line(self, piece: bytes, position: int, offset: int) -> bool:
        before = piece[max(0, position - 3) : position]
        if position < 3:  # What comes before stands in the piece before.
            before = self.read(max(0, offset + position - 3), min(3, offset + position))
        return before.endswith((b"\n\n", b"\n\r\n"))

    def _ends_empty(self, end: int) -> bool:
        return self.read(max(0, end - 3), 3).replace(b"\r", b"").endswith(b"\n\n")

    def read(self, offset: int, count: int) -> bytes:
        """Return up to so many octets from an offset on."""
        parts: list[bytes] = []
        while count > 0 and (part := os.pread(self._descriptor, min(count, _PIECE_OCTETS), offset)):
            parts.append(part)
            offset, count = offset + len(part), count - len(part)
        return b"".join(parts)

    @contextmanager
    def locked(self, timeout_s: float, pause: Callable[[float], None] = time.sleep) -> Iterator[None]:
        """Keep delivery programs out while reading; a ``.lock`` file of theirs is waited for, never made.

        Raises:
            Locked: somebody else kept it locked for ``timeout_s``.
        """
        left_s = timeout_s
        while self._dot_locked() or not self._lock():
            if left_s <= 0:
                raise Locked
            pause(_RETRY_S)
            left_s -= _RETRY_S
        try:
            yield
        finally:
            fcntl.lockf(self._descriptor, fcntl.LOCK_UN)

    def _lock(self) -> bool:
        try:
            fcntl.lockf(self._descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _dot_locked(self) -> bool:
        lock = self._path.with_name(f"{self._path.name}.lock")
        try:
            return time.time() - lock.lstat().st_mtime < _STALE_LOCK_S
        except OSError:
            return False


def _is_dated(from_line: bytes) -> bool:
    """Whether a line holds a time and a year, as a From_ line does and few lines of text do."""
    return bool(_TIME.search(from_line) and _YEAR.search(from_line))


def uidvalidity(identity: int, known: int | None, *, intact: bool) -> int:
    """Return the UIDVALIDITY of a file: another one when it is another file, or was rewritten since ``known``.

    ``intact``: the mail that ``known`` counts up to is still where it was.
    """
    if known is None or known >> _GENERATION_BITS != identity:
        return max(1, identity << _GENERATION_BITS)
    return known if intact else (identity << _GENERATION_BITS) | (known + 1) % 2**_GENERATION_BITS
