"""Reads the mails named on the command line: files, folders, Maildir, mbox, standard input."""

import mailbox
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from bouncepoll.errors import UsageError
from bouncepoll.model.message import MessageRef, RawMessage

_ANALYSIS_OCTETS = 256 * 1024
_MAX_STDIN_OCTETS = 1024**3
_CHUNK_OCTETS = 1024 * 1024
_MAIL_SUFFIXES = frozenset({".eml", ".mbox", ".mbx", ".json"})


@dataclass(frozen=True, slots=True)
class Found:
    """A mail of the command line; ``index`` counts the mails of an mbox. One of ``raw`` and ``error`` is set."""

    path: str
    index: int
    raw: RawMessage | None
    error: str | None = None


def mails(paths: list[Path]) -> Iterator[Found]:
    """Yield the mails of ``paths`` in order; a folder's in the order of their names.

    Of a plain folder the files with a mail's suffix are taken (.eml, .mbox, .mbx, .json), of a Maildir those in ``cur``
    and ``new``; a file named itself is always taken. One that cannot be read gives an entry with ``error`` set.

    Raises:
        UsageError: a path does not exist.
    """
    for path in paths:
        if str(path) == "-":
            yield from _standard_input()
        elif not _exists(path):
            raise UsageError(f"{path}: there is no such file or folder")
        elif path.is_dir():
            unread: list[OSError] = []
            for file in _files(path, unread.append):
                yield from _file(file)
            for exc in unread:
                yield Found(str(exc.filename), 0, None, f"cannot be read: {exc.strerror or exc}")
        else:
            yield from _file(path)


def _exists(path: Path) -> bool:
    try:
        return path.exists()
    except OSError as exc:
        raise UsageError(f"{str(path)[:200]}: cannot be looked at: {exc.strerror or exc}") from exc


def _files(folder: Path, on_error: Callable[[OSError], None]) -> Iterator[Path]:
    for parent, folders, names in os.walk(folder, onerror=on_error):
        folders.sort()
        in_maildir = Path(parent).name in {"cur", "new"} and (Path(parent).parent / "tmp").is_dir()
        for name in sorted(names):
            file = Path(parent, name)
            # A pipe among the mails would be waited for without end.
            if (in_maildir or file.suffix.lower() in _MAIL_SUFFIXES) and (file.is_file() or file.is_symlink()):
                yield file


def _file(path: Path) -> Iterator[Found]:
    try:
        with path.open("rb") as file:
            size_octets = os.fstat(file.fileno()).st_size
            octets = file.read(_ANALYSIS_OCTETS)
        if octets.startswith(b"From "):
            yield from _mbox(path, str(path))
        else:
            yield Found(str(path), 0, _raw(str(path), 0, octets, max(size_octets, len(octets))))
    except OSError as exc:
        yield Found(str(path), 0, None, f"cannot be read: {exc.strerror or exc}")


def _mbox(path: Path, name: str) -> Iterator[Found]:
    with closing(mailbox.mbox(path, create=False)) as box:
        for index, key in enumerate(box.iterkeys()):
            with closing(box.get_file(key)) as file:
                octets = file.read(_ANALYSIS_OCTETS)
                size_octets = len(octets)
                while rest := file.read(_CHUNK_OCTETS):
                    size_octets += len(rest)
            yield Found(name, index, _raw(name, index, octets, size_octets))


def _standard_input() -> Iterator[Found]:
    with tempfile.NamedTemporaryFile(prefix="bouncepoll-") as spool:
        size_octets = 0
        while chunk := sys.stdin.buffer.read(_CHUNK_OCTETS):
            size_octets += len(chunk)
            if size_octets > _MAX_STDIN_OCTETS:
                raise UsageError(f"standard input is larger than {_MAX_STDIN_OCTETS} octets; name files instead")
            spool.write(chunk)
        spool.flush()
        for found in _file(Path(spool.name)):
            yield Found("-", found.index, found.raw, found.error)


def _raw(path: str, index: int, octets: bytes, size_octets: int) -> RawMessage:
    return RawMessage(MessageRef("file", path, None, str(index)), octets, size_octets)
