"""What the parts log in with, and when it ends."""

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import structlog

from bouncepoll.auth import Place, place_of
from bouncepoll.auth.logins import Logins
from bouncepoll.errors import BouncepollError, UsageError
from bouncepoll.model.credential import Expiry
from bouncepoll.ports import Clock, CredentialStore, TokenSource
from bouncepoll.settings import Settings

if TYPE_CHECKING:
    from bouncepoll.auth.login import Terminal

log = structlog.get_logger()

#: Sections of backends that may log in.
_BACKENDS = ("smtp", "lmtp")


class CredentialDesk:
    """The logins of all mailboxes and of the delivery. Sections are named ``mailboxes.NAME`` and ``delivery.smtp``."""

    def __init__(self, settings: Settings, store: Callable[[], CredentialStore], clock: Clock) -> None:
        """``store`` is called when a login is first kept or looked up."""
        self._settings = settings
        self.logins = Logins(settings.credentials, store, clock)

    def mailbox(self, name: str) -> TokenSource | None:
        """Return what a mailbox logs in with; None for one without ``auth``.

        Raises:
            ConfigurationError: an address of an end-point, or a file, is missing.
        """
        return self._tokens(f"mailboxes.{name}")

    def delivery(self, backend: str) -> TokenSource | None:
        """Return what a backend logs in with; None for one without an ``auth`` section; raises like ``mailbox``."""
        return self._tokens(f"delivery.{backend}")

    def kind(self, section: str) -> str | None:
        """Return how a section logs in; None for one without ``auth``."""
        found = self._found(section)
        return None if found is None else str(getattr(found[1], "kind", "password"))

    def log_in(self, section: str, terminal: "Terminal") -> None:
        """Walk a person through the login of a section, and keep what it gives.

        Raises:
            UsageError: there is no such section, or its kind of auth needs no login.
            TransientError, ConfigurationError: the login failed.
        """
        found = self._found(section)
        if found is None:
            raise UsageError(f"{section[:80]}: there is nothing to log in with: it has no auth section")
        self.logins.log_in(*found, terminal)

    def expiries(self, section: str | None = None) -> tuple[Expiry, ...]:
        """Return when credentials end, as far as that is known, the soonest first; of all sections for None.

        Raises:
            StoreUnavailable: the database cannot be read.
        """
        sections = self.sections() if section is None else (section,)
        found = [pair for one in sections if (pair := self._found(one)) is not None]
        ends = (expiry for place, auth in found for expiry in self.logins.expiries(place, auth))
        return tuple(sorted(ends, key=lambda expiry: expiry.expires_at))

    def warn_of_end(self, section: str) -> None:
        """Log what ends within 14 days, or has ended; once a day."""
        found = self._found(section)
        try:
            if found is not None:
                self.logins.warn_of_end(*found)
        except BouncepollError as exc:
            # A warning that cannot be given must not hold up the work.
            log.warning("expiry_unknown", section=section, error=str(exc))

    def sections(self) -> Iterator[str]:
        """Yield the sections that may log in: the mailboxes, and the chosen backend."""
        yield from (f"mailboxes.{name}" for name in sorted(self._settings.mailboxes))
        if self._settings.delivery.backend in _BACKENDS:
            yield f"delivery.{self._settings.delivery.backend}"

    def _tokens(self, section: str) -> TokenSource | None:
        found = self._found(section)
        return None if found is None else self.logins.tokens(*found)

    def _found(self, section: str) -> tuple[Place, Any] | None:
        group, _dot, name = section.partition(".")
        options: Any = None
        if group == "mailboxes":
            options = self._settings.mailboxes.get(name)
        elif group == "delivery" and name in _BACKENDS:
            options = getattr(self._settings.delivery, name, None)
        auth = getattr(options, "auth", None)
        return None if auth is None else (place_of(section, options), auth)
