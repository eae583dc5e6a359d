"""Waiting for new mails with IDLE (RFC 2177), on a connection of its own."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from bouncepoll.errors import FolderMissing, SourceUnavailable
from bouncepoll.ports import TokenSource
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Dropped, Refused, session_failed
from bouncepoll.sources.imap._connection import Connection

#: Servers may end a session after 30 minutes of silence (RFC 9051 section 5.4), and routers forget it sooner.
LONGEST_IDLE_S = 25 * 60.0
#: How often ``should_stop`` is asked where nothing wakes us, and where something does: hundreds of threads that look
#: twice a second keep a machine busy with nothing.
_SLICE_S = 0.5
_WOKEN_SLICE_S = 30.0
_CLOSING_S = 0.5
_EXISTS = re.compile(rb"\* (\d{1,10}) EXISTS", re.IGNORECASE)
_EXPUNGE = re.compile(rb"\* \d{1,10} EXPUNGE", re.IGNORECASE)


class IdleWatcher:
    """Watches one folder. It counts as a connection of the account, and leaves one for polls."""

    def __init__(self, name: str, folder: str, options: MailboxOptions, tokens: TokenSource) -> None:
        self._name = name
        self._folder = folder
        self._options = options
        self._tokens = tokens
        self._connection: Connection | None = None
        self._exists = 0

    def open(self) -> bool:
        """Connect and log in; False where the server has no IDLE."""
        self.close()
        connection = self._connection = Connection(self._name, self._options, self._tokens, wait=False)
        if not connection.supports("IDLE"):
            self.close()
            return False
        with self._guard():
            try:
                self._exists = connection.select(self._folder, writable=False).exists
            except Refused:
                if not connection.find_folder(self._folder):
                    raise FolderMissing(
                        f"mailboxes.{self._name}.folders: {self._options.address} has no folder {self._folder!r}; "
                        "create it, or take it out of the list"
                    ) from None
                self._exists = connection.select(self._folder, writable=False).exists
        return True

    def wait(self, should_stop: Callable[[], bool], wake: int | None = None) -> bool:
        """Wait for a new mail; the IDLE is renewed again and again, which finds connections that are dead."""
        if self._connection is None:
            raise SourceUnavailable(f"{self._name}: the session is not open")
        slice_s = _SLICE_S if wake is None else _WOKEN_SLICE_S
        renew_s = min(self._options.idle, LONGEST_IDLE_S)
        with self._guard():
            while not should_stop():
                lines = self._connection.dialogue.idle(should_stop, renew_s, slice_s, wake)
                # Not "any" of a generator: each line counts.
                if sum([self._is_news(line) for line in lines]):
                    return True
        return False

    def _is_news(self, line: bytes) -> bool:
        """Whether there are more mails than before; a poll that moves mails away makes them fewer."""
        if _EXPUNGE.match(line):
            self._exists -= 1
            return False
        told = _EXISTS.match(line)
        if told is None:
            return False
        before, self._exists = self._exists, int(told[1])
        return self._exists > before

    def close(self) -> None:
        """Log out and close."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.logout(_CLOSING_S)

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (Dropped, Refused) as exc:
            if self._connection is not None:
                self._connection.rest(exc.retry_after_s)
            raise session_failed(self._name, self._folder, self._options, exc) from exc
