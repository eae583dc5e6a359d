"""Puts the SMTP and LMTP listener together, and reads again those of its mails that were in quarantine."""

from collections.abc import Callable, Sequence

import structlog

from bouncepoll.bootstrap import Application
from bouncepoll.errors import ConfigurationError
from bouncepoll.receive import FilterBook, Receiver
from bouncepoll.sources.listener.server import FOLDERS, SOURCE, Listener

log = structlog.get_logger()


class ListenerDesk:
    """The listener of an application, from ``start`` to ``wait``.

    ``on_forwards`` is called after the commit of a mail that is to be forwarded, from another thread.
    """

    def __init__(self, application: Application, on_forwards: Callable[[], None]) -> None:
        """Build it; nothing is listened at yet.

        Raises:
            ConfigurationError: its default filter does not exist.
        """
        settings, self._store = application.settings, application.store
        wanted = settings.listener.default_filter
        if wanted is not None and self._store.filters.get(wanted) is None:
            raise ConfigurationError(
                f"listener.default_filter: there is no filter {wanted!r}; 'bouncepoll filter list' shows them"
            )
        domain = settings.filters.mailloop_domain
        book = FilterBook(self._store.filters.all, mailloop_domain=domain, default_filter=wanted)
        clock = application.clock
        self._receiver = Receiver(
            self._store, application.analysing, book, clock=application.shared, on_forwards=on_forwards
        )
        self._listener = Listener(settings.listener, recipients=book, receive=self._receiver, clock=clock)

    def start(self) -> Sequence[tuple[str, str]]:
        """Listen; see ``Listener.start``."""
        return self._listener.start()

    def close(self) -> None:
        """Ask for the end; see ``Listener.close``."""
        self._listener.close()

    def wait(self, timeout_s: float) -> bool:
        """Wait for the end; see ``Listener.wait``."""
        return self._listener.wait(timeout_s)

    def retry(self) -> int:
        """Process again what ``quarantine retry`` named of the mails that were brought; return how many.

        Nobody can be asked to bring them again: what is kept of them is all there is.
        """
        # A mailbox may have the same name.
        ours = (entry for entry in self._store.quarantine.list() if entry.ref.source == SOURCE)
        wanted = [entry for entry in ours if entry.retry and entry.ref.folder in FOLDERS]
        for entry in wanted:
            octets = self._store.quarantine.octets(entry.id)
            if octets is not None:
                outcome = self._receiver.again(entry.ref, octets)
                log.info("message_retried", place=str(entry.ref), outcome=outcome.name.lower())
        return len(wanted)
