"""Two FETCH commands on their way at any time: the server never waits for us while mails are to come."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence

from bouncepoll.sources._transport import Refused
from bouncepoll.sources.imap._answers import Fetched
from bouncepoll.sources.imap._connection import Connection
from bouncepoll.sources.imap._dialogue import Fetching

_IN_FLIGHT = 2
#: What a FETCH is meant to bring, by the mails seen so far.
_TARGET_OCTETS = 4 * 1024**2
#: What it can bring at worst: it is kept in memory when something else has to be answered first.
_WORST_OCTETS = 64 * 1024**2
_MOST_MAILS = 500
_FIRST_GUESS_OCTETS = 8 * 1024


class Ahead:
    """The FETCH commands of one connection. Every mail is fetched from its first octet on."""

    def __init__(self, connection: Connection, count_octets: int) -> None:
        """``count_octets`` is how much of each mail is fetched."""
        self._connection = connection
        self._count = count_octets
        self._flying: deque[Fetching] = deque()
        self._mean_octets = float(min(_FIRST_GUESS_OCTETS, count_octets))

    def __call__(self, uids: Sequence[int], ahead: Sequence[int]) -> Iterator[list[Fetched]]:
        """Yield the mails as they come; those the server left out or refused are missing. Then ``ahead`` is sent for.

        Raises:
            Refused: the server is too busy for anything.
            Dropped: the connection is over.
        """
        wanted = frozenset(uids)
        self._discard(wanted)
        sent = frozenset().union(*(fetching.uids for fetching in self._flying))
        todo = deque(self._chunks([uid for uid in uids if uid not in sent] if sent < wanted else ()))
        todo += self._chunks([uid for uid in ahead if uid not in wanted])
        self._send(todo)
        while self._flying and not self._flying[0].uids.isdisjoint(wanted):
            fetching = self._flying[0]
            octets = mails = 0
            try:
                for some in self._connection.dialogue.stream(fetching):
                    octets += sum([len(mail.octets) for mail in some])
                    mails += len(some)
                    yield some
            except Refused as exc:
                if exc.busy:
                    raise
            if mails:
                self._mean_octets = octets / mails
            self._flying.popleft()
            self._send(todo)

    def land(self) -> None:
        """Wait until nothing is on its way; what came is kept.

        Raises:
            Dropped: the connection is over.
        """
        for fetching in self._flying:
            _finished(self._connection, fetching)

    def discard(self) -> None:
        """Throw away what was sent for; raises like ``land``."""
        self._discard(frozenset())

    def _discard(self, wanted: frozenset[int]) -> None:
        """Throw away what holds other mails than those that are wanted now."""
        kept = [fetching for fetching in self._flying if fetching.uids <= wanted]
        for fetching in self._flying:
            if fetching not in kept:
                _finished(self._connection, fetching)
        self._flying = deque(kept)

    def _send(self, todo: deque[Sequence[int]]) -> None:
        while todo and len(self._flying) < _IN_FLIGHT:
            self._flying.append(self._connection.fetch(todo.popleft(), 0, self._count))

    def _chunks(self, uids: Sequence[int]) -> Iterable[Sequence[int]]:
        size = min(
            int(_TARGET_OCTETS / max(self._mean_octets, 1.0)),
            _WORST_OCTETS // self._count,
            self._connection.window,
            _MOST_MAILS,
        )
        size = max(size, 1)
        return [uids[start : start + size] for start in range(0, len(uids), size)]


def _finished(connection: Connection, fetching: Fetching) -> None:
    try:
        connection.dialogue.finish(fetching)
    except Refused:
        return  # Asked again when its mails are wanted.
