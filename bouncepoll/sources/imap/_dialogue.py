"""Commands and answers on one IMAP connection, several commands on their way at once (RFC 9051 section 5.5).

Nothing but ``Refused`` and ``Dropped`` comes out of here; after ``Dropped`` the connection is closed.
"""

import base64
import binascii
import imaplib
import re
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, TypeVar

import structlog

from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._throttle import rest_s
from bouncepoll.sources._transport import Dropped, Refused, broken, said
from bouncepoll.sources.imap._answers import LITERAL, USUAL_FETCH, Fetched, fetch_items, fetched, moment, uid_set
from bouncepoll.sources.imap._wire import ANSWER_OCTETS, BoundedIMAP4

log = structlog.get_logger()

# imaplib and imapclient raise the last five when an answer makes no sense to them.
FAILURES = (imaplib.IMAP4.error, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
#: What an answer to FETCH may hold beside the octets of the mail.
OVERHEAD_OCTETS = 2048
_TAGGED = re.compile(rb"([A-Za-z0-9]{1,20}) (OK|NO|BAD)\b ?(.*)", re.DOTALL | re.IGNORECASE)
_LIMITED = re.compile(rb"\[MESSAGELIMIT (\d{1,9})(?: (\d{1,10}))?\]", re.IGNORECASE)
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_AT_ONCE = 64
#: Makes a named tuple in half the time.
_new = tuple.__new__
#: The end of an answer whose last item is a literal.
_END = b")\r\n"
_ALERT = re.compile(rb"\* (?:OK|NO|BAD) \[ALERT\] (.*)", re.IGNORECASE)
_BYE = re.compile(rb"\* BYE\b ?(.*)", re.IGNORECASE)


class Command:
    """A command that was sent. ``status`` is ``OK``, ``NO`` or ``BAD`` once it was answered, with the server's text."""

    def __init__(self, tag: bytes) -> None:
        self.tag = tag
        self.status: str | None = None
        self.text = b""

    @property
    def limited_to(self) -> tuple[int, int | None] | None:
        """The most mails a command may name, and the lowest UID this one came down to (RFC 9738); None: no limit."""
        found = _LIMITED.search(self.text)
        return (int(found[1]), int(found[2]) if found[2] else None) if found else None

    def check(self) -> None:
        """Make sure that the server did it.

        Raises:
            Refused: it did not.
        """
        if self.status != "OK":
            raise Refused(said(self.text) or f"the server answered {self.status}")


class Fetching(Command):
    """A FETCH that was sent, and what came of it so far."""

    def __init__(self, tag: bytes, uids: Sequence[int], first: int) -> None:
        super().__init__(tag)
        self.uids = frozenset(uids)
        self.first = first
        self.arrived: list[Fetched] = []
        self.items: dict[int, dict[bytes, Any]] = {}


_Command = TypeVar("_Command", bound=Command)


class Dialogue:
    """What is said on a connection. Used by one thread."""

    def __init__(self, options: MailboxOptions, imap: BoundedIMAP4) -> None:
        self._options = options
        self._imap = imap
        self._running: dict[bytes, Command] = {}
        self._asked: dict[int, Fetching] = {}
        # What comes untagged is kept for a command that waits for it; for all others it is of no use.
        self._untagged: list[Sequence[bytes]] | None = None
        self._continued: deque[bytes] = deque()
        self._ending = False
        #: How long the server wants to be left alone after this session, in seconds (Gmail's ``OK [THROTTLED]``).
        self.rest_s = 0.0

    def send(self, text: str, allowance_octets: int = ANSWER_OCTETS) -> Command:
        """Send a command; its answers may have so many octets."""
        return self._send(Command(self._tag()), text, allowance_octets)

    def fetch(self, uids: Sequence[int], first: int, count: int, allowance_octets: int | None = None) -> Fetching:
        """Send for up to ``count`` octets of each mail from offset ``first`` on."""
        octets = allowance_octets or len(uids) * (count + OVERHEAD_OCTETS) + ANSWER_OCTETS
        fetching = Fetching(self._tag(), uids, first)
        items = f"(UID RFC822.SIZE INTERNALDATE BODY.PEEK[]<{first}.{count}>)"
        self._send(fetching, f"UID FETCH {uid_set(uids)} {items}", octets)
        self._asked.update(dict.fromkeys(uids, fetching))
        return fetching

    def stream(self, fetching: Fetching) -> Iterator[list[Fetched]]:
        """Yield the mails of a FETCH as they come, some at a time.

        Raises:
            Refused: the server said no; what it handed out before was yielded.
            Dropped: the connection is over.
        """
        while True:
            if fetching.arrived:
                mails, fetching.arrived = fetching.arrived, []
                yield mails
            if fetching.status is not None:
                break
            try:
                self._step()
            except Dropped:
                yield fetching.arrived
                raise
        fetching.check()

    def finish(self, command: Command) -> None:
        """Wait for the answer to a command; what comes for others meanwhile is kept for them.

        Raises:
            Refused: the server said no.
            Dropped: the connection is over.
        """
        while command.status is None:
            self._step()
        command.check()

    def run(self, text: str, allowance_octets: int = ANSWER_OCTETS) -> tuple[Command, list[Sequence[bytes]]]:
        """Send a command, wait, and return it with the untagged answers; each is its lines and literals in turn.

        Raises:
            Refused, Dropped: as ``finish``.
        """
        with self._collecting() as untagged:
            command = self.send(text, allowance_octets)
            self.finish(command)
        return command, untagged

    def converse(self, text: str, respond: Callable[[bytes], bytes]) -> list[Sequence[bytes]]:
        """Run a command whose continuation requests ask for responses, all in base64 (RFC 9051 section 6.2.2).

        Raises:
            Refused, Dropped: as ``finish``; and what ``respond`` raises.
        """
        with self._collecting() as untagged:
            command = self.send(text)
            while command.status is None:
                self._step()
                while self._continued:
                    self._write(base64.b64encode(respond(_decoded(self._continued.popleft()))) + b"\r\n")
            command.check()
        return [*untagged, [command.text]]

    def cancel(self) -> None:
        """Cancel a conversation."""
        self._write(b"*\r\n")

    def idle(
        self, should_stop: Callable[[], bool], seconds: float, slice_s: float, wake: int | None = None
    ) -> list[bytes]:
        """Wait in IDLE (RFC 2177) for anything, or until the time is over; return what was said, unasked, meanwhile.

        ``should_stop`` is asked every ``slice_s`` seconds, and when the file descriptor ``wake`` can be read.

        Raises:
            Refused: the server does not let us.
            Dropped: the connection is over.
        """
        with self._collecting() as untagged:
            command = self.send("IDLE")
            while not self._continued and command.status is None:
                self._step()
            deadline = time.monotonic() + seconds
            while not untagged and command.status is None and not should_stop():
                left_s = deadline - time.monotonic()
                if left_s <= 0:
                    break
                with self._guarded():
                    comes = self._imap.wire.waiting(min(left_s, slice_s), wake)
                    self._imap.wire.allow(ANSWER_OCTETS)
                if comes:
                    self._step()
            if command.status is None:
                self._write(b"DONE\r\n")
            self.finish(command)
        return [pieces[0] for pieces in untagged]

    def logout(self, timeout_s: float) -> None:
        """Log out and close; never raises, and waits no longer than that."""
        self._ending = True
        with suppress(Refused, Dropped):
            with self._guarded():
                self._imap.wire.socket.settimeout(timeout_s)
            self.run("LOGOUT", 64 * ANSWER_OCTETS)
        self.drop()

    def drop(self) -> None:
        """Close without a word; never raises."""
        with suppress(*FAILURES):
            self._imap.shutdown()

    def _tag(self) -> bytes:
        return bytes(self._imap._new_tag())  # noqa: SLF001 - imaplib counts the tags.

    def _send(self, command: _Command, text: str, allowance_octets: int) -> _Command:
        if _CONTROL.search(text):
            # Whatever made it: what stands behind a line end would be a command of its own.
            raise ValueError("an IMAP command must not hold control characters")
        # What is left of commands that were answered is no one's any more.
        self._imap.wire.allow(allowance_octets, more=bool(self._running))
        self._running[command.tag] = command
        self._write(command.tag + b" " + text.encode("ascii") + b"\r\n")
        return command

    def _write(self, octets: bytes) -> None:
        with self._guarded():
            self._imap.send(octets)

    def _step(self) -> None:
        """Read one answer or more, and give each to whom it belongs."""
        try:
            if not self._usual_answers():
                self._other([self._imap.wire.line()])
        except FAILURES as exc:
            self.drop()
            raise broken(self._options, exc) from exc

    def _usual_answers(self) -> int:
        """Take mails in the usual form, at a few microseconds each, and return how many they were.

        Waits for more while mails are to come: those that came already are in ``arrived`` whatever happens.
        """
        wire, asked = self._imap.wire, self._asked
        buffer, begin = wire.ready
        at, taken = begin, 0
        while taken < _AT_ONCE:
            usual = USUAL_FETCH.match(buffer, at)
            if usual is None:
                if (taken and not asked) or buffer.find(b"\n", at) >= 0:
                    break
                wire.skip(at - begin)
                wire.fill_line()
                buffer, begin = wire.ready
                at = begin
                continue
            number, uid_fetch, named, size, date, origin, octets = usual.groups()
            start = usual.end()
            end = start + int(octets)
            if buffer[end : end + 3] != _END:
                if len(buffer) >= end + 3:
                    break
                wire.skip(at - begin)
                wire.fill(end + 3 - at)
                buffer, begin = wire.ready
                start, end, at = start + begin - at, end + begin - at, begin
                if buffer[end : end + 3] != _END:
                    break
            at = end + 3
            taken += 1
            uid = int((number if uid_fetch else named) or 0)
            fetching = asked.get(uid)
            # Not ours: somebody else's, one we have already, or another part of it.
            if fetching is None or (origin is not None and int(origin) != fetching.first):
                continue
            if origin is None:
                start += fetching.first  # QUIRK: some servers ignore the range and send the whole mail.
            if start < end or fetching.first or not size or size == b"0":
                fetching.arrived.append(_new(Fetched, (uid, buffer[start:end], int(size or 0), moment(date))))
                del asked[uid]
        wire.skip(at - begin)
        return taken

    def _other(self, pieces: list[bytes]) -> None:
        while literal := LITERAL.search(pieces[-1]):
            pieces += [self._imap.wire.literal(int(literal[1])), self._imap.wire.line()]
        line = pieces[0]
        if line.startswith(b"* "):
            self._unasked(pieces)
        elif line.startswith(b"+"):
            self._continued.append(line[1:].strip())
        else:
            tagged = _TAGGED.match(line)
            command = self._running.pop(tagged[1], None) if tagged else None
            if tagged is None or command is None:
                raise ValueError("an answer nobody asked for: " + said(line, 60))
            self._done(command, tagged[2].upper().decode(), b"".join(pieces)[tagged.start(3) :].rstrip())

    def _done(self, command: Command, status: str, text: bytes) -> None:
        command.status, command.text = status, text
        if isinstance(command, Fetching) and self._asked:
            for uid in [uid for uid, fetching in self._asked.items() if fetching is command]:
                del self._asked[uid]
        if status == "OK" and b"[THROTTLED]" in text.upper():
            self.rest_s = max(self.rest_s, rest_s(said(text)) or 0.0)
            log.warning("server_throttles", host=self._options.host, said=said(text))

    def _unasked(self, pieces: list[bytes]) -> None:
        found = fetch_items(pieces)
        if found is not None:
            uid, items = found
            fetching = self._asked.get(uid)
            if fetching is not None:
                items = fetching.items.setdefault(uid, {}) | items
                fetching.items[uid] = items
                complete = fetched(uid, items, fetching.first)
                if complete is not None:
                    fetching.arrived.append(complete)
                    del self._asked[uid], fetching.items[uid]
            return
        line = pieces[0]
        if not self._ending and (bye := _BYE.match(line)):
            self.drop()
            raise Dropped(f"the server ended the session ({said(bye[1]) or 'it did not say why'})")
        if alert := _ALERT.match(line):
            log.warning("server_alert", host=self._options.host, said=said(alert[1]))
        if self._untagged is not None:
            self._untagged.append(pieces)

    @contextmanager
    def _collecting(self) -> Iterator[list[Sequence[bytes]]]:
        found: list[Sequence[bytes]] = []
        self._untagged = found
        self._continued.clear()
        try:
            yield found
        finally:
            self._untagged = None

    @contextmanager
    def _guarded(self) -> Iterator[None]:
        try:
            yield
        except FAILURES as exc:
            self.drop()
            raise broken(self._options, exc) from exc


def _decoded(challenge: bytes) -> bytes:
    try:
        return base64.b64decode(challenge, validate=True)
    except binascii.Error:
        # QUIRK: some servers greet the initial response with words, "+ Ready for your data".
        return challenge
