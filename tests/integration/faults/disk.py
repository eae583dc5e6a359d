"""A small disk that can be filled: a real one where the tests run as root, else a bound on the size of files."""

import os
import resource
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Protocol

_OCTETS = 48 * 1024 * 1024
#: Less than one batch of the mails here, more than the log.
_LIMIT_OCTETS = 1_500_000


class Disk(Protocol):
    """A folder whose disk is full when it is told to be, for one process."""

    folder: Path

    def fill(self, pid: int) -> None:
        """Leave no room."""
        ...

    def free(self, pid: int) -> None:
        """Leave room again."""
        ...


class Mounted:
    """A file system in memory."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._filler = folder / "filler"

    def fill(self, _pid: int = 0) -> None:
        """Leave no room."""
        left = os.statvfs(self.folder)
        with self._filler.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_frsize)

    def free(self, _pid: int = 0) -> None:
        """Leave room again."""
        self._filler.unlink()


class Limited:
    """A process whose files must not grow: for tests that may mount nothing."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def fill(self, pid: int) -> None:
        """Leave no room."""
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (_LIMIT_OCTETS, resource.RLIM_INFINITY))

    def free(self, pid: int) -> None:
        """Leave room again."""
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))


@contextmanager
def small_disk(folder: Path) -> Iterator[Disk]:
    """Give the best disk there is."""
    if os.geteuid() != 0:
        yield Limited(folder)
        return
    with mounted(folder) as disk:
        yield disk


@contextmanager
def mounted(folder: Path, octets: int = _OCTETS) -> Iterator[Mounted]:
    """Mount a small file system at a folder; root only."""
    folder.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={octets},mode=700", "bouncepoll", str(folder)], check=True)
    try:
        yield Mounted(folder)
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)
