"""What becomes of stored mails at the server."""

from collections import deque
from collections.abc import Sequence

import structlog

from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.sources._transport import Refused
from bouncepoll.sources.imap._connection import Connection

log = structlog.get_logger()

_BATCH = 500
#: Halving 500 mails down to a refused one takes nine refusals: two such mails are found, a full quota soon stops it.
_MAX_REFUSALS = 20


class Settling:
    """Settles mails of the selected folder; one for each connection."""

    def __init__(self, name: str, connection: Connection) -> None:
        """``name`` is the mailbox's name, for messages."""
        self._name = name
        self._connection = connection
        self._existing_targets: set[str] = set()
        self._said_unexpunged = False

    def __call__(self, uids: Sequence[int], disposition: Disposition) -> frozenset[int]:
        """Return the mails that are settled now; a mail that is gone is.

        Raises:
            SourceUnavailable: the target folder does not exist and cannot be made.
            Dropped: the connection is over.
        """
        if disposition.folder:
            self._make_target(disposition.folder)
        done: set[int] = set()
        queue = deque(uids[start : start + _BATCH] for start in range(0, len(uids), _BATCH))
        refusals = 0
        while queue and refusals < _MAX_REFUSALS:
            batch = queue.popleft()
            try:
                self._settle(batch, disposition)
                done.update(batch)
            except Refused as exc:
                refusals += 1
                log.warning(
                    "settle_refused", mailbox=self._name, what=str(disposition), mails=len(batch), said=str(exc)
                )
                if len(batch) > 1:
                    middle = len(batch) // 2
                    queue.extendleft([batch[middle:], batch[:middle]])
        return frozenset(done)

    def _settle(self, uids: Sequence[int], disposition: Disposition) -> None:
        if disposition.action is DoneAction.SEEN:
            self._connection.add_flag(uids, b"\\Seen")
        elif disposition.action is DoneAction.DELETE:
            self._delete(uids)
        elif disposition.folder is None:
            raise SourceUnavailable(f"{self._name}: on_done: a move needs a folder; write move:FOLDER")
        elif self._connection.supports("MOVE"):
            self._connection.move(uids, disposition.folder)
        else:
            # A crash between these two leaves the copy, and the next poll copies again. Better twice than lost.
            self._connection.copy(uids, disposition.folder)
            self._delete(uids)

    def _delete(self, uids: Sequence[int]) -> None:
        self._connection.add_flag(uids, b"\\Deleted")
        if self._connection.supports("UIDPLUS"):
            self._connection.expunge(uids)
        elif not self._said_unexpunged:
            # A plain EXPUNGE would also remove what somebody else marked, and may still want to take back.
            self._said_unexpunged = True
            log.warning("marked_deleted_only", mailbox=self._name, why="the server lacks UIDPLUS (RFC 4315)")

    def _make_target(self, folder: str) -> None:
        if folder in self._existing_targets:
            return
        if not self._connection.has_folder(folder):
            try:
                self._connection.create_folder(folder)
            except Refused as exc:
                raise SourceUnavailable(
                    f"{self._name}: on_done: the server does not let us create the folder {folder!r} ({exc}); create "
                    "it by hand, or name it as the server wants it (many want it below INBOX: move:INBOX.Processed)"
                ) from exc
            log.info("folder_created", mailbox=self._name, folder=folder)
        self._existing_targets.add(folder)
