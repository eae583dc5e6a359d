"""The mbox ``Source``: a mail's UID is the place of its first octet in the file, counted from 1."""

import re
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Protocol

from bouncepoll.errors import ConfigurationError, MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.sources._octets import beginning, too_large, with_crlf
from bouncepoll.sources.mbox._file import Locked, MboxFile, Span, uidvalidity

_FOLDER = "INBOX"
# mboxrd quotes every line that begins with any number of '>' and "From "; mboxo those without '>' only.
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)
_DATE = re.compile(rb"[A-Z][a-z]{2} [A-Z][a-z]{2} [ \d]\d \d{1,2}:\d\d(?::\d\d)? \d{4}")
_DATE_FORMATS = ("%a %b %d %H:%M:%S %Y", "%a %b %d %H:%M %Y")
_MAX_FROM_LINE_OCTETS = 600
_SLACK_OCTETS = 1024


class MboxOptions(Protocol):
    """What a session needs of the options."""

    @property
    def path(self) -> Path: ...
    @property
    def analysis_octets(self) -> int: ...
    @property
    def max_octets(self) -> int: ...
    @property
    def lock_timeout(self) -> float: ...


class MboxSource:
    """A session with an mbox file, which is never changed."""

    folders = (_FOLDER,)

    def __init__(self, name: str, options: MboxOptions, now: Callable[[], float] = time.time) -> None:
        """``now`` gives the time in seconds since 1970; it tells whether a delivery is still going on."""
        self.name = name
        self._options = options
        self._now = now
        self._file: MboxFile | None = None
        self._ends: dict[int, int] = {}

    def open(self) -> None:
        """Open the file."""
        self.close()
        with self._guard():
            self._file = MboxFile(self._options.path)

    def scan(self, folder: str, cursor: Cursor | None) -> Scan:
        """List the mails behind the cursor, in the order of the file; all of them when the file is another one."""
        if folder != _FOLDER:
            raise ConfigurationError(f"mailboxes.{self.name}.folders: an mbox has no folder {folder!r}, only {_FOLDER}")
        with self._guard():
            self._opened()
            # The path may name another file by now: logs are rotated, and so are mailboxes.
            self.open()
            with self._locked() as file:
                if not file.is_mbox:
                    raise ConfigurationError(
                        f"mailboxes.{self.name}.path: {self._options.path} is no mbox: it does not begin with a line "
                        "'From SENDER DATE'; check path"
                    )
                known = None if cursor is None else cursor.uidvalidity
                last = None if cursor is None or cursor.high_water == 0 else cursor.high_water - 1
                intact = last is None or file.begins_mail(last)
                validity = uidvalidity(file.identity(), known, intact=intact)
                start = last if last is not None and validity == known else 0
                spans = file.spans(start, self._now())
        self._ends = {span.start: span.end for span in spans}
        uids = tuple(str(span.start + 1) for span in spans if span.start > start or last is None or validity != known)
        return Scan(self.name, folder, validity, uids)

    def fetch(
        self,
        scan: Scan,
        uids: Sequence[str],
        ahead: Sequence[str] = (),  # noqa: ARG002 - there is nobody to send it.
    ) -> Iterator[RawMessage | Unfetched]:
        """Yield one entry a UID."""
        with self._guard():
            answers = [self._entry(scan.ref(uid)) for uid in self._of_this_file(scan, uids)]
        yield from answers

    def complete(self, raw: RawMessage) -> RawMessage:
        """Return the mail with all its octets."""
        if not raw.truncated:
            return raw
        span = self._span(raw.ref)
        if span is None:
            raise MessageUnreadable(
                f"{raw.ref}: the mail is gone from the file, only {len(raw.octets)} octets of it were read"
            )
        with self._guard():
            whole = self._read(raw.ref, span, None)
        if whole is None:
            raise MessageUnreadable(f"{raw.ref}: the file was rewritten, only {len(raw.octets)} octets were read")
        return whole

    def settle(
        self,
        refs: Sequence[MessageRef],
        disposition: Disposition,
        *,
        wait: bool = True,  # noqa: ARG002 - there is nothing to wait for.
    ) -> Sequence[MessageRef]:
        """Leave the mails; nothing else can be done with an mbox."""
        if disposition.action is not DoneAction.LEAVE:
            raise ConfigurationError(
                f"mailboxes.{self.name}.on_done: an mbox is read only, so write 'leave' instead of {str(disposition)!r}"
            )
        return tuple(refs)

    def close(self) -> None:
        """Close the file; never raises, may be called twice."""
        file, self._file = self._file, None
        if file is not None:
            with suppress(OSError):
                file.close()

    def _of_this_file(self, scan: Scan, uids: Sequence[str]) -> list[str]:
        file = self._opened()
        if scan.uidvalidity is None or scan.uidvalidity >> 4 != uidvalidity(file.identity(), None, intact=True) >> 4:
            raise SourceUnavailable(
                f"{self.name}/{_FOLDER}: {self._options.path} has another UIDVALIDITY by now: it was replaced while it "
                "was read; the next poll reads it anew"
            )
        return list(dict.fromkeys(uids))

    def _entry(self, ref: MessageRef) -> RawMessage | Unfetched:
        span = self._span(ref)
        raw = None if span is None else self._read(ref, span, self._options.analysis_octets)
        return raw or Unfetched(ref, "the mail is gone", gone=True)

    def _span(self, ref: MessageRef) -> Span | None:
        start = int(ref.uid) - 1 if ref.uid.isascii() and ref.uid.isdigit() else -1
        return Span(start, self._ends[start]) if start in self._ends else None

    def _read(self, ref: MessageRef, span: Span, limit_octets: int | None) -> RawMessage | None:
        """Return a mail, or the beginning of it; None when another one stands in its place."""
        file = self._opened()
        if not file.begins_mail(span.start) or span.end > file.size_octets:
            return None
        first_line = file.read(span.start, _MAX_FROM_LINE_OCTETS).partition(b"\n")[0]
        begin = span.start + len(first_line) + 1
        # The empty line that parts a mail from the next one is no part of it.
        size_octets = max(0, span.end - begin)
        size_octets -= _empty_line_octets(file.read(span.end - min(size_octets, 3), min(size_octets, 3)))
        if limit_octets is None and size_octets > self._options.max_octets:
            raise too_large(ref, size_octets, self._options.max_octets)
        wanted = size_octets if limit_octets is None else min(size_octets, limit_octets + _SLACK_OCTETS)
        octets = file.read(begin, wanted)
        octets = with_crlf(_QUOTED.sub(rb"\1", octets) if b">From " in octets else octets)
        if wanted == size_octets:
            size_octets = len(octets)
        raw = RawMessage(ref, octets, max(size_octets, len(octets)), _delivered_at(first_line))
        return raw if limit_octets is None else beginning(raw, limit_octets)

    def _opened(self) -> MboxFile:
        if self._file is None:
            raise SourceUnavailable(f"{self.name}: the session is not open")
        return self._file

    @contextmanager
    def _locked(self) -> Iterator[MboxFile]:
        file = self._opened()
        with file.locked(self._options.lock_timeout):
            yield file

    @contextmanager
    def _guard(self) -> Iterator[None]:
        path = self._options.path
        try:
            yield
        except FileNotFoundError as exc:
            raise ConfigurationError(f"mailboxes.{self.name}.path: {path}: there is no such file; check path") from exc
        except Locked as exc:
            raise SourceUnavailable(
                f"{self.name}: {path}: another program keeps it locked for more than {self._options.lock_timeout:g} s; "
                f"the next poll tries again; if that stays so, look for {path}.lock"
            ) from exc
        except OSError as exc:
            raise SourceUnavailable(
                f"{self.name}: {path}: the file cannot be read: {exc.strerror or type(exc).__name__}; check its owner "
                "and mode"
            ) from exc


def _empty_line_octets(tail: bytes) -> int:
    """Return how long the empty line at the end of some octets is; 0 when there is none."""
    return next((len(end) for end in (b"\r\n", b"\n") if tail == end or tail.endswith(b"\n" + end)), 0)


def _delivered_at(from_line: bytes) -> datetime | None:
    """Return the time in a From_ line, which has no zone (RFC 4155: it is UTC); None when there is none."""
    match = _DATE.search(from_line)
    for form in _DATE_FORMATS if match else ():
        with suppress(ValueError):
            return datetime.strptime(match[0].decode("ascii"), form).replace(tzinfo=UTC)  # type: ignore[index]
    return None
