"""A mailbox in memory, with the failures a real one has."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from bouncepoll.errors import FolderMissing, MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage


@dataclass
class FakeFolder:
    """A folder: mails by UID, their flags, and the UIDVALIDITY."""

    uidvalidity: int = 1
    next_uid: int = 1
    mails: dict[int, bytes] = field(default_factory=dict)
    flags: dict[int, set[str]] = field(default_factory=dict)

    def append(self, octets: bytes) -> int:
        """Add a mail and return its UID."""
        uid = self.next_uid
        self.next_uid += 1
        self.mails[uid] = octets
        self.flags[uid] = set()
        return uid


class FakeSource:
    """A ``Source`` over ``mailbox`` (folder name → ``FakeFolder``), which outlives the sessions.

    ``fail`` is called with the name of each step before it is done and may raise; ``unfetchable`` are UIDs the server
    lists but does not hand out.
    """

    def __init__(
        self,
        name: str,
        folders: Mapping[str, Iterable[bytes]] | None = None,
        *,
        polled: Sequence[str] | None = None,
        analysis_octets: int = 256 * 1024,
        max_octets: int = 50 * 1024 * 1024,
    ) -> None:
        self.name = name
        self.mailbox: dict[str, FakeFolder] = {}
        for folder, mails in (folders or {"INBOX": ()}).items():
            self.mailbox[folder] = FakeFolder()
            for octets in mails:
                self.mailbox[folder].append(octets)
        self.folders = tuple(polled if polled is not None else self.mailbox)
        self.unfetchable: set[int] = set()
        self.fail: Callable[[str], None] = lambda _step: None
        self.is_open = False
        self._unanswered: tuple[MessageRef, ...] = ()
        self._analysis_octets = analysis_octets
        self._max_octets = max_octets

    def open(self) -> None:
        """Start a session."""
        self.fail("open")
        self._unanswered = ()
        self.is_open = True

    def scan(self, folder: str, cursor: Cursor | None) -> Scan:
        """List the mails above the cursor."""
        self._step("scan")
        if folder not in self.mailbox:
            raise FolderMissing(f"mailboxes.{self.name}.folders: there is no folder {folder!r}; create it")
        box = self.mailbox[folder]
        fresh = cursor is None or cursor.uidvalidity != box.uidvalidity
        above = 0 if cursor is None or fresh else cursor.high_water
        return Scan(self.name, folder, box.uidvalidity, tuple(str(uid) for uid in sorted(box.mails) if uid > above))

    def fetch(self, scan: Scan, uids: Sequence[str], ahead: Sequence[str] = ()) -> Iterator[RawMessage | Unfetched]:
        """Yield one entry a UID."""
        for uid in dict.fromkeys(uids):
            self._step("fetch")
            box = self.mailbox[scan.folder]
            if box.uidvalidity != scan.uidvalidity:
                raise SourceUnavailable(f"{self.name}/{scan.folder}: UIDVALIDITY changed meanwhile")
            ref = scan.ref(uid)
            octets = box.mails.get(int(uid))
            if octets is None:
                yield Unfetched(ref, "the mail is gone", gone=True)
            elif int(uid) in self.unfetchable:
                yield Unfetched(ref, "NO this mail cannot be read", permanent=True)
            else:
                yield RawMessage(ref, octets[: self._analysis_octets], len(octets))

    def complete(self, raw: RawMessage) -> RawMessage:
        """Return the mail with all its octets."""
        if not raw.truncated:
            return raw
        self._step("complete")
        octets = self.mailbox[raw.ref.folder].mails.get(int(raw.ref.uid))
        if octets is None:
            raise MessageUnreadable(f"{raw.ref}: the mail is gone")
        if len(octets) > self._max_octets:
            raise MessageUnreadable(f"{raw.ref}: {len(octets)} octets are more than max_octets ({self._max_octets})")
        return replace(raw, octets=octets, size_octets=len(octets))

    def settle(
        self, refs: Sequence[MessageRef], disposition: Disposition, *, wait: bool = True
    ) -> Sequence[MessageRef]:
        """Move, delete or flag the mails; without ``wait`` the answer comes at the next call."""
        self._step("settle")
        for ref in refs:
            box = self.mailbox.get(ref.folder, FakeFolder(uidvalidity=0))
            uid = int(ref.uid)
            if ref.uidvalidity != box.uidvalidity or uid not in box.mails:
                continue
            if disposition.action is DoneAction.SEEN:
                box.flags[uid].add("\\Seen")
            elif disposition.action is not DoneAction.LEAVE:
                octets = box.mails.pop(uid)
                if disposition.folder:
                    self.mailbox.setdefault(disposition.folder, FakeFolder()).append(octets)
        self.fail("settled")
        # Like a server whose answer is on its way: the mails are told of at the next call.
        certain = (*self._unanswered, *(refs if wait else ()))
        self._unanswered = () if wait else tuple(refs)
        return certain

    def close(self) -> None:
        """End the session."""
        self.is_open = False

    def reset_uidvalidity(self, folder: str) -> None:
        """Give every mail of the folder a new UID under a new UIDVALIDITY, as a restored server does."""
        old = self.mailbox[folder]
        fresh = FakeFolder(uidvalidity=old.uidvalidity + 1)
        for uid in sorted(old.mails):
            fresh.append(old.mails[uid])
        self.mailbox[folder] = fresh

    def _step(self, step: str) -> None:
        if not self.is_open:
            raise SourceUnavailable(f"{self.name}: the session is not open")
        self.fail(step)
