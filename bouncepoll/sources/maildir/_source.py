"""The Maildir ``Source``: mails are files, known by the part of their name that stays."""

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

import structlog

from bouncepoll.errors import ConfigurationError, MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.sources._octets import beginning, too_large, with_crlf
from bouncepoll.sources.maildir._folder import Folder, Place

log = structlog.get_logger()

_READ_OCTETS = 1024 * 1024


class MaildirOptions(Protocol):
    """What a session needs of the options."""

    @property
    def path(self) -> Path: ...
    @property
    def folders(self) -> tuple[str, ...]: ...
    @property
    def analysis_octets(self) -> int: ...
    @property
    def max_octets(self) -> int: ...


class MaildirSource:
    """A session with a Maildir. Others may deliver to it and read it at the same time."""

    def __init__(self, name: str, options: MaildirOptions) -> None:
        """``options.path`` is looked at when the session is opened."""
        self.name = name
        self.folders = options.folders
        self._options = options
        self._is_open = False
        self._folders: dict[str, Folder] = {}
        self._places: dict[str, dict[str, Place]] = {}
        # Folders that were listed again in this call: once is enough, whatever others do to 100,000 mails meanwhile.
        self._listed_again: set[str] = set()

    def open(self) -> None:
        """Open the Maildir."""
        self.close()
        self._is_open = True
        with self._guard(self._options.path):
            self._folder(self.folders[0])

    def scan(self, folder: str, cursor: Cursor | None) -> Scan:  # noqa: ARG002 - names do not ascend.
        """List all mails, oldest first; no cursor leaves any out, for names have no order to rely on."""
        with self._guard(self._options.path):
            self._places[folder] = self._folder(folder).mails()
        return Scan(self.name, folder, None, tuple(self._places[folder]))

    def fetch(
        self,
        scan: Scan,
        uids: Sequence[str],
        ahead: Sequence[str] = (),  # noqa: ARG002 - there is nobody to send it.
    ) -> Iterator[RawMessage | Unfetched]:
        """Yield one entry a UID."""
        self._listed_again.clear()
        for uid in dict.fromkeys(uids):
            ref = scan.ref(uid)
            with self._guard(self._options.path):
                try:
                    raw = self._read(ref, self._options.analysis_octets)
                except PermissionError as exc:
                    # It may be mended: the mail is asked for again.
                    yield Unfetched(ref, f"the file cannot be read: {exc.strerror}; check its owner and mode")
                    continue
                except OSError as exc:
                    if exc.errno not in (errno.ELOOP, errno.EINVAL):
                        raise
                    yield Unfetched(ref, f"this is no mail: {exc.strerror}", permanent=True)
                    continue
                yield raw or Unfetched(ref, "the mail is gone", gone=True)

    def complete(self, raw: RawMessage) -> RawMessage:
        """Return the mail with all its octets."""
        if not raw.truncated:
            return raw
        self._listed_again.clear()
        with self._guard(self._options.path):
            whole = self._read(raw.ref, None)
        if whole is None:
            raise MessageUnreadable(
                f"{raw.ref}: the mail is gone from the Maildir, only {len(raw.octets)} octets of it were read"
            )
        return whole

    def settle(
        self,
        refs: Sequence[MessageRef],
        disposition: Disposition,
        *,
        wait: bool = True,  # noqa: ARG002 - it is done at once.
    ) -> Sequence[MessageRef]:
        """Move, delete or mark the mails; those that are gone count as settled."""
        if disposition.action is not DoneAction.LEAVE:
            self._listed_again.clear()
            for name in dict.fromkeys(ref.folder for ref in refs):
                with self._guard(self._options.path, writing=True):
                    self._settle(name, [ref.uid for ref in refs if ref.folder == name], disposition)
        return tuple(refs)

    def _settle(self, name: str, uids: Sequence[str], disposition: Disposition) -> None:
        folder = self._folder(name)
        target = folder
        if disposition.action is DoneAction.MOVE and disposition.folder is not None:
            target = self._folders.get(disposition.folder) or Folder(
                self._options.path, disposition.folder, create=True
            )
            self._folders[disposition.folder] = target
        for uid in uids:
            place = self._located(name, uid)
            if place is None:
                continue
            match disposition.action:
                case DoneAction.DELETE:
                    folder.delete(place)
                case DoneAction.SEEN:
                    folder.mark_seen(place)
                case _:
                    folder.move(place, target)
            del self._places[name][uid]
        # The mails have to be there first: a crash between the two may show them twice, but loses none.
        if target is not folder:
            target.sync()
        folder.sync()

    def close(self) -> None:
        """Close the Maildir; never raises, may be called twice."""
        self._is_open = False
        for folder in self._folders.values():
            folder.close()
        self._folders.clear()
        self._places.clear()

    def _folder(self, name: str) -> Folder:
        if not self._is_open:
            raise SourceUnavailable(f"{self.name}: the session is not open")
        if name not in self._folders:
            self._folders[name] = Folder(self._options.path, name)
        return self._folders[name]

    def _located(self, name: str, uid: str) -> Place | None:
        """Return where a mail stands now; None when it is gone."""
        folder = self._folder(name)
        place = self._places.get(name, {}).get(uid)
        if place is not None and folder.has(place):
            return place
        # Somebody else moved it to "cur" or changed its flags, and most likely those of others too.
        if name not in self._listed_again:
            self._listed_again.add(name)
            self._places[name] = folder.mails()
        place = self._places[name].get(uid)
        return place if place is not None and folder.has(place) else None

    def _read(self, ref: MessageRef, limit_octets: int | None) -> RawMessage | None:
        """Return a mail, or the beginning of it; None when it is gone."""
        folder = self._folder(ref.folder)
        place = self._places.get(ref.folder, {}).get(ref.uid)
        for _attempt in range(2):
            place = place or self._located(ref.folder, ref.uid)
            if place is None:
                return None
            try:
                with folder.opened(place) as (descriptor, state):
                    return self._message(ref, descriptor, state, limit_octets)
            except FileNotFoundError:
                place = None
        return None

    def _message(self, ref: MessageRef, descriptor: int, state: os.stat_result, limit_octets: int | None) -> RawMessage:
        if limit_octets is None and state.st_size > self._options.max_octets:
            raise too_large(ref, state.st_size, self._options.max_octets)
        wanted = min(state.st_size, self._options.max_octets if limit_octets is None else limit_octets + 1)
        octets = with_crlf(_read(descriptor, wanted))
        received_at = datetime.fromtimestamp(state.st_mtime, UTC)
        size_octets = len(octets) if state.st_size <= wanted else max(state.st_size, len(octets))
        raw = RawMessage(ref, octets, size_octets, received_at)
        return raw if limit_octets is None else beginning(raw, limit_octets)

    @contextmanager
    def _guard(self, path: Path, *, writing: bool = False) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError) as exc:
            missing = exc.filename or path
            raise ConfigurationError(
                f"mailboxes.{self.name}.path: {path}: there is no Maildir, or not all of it ({missing!s:.100}): it "
                "needs the folders new and cur; check path and folders"
            ) from exc
        except OSError as exc:
            what, check = ("written", "owner, mode and space") if writing else ("read", "owner and mode")
            if exc.errno == errno.EXDEV:
                check = "that the folder of on_done is on the same file system"
            found = exc.strerror or type(exc).__name__
            raise SourceUnavailable(
                f"{self.name}: {path}: the Maildir cannot be {what}: {found}; check {check}"
            ) from exc


def _read(descriptor: int, count: int) -> bytes:
    """Return up to so many octets of a file."""
    parts: list[bytes] = []
    left = count
    while left > 0 and (part := os.read(descriptor, min(left, _READ_OCTETS))):
        parts.append(part)
        left -= len(part)
    return b"".join(parts)
