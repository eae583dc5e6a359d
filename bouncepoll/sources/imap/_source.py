"""The IMAP ``Source``: scan by UID, fetch with BODY.PEEK, settle after the commit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import groupby
from operator import attrgetter

from bouncepoll.errors import ConfigurationError, MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.ports import TokenSource
from bouncepoll.sources._isolate import Isolation, persevere
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Dropped, Refused
from bouncepoll.sources.imap._connection import Connection, Selected
from bouncepoll.sources.imap._settle import Settling

_CHUNK_OCTETS = 4 * 1024**2
_SLACK_OCTETS = 1024**2


class ImapSource:
    """One session with an IMAP mailbox."""

    def __init__(self, name: str, folders: Sequence[str], options: MailboxOptions, tokens: TokenSource) -> None:
        """``tokens`` is asked for the secret at each login, also when a lost connection is set up again."""
        self.name = name
        self.folders = tuple(folders)
        self._options = options
        self._tokens = tokens
        self._connection: Connection | None = None
        self._settling: Settling | None = None

    def open(self) -> None:
        """Connect and log in."""
        self.close()
        self._connection = Connection(self.name, self._options, self._tokens.secret())
        self._settling = Settling(self.name, self._connection)

    def scan(self, folder: str, cursor: Cursor | None) -> Scan:
        """List the mails above the cursor that are not marked as deleted: those are on their way out already."""
        with self._guard(folder) as connection:
            try:
                uidvalidity = connection.select(folder, writable=False).uidvalidity
            except Refused as exc:
                if not connection.has_folder(folder):
                    raise ConfigurationError(
                        f"mailboxes.{self.name}.folders: {self._options.address} has no folder {folder!r}; "
                        "create it, or take it out of the list"
                    ) from exc
                raise
            same = cursor is not None and cursor.uidvalidity == uidvalidity
            uids = connection.search(above=cursor.high_water if cursor is not None and same else 0)
        return Scan(self.name, folder, uidvalidity, tuple(str(uid) for uid in uids))

    def fetch(self, scan: Scan, uids: Sequence[str]) -> Iterator[RawMessage | Unfetched]:
        """Yield one entry a UID; a lost connection is set up again, and a mail that breaks it is isolated."""
        with self._guard(scan.folder):
            yield from Isolation(self, scan, uids, self._options.batch)

    def ask(self, scan: Scan, uids: Sequence[str]) -> Mapping[str, RawMessage]:
        """Fetch mails; for ``Isolation``."""
        connection = self._selected(scan.folder, scan.uidvalidity)
        analysis_octets = self._options.analysis_octets
        # A single mail may come whole, for servers that ignore the range; many at once may not.
        allowance = self._options.max_octets + _SLACK_OCTETS if len(uids) == 1 else None
        # One octet more than is kept tells a longer mail from one of just this size; RFC822.SIZE cannot be trusted.
        fetched = connection.fetch([int(uid) for uid in uids], 0, analysis_octets + 1, allowance)
        answers = {}
        for uid in list(fetched):
            octets, announced_octets, internal_date = fetched.pop(uid)
            longer = len(octets) > analysis_octets
            size_octets = max(announced_octets, len(octets)) if longer else len(octets)
            answers[str(uid)] = RawMessage(scan.ref(str(uid)), octets[:analysis_octets], size_octets, internal_date)
        return answers

    def lists(self, scan: Scan, uid: str) -> bool:
        """Whether the mail is still there; for ``Isolation``."""
        return self._selected(scan.folder, scan.uidvalidity).lists(int(uid))

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
        connection = self._selected(raw.ref.folder, raw.ref.uidvalidity)
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
        fetched = connection.fetch([uid], first, _CHUNK_OCTETS, self._options.max_octets + _CHUNK_OCTETS).get(uid)
        if fetched is None:
            raise MessageUnreadable(f"{ref}: the mail is gone from the server, only {first} octets of it were fetched")
        return fetched.octets

    def settle(self, refs: Sequence[MessageRef], disposition: Disposition) -> Sequence[MessageRef]:
        """Move, delete or flag the mails, and return those for which it is certain.

        Places under another UIDVALIDITY than the folder now has count as settled: they name nothing any more.
        """
        if disposition.action is DoneAction.LEAVE:
            return tuple(refs)
        settled: list[MessageRef] = []
        for folder, group in groupby(sorted(refs), key=attrgetter("folder")):
            with self._guard(folder) as connection:
                present = connection.select(folder, writable=True)
                places = list(group)
                uids = [int(ref.uid) for ref in places if ref.uidvalidity == present.uidvalidity]
                done = self._settling(uids, disposition) if self._settling and uids else frozenset()
                settled += [ref for ref in places if ref.uidvalidity != present.uidvalidity or int(ref.uid) in done]
        return tuple(settled)

    def close(self) -> None:
        """Log out and close."""
        connection, self._connection, self._settling = self._connection, None, None
        if connection:
            connection.logout()

    def _selected(self, folder: str, uidvalidity: int | None) -> Connection:
        connection = self._live()
        selected: Selected = (
            connection.selected
            if connection.selected and connection.selected.folder == folder
            else connection.select(folder, writable=False)
        )
        if selected.uidvalidity != uidvalidity:
            raise SourceUnavailable(
                f"{self.name}/{folder}: UIDVALIDITY changed from {uidvalidity} to {selected.uidvalidity} meanwhile; "
                "the next poll scans the folder anew"
            )
        return connection

    def _live(self) -> Connection:
        if self._connection is None:
            raise SourceUnavailable(f"{self.name}: the session is not open")
        return self._connection

    @contextmanager
    def _guard(self, folder: str) -> Iterator[Connection]:
        try:
            yield self._live()
        except (Dropped, Refused) as exc:
            raise SourceUnavailable(f"{self.name}/{folder}: {self._options.address}: {exc}") from exc
