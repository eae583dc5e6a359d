"""One folder of a Maildir, in file descriptors: no symbolic link is followed, whatever is put there meanwhile."""

import errno
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

from bouncepoll.sources._octets import storable_uid

_PARTS = ("new", "cur")
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
# O_NONBLOCK, for opening a named pipe would wait for somebody to write to it.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_INFO = ":2,"
_SECONDS = re.compile(r"\d{1,15}")


class Place(NamedTuple):
    """Where a mail stands: in ``new`` or ``cur``, under a name."""

    part: str
    name: str

    @property
    def unique(self) -> str:
        """The part of the name that stays, whatever flags the mail gets."""
        return self.name.partition(_INFO)[0]

    @property
    def flags(self) -> str:
        """The flags, such as ``FS``; none in ``new``."""
        return self.name.partition(_INFO)[2]


class Folder:
    """An open folder of a Maildir; to be closed."""

    def __init__(self, maildir: Path, folder: str, *, create: bool = False) -> None:
        """Open ``new`` and ``cur`` (and make them, in a Maildir++ folder, with ``create``).

        Raises:
            OSError: there is no such folder, it is a symbolic link, or it may not be read.
        """
        self._parts: dict[str, int] = {}
        base = os.open(maildir, _DIRECTORY)
        try:
            top = base
            if folder.upper() != "INBOX":
                name = f".{folder.replace('/', '.')}"
                if create:
                    _make(name, base)
                top = os.open(name, _DIRECTORY | os.O_NOFOLLOW, dir_fd=base)
            try:
                if create:
                    _make_folder(top)
                for part in _PARTS:
                    self._parts[part] = os.open(part, _DIRECTORY | os.O_NOFOLLOW, dir_fd=top)
            finally:
                if top != base:
                    os.close(top)
        except BaseException:
            self.close()
            raise
        finally:
            os.close(base)

    def close(self) -> None:
        """Close the folder; may be called twice."""
        for descriptor in self._parts.values():
            os.close(descriptor)
        self._parts.clear()

    def mails(self) -> dict[str, Place]:
        """Return the mails by UID, oldest first: those in ``new`` and ``cur`` that nobody marked as trashed."""
        found: dict[str, Place] = {}
        for part in _PARTS:  # A mail that is moved to "cur" meanwhile is seen there, or in both.
            with os.scandir(self._parts[part]) as entries:
                for entry in entries:
                    place = Place(part, entry.name)
                    if not entry.name.startswith(".") and entry.is_file(follow_symlinks=False):
                        found[storable_uid(place.unique)] = place
        kept = [(uid, place) for uid, place in found.items() if "T" not in place.flags]
        return dict(sorted(kept, key=lambda item: _age(item[1].name)))

    def has(self, place: Place) -> bool:
        """Whether a mail still stands there."""
        try:
            os.stat(place.name, dir_fd=self._parts[place.part], follow_symlinks=False)
        except FileNotFoundError:
            return False
        return True

    @contextmanager
    def opened(self, place: Place) -> Iterator[tuple[int, os.stat_result]]:
        """Open a mail and give its descriptor and its state.

        Raises:
            FileNotFoundError: it is not there (any more).
            OSError: it is no regular file, or may not be read.
        """
        descriptor = os.open(place.name, _FILE, dir_fd=self._parts[place.part])
        try:
            state = os.fstat(descriptor)
            if not stat.S_ISREG(state.st_mode):
                raise OSError(errno.EINVAL, "it is no regular file")
            yield descriptor, state
        finally:
            os.close(descriptor)

    def delete(self, place: Place) -> None:
        """Delete a mail; one that is gone is no error."""
        with suppress(FileNotFoundError):
            os.unlink(place.name, dir_fd=self._parts[place.part])

    def mark_seen(self, place: Place) -> None:
        """Move a mail to ``cur`` with the flag S; one that is gone is no error."""
        with suppress(FileNotFoundError):
            self._rename(place, self, _seen_name(place))

    def move(self, place: Place, target: "Folder") -> None:
        """Move a mail to another folder, as one that was seen; one that is gone is no error.

        Raises:
            OSError: the other folder is on another file system, or may not be written.
        """
        with suppress(FileNotFoundError):
            self._rename(place, target, _seen_name(place))

    def _rename(self, place: Place, target: "Folder", name: str) -> None:
        """Rename a mail without ever replacing another one."""
        if target is self and place == Place("cur", name):
            return
        here, there = self._parts[place.part], target._parts["cur"]  # noqa: SLF001 - another one of us.
        with suppress(FileNotFoundError):
            taken = os.stat(name, dir_fd=there, follow_symlinks=False)
            if os.path.samestat(taken, os.stat(place.name, dir_fd=here, follow_symlinks=False)):
                # Two names of one file: a move by somebody else that was cut short.
                os.unlink(place.name, dir_fd=here)
                return
            unique, info, flags = name.partition(_INFO)
            name = f"{unique}-{taken.st_ino}{info}{flags}"
        os.rename(place.name, name, src_dir_fd=here, dst_dir_fd=there)

    def sync(self) -> None:
        """Make what was done durable."""
        for descriptor in self._parts.values():
            os.fsync(descriptor)


def _seen_name(place: Place) -> str:
    return f"{place.unique}{_INFO}{''.join(sorted({*place.flags, 'S'}))}"


def _age(name: str) -> tuple[int, str]:
    """Return what sorts mails by age: a name begins with the time of delivery, in seconds."""
    seconds = _SECONDS.match(name)
    return int(seconds[0]) if seconds else 0, name


def _make_folder(top: int) -> None:
    for part in ("tmp", *_PARTS):
        _make(part, top)
    # Maildir++: delivery programs know by this file that it is a folder.
    os.close(os.open("maildirfolder", os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600, dir_fd=top))


def _make(name: str, parent: int) -> None:
    with suppress(FileExistsError):
        os.mkdir(name, 0o700, dir_fd=parent)
