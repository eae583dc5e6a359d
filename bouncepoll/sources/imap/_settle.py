"""What becomes of stored mails at the server: sent for at once, and certain once the server said so."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from bouncepoll.errors import SourceUnavailable
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.sources._transport import Refused
from bouncepoll.sources.imap._connection import Connection
from bouncepoll.sources.imap._dialogue import Command

log = structlog.get_logger()

_BATCH = 500
#: Halving 500 mails down to a refused one takes nine refusals: two such mails are found, a full quota soon stops it.
_MAX_REFUSALS = 20


@dataclass(frozen=True, slots=True)
class Job:
    """Mails that are being settled: done when every one of ``commands`` is."""

    uids: tuple[int, ...]
    commands: tuple[Command, ...]

    @property
    def answered(self) -> bool:
        """Whether the server said something to each command."""
        return all(command.status is not None for command in self.commands)


class Settling:
    """Settles mails of the selected folder; one for each connection."""

    def __init__(self, name: str, connection: Connection) -> None:
        """``name`` is the mailbox's name, for messages."""
        self._name = name
        self._connection = connection
        self._existing_targets: set[str] = set()
        self._said_unexpunged = False

    def begin(self, uids: Sequence[int], disposition: Disposition) -> list[Job]:
        """Send for mails to be settled, in one command a batch where the server can do that.

        Raises:
            SourceUnavailable: the target folder does not exist and cannot be made.
            Dropped: the connection is over.
        """
        if disposition.folder:
            self._make_target(disposition.folder)
        size = min(_BATCH, self._connection.window)
        batches = [uids[start : start + size] for start in range(0, len(uids), size)]
        return [self._begin(batch, disposition) for batch in batches]

    def end(self, job: Job, disposition: Disposition) -> frozenset[int]:
        """Wait for a job, and return the mails that are settled now; a mail that is gone is.

        A batch that was refused is settled in halves, down to the mail that cannot be.

        Raises:
            Dropped: the connection is over.
        """
        done: set[int] = set()
        queue = deque([job])
        refusals = 0
        while queue and refusals < _MAX_REFUSALS:
            batch = queue.popleft()
            try:
                left = self._end(batch)
                done.update(set(batch.uids) - set(left))
                if left and len(left) < len(batch.uids):
                    queue.append(self._begin(left, disposition))
            except Refused as exc:
                refusals += 1
                log.warning(
                    "settle_refused", mailbox=self._name, what=str(disposition), mails=len(batch.uids), said=str(exc)
                )
                if exc.busy or exc.over_quota:
                    break
                if len(batch.uids) > 1:
                    middle = len(batch.uids) // 2
                    halves = batch.uids[:middle], batch.uids[middle:]
                    queue.extendleft(self._begin(half, disposition) for half in reversed(halves))
        for batch in queue:
            self._forget(batch)
        return frozenset(done)

    def _end(self, job: Job) -> Sequence[int]:
        """Wait for a job, and return the mails the server left out (RFC 9738)."""
        left: Sequence[int] = ()
        for command in job.commands:
            self._connection.dialogue.finish(command)
            limited = command.limited_to
            if limited is not None:
                _most, lowest = limited
                if lowest is None:
                    raise Refused(f"only some of the mails: {command.text.decode('ascii', 'replace')[:80]}")
                left = [uid for uid in job.uids if uid < lowest]
        return left

    def _forget(self, job: Job) -> None:
        for command in job.commands:
            try:
                self._connection.dialogue.finish(command)
            except Refused:
                continue

    def _begin(self, uids: Sequence[int], disposition: Disposition) -> Job:
        return Job(tuple(uids), self._send(uids, disposition))

    def _send(self, uids: Sequence[int], disposition: Disposition) -> tuple[Command, ...]:
        if disposition.action is DoneAction.SEEN:
            return (self._connection.add_flag(uids, "\\Seen"),)
        if disposition.action is DoneAction.DELETE:
            return self._delete(uids)
        if disposition.folder is None:
            raise SourceUnavailable(f"{self._name}: on_done: a move needs a folder; write move:FOLDER")
        if self._connection.moves:
            return (self._connection.move(uids, disposition.folder),)
        return self._copy_and_delete(uids, disposition.folder)

    def _copy_and_delete(self, uids: Sequence[int], folder: str) -> tuple[Command, ...]:
        """Move without MOVE. What could not be copied is not deleted.

        A crash between these two leaves the copy, and the next poll copies again. Better twice than lost.
        """
        copy = self._connection.copy(uids, folder)
        try:
            self._connection.dialogue.finish(copy)
        except Refused:
            return (copy,)
        _most, lowest = copy.limited_to or (0, 0)
        copied = [uid for uid in uids if lowest is not None and uid >= lowest]
        return (copy, *self._delete(copied)) if copied else (copy,)

    def _delete(self, uids: Sequence[int]) -> tuple[Command, ...]:
        marked = self._connection.add_flag(uids, "\\Deleted")
        if self._connection.supports("UIDPLUS"):
            return (marked, self._connection.expunge(uids))
        if not self._said_unexpunged:
            # A plain EXPUNGE would also remove what somebody else marked, and may still want to take back.
            self._said_unexpunged = True
            log.warning("marked_deleted_only", mailbox=self._name, why="the server lacks UIDPLUS (RFC 4315)")
        return (marked,)

    def _make_target(self, folder: str) -> None:
        if folder in self._existing_targets:
            return
        if not self._connection.find_folder(folder):
            try:
                self._connection.create_folder(folder)
            except Refused as exc:
                raise SourceUnavailable(
                    f"{self._name}: on_done: the server does not let us create the folder {folder!r} ({exc}); create "
                    "it by hand, or name it as the server wants it (many want it below INBOX: move:INBOX.Processed)"
                ) from exc
            log.info("folder_created", mailbox=self._name, folder=folder)
        self._existing_targets.add(folder)
