"""The contracts between the parts: what each may do, and how it may fail.

Each implementation has to pass the contract suite of its port (``tests/contracts``), and so has its fake in
``bouncepoll.testing``.
"""

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime, timedelta
from typing import Protocol

from bouncepoll.model.cluster import ClusterView, Lease, Node
from bouncepoll.model.credential import StoredCredential
from bouncepoll.model.delivery import DeliveryResult, OutboxItem, Outgoing
from bouncepoll.model.filter import BounceFilter
from bouncepoll.model.mailbox import Cursor, Disposition, Scan, Unfetched
from bouncepoll.model.message import MessageRef, RawMessage
from bouncepoll.model.reading import Reading
from bouncepoll.model.records import ReprocessRun
from bouncepoll.model.storing import Entry, Recorded, Revision, Selection, StoredMail
from bouncepoll.model.verdict import Detection


class Clock(Protocol):
    """The time. Never read anywhere else."""

    def __call__(self) -> datetime:
        """Return the present time, aware, in UTC."""
        ...


class TokenSource(Protocol):
    """Gives the secret of a login: a password, or a bearer token. May be asked from several threads at once."""

    @property
    def mechanisms(self) -> tuple[str, ...]:
        """The SASL mechanisms this secret is for, best first; ``bouncepoll.auth.sasl`` speaks them."""
        ...

    def secret(self) -> str:
        """Return the secret as it is valid now; asked for anew at each login.

        Raises:
            TransientError: it cannot be had now (a token end-point that does not answer).
            ConfigurationError: it will never be had (no such file, a command that fails, a grant that was revoked).
        """
        ...

    def refused(self) -> bool:
        """Forget the secret, for the server refused it; True when the next ``secret()`` will be another one.

        A login is then worth one more try; not a third.
        """
        ...


class CredentialStore(Protocol):
    """What is kept of logins: sealed by whoever calls this. Each method is a transaction of its own.

    Every method may raise ``StoreUnavailable``. Who wants to change a row over a network call claims it first; nothing
    is locked meanwhile.
    """

    def get(self, name: str) -> StoredCredential | None:
        """Return one row, or None."""
        ...

    def all(self) -> Sequence[StoredCredential]:
        """Return all rows by name."""
        ...

    def claim(self, name: str, owner: str, now: datetime, until: datetime) -> bool:
        """Return whether ``owner`` has the row until then (made where it is missing); False: somebody else has it."""
        ...

    def release(self, name: str, owner: str) -> None:
        """Let go of a row that ``owner`` claimed; nothing when it is not theirs any more."""
        ...

    def save(self, name: str, sealed: str, expires_at: datetime | None, now: datetime, version: int | None) -> bool:
        """Store a new secret, forget the failure and end the claim; True when that is committed.

        False, and nothing stored, when the row is not of ``version`` any more; None: whatever it is.
        """
        ...

    def fail(self, name: str, owner: str, failure: str, retry_at: datetime, *, permanent: bool) -> None:
        """Remember why a refresh failed, and end the claim of ``owner``; nothing when it is not theirs any more."""
        ...

    def reseal(self, name: str, before: str, after: str) -> bool:
        """Replace one sealed text by the same under another key; False when it is another one by now."""
        ...


class Source(Protocol):
    """One session with one mailbox. Fetching changes nothing there; only ``settle`` does.

    Every method may raise ``SourceUnavailable`` (the session is then over; ``close`` is still allowed).
    """

    @property
    def name(self) -> str:
        """The mailbox's name in the configuration."""
        ...

    @property
    def folders(self) -> tuple[str, ...]:
        """The folders to read, in order; POP3 has just ``("INBOX",)``."""
        ...

    def open(self) -> None:
        """Connect and log in. Certificates and host names are verified."""
        ...

    def scan(self, folder: str, cursor: Cursor | None) -> Scan:
        """List the mails above the cursor, oldest first; all of them when the cursor is None or its UIDVALIDITY is old.

        Raises:
            ConfigurationError: there is no such folder.
        """
        ...

    def fetch(self, scan: Scan, uids: Sequence[str], ahead: Sequence[str] = ()) -> Iterator[RawMessage | Unfetched]:
        """Yield one entry for each of ``uids`` (of that scan), in any order: never fewer, never a mail twice.

        A mail larger than the source's ``analysis_octets`` comes with its first octets only (``raw.truncated``).
        ``ahead`` are the mails that will most likely be asked for next: a source may send for them already.
        """
        ...

    def complete(self, raw: RawMessage) -> RawMessage:
        """Return the mail with all its octets; the mail itself when it has them already.

        Raises:
            MessageUnreadable: it is gone, or it is larger than the source's ``max_octets``.
        """
        ...

    def settle(
        self, refs: Sequence[MessageRef], disposition: Disposition, *, wait: bool = True
    ) -> Sequence[MessageRef]:
        """Do at the mailbox what ``disposition`` says, and return the mails for which this is now certain.

        Called after the commit only. A mail that is gone counts as settled. What is not returned is settled again at
        the next poll. POP3 ends its session in a call that waits (deletes apply at QUIT), and opens another when it is
        next used.

        Without ``wait`` a source may only send for it, and return the mails at a later call; a call that waits returns
        all that are outstanding, and may be given no mails for that.
        """
        ...

    def close(self) -> None:
        """Log out and close; never raises, may be called twice."""
        ...


class Watcher(Protocol):
    """Waits until a mailbox has something new, on a connection of its own; a source may offer one (IMAP IDLE).

    A plug-in of ``bouncepoll.sources`` that has watchers defines ``watch(name, options, tokens) -> Watcher | None``;
    None: this mailbox is polled only.
    """

    def open(self) -> bool:
        """Connect and log in; False where the server cannot tell of new mails.

        Raises:
            SourceUnavailable: no connection, or no more of them allowed.
            ConfigurationError: a secret cannot be read, there is no such folder.
        """
        ...

    def wait(self, should_stop: Callable[[], bool], wake: int | None = None) -> bool:
        """Wait until something may be new (True), or ``should_stop`` says so (False).

        It is asked when the file descriptor ``wake`` can be read, which nobody reads from; twice a second where that
        is None.

        Raises:
            SourceUnavailable: the session is over.
        """
        ...

    def close(self) -> None:
        """Log out and close; never raises, takes a moment only, may be called twice."""
        ...


class Detector(Protocol):
    """Reads the structure of one format; the rules then give the reasons.

    A detector is a module of ``bouncepoll.classify.detectors`` (or an entry point of that group) with ``TIER: int``
    (lower asks first, see ``bouncepoll.classify.engine``) and ``create() -> Detector``. It may say by ``signature`` and
    ``fields`` which mails it need not be asked about (see ``bouncepoll.classify.engine.Tiered``).
    """

    @property
    def name(self) -> str:
        """The detector's name, as it stands in the evidence."""
        ...

    def detect(self, reading: Reading) -> Detection | None:
        """Return what the mail says; None means "not mine", no claims means "mine, but it names no recipient".

        Never raises for any input. Called from several threads at once: a detector keeps nothing between mails.
        """
        ...


class UnitOfWork(Protocol):
    """One transaction. Leaving it without ``commit`` undoes everything. Every method may raise ``StoreUnavailable``."""

    def cursor(self, source: str, folder: str) -> Cursor | None:
        """Return how far the folder was read, or None when it never was."""
        ...

    def advance(self, cursor: Cursor) -> None:
        """Store how far the folder was read."""
        ...

    def known(self, scan: Scan) -> frozenset[str]:
        """Return those UIDs of the scan whose mails are stored or in quarantine already."""
        ...

    def record(self, entries: Sequence[Entry], now: datetime) -> Sequence[Recorded]:
        """Store mails: message, place, raw octets, routes, events, outbox rows. Storing a place again changes nothing.

        Of a mail that is known from another place only the place, new routes and forwards for new filters are stored.
        A token vouches for one event a kind, of the mail that is stored first; another mail's is stored as refused.
        """
        ...

    def quarantine(self, ref: MessageRef, octets: bytes | None, error: str, now: datetime) -> None:
        """Keep a mail that could not be processed: its octets where there are any, and why. Replaces an older entry."""
        ...

    def unsettled(self, scan: Scan, limit: int) -> Sequence[MessageRef]:
        """Return stored mails of that folder and UIDVALIDITY the mailbox was not yet told about; none in quarantine."""
        ...

    def mark_settled(self, refs: Iterable[MessageRef]) -> None:
        """Remember that the mailbox did what it was told about these mails."""
        ...

    def filters(self) -> Sequence[BounceFilter]:
        """Return all filters by id, disabled ones too."""
        ...

    def commit(self) -> None:
        """Make it durable; the unit of work is over then."""
        ...


class Store(Protocol):
    """The database."""

    def begin(self) -> AbstractContextManager[UnitOfWork]:
        """Start a transaction.

        Raises:
            StoreUnavailable: the database is locked, full, read-only, gone, or has another schema version.
        """
        ...


class Outbox(Protocol):
    """Mails that wait to be forwarded. Each method is a transaction of its own."""

    def claim(self, limit: int, now: datetime, lease: timedelta) -> Sequence[OutboxItem]:
        """Return up to ``limit`` due items; no one else gets them before ``now + lease``."""
        ...

    def settle(
        self,
        item: OutboxItem,
        results: Mapping[int, DeliveryResult],
        retry_at: Mapping[int, datetime | None],
        now: datetime,
    ) -> None:
        """Record the outcome, by recipient id: 2xx sent; else queued until ``retry_at``, or dead when that is None."""
        ...


class Leases(Protocol):
    """Who of several nodes polls what. Each method is a transaction of its own, and may raise ``StoreUnavailable``.

    All times are the database's, whatever the clocks of the nodes say. A lease holds as long as nobody else claimed its
    mailbox: one that ran out may still be renewed.
    """

    def heartbeat(self, node: Node, lease: timedelta) -> ClusterView:
        """Note that a node lives, renew all its leases, and return how everything stands.

        It is to be taken for dead when nothing is heard of it for ``lease``.
        """
        ...

    def claim(self, owner: str, sources: Collection[str], lease: timedelta) -> Sequence[Lease]:
        """Return those of the mailboxes that ``owner`` has from now on: nobody had them, or the lease had run out.

        One that another claim or a transaction of its holder has in hand just now is left out, not waited for. The
        epoch of each is higher than any before.
        """
        ...

    def renew(self, owner: str, lease: timedelta) -> Sequence[Lease]:
        """Have all leases of ``owner`` run for ``lease`` from now on, and return them: what is missing was taken."""
        ...

    def release(self, owner: str, sources: Collection[str] | None = None) -> None:
        """Let go of these mailboxes, all when None, where ``owner`` still has them; others may claim them at once."""
        ...

    def forget(self, node_id: str) -> None:
        """Forget a node that ends."""
        ...

    def end_silent(self, silence: timedelta) -> int:
        """End transactions whose process was silent in them for so long, and return how many.

        That process is frozen, or its machine is gone: its locks would keep whoever stands in for it waiting.
        """
        ...

    def status(self) -> ClusterView:
        """Return all nodes of the last day, by name and id, and all mailboxes that were ever claimed, by name."""
        ...


class Backend(Protocol):
    """Hands mails to the next hop."""

    def send(self, outgoing: Outgoing) -> Sequence[DeliveryResult]:
        """Hand over one mail and return one result for each forward-path, in that order.

        Raises:
            DeliveryDeferred: nothing was accepted, and it may work later (no connection, 421).
            DeliveryFailed: nothing was accepted, and it never will be.
        """
        ...

    def close(self) -> None:
        """End the session; never raises, may be called twice. The next ``send`` opens another."""
        ...


class Archive(Protocol):
    """The stored mails, to be classified again. Every method may raise ``StoreUnavailable``."""

    def count(self, selection: Selection) -> int:
        """Return how many mails are meant."""
        ...

    def page(self, selection: Selection, after_id: int, limit: int) -> Sequence[StoredMail]:
        """Return up to ``limit`` mails above ``after_id``, by id; none of which retention took what they say."""
        ...

    def begin_run(self, selection: Selection, now: datetime) -> ReprocessRun:
        """Note that the mails of a selection are about to be revised."""
        ...

    def unfinished_run(self) -> tuple[ReprocessRun, Selection] | None:
        """Return the latest run that was begun and not finished, or None."""
        ...

    def apply(self, run_id: int, revisions: Sequence[Revision], last_id: int, now: datetime) -> None:
        """Replace kinds and events in one transaction, keep the old events as history, note how far the run came.

        A replaced event keeps the time its mail was recorded at; nothing is forwarded.
        """
        ...

    def finish(self, run_id: int, now: datetime) -> None:
        """Note that a run came to its end."""
        ...
