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
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Dropped, Refused
from bouncepoll.sources.pop3._connection import Connection
from bouncepoll.sources.pop3._maildrop import Maildrop

log = structlog.get_logger()

_FOLDER = "INBOX"


class Pop3Source:
    """Sessions with a POP3 mailbox: one at a time, and a new one when it is needed after ``settle``."""

    folders = (_FOLDER,)

    def __init__(self, name: str, options: MailboxOptions, tokens: TokenSource) -> None:
        """``tokens`` is asked for the secret at each login, thus for each session."""
        self.name = name
        self._options = options
        self._tokens = tokens
        self._is_open = False
        self._connection: Connection | None = None
        self._listed: Maildrop | None = None
        self._scanned = False

    def open(self) -> None:
        """Connect and log in."""
        self.close()
        self._is_open = True
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

    def fetch(self, scan: Scan, uids: Sequence[str]) -> Iterator[RawMessage | Unfetched]:
        """Yield one entry a UID; a lost connection is set up again, and a mail that breaks it is isolated."""
        with self._guard():
            yield from Isolation(self, scan, uids, self._options.batch)

    def ask(self, scan: Scan, uids: Sequence[str]) -> Mapping[str, RawMessage]:
        """Fetch mails; for ``Isolation``."""
        maildrop = self._maildrop()
        numbers = {uid: found[0] for uid in uids if (found := maildrop.numbers(uid))}
        answers = maildrop.first_octets(numbers.values())
        mails: dict[str, RawMessage] = {}
        for uid, number in numbers.items():
            answer = answers[number]
            if not isinstance(answer, Refused):
                mails[uid] = RawMessage(scan.ref(uid), answer.octets, answer.size_octets)
            elif len(uids) == 1:
                raise answer
        return mails

    def lists(self, _scan: Scan, uid: str) -> bool:
        """Whether the mail is still there; for ``Isolation``."""
        return bool(self._maildrop().numbers(uid))

    def resume(self, _folder: str, _uidvalidity: int | None) -> None:
        """Connect again after the connection was lost; for ``Isolation``."""
        self._forget()
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
        raise MessageUnreadable(
            f"{raw.ref}: {size_octets} octets are more than max_octets ({self._options.max_octets}); "
            "raise it to forward such mails"
        )

    def settle(self, refs: Sequence[MessageRef], disposition: Disposition) -> Sequence[MessageRef]:
        """Delete the mails and end the session, for only then the server does it; return those that are gone."""
        if disposition.action is DoneAction.LEAVE:
            return tuple(refs)
        if disposition.action is not DoneAction.DELETE:
            raise ConfigurationError(
                f"mailboxes.{self.name}.on_done: POP3 cannot do {str(disposition)!r}; write 'delete' or 'leave'"
            )
        with self._guard():
            maildrop = self._maildrop()
            numbers = {ref: maildrop.numbers(ref.uid) for ref in refs}
            gone = tuple(ref for ref in refs if not numbers[ref])
            if len(gone) == len(refs):
                return gone
            refused = self._live().delete(sorted(number for found in numbers.values() for number in found))
            if refused:
                log.warning(
                    "settle_refused",
                    mailbox=self.name,
                    what=str(disposition),
                    mails=len(refused),
                    said=next(iter(refused.values())),
                )
            try:
                self._end()
            except Refused as exc:
                # RFC 1939 section 6: some of the mails were not removed, and it does not say which.
                log.warning("quit_refused", mailbox=self.name, said=str(exc))
                return gone
            return tuple(ref for ref in refs if refused.keys().isdisjoint(numbers[ref]))

    def close(self) -> None:
        """Log out and close."""
        self._is_open = False
        with suppress(Dropped, Refused):
            self._end()

    def _live(self) -> Connection:
        if not self._is_open:
            raise SourceUnavailable(f"{self.name}: the session is not open")
        if self._connection is None:
            self._connection = Connection(self.name, self._options, self._tokens.secret())
        return self._connection

    def _maildrop(self) -> Maildrop:
        connection = self._live()
        if self._listed is None:
            self._listed = Maildrop(self.name, connection, self._options)
        return self._listed

    def _end(self) -> None:
        """End the session with QUIT, which deletes what is marked."""
        connection = self._connection
        self._connection, self._listed, self._scanned = None, None, False
        if connection:
            connection.quit()

    def _forget(self) -> None:
        connection = self._connection
        self._connection, self._listed, self._scanned = None, None, False
        if connection:
            connection.drop()

    @contextmanager
    def _guard(self) -> Iterator[None]:
        try:
            yield
        except (Dropped, Refused) as exc:
            # Without QUIT: what is marked as deleted stays.
            self._forget()
            raise SourceUnavailable(f"{self.name}/{_FOLDER}: {self._options.address}: {exc}") from exc
