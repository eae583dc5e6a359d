"""The IMAP ``Source``: scan by UID, fetch with BODY.PEEK, settle after the commit."""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

import structlog

from bouncepoll.errors import FolderMissing, MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, NumericUids, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.ports import TokenSource
from bouncepoll.sources._isolate import Isolation, persevere
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Dropped, Refused, no_connection, session_failed
from bouncepoll.sources.imap._ahead import Ahead
from bouncepoll.sources.imap._answers import Fetched
from bouncepoll.sources.imap._connection import Connection, Selected
from bouncepoll.sources.imap._placeholder import is_placeholder
from bouncepoll.sources.imap._settle import Job, Settling

log = structlog.get_logger()

_CHUNK_OCTETS = 4 * 1024**2
_SLACK_OCTETS = 1024**2


class _Session:
    """What belongs to one connection, and ends with it."""

    def __init__(self, name: str, options: MailboxOptions, tokens: TokenSource) -> None:
        self.connection = Connection(name, options, tokens)
        self.settling = Settling(name, self.connection)
        # One octet more than is kept tells a longer mail from one of just this size; RFC822.SIZE cannot be trusted.
        self.ahead = Ahead(self.connection, options.analysis_octets + 1)
        self.jobs: deque[tuple[Sequence[MessageRef], Disposition, Job]] = deque()
        #: Mails that are certainly settled, and for which ``settle`` has not said so yet.
        self.settled: list[MessageRef] = []


class ImapSource:
    """One session with an IMAP mailbox."""

    def __init__(self, name: str, folders: Sequence[str], options: MailboxOptions, tokens: TokenSource) -> None:
        """``tokens`` is asked for the secret at each login, also when a lost connection is set up again."""
        self.name = name
        self.folders = tuple(folders)
        self._options = options
        self._tokens = tokens
        self._session: _Session | None = None

    def open(self) -> None:
        """Connect and log in."""
        self.close()
        try:
            self._session = _Session(self.name, self._options, self._tokens)
        except (Dropped, Refused) as exc:
            raise no_connection(self.name, self._options, exc) from exc

    def scan(self, folder: str, cursor: Cursor | None) -> Scan:
        """List the mails above the cursor that are not marked as deleted: those are on their way out already.

        Nothing is searched where UIDNEXT, or an unchanged HIGHESTMODSEQ (RFC 7162), tells that nothing is new.
        """
        with self._guard(folder) as session:
            selected = self._examined(session, folder)
            same = cursor is not None and cursor.uidvalidity == selected.uidvalidity
            above = cursor.high_water if cursor is not None and same else 0
            known_modseq = cursor.highest_modseq if cursor is not None and same else None
            unchanged = known_modseq is not None and known_modseq == selected.highest_modseq
            uids = [] if unchanged else session.connection.search(above)
        return Scan(self.name, folder, selected.uidvalidity, NumericUids(uids), highest_modseq=selected.highest_modseq)

    def _examined(self, session: _Session, folder: str) -> Selected:
        self._leave(session)
        try:
            return session.connection.select(folder, writable=False)
        except Refused as exc:
            if exc.busy or exc.temporary:
                raise
            if not session.connection.find_folder(folder):
                raise FolderMissing(
                    f"mailboxes.{self.name}.folders: {self._options.address} has no folder {folder!r}; "
                    "create it, or take it out of the list"
                ) from exc
        # It is there: somewhere else than we thought, or the server is ill.
        return session.connection.select(folder, writable=False)

    def fetch(self, scan: Scan, uids: Sequence[str], ahead: Sequence[str] = ()) -> Iterator[RawMessage | Unfetched]:
        """Yield one entry a UID; a lost connection is set up again, and a mail that breaks it is isolated."""
        left = {int(uid): uid for uid in uids}
        came_any = False
        with self._guard(scan.folder):
            try:
                session = self._selected(scan.folder, scan.uidvalidity)
                for mails in session.ahead(list(left), list(map(int, ahead))):
                    for mail in mails:
                        uid = left.pop(mail.uid, None)
                        if uid is not None:
                            came_any = True
                            raw = self._raw(scan, uid, mail)
                            yield _held(raw) if is_placeholder(raw.octets) else raw
            except Dropped as exc:
                if exc.retry_after_s is not None:
                    raise
                log.info("fetch_interrupted", mailbox=self.name, folder=scan.folder, error=str(exc))
                self.resume(scan.folder, scan.uidvalidity)
            if left:
                for answer in Isolation(self, scan, tuple(left.values()), self._options.batch, came_any=came_any):
                    yield _held(answer) if isinstance(answer, RawMessage) and is_placeholder(answer.octets) else answer

    def _raw(self, scan: Scan, uid: str, mail: Fetched) -> RawMessage:
        """``uid`` is the scan's own string: who remembers the places of 100,000 mails need not keep another of each."""
        _uid, octets, announced_octets, internal_date = mail
        ref = MessageRef(self.name, scan.folder, scan.uidvalidity, uid)
        kept = self._options.analysis_octets
        if len(octets) <= kept:
            return RawMessage(ref, octets, len(octets), internal_date)
        return RawMessage(ref, octets[:kept], max(announced_octets, len(octets)), internal_date)

    def ask(self, scan: Scan, uids: Sequence[str]) -> Mapping[str, RawMessage]:
        """Fetch mails; for ``Isolation``."""
        session = self._selected(scan.folder, scan.uidvalidity)
        # A single mail may come whole, for servers that ignore the range; many at once may not.
        allowance = self._options.max_octets + _SLACK_OCTETS if len(uids) == 1 else None
        numbers = [int(uid) for uid in uids]
        fetched = session.connection.fetched(numbers, 0, self._options.analysis_octets + 1, allowance)
        return {uid: self._raw(scan, uid, fetched.pop(int(uid))) for uid in uids if int(uid) in fetched}

    def lists(self, scan: Scan, uid: str) -> bool:
        """Whether the mail is still there; for ``Isolation``."""
        return self._selected(scan.folder, scan.uidvalidity).connection.lists(int(uid))

    def resume(self, folder: str, uidvalidity: int | None) -> None:
        """Connect again after the connection was lost; for ``Isolation``."""
        self.open()
        self._selected(folder, uidvalidity)

    def complete(self, raw: RawMessage) -> RawMessage:
        """Return the mail with all its octets."""
        if not raw.truncated:
            return raw
        with self._guard(raw.ref.folder):
            return persevere(self, raw.ref, lambda: self._completed(raw))

    def _completed(self, raw: RawMessage) -> RawMessage:
        connection = self._selected(raw.ref.folder, raw.ref.uidvalidity).connection
        parts, size_octets = [raw.octets], len(raw.octets)
        while part := self._part(connection, raw.ref, size_octets):
            size_octets += len(part)
            if size_octets > self._options.max_octets:
                raise MessageUnreadable(
                    f"{raw.ref}: {max(size_octets, raw.size_octets)} octets are more than "
                    f"max_octets ({self._options.max_octets}); raise it to forward such mails"
                )
            parts.append(part)
            if len(part) < _CHUNK_OCTETS:
                break
        return replace(raw, octets=b"".join(parts), size_octets=size_octets)

    def _part(self, connection: Connection, ref: MessageRef, first: int) -> bytes:
        uid = int(ref.uid)
        fetched = connection.fetched([uid], first, _CHUNK_OCTETS, self._options.max_octets + _CHUNK_OCTETS).get(uid)
        if fetched is None:
            raise MessageUnreadable(f"{ref}: the mail is gone from the server, only {first} octets of it were fetched")
        return fetched.octets

    def settle(
        self, refs: Sequence[MessageRef], disposition: Disposition, *, wait: bool = True
    ) -> Sequence[MessageRef]:
        """Move, delete or flag the mails, and return those for which it is certain.

        Places under another UIDVALIDITY than the folder now has count as settled: they name nothing any more. Without
        ``wait`` the server works while the next mails stream; what it did is returned by a later call.
        """
        if disposition.action is DoneAction.LEAVE:
            return tuple(refs)
        session = self._live()
        for folder, group in groupby(sorted(refs), key=attrgetter("folder")):
            with self._guard(folder):
                self._begin(session, folder, list(group), disposition)
        self._collect(session, wait=wait)
        settled = tuple(session.settled)
        session.settled.clear()
        return settled

    def _begin(self, session: _Session, folder: str, places: Sequence[MessageRef], disposition: Disposition) -> None:
        present = session.connection.selected
        if present is None or present.folder != folder or not present.writable:
            if present is not None and present.folder == folder:
                session.ahead.land()
            else:
                self._leave(session)
            present = session.connection.select(folder, writable=True)
        valid = {int(ref.uid): ref for ref in places if ref.uidvalidity == present.uidvalidity}
        session.settled += [ref for ref in places if ref.uidvalidity != present.uidvalidity]
        for job in session.settling.begin(list(valid), disposition) if valid else ():
            session.jobs.append(([valid[uid] for uid in job.uids], disposition, job))

    def _collect(self, session: _Session, *, wait: bool) -> None:
        """Note the mails of the jobs the server answered; of all of them when we ``wait``."""
        while session.jobs and (wait or session.jobs[0][2].answered):
            refs, disposition, job = session.jobs.popleft()
            with self._guard(refs[0].folder):
                done = session.settling.end(job, disposition)
            session.settled += [ref for ref in refs if int(ref.uid) in done]

    def _leave(self, session: _Session) -> None:
        """Finish everything that is on its way in the selected folder, before another one is selected."""
        session.ahead.discard()
        self._collect(session, wait=True)

    def close(self) -> None:
        """Log out and close."""
        session, self._session = self._session, None
        if session:
            session.connection.logout()

    def _selected(self, folder: str, uidvalidity: int | None) -> _Session:
        session = self._live()
        selected = session.connection.selected
        if selected is None or selected.folder != folder:
            self._leave(session)
            selected = session.connection.select(folder, writable=False)
        if selected.uidvalidity != uidvalidity:
            raise SourceUnavailable(
                f"{self.name}/{folder}: UIDVALIDITY changed from {uidvalidity} to {selected.uidvalidity} meanwhile; "
                "the next poll scans the folder anew"
            )
        return session

    def _live(self) -> _Session:
        if self._session is None:
            raise SourceUnavailable(f"{self.name}: the session is not open")
        return self._session

    @contextmanager
    def _guard(self, folder: str) -> Iterator[_Session]:
        try:
            yield self._live()
        except (Dropped, Refused) as exc:
            if self._session is not None:
                self._session.connection.rest(exc.retry_after_s)
            raise session_failed(self.name, folder, self._options, exc) from exc


def _held(raw: RawMessage) -> Unfetched:
    return Unfetched(
        raw.ref,
        'the server could not convert this mail and handed out a note instead ("Retrieval using the IMAP4 protocol '
        'failed"); each poll asks for it again; read it with Outlook, then move or delete it',
    )
