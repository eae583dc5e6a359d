"""One IMAP connection: imapclient with every answer bounded and every failure named.

Nothing but ``Refused``, ``Dropped`` and ``SourceUnavailable`` comes out of here.
"""

import imaplib
import re
import socket
import ssl
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any, NamedTuple

from imapclient import IMAPClient
from imapclient.datetime_util import parse_to_datetime
from imapclient.response_parser import parse_response

from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import (
    Dropped,
    Refused,
    broken,
    checked_secret,
    login_broken,
    login_refused,
    no_connection,
    said,
    tls_context,
)

# imaplib and imapclient raise the last five when an answer makes no sense to them.
_FAILURES = (imaplib.IMAP4.error, OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
_ANSWER_OCTETS = 4 * 1024**2
_OVERHEAD_OCTETS = 2048
_LARGEST_UID = 2**32 - 1
# A UID has at most ten digits and a space: so a SEARCH answer stays below the 1,000,000 octets imaplib reads as a line.
_SEARCH_WINDOW = 50_000
_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,\-./:;<=>?@^_`|~]+")


class Fetched(NamedTuple):
    """One answer to FETCH; ``size_octets`` is what the server says, and servers are sometimes wrong."""

    octets: bytes
    size_octets: int
    internal_date: datetime | None


class Selected(NamedTuple):
    """The folder in use."""

    folder: str
    writable: bool
    uidvalidity: int
    exists: int


class _BoundedIMAP4(imaplib.IMAP4):
    """imaplib reads literals of any announced size, and any number of lines; here each command has an allowance."""

    def __init__(self, options: MailboxOptions, context: ssl.SSLContext | None) -> None:
        self._context = context
        self._allowance_octets = _ANSWER_OCTETS
        super().__init__(options.host, options.tcp_port, options.timeout)

    def _create_socket(self, timeout: float | None) -> Any:
        sock = super()._create_socket(timeout)  # type: ignore[misc]
        # imapclient sends a command and its line end apart: without this each waits for the other side's delayed ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if self._context is None:
            return sock
        return self._context.wrap_socket(sock, server_hostname=self.host)

    def allow(self, octets: int) -> None:
        """Begin a command: its answer may have so many octets. Unsolicited answers to earlier ones are dropped."""
        self._allowance_octets = octets
        self.untagged_responses.clear()

    def read(self, size: int) -> bytes:
        self._spend(size)
        octets = super().read(size)
        if len(octets) < size:
            raise self.abort("the connection was closed within a literal")
        return octets

    def readline(self) -> bytes:
        try:
            line = super().readline()
        except self.abort:
            raise
        except self.error as exc:
            raise self.abort("a line of its answer does not end") from exc
        self._spend(len(line))
        return line

    def _spend(self, octets: int) -> None:
        if octets > self._allowance_octets:
            raise self.abort(f"its answer is too large: {octets} octets where {self._allowance_octets} are left")
        self._allowance_octets -= octets


class _Client(IMAPClient):
    """imapclient over ``_BoundedIMAP4``, without the debug log that formats every mail."""

    _imap: _BoundedIMAP4

    def __init__(self, options: MailboxOptions, context: ssl.SSLContext | None) -> None:
        self._options = options
        implicit = options.security == "tls"
        super().__init__(options.host, options.tcp_port, ssl=implicit, ssl_context=context, timeout=options.timeout)
        self.normalise_times = False
        self._imap.debug = 0

    def _create_IMAP4(self) -> _BoundedIMAP4:  # noqa: N802 - imapclient's name.
        return _BoundedIMAP4(self._options, self.ssl_context if self.ssl else None)

    def allow(self, octets: int) -> None:
        self._imap.allow(octets)

    def uid_fetch(self, uid_set: str, items: str) -> list[Any]:
        # IMAPClient.fetch takes no ranges, only single UIDs: 500 of them are more than some servers read as a line.
        status, answers = self._imap.uid("FETCH", uid_set, items)
        if status != "OK":
            raise imaplib.IMAP4.error(answers[-1])
        return answers


class Connection:
    """A logged-in connection. After ``Dropped`` it is closed."""

    def __init__(self, name: str, options: MailboxOptions, secret: str) -> None:
        """Connect and log in.

        Raises:
            SourceUnavailable: no connection, a certificate that is not accepted, a refused login.
            ConfigurationError: ``ca_file`` or the password cannot be used.
        """
        self._name = name
        self._options = options
        self.selected: Selected | None = None
        context = None if options.security == "insecure-loopback" else tls_context(options.ca_file)
        try:
            self._client: Any = _Client(options, context)  # Any, for imapclient's methods have no types.
        except _FAILURES as exc:
            raise no_connection(name, options, exc) from exc
        try:
            if options.security == "starttls":
                self._starttls(context)
            self._capabilities = self._login(checked_secret(name, secret))
        except BaseException:
            self.drop()
            raise

    def _starttls(self, context: ssl.SSLContext | None) -> None:
        try:
            self._client.starttls(context)
        except _FAILURES as exc:
            raise no_connection(self._name, self._options, exc) from exc

    def _login(self, secret: str) -> frozenset[str]:
        client, username = self._client, self._options.username
        try:
            offered = client.capabilities()
            if b"AUTH=PLAIN" in offered:
                client.plain_login(username, secret)
            elif b"LOGINDISABLED" in offered:
                raise SourceUnavailable(
                    f"{self._name}: {self._options.address}: the server takes no password here (LOGINDISABLED); "
                    "check security, and whether the account may use IMAP with a password"
                )
            elif not (username + secret).isascii():
                # RFC 3501 section 6.2.3: LOGIN knows no character set.
                raise ConfigurationError(
                    f"mailboxes.{self._name}: {self._options.address} takes only ASCII in username and password"
                )
            else:
                client.login(_astring(username), secret)  # imaplib quotes the second argument, not the first.
            return frozenset(capability.decode("ascii", "replace").upper() for capability in client.capabilities())
        except imaplib.IMAP4.error as exc:
            # imapclient makes its LoginError of a lost connection too; the context tells what it was.
            if isinstance(exc, imaplib.IMAP4.abort) or isinstance(exc.__context__, imaplib.IMAP4.abort):
                raise login_broken(self._name, self._options, exc, secret) from None
            raise login_refused(self._name, self._options, exc, secret) from None
        except _FAILURES as exc:
            raise login_broken(self._name, self._options, exc, secret) from None

    def supports(self, capability: str) -> bool:
        """Whether the server announced a capability (RFC 9051 section 7.2.2)."""
        return capability in self._capabilities

    def select(self, folder: str, *, writable: bool) -> Selected:
        """Open a folder with SELECT or EXAMINE."""
        self.selected = None
        with self._command():
            try:
                answer = self._client.select_folder(folder, readonly=not writable)
            except imaplib.IMAP4.readonly as exc:
                raise Refused("the account may only read this folder") from exc
            uidvalidity = answer.get(b"UIDVALIDITY")
            if uidvalidity is None or not 0 <= uidvalidity <= _LARGEST_UID:
                raise Refused("the server gives the folder no valid UIDVALIDITY (RFC 9051 section 2.3.1.1)")
            exists = answer.get(b"EXISTS", 0)
            if exists > _LARGEST_UID:
                raise Refused(f"the server says that the folder holds {exists} mails")
            self.selected = Selected(folder, writable, uidvalidity, exists)
            return self.selected

    def search(self, above: int) -> list[int]:
        """Return the UIDs above a UID, ascending, without mails that are marked as deleted.

        Huge folders are searched in windows of message sequence numbers, from the last to the first: a mail that is
        expunged meanwhile moves others only into windows that are still to come.
        """
        exists = self.selected.exists if self.selected and above < _LARGEST_UID else 0
        found: set[int] = set()
        for first in reversed(range(1, exists + 1, _SEARCH_WINDOW)):
            last = "*" if first + _SEARCH_WINDOW > exists else str(first + _SEARCH_WINDOW - 1)
            with self._command():
                found.update(self._client.search(["UNDELETED", f"{first}:{last}", "UID", f"{above + 1}:*"]))
        # RFC 9051 section 6.4.9: n:* always holds the last mail, even when its UID is below n.
        return sorted(uid for uid in found if above < uid <= _LARGEST_UID)

    def lists(self, uid: int) -> bool:
        """Whether the selected folder still has a mail."""
        with self._command():
            return uid in self._client.search(["UID", str(uid)])

    def fetch(
        self, uids: Sequence[int], first: int, count: int, allowance_octets: int | None = None
    ) -> dict[int, Fetched]:
        """Return up to ``count`` octets of each mail from offset ``first`` on; the mails left out are missing."""
        octets = allowance_octets or len(uids) * (count + _OVERHEAD_OCTETS) + _ANSWER_OCTETS
        items = f"(UID RFC822.SIZE INTERNALDATE BODY.PEEK[]<{first}.{count}>)"
        with self._command(octets):
            answers = _by_uid(self._client.uid_fetch(uid_set(uids), items))
            return {uid: fetched for uid in uids if uid in answers and (fetched := _fetched(answers.pop(uid), first))}

    def has_folder(self, folder: str) -> bool:
        """Whether a folder that can hold mails exists."""
        with self._command():
            for flags, _delimiter, name in self._client.list_folders("", folder):
                if name == folder or name.upper() == folder.upper() == "INBOX":
                    return not {b"\\noselect", b"\\nonexistent"} & {flag.lower() for flag in flags}
        return False

    def create_folder(self, folder: str) -> None:
        """Create a folder and subscribe to it, so that mail programs show it."""
        with self._command():
            try:
                self._client.create_folder(folder)
            except imaplib.IMAP4.abort:
                raise
            except imaplib.IMAP4.error as exc:
                # Somebody else just made it, or the server lists it under another spelling (a decomposed umlaut).
                if "ALREADYEXISTS" not in str(exc).upper():
                    raise
        with suppress(Refused), self._command():
            self._client.subscribe_folder(folder)

    def move(self, uids: Sequence[int], folder: str) -> None:
        """Move mails with MOVE (RFC 6851)."""
        with self._command():
            self._client.move(uid_set(uids), folder)

    def copy(self, uids: Sequence[int], folder: str) -> None:
        """Copy mails."""
        with self._command():
            self._client.copy(uid_set(uids), folder)

    def add_flag(self, uids: Sequence[int], flag: bytes) -> None:
        """Set a flag."""
        with self._command():
            self._client.add_flags(uid_set(uids), [flag], silent=True)

    def expunge(self, uids: Sequence[int]) -> None:
        """Remove mails that are marked as deleted, and no others (UIDPLUS, RFC 4315)."""
        with self._command():
            self._client.uid_expunge(uid_set(uids))

    def logout(self) -> None:
        """Log out and close; never raises."""
        with suppress(Dropped, Refused), self._command():
            self._client.logout()
        self.drop()

    def drop(self) -> None:
        """Close without a word; never raises."""
        with suppress(*_FAILURES):
            self._client.shutdown()

    @contextmanager
    def _command(self, allowance_octets: int = _ANSWER_OCTETS) -> Iterator[None]:
        try:
            self._client.allow(allowance_octets)
            yield
        except imaplib.IMAP4.abort as exc:
            self.drop()
            raise broken(self._options, exc) from exc
        except imaplib.IMAP4.error as exc:
            raise Refused(said(exc)) from exc
        except _FAILURES as exc:
            self.drop()
            raise broken(self._options, exc) from exc


def uid_set(uids: Iterable[int]) -> str:
    """Return a compact sequence set (RFC 9051 section 9), such as ``1:5,7``."""
    ranges: list[list[int]] = []
    for uid in sorted(set(uids)):
        if ranges and uid == ranges[-1][1] + 1:
            ranges[-1][1] = uid
        else:
            ranges.append([uid, uid])
    return ",".join(str(first) if first == last else f"{first}:{last}" for first, last in ranges)


def _astring(text: str) -> str:
    """Return the text as an argument of a command (RFC 9051 section 4.3): quoted where that is needed."""
    if _ATOM.fullmatch(text):
        return text
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _by_uid(answers: list[Any]) -> dict[int, dict[bytes, Any]]:
    """Return the items of FETCH answers by UID; an answer without UID (somebody changed a flag) is no one's.

    Never by sequence number: an EXPUNGE between two answers gives that number to another mail.
    """
    if answers == [None]:
        return {}
    parsed = parse_response(answers)
    found: dict[int, dict[bytes, Any]] = {}
    for items in parsed[1::2]:
        if not isinstance(items, tuple):
            raise ValueError("an answer to FETCH without a list of items")  # noqa: TRY004 - it is the server's mistake.
        named = {
            name.upper(): value for name, value in zip(items[::2], items[1::2], strict=True) if isinstance(name, bytes)
        }
        if isinstance(uid := named.get(b"UID"), int):
            found.setdefault(uid, {}).update(named)
    return found


def _fetched(item: dict[bytes, Any], first: int) -> Fetched | None:
    """Return one answer, or None when it holds no octets of a mail that has some."""
    name = b"BODY[]<%d>" % first
    octets = item.get(name)
    if octets is None and b"BODY[]" in item:
        # QUIRK: some servers ignore the range and send the whole mail.
        whole = item[b"BODY[]"]
        octets = whole[first:] if isinstance(whole, bytes) else None
    elif octets is None and name in item and first:
        octets = b""  # QUIRK: NIL for "there is no more", where RFC 9051 section 6.4.5 wants an empty string.
    elif isinstance(octets, int):
        octets = b"%d" % octets  # An atom of digits, which imapclient takes for a number.
    size_octets = item.get(b"RFC822.SIZE", 0)
    if not isinstance(octets, bytes) or not isinstance(size_octets, int):
        return None
    if not octets and first == 0 and size_octets:
        return None
    return Fetched(octets, size_octets, _moment(item.get(b"INTERNALDATE")))


def _moment(internal_date: Any) -> datetime | None:
    """Return INTERNALDATE in UTC, or None when it is no date: it is of no use for anything but people."""
    try:
        moment = parse_to_datetime(internal_date, normalise=False)
        return moment.astimezone(UTC) if moment.tzinfo else None
    except (ValueError, TypeError, AttributeError, OverflowError):
        return None
