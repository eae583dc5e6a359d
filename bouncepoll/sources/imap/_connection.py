"""A logged-in IMAP connection: folders, searches, and what settles mails.

Nothing but ``Refused``, ``Dropped``, ``SourceUnavailable`` and ``ConfigurationError`` comes out of here.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

import structlog
from imapclient import imap_utf7
from imapclient.response_parser import parse_response

from bouncepoll import __version__
from bouncepoll.errors import SourceUnavailable
from bouncepoll.ports import TokenSource
from bouncepoll.sources import _budget
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import Refused, broken
from bouncepoll.sources.imap._answers import LARGEST_UID, Fetched, searched, uid_set
from bouncepoll.sources.imap._dialogue import FAILURES, Command, Fetching
from bouncepoll.sources.imap._login import connect, login, quoted

log = structlog.get_logger()

_MAX_PAGES = 100_000
_LARGEST_MODSEQ = 2**63 - 1  # RFC 7162 section 7.
_LOGOUT_S = 5.0
_SELECT_NUMBERS = {
    "uidvalidity": re.compile(rb"\* OK \[UIDVALIDITY (\d{1,20})\]", re.IGNORECASE),
    "uidnext": re.compile(rb"\* OK \[UIDNEXT (\d{1,20})\]", re.IGNORECASE),
    "highest_modseq": re.compile(rb"\* OK \[HIGHESTMODSEQ (\d{1,20})\]", re.IGNORECASE),
    "exists": re.compile(rb"\* (\d{1,20}) EXISTS", re.IGNORECASE),
}
_MESSAGE_LIMIT = re.compile(r"MESSAGELIMIT=(\d{1,9})")


class Selected(NamedTuple):
    """The folder in use; ``uidnext`` and ``highest_modseq`` (RFC 7162) are None where the server does not tell."""

    folder: str
    writable: bool
    uidvalidity: int
    exists: int
    uidnext: int | None = None
    highest_modseq: int | None = None


class Connection:
    """A logged-in connection. After ``Dropped`` it is closed."""

    def __init__(
        self, name: str, options: MailboxOptions, tokens: TokenSource, *, wait: bool = True, identify: bool = True
    ) -> None:
        """Connect and log in, when the account has a connection to spare; ``wait`` for one to become free.

        Raises:
            SourceUnavailable: no connection, a certificate that is not accepted, a refused login, an account at rest.
            ConfigurationError: ``ca_file`` or the secret cannot be used.
        """
        self._options = options
        self.selected: Selected | None = None
        self._names: dict[str, str] = {}
        self._prefix: tuple[str, str] | None = None
        self._lease = _budget.lease(name, options, wait=wait)
        try:
            self.dialogue, offered = connect(name, options)
            try:
                ignored = {capability.upper() for capability in options.quirks.ignored_capabilities}
                self._capabilities = login(name, options, tokens, self.dialogue, offered - ignored) - ignored
                if identify and self.supports("ID"):
                    self._identify()
            except BaseException:
                self.dialogue.drop()
                raise
        except SourceUnavailable as exc:
            self._lease.rest(exc.retry_after_s)
            self._lease.release()
            raise
        except BaseException:
            self._lease.release()
            raise

    def _identify(self) -> None:
        """Say who we are (RFC 2971): some servers throttle those they do not know."""
        with suppress(Refused):
            self.dialogue.run(f'ID ("name" "bouncepoll" "version" {quoted(__version__)})')

    def supports(self, capability: str) -> bool:
        """Whether the server announced a capability (RFC 9051 section 7.2.2)."""
        return capability in self._capabilities

    @property
    def message_limit(self) -> int | None:
        """The most mails one command may name (RFC 9738); None where the server sets no limit."""
        found = [match for name in self._capabilities if (match := _MESSAGE_LIMIT.fullmatch(name))]
        return max(1, int(found[0][1])) if found else None

    @property
    def window(self) -> int:
        """How many mails a command may be about, by what the server says and by what is known of it.

        A UID has at most ten digits and a space: so an answer to SEARCH is half of what is read as a line.
        """
        return min(self._options.quirks.imap_window, self.message_limit or self._options.quirks.imap_window)

    @property
    def moves(self) -> bool:
        """Whether mails are moved with MOVE (RFC 6851)."""
        return self.supports("MOVE") and self._options.quirks.imap_moves == "auto"

    def select(self, folder: str, *, writable: bool) -> Selected:
        """Open a folder with SELECT or EXAMINE."""
        self.selected = None
        word = "SELECT" if writable else "EXAMINE"
        more = " (CONDSTORE)" if self.supports("CONDSTORE") or self.supports("QRESYNC") else ""
        command, answers = self.dialogue.run(f"{word} {self._name(folder)}{more}")
        if writable and b"[READ-ONLY]" in command.text.upper():
            raise Refused("the account may only read this folder")
        numbers = {
            key: int(found[1])
            for pieces in answers
            for key, pattern in _SELECT_NUMBERS.items()
            if (found := pattern.match(pieces[0]))
        }
        if not 0 <= numbers.get("uidvalidity", -1) <= LARGEST_UID:
            raise Refused("the server gives the folder no valid UIDVALIDITY (RFC 9051 section 2.3.1.1)")
        if numbers.get("exists", 0) > LARGEST_UID:
            raise Refused(f"the server says that the folder holds {numbers['exists']} mails")
        self.selected = Selected(
            folder,
            writable,
            numbers["uidvalidity"],
            numbers.get("exists", 0),
            numbers.get("uidnext"),
            modseq if 0 < (modseq := numbers.get("highest_modseq", 0)) <= _LARGEST_MODSEQ else None,
        )
        return self.selected

    def search(self, above: int) -> list[int]:
        """Return the UIDs above a UID, ascending, without mails that are marked as deleted.

        Nothing is asked where UIDNEXT tells that there is nothing; a range is never ``n:*`` where UIDNEXT is known.
        """
        selected = self.selected
        if selected is None or not selected.exists or above >= LARGEST_UID:
            return []
        newest = (selected.uidnext or 1) - 1
        if newest == above and above:
            return []
        # QUIRK: some servers give no UIDNEXT, or one below the UIDs that are in use; it then says nothing.
        known = above < newest <= LARGEST_UID
        most = min(selected.exists, newest - above) if known else selected.exists
        last = str(newest) if known else "*"
        if most <= self.window:
            found = self._search_range(above, last)
        elif self.supports("PARTIAL"):
            found = self._search_pages(above, last)
        elif self.supports("ESEARCH"):
            found = self._search_range(above, last)
        else:
            found = self._search_windows(above, last)
        # RFC 9051 section 6.4.9: n:* always holds the last mail, even when its UID is below n.
        return sorted(uid for uid in set(found) if above < uid <= LARGEST_UID)

    def _search_range(self, above: int, last: str) -> list[int]:
        """Search; where the server stops early (RFC 9738), go on below the UID it came down to."""
        found: list[int] = []
        for _page in range(_MAX_PAGES):
            uids, lowest = self._search(f"UID {above + 1}:{last}")
            found += uids
            if lowest is None or lowest <= above + 1:
                return found
            last = str(lowest - 1)
        raise Refused("the server lists the folder in too many parts")

    def _search_pages(self, above: int, last: str) -> list[int]:
        """Search in pages (RFC 9394). Each begins above the last UID, for a mail may vanish between two pages."""
        found: list[int] = []
        for _page in range(_MAX_PAGES):
            uids, _lowest = self._search(f"UID {above + 1}:{last}", f"PARTIAL 1:{self.window}")
            uids = sorted(uid for uid in uids if uid > above)
            found += uids
            # A server with a limit may have stopped before the page was full: asked again until nothing comes.
            if not uids or (len(uids) < self.window and self.message_limit is None):
                return found
            above = uids[-1]
        raise Refused("the server lists the folder in too many parts")

    def _search_windows(self, above: int, last_uid: str) -> list[int]:
        """Search in windows of message sequence numbers, from the last to the first.

        A mail that is expunged meanwhile moves others only into windows that are still to come.
        """
        exists, window = self.selected.exists if self.selected else 0, self.window
        found: list[int] = []
        for first in reversed(range(1, exists + 1, window)):
            last = "*" if first + window > exists else str(first + window - 1)
            found += self._search(f"{first}:{last} UID {above + 1}:{last_uid}")[0]
        return found

    def _search(self, criteria: str, result: str = "ALL") -> tuple[list[int], int | None]:
        """Return what a search found, and the UID it came down to where the server stopped there."""
        exists = self.selected.exists if self.selected else 0
        option = f"RETURN ({result}) " if self.supports("ESEARCH") or result != "ALL" else ""
        command, answers = self.dialogue.run(f"UID SEARCH {option}{criteria} UNDELETED")
        found: list[int] = []
        with self._understood():
            for pieces in answers:
                found += searched(pieces[0], 2 * exists + self.window) or ()
        return found, command.limited_to[1] if command.limited_to else None

    def lists(self, uid: int) -> bool:
        """Whether the selected folder still has a mail."""
        _command, answers = self.dialogue.run(f"UID SEARCH UID {uid}")
        with self._understood():
            return any(uid in (searched(pieces[0], self.window) or ()) for pieces in answers)

    def fetch(self, uids: Sequence[int], first: int, count: int, allowance_octets: int | None = None) -> Fetching:
        """Send for up to ``count`` octets of each mail from offset ``first`` on, and do not wait."""
        return self.dialogue.fetch(uids, first, count, allowance_octets)

    def fetched(
        self, uids: Sequence[int], first: int, count: int, allowance_octets: int | None = None
    ) -> dict[int, Fetched]:
        """Return up to ``count`` octets of each mail from offset ``first`` on; the mails left out are missing."""
        answers = self.dialogue.stream(self.fetch(uids, first, count, allowance_octets))
        return {mail.uid: mail for mails in answers for mail in mails}

    def find_folder(self, folder: str) -> bool:
        """Whether a folder that can hold mails exists, under this name or in the account's namespace (RFC 2342).

        From then on ``folder`` stands for the folder that was found.
        """
        for server_name in dict.fromkeys((folder, self._in_namespace(folder))):
            if self._exists(server_name):
                self._names[folder] = server_name
                return True
        return False

    def _exists(self, server_name: str) -> bool:
        _command, answers = self.dialogue.run(f'LIST "" {_encoded(server_name)}')
        with self._understood():
            for flags, name in _listed(answers):
                if name == server_name or name.upper() == server_name.upper() == "INBOX":
                    return not {b"\\noselect", b"\\nonexistent"} & flags
        return False

    def create_folder(self, folder: str) -> None:
        """Create a folder in the account's namespace and subscribe to it, so that mail programs show it."""
        self._names[folder] = self._in_namespace(folder)
        try:
            self.dialogue.run(f"CREATE {self._name(folder)}")
        except Refused as exc:
            # Somebody else just made it, or the server lists it under another spelling (a decomposed umlaut).
            if "ALREADYEXISTS" not in str(exc).upper():
                raise
        with suppress(Refused):
            self.dialogue.run(f"SUBSCRIBE {self._name(folder)}")

    def move(self, uids: Sequence[int], folder: str) -> Command:
        """Send a MOVE (RFC 6851), and do not wait."""
        return self.dialogue.send(f"UID MOVE {uid_set(uids)} {self._name(folder)}")

    def copy(self, uids: Sequence[int], folder: str) -> Command:
        """Send a COPY, and do not wait."""
        return self.dialogue.send(f"UID COPY {uid_set(uids)} {self._name(folder)}")

    def add_flag(self, uids: Sequence[int], flag: str) -> Command:
        """Send for a flag to be set, and do not wait."""
        return self.dialogue.send(f"UID STORE {uid_set(uids)} +FLAGS.SILENT ({flag})")

    def expunge(self, uids: Sequence[int]) -> Command:
        """Send for mails that are marked as deleted, and no others, to be removed (UIDPLUS, RFC 4315)."""
        return self.dialogue.send(f"UID EXPUNGE {uid_set(uids)}")

    def rest(self, seconds: float | None) -> None:
        """Leave the account alone for so long; None does nothing."""
        self._lease.rest(seconds)

    def logout(self, timeout_s: float = _LOGOUT_S) -> None:
        """Log out and close; never raises."""
        self.dialogue.logout(min(timeout_s, self._options.timeout))
        self._lease.rest(self.dialogue.rest_s or None)
        self._lease.release()

    def drop(self) -> None:
        """Close without a word; never raises."""
        self.dialogue.drop()
        self._lease.release()

    def _name(self, folder: str) -> str:
        return _encoded(self._names.get(folder, folder))

    def _in_namespace(self, folder: str) -> str:
        """Return the folder's name with the prefix and the separator of the personal namespace."""
        if folder.upper() == "INBOX":
            return folder
        if self._prefix is None:
            self._prefix = self._namespace()
        prefix, separator = self._prefix
        if not prefix or folder.upper().startswith(prefix.upper()):
            return folder
        return prefix + (folder.replace("/", separator) if separator else folder)

    def _namespace(self) -> tuple[str, str]:
        if not self.supports("NAMESPACE"):
            return "", ""
        _command, answers = self.dialogue.run("NAMESPACE")
        with suppress(*FAILURES):
            for pieces in answers:
                if pieces[0][:11].upper() == b"* NAMESPACE":
                    parsed: Any = parse_response([pieces[0][11:].strip()])
                    prefix, separator = parsed[0][0][:2]
                    return imap_utf7.decode(prefix), (separator or b"").decode("ascii")
        return "", ""

    @contextmanager
    def _understood(self) -> Iterator[None]:
        """Give up on a server whose answer makes no sense: what it says next may belong to it."""
        try:
            yield
        except FAILURES as exc:
            self.drop()
            raise broken(self._options, exc) from exc


def _encoded(server_name: str) -> str:
    """Return a folder's name as it is sent: modified UTF-7 (RFC 3501 section 5.1.3), quoted."""
    return quoted(imap_utf7.encode(server_name).decode("ascii"))


def _listed(answers: Iterable[Sequence[bytes]]) -> Iterator[tuple[set[bytes], str]]:
    """Yield the attributes, in lower case, and the names that answers to LIST hold."""
    for pieces in answers:
        if pieces[0][:7].upper() != b"* LIST ":
            continue
        lines: list[Any] = [(line, literal) for line, literal in zip(pieces[::2], pieces[1::2], strict=False)]
        lines = [(line[line.index(b"(") :].rstrip(b"\r\n"), literal) for line, literal in lines]
        last = pieces[-1].rstrip(b"\r\n")
        parsed: Any = parse_response([*lines, last if lines else last[7:]])
        flags, _separator, name = parsed[:3]
        name = b"%d" % name if isinstance(name, int) else name  # An atom of digits.
        yield {flag.lower() for flag in flags}, imap_utf7.decode(name)
