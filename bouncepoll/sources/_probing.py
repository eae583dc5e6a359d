"""What the probes of IMAP and POP3 share: the way to the server, and the secret."""

from collections.abc import Generator
from typing import Literal

from bouncepoll.errors import BouncepollError
from bouncepoll.model.probe import Probe, fail, ok
from bouncepoll.ports import TokenSource
from bouncepoll.probing import UNKNOWN_CLIENT, Account, Way, mends
from bouncepoll.sources import _proxy
from bouncepoll.sources._options import MailboxOptions


def way_to(name: str, options: MailboxOptions, protocol: Literal["imap", "pop3"]) -> Way:
    """Return how the mailbox's server is connected to."""
    return Way(
        key=f"mailboxes.{name}",
        host=options.host,
        port=options.tcp_port,
        security=options.security,
        upgrade=protocol if options.security == "starttls" else "none",
        dial=lambda: _proxy.connect(options),
        ca_file=options.ca_file,
        has_tls=options.security != "insecure-loopback",
    )


def account_of(name: str, options: MailboxOptions, protocol: str) -> Account:
    """Return whose login it is, for the words of a mend."""
    auth = options.auth
    client_id = str(getattr(auth, "client_id", UNKNOWN_CLIENT))
    return Account(name, f"mailboxes.{name}", options.host, options.username, protocol, auth.kind, client_id)


def secret_probe(tokens: TokenSource, account: Account) -> Generator[Probe, None, bool]:
    """Yield the check ``secret``, and return whether there is one to log in with."""
    try:
        tokens.secret()
    except BouncepollError as exc:
        found = said_of(exc, account)
        named = mends(found, account) if account.auth_kind != "password" else ()
        yield fail("secret", found, *(named or (f"mend what {account.key}.auth names",)))
        return False
    yield ok("secret", f"auth.kind {account.auth_kind!r} gives a secret")
    return True


def login_failed(exc: BouncepollError, account: Account) -> Probe:
    """Return the check ``login`` that failed."""
    found = said_of(exc, account)
    return fail("login", found, *mends(found, account))


def said_of(exc: BaseException, account: Account) -> str:
    """Return an error's text without the mailbox's name, which stands above it anyway."""
    return str(exc).removeprefix(f"{account.name}: ")
