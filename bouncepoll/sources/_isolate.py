"""Fetching around mails that break the fetch: the one mail is named, all others are read.

A server may refuse a batch, leave a mail out of its answer, or drop the connection in the middle of a mail, each time
because of one broken mail. So a batch that fails is halved until the mail is alone; what fails alone, twice, on a
connection that works otherwise, is the mail's fault.
"""

from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Protocol, TypeVar

import structlog

from bouncepoll.errors import MessageUnreadable
from bouncepoll.model.mailbox import Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.sources._transport import Dropped, Refused

log = structlog.get_logger()

_FAILURES_ALONE = 2
#: A network that fails breaks connections too, wherever they are; so a mail has to break more of them.
_BREAKS_ALONE = 5
#: Halving a batch of 500 down to one mail drops the connection about ten times; so this finds two such mails a call.
_MAX_RECONNECTS = 20
#: So many mails that fail, and none that comes: that is no broken mail but a broken server.
_ALL_FAIL = 3

_T = TypeVar("_T")


class Session(Protocol):
    """What isolation needs of a protocol."""

    def ask(self, scan: Scan, uids: Sequence[str], /) -> Mapping[str, RawMessage]:
        """Fetch mails; those the server left out of its answer are missing in the result.

        Raises:
            Refused: the server said no to all of them.
            Dropped: the connection is over.
        """
        ...

    def lists(self, scan: Scan, uid: str, /) -> bool:
        """Whether the server still lists the mail; raises like ``ask``."""
        ...

    def resume(self, folder: str, uidvalidity: int | None, /) -> None:
        """Connect again, to the same folder with the same UIDVALIDITY.

        Raises:
            SourceUnavailable: that does not work.
        """
        ...


class Isolation:
    """One ``fetch``: yields exactly one entry a UID."""

    def __init__(
        self, session: Session, scan: Scan, uids: Sequence[str], batch: int, *, came_any: bool = False
    ) -> None:
        """``came_any``: the server is known to hand out mails."""
        self._session = session
        self._scan = scan
        asked = list(dict.fromkeys(uids))
        self._queue = deque(asked[start : start + batch] for start in range(0, len(asked), batch))
        self._failures: Counter[str] = Counter()
        self._reconnects = 0
        self._given_up: list[Unfetched] = []
        self._came_any = came_any

    def __iter__(self) -> Iterator[RawMessage | Unfetched]:
        """Yield the entries.

        Raises:
            SourceUnavailable: the connection was lost and cannot be had again.
            Refused: the server is too busy for anything, or hands out no mail at all.
        """
        while self._queue:
            uids = self._queue.popleft()
            if self._reconnects > _MAX_RECONNECTS:
                # More broken mails than one call should hunt for: the others are stored first, the next poll goes on.
                yield from self._held(uids)
                continue
            try:
                yield from self._attempt(uids)
            except Dropped as exc:
                self._reconnects += 1
                log.info("fetch_interrupted", mailbox=self._scan.source, folder=self._scan.folder, error=str(exc))
                self._session.resume(self._scan.folder, self._scan.uidvalidity)
                self._again(uids, str(exc), permanent=True, most=_BREAKS_ALONE)
            except Refused as exc:
                if exc.busy:
                    raise
                self._again(uids, str(exc), permanent=not exc.temporary)
            if len(self._given_up) >= _ALL_FAIL and not self._came_any:
                error = self._given_up[-1].error
                raise Refused(f"the server handed out none of the first {_ALL_FAIL} mails: {error}")
        yield from self._given_up

    def _attempt(self, uids: Sequence[str]) -> Iterator[RawMessage | Unfetched]:
        answers = dict(self._session.ask(self._scan, uids))
        missing = [uid for uid in uids if uid not in answers]
        if len(uids) > 1:
            self._queue.extendleft([uid] for uid in reversed(missing))
        elif missing and not self._session.lists(self._scan, missing[0]):
            yield Unfetched(self._scan.ref(missing[0]), "the mail is gone", gone=True)
        elif missing:
            self._again(uids, "the server left the mail out of its answer", permanent=True)
        self._came_any = self._came_any or bool(answers)
        for uid in list(answers):
            yield answers.pop(uid)  # Taken out, so that a mail in work is not kept until the batch ends.

    def _again(self, uids: Sequence[str], error: str, *, permanent: bool, most: int = _FAILURES_ALONE) -> None:
        """Put a failed batch back, in halves; a mail that failed alone often enough is given up."""
        if len(uids) > 1:
            middle = len(uids) // 2
            self._queue.extendleft([list(uids[middle:]), list(uids[:middle])])
            return
        self._failures[uids[0]] += 1
        if self._failures[uids[0]] < most:
            self._queue.appendleft(list(uids))
        else:
            self._given_up.append(Unfetched(self._scan.ref(uids[0]), error, permanent=permanent))

    def _held(self, uids: Sequence[str]) -> Iterator[Unfetched]:
        for uid in uids:
            yield Unfetched(self._scan.ref(uid), "the connection broke too often; the next poll asks again")


def persevere(session: Session, ref: MessageRef, read: Callable[[], _T]) -> _T:
    """Return what ``read`` gives of one mail; what fails twice on a working connection is the mail's fault.

    Raises:
        MessageUnreadable: the server does not hand it out.
        SourceUnavailable: the connection was lost and cannot be had again.
        Refused: it may work later.
    """
    error, breaks, refusals = "", 0, 0
    while breaks < _BREAKS_ALONE and refusals < _FAILURES_ALONE:
        try:
            return read()
        except Dropped as exc:
            error, breaks = str(exc), breaks + 1
            session.resume(ref.folder, ref.uidvalidity)
        except Refused as exc:
            error, refusals = str(exc), refusals + 1
            if exc.busy or exc.temporary:
                raise
    raise MessageUnreadable(f"{ref}: the server does not hand out the rest of the mail: {error}")
