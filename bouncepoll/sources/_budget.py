"""What the mailboxes of one account share in this process: its connections, and the rest a server asked it to take.

Providers count and throttle by account, not by mailbox. So a connection is leased before it is made, and when a server
asks to be left alone, no mailbox of the account connects until then.
"""

import random
import threading
import time
from collections.abc import Callable
from functools import cache
from typing import Protocol

import structlog

from bouncepoll.errors import SourceUnavailable
from bouncepoll.sources._throttle import LONGEST_REST_S

log = structlog.get_logger()

#: A rest is longer by up to this share, so that not all come back at the same moment.
_JITTER = 0.1
_MAX_ACCOUNTS = 10_000


class AccountOptions(Protocol):
    """What tells accounts apart, and how many connections one may have."""

    @property
    def host(self) -> str: ...
    @property
    def username(self) -> str: ...
    @property
    def max_connections(self) -> int: ...
    @property
    def timeout(self) -> float: ...


class Lease:
    """The right to have one connection; ``release`` gives it back."""

    def __init__(self, account: "Account") -> None:
        self._account = account
        self._held = True

    def release(self) -> None:
        """Give the connection back; may be called twice."""
        if self._held:
            self._held = False
            self._account.released()

    def rest(self, seconds: float | None) -> None:
        """Keep the whole account from connecting for so long; None does nothing."""
        if seconds is not None:
            self._account.rest(seconds)


class Account:
    """The connections and the rest of one account. Used by several threads at once."""

    def __init__(self, clock: Callable[[], float], rng: random.Random) -> None:
        """``clock`` gives seconds that never go back."""
        self._clock = clock
        self._rng = rng
        self._limits: dict[str, int] = {}
        self._in_use = 0
        self._rests_until = 0.0
        self._changed = threading.Condition()

    @property
    def in_use(self) -> int:
        """How many connections the account has now."""
        return self._in_use

    def rest(self, seconds: float) -> None:
        """Let no mailbox of the account connect for so many seconds and a bit."""
        lasting_s = min(seconds, LONGEST_REST_S) * self._rng.uniform(1.0, 1.0 + _JITTER)
        with self._changed:
            self._rests_until = max(self._rests_until, self._clock() + lasting_s)
            self._changed.notify_all()

    def rest_left_s(self) -> float:
        """Return how long the account has to rest yet; 0 when it need not."""
        return max(0.0, self._rests_until - self._clock())

    def lease(self, name: str, options: AccountOptions, *, wait: bool = True) -> Lease:
        """Return the right to connect, waiting up to ``timeout`` for a connection to become free.

        Without ``wait`` (for IDLE, which keeps its connection) one has to be free now, and one more for polls.

        Raises:
            SourceUnavailable: the account rests, or has no connection to spare.
        """
        with self._changed:
            # What the mailboxes of one account say may differ: the least of it counts.
            self._limits[name] = options.max_connections
            most = min(self._limits.values())
            limit = most if wait else most - 1
            free = self._changed.wait_for(
                lambda: self._in_use < limit or self._rests_until > self._clock(), options.timeout if wait else 0
            )
            if left_s := self.rest_left_s():
                raise SourceUnavailable(
                    f"{name}: {options.host} asked for a rest, and all mailboxes of {options.username} keep it for "
                    f"another {left_s:.0f} s; nothing to do, the next poll comes after it",
                    retry_after_s=left_s,
                )
            if not free:
                raise SourceUnavailable(
                    f"{name}: all {most} connections of {options.username} at {options.host} are "
                    "in use; poll less often, or raise max_connections where the provider allows more"
                )
            self._in_use += 1
        return Lease(self)

    def released(self) -> None:
        """Count one connection less; called by ``Lease``."""
        with self._changed:
            self._in_use -= 1
            self._changed.notify_all()


class Budget:
    """The accounts of a process, by server and login name."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, rng: random.Random | None = None) -> None:
        self._clock = clock
        self._rng = rng or random.Random()  # noqa: S311 - spreads connections, guards nothing.
        self._accounts: dict[tuple[str, str], Account] = {}
        self._guard = threading.Lock()

    def account(self, options: AccountOptions) -> Account:
        """Return the account of a mailbox."""
        key = (options.host.lower(), options.username.lower())
        with self._guard:
            if key not in self._accounts and len(self._accounts) >= _MAX_ACCOUNTS:
                self._accounts.clear()  # Nobody has so many; a program that makes names up must not fill the memory.
            return self._accounts.setdefault(key, Account(self._clock, self._rng))


@cache
def process_budget() -> Budget:
    """Return the budget of this process, built when first asked for."""
    return Budget()


def lease(name: str, options: AccountOptions, *, wait: bool = True) -> Lease:
    """Return the right to connect to a mailbox's account; see ``Account.lease``. IMAP and POP3 both call this.

    Raises:
        SourceUnavailable: the account rests, or has no connection to spare.
    """
    return process_budget().account(options).lease(name, options, wait=wait)
