"""The POP3 ``Source``: UIDL, RETR or TOP, and DELE after the commit."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace

import structlog

from bouncepoll.errors import ConfigurationError, MessageUnreadable, SourceUnavailable
from bouncepoll.model.mailbox import Cursor, Disposition, DoneAction, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.ports import TokenSource
from bouncepoll.sources._isolate import Isolation, persevere
from bouncepoll.sources._octets import too_large
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Dropped, Refused, session_failed
from bouncepoll.sources.pop3._connection import Connection
from bouncepoll.sources.pop3._maildrop import Maildrop

log = structlog.get_logger()

_FOLDER = "INBOX"


class Pop3Source:
    """Sessions with a POP3 mailbox: one at a time, and a new one when it is needed after one was ended.

    Mails are marked as deleted as they are settled, and deleted when the session is ended with QUIT. After a failure
    it is never ended so: the marks are lost, no mail is.
    """

    folders = (_FOLDER,)

    def __init__(self, name: str, options: MailboxOptions, tokens: TokenSource) -> None:
        """``tokens`` is asked for the secret at each login, thus for each session."""
        self.name = name
        #: How long the server wants this mailbox to be left alone after a login (LOGIN-DELAY), in seconds; 0: at will.
        self.login_delay_s = 0.0
        self._options = options
        self._tokens = tokens
        self._is_open = False
        self._connection: Connection | None = None
        self._listed: Maildrop | None = None
        self._scanned = False
        self._ahead: Sequence[str] = ()
        self._came_any = False
        # Marked as deleted in this session; and deleted in an earlier one, but not told yet.
        self._marked: dict[MessageRef, tuple[int, ...]] = {}
        self._certain: list[MessageRef] = []

    def open(self) -> None:
        """Connect and log in."""
        self.close()
        self._is_open = True
        with self._guard():
            self._live()

    def scan(self, folder: str, cursor: Cursor | None) -> Scan:  # noqa: ARG002 - there is no order to rely on.
        """List all mails, in the order of the server; unique-ids do not ascend, so no cursor leaves any out."""
        if folder != _FOLDER:
            raise ConfigurationError(
                f"mailboxes.{self.name}.folders: POP3 has no folder {folder!r}, only {_FOLDER}; use protocol 'imap'"
            )
        with self._guard():
            if self._scanned:
                # A session shows the mails that were there when it began.
                self._end()
            uids = self._maildrop().uids
            self._scanned = True
        return Scan(self.name, folder, None, uids)

    def fetch(self, scan: Scan, uids: Sequence[str], ahead: Sequence[str] = ()) -> Iterator[RawMessage | Unfetched]:
        """Yield one entry a UID; a lost connection is set up again, and a mail that breaks it is isolated."""
        self._ahead = ahead
        with self._guard():
            yield from Isolation(self, scan, uids, self._options.batch, came_any=self._came_any)

    def ask(self, scan: Scan, uids: Sequence[str]) -> Mapping[str, RawMessage]:
        """Fetch mails; for ``Isolation``."""
        maildrop = self._maildrop()
        numbers = {uid: found[0] for uid in uids if (found := maildrop.numbers(uid))}
        ahead = [found[0] for uid in self._ahead if (found := maildrop.numbers(uid))]
        answers = maildrop.first_octets(numbers.values(), ahead)
        mails: dict[str, RawMessage] = {}
        for uid, number in numbers.items():
            answer = answers[number]
            if not isinstance(answer, Refused):
                mails[uid] = RawMessage(scan.ref(uid), answer.octets, answer.size_octets)
            elif len(uids) == 1:
                raise answer
        self._came_any = self._came_any or bool(mails)
        return mails

    def lists(self, _scan: Scan, uid: str) -> bool:
        """Whether the mail is still there; for ``Isolation``."""
        return bool(self._maildrop().numbers(uid))

    def resume(self, _folder: str, _uidvalidity: int | None) -> None:
        """Connect again after the connection was lost; for ``Isolation``."""
        self._forget()
        # Not sent for ahead again: one of them may be what broke the connection.
        self._ahead = ()
        self._live()

    def complete(self, raw: RawMessage) -> RawMessage:
        """Return the mail with all its octets."""
        if not raw.truncated:
            return raw
        with self._guard():
            return persevere(self, raw.ref, lambda: self._completed(raw))

    def _completed(self, raw: RawMessage) -> RawMessage:
        maildrop = self._maildrop()
        numbers = maildrop.numbers(raw.ref.uid)
        if not numbers:
            raise MessageUnreadable(
                f"{raw.ref}: the mail is gone from the server, only {len(raw.octets)} octets of it were fetched"
            )
        size_octets = maildrop.size_octets(numbers[0])
        if size_octets <= self._options.max_octets:
            octets, size_octets = maildrop.whole(numbers[0])
            if size_octets <= self._options.max_octets:
                return replace(raw, octets=octets, size_octets=size_octets)
        raise too_large(raw.ref, size_octets, self._options.max_octets)

    def settle(
        self, refs: Sequence[MessageRef], disposition: Disposition, *, wait: bool = True
    ) -> Sequence[MessageRef]:
        """Mark the mails as deleted; with ``wait`` end the session, for only then they are.

        Return those that are gone for certain: without ``wait`` the ones that were gone before.
        """
        if disposition.action is DoneAction.LEAVE:
            return tuple(refs)
        if disposition.action is not DoneAction.DELETE:
            raise ConfigurationError(
                f"mailboxes.{self.name}.on_done: POP3 cannot do {str(disposition)!r}; write 'delete' or 'leave'"
            )
        with self._guard():
            maildrop = self._maildrop() if refs else self._listed
            if maildrop is not None:
                self._mark(maildrop, refs)
            if wait and self._marked:
                self._end_well()
        order = {ref: position for position, ref in enumerate(refs)}
        certain, self._certain = sorted(self._certain, key=lambda ref: order.get(ref, -1)), []
        return certain

    def _mark(self, maildrop: Maildrop, refs: Sequence[MessageRef]) -> None:
        for ref in refs:
            numbers = maildrop.numbers(ref.uid)
            if not numbers:
                self._certain.append(ref)
            elif ref not in self._marked:
                self._marked[ref] = numbers
                maildrop.delete(numbers)

    def _leave_out_refused(self, maildrop: Maildrop) -> None:
        """Forget those of the marked mails the server did not mark."""
        refused = maildrop.not_deleted()
        left = [ref for ref, numbers in self._marked.items() if not refused.keys().isdisjoint(numbers)]
        for ref in left:
            del self._marked[ref]
        if left:
            said = next(iter(refused.values()))
            log.warning("settle_refused", mailbox=self.name, what="delete", mails=len(left), said=said)

    def _end_well(self) -> None:
        """End the session; a server that does not do all of it is no failure, only nothing is certain then."""
        try:
            self._end()
        except Refused as exc:
            # RFC 1939 section 6: some of the mails were not removed, and it does not say which.
            log.warning("quit_refused", mailbox=self.name, said=str(exc))

    def close(self) -> None:
        """Log out and close. What is marked as deleted and was not waited for stays: something has failed then."""
        self._is_open = False
        connection = self._connection
        if connection is None or connection.outstanding:
            self._forget()
            return
        with suppress(Dropped, Refused):
            if self._marked:
                self._marked.clear()
                connection.reset()
            self._end()
        self._forget()

    def _live(self) -> Connection:
        if not self._is_open:
            raise SourceUnavailable(f"{self.name}: the session is not open")
        if self._connection is None:
            self._connection = Connection(self.name, self._options, self._tokens)
            self.login_delay_s = self._connection.login_delay_s
        return self._connection

    def _maildrop(self) -> Maildrop:
        connection = self._live()
        if self._listed is None:
            self._listed = Maildrop(self.name, connection, self._options)
        return self._listed

    def _end(self) -> None:
        """End the session with QUIT, which deletes what is marked."""
        connection, maildrop = self._connection, self._listed
        if connection is None:
            return
        try:
            if maildrop is not None:
                self._leave_out_refused(maildrop)
            connection.quit()
            self._certain += self._marked
        finally:
            self._forget()

    def _forget(self) -> None:
        connection = self._connection
        self._connection, self._listed, self._scanned = None, None, False
        self._marked = {}
        if connection:
            connection.drop()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        connection = self._connection
        try:
            yield
        except (Dropped, Refused) as exc:
            error = session_failed(self.name, _FOLDER, self._options, exc)
            connection = self._connection or connection
            if connection is not None:
                connection.rest(error.retry_after_s)
            # Without QUIT: what is marked as deleted stays.
            self._forget()
            raise error from exc
