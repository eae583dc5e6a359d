"""A watcher of a folder in memory."""

import threading
from collections.abc import Callable

from bouncepoll.errors import SourceUnavailable
from bouncepoll.testing.source import FakeFolder

_SLICE_S = 0.01


class FakeWatcher:
    """A ``Watcher`` of a ``FakeFolder``; ``fail`` is called with the name of each step before it and may raise.

    ``tells`` is whether the server can tell of new mails.
    """

    def __init__(self, name: str, folder: FakeFolder, *, tells: bool = True) -> None:
        self.name = name
        self.fail: Callable[[str], None] = lambda _step: None
        self.is_open = False
        self._folder = folder
        self._tells = tells
        self._seen = 0

    def open(self) -> bool:
        """Begin to watch: what is there is not new."""
        self.fail("open")
        self.is_open = self._tells
        self._seen = self._folder.next_uid
        return self._tells

    def wait(self, should_stop: Callable[[], bool], wake: int | None = None) -> bool:
        """Wait for a mail that was not there before."""
        while not should_stop():
            self.fail("wait")
            if not self.is_open:
                raise SourceUnavailable(f"{self.name}: the session is not open")
            if self._folder.next_uid > self._seen:
                self._seen = self._folder.next_uid
                return True
            threading.Event().wait(_SLICE_S)
        return False

    def close(self) -> None:
        """End the session."""
        self.is_open = False
