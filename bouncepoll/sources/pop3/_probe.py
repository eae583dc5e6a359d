"""What ``bouncepoll doctor`` looks at in a POP3 mailbox. Nothing is changed there."""

import time
from collections.abc import Iterator
from contextlib import suppress

from bouncepoll.errors import BouncepollError
from bouncepoll.model.mailbox import Disposition, DoneAction
from bouncepoll.model.probe import Probe, fail, ok, skipped, warn
from bouncepoll.ports import TokenSource
from bouncepoll.probing import Account, access_mends, reached
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._probing import account_of, login_failed, secret_probe, way_to
from bouncepoll.sources._transport import Dropped, Refused
from bouncepoll.sources.pop3._connection import Connection

_USED = ("UIDL", "TOP", "PIPELINING", "LOGIN-DELAY", "UTF8")


class _Probing(Connection):
    """A connection that shows what the server announces."""

    def argument(self, capability: str) -> str | None:
        """Return a capability's arguments; None where it is not announced."""
        found = self._capabilities.get(capability)
        return None if found is None else " ".join(found)


def probed(name: str, options: MailboxOptions, on_done: Disposition, tokens: TokenSource | None) -> Iterator[Probe]:
    """Yield the checks of a mailbox; see ``model.probe``."""
    account = account_of(name, options, "pop3")
    later = ("capabilities", "folder INBOX")
    if not (yield from reached(way_to(name, options, "pop3"), time.time())):
        yield from skipped(("secret", "login", *later), "there is no safe connection")
        return
    if tokens is None or not (yield from secret_probe(tokens, account)):
        yield from skipped(("login", *later), "there is no secret to log in with")
        return
    try:
        connection = _Probing(name, options, tokens)
    except BouncepollError as exc:
        yield login_failed(exc, account)
        yield from skipped(later, "we are not logged in")
        return
    try:
        yield ok("login", f"logged in as {options.username}")
        yield _capabilities(connection, options, on_done)
        yield _maildrop(connection, account)
    finally:
        # Nothing was marked, so QUIT deletes nothing; the connection is closed in any case.
        with suppress(Refused, Dropped):
            connection.quit()


def _capabilities(connection: _Probing, options: MailboxOptions, on_done: Disposition) -> Probe:
    if connection.supports("UIDL") is None:
        return ok("capabilities", "the server announces none (no CAPA)")
    has = [name for name in _USED if connection.supports(name)]
    found = ", ".join(f"{name} {connection.argument(name) or ''}".strip() for name in has) or "none of those used"
    if not connection.supports("TOP"):
        return warn("capabilities", f"{found}; not TOP", "large mails are fetched whole to be analysed")
    if connection.argument("EXPIRE") == "0" and on_done.action is DoneAction.LEAVE:
        return warn(
            "capabilities",
            f"{found}, EXPIRE 0",
            "the server deletes what was read (RFC 2449 section 6.7): nothing is left, whatever on_done says",
        )
    if options.host.lower() == "pop.gmail.com" and not options.quirks.pop3_username_prefix:
        return warn(
            "capabilities",
            f"{found}; Gmail hides what was read once",
            'set provider = "gmail", which logs in as recent:NAME, or use protocol = "imap"',
        )
    return ok("capabilities", found)


def _maildrop(connection: _Probing, account: Account) -> Probe:
    check = "folder INBOX"
    try:
        sizes, unique_ids = connection.sizes(), connection.unique_ids()
    except (Refused, Dropped) as exc:
        mend = access_mends(str(exc), account) or (
            "without unique-ids (UIDL, RFC 1939 section 7) mails cannot be told apart: use protocol 'imap'",
        )
        return fail(check, f"the server says: {exc}", *mend)
    missing = len(sizes) - len(unique_ids)
    found = f"{len(sizes)} mail{'' if len(sizes) == 1 else 's'}, {sum(sizes.values()) / 1024**2:.1f} MiB"
    if missing > 0:
        return warn(check, f"{found}; {missing} of them have no unique-id", "these are told apart by their octets")
    return ok(check, found)
