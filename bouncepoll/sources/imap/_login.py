"""How an IMAP session begins: a connection, TLS, and a login (RFC 9051 sections 6.2 and 11.1)."""

import base64
import re
from collections.abc import Callable, Iterable, Sequence

from bouncepoll.auth import sasl
from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.ports import TokenSource
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import (
    Dropped,
    Refused,
    checked_secret,
    login_broken,
    login_refused,
    no_connection,
    tls_context,
)
from bouncepoll.sources.imap._dialogue import FAILURES, Dialogue
from bouncepoll.sources.imap._wire import BoundedIMAP4

_ATOM = re.compile(r"[A-Za-z0-9!#$&'+,\-./:;<=>?@^_`|~]+")
_CAPABILITY = re.compile(rb"(?:\* CAPABILITY|\[CAPABILITY) ([^\]\r\n]*)", re.IGNORECASE)
_LOGIN = "LOGIN"


def connect(name: str, options: MailboxOptions) -> tuple[Dialogue, frozenset[str]]:
    """Return a connection, protected as the options say, and what the server offers before the login.

    Raises:
        SourceUnavailable: no connection, a certificate that is not accepted, no STARTTLS.
        ConfigurationError: ``ca_file`` cannot be used.
    """
    context = None if options.security == "insecure-loopback" else tls_context(options.ca_file)
    try:
        imap = BoundedIMAP4(options, context if options.security == "tls" else None)
    except FAILURES as exc:
        raise no_connection(name, options, exc) from exc
    dialogue = Dialogue(options, imap)
    try:
        if options.security == "starttls":
            imap.starttls(context)
    except FAILURES as exc:
        dialogue.drop()
        raise no_connection(name, options, exc) from exc
    if imap.state != "NONAUTH":
        dialogue.drop()
        raise no_connection(name, options, ValueError("the server takes us for somebody before any login"))
    return dialogue, frozenset(imap.capabilities)


def login(
    name: str, options: MailboxOptions, tokens: TokenSource, dialogue: Dialogue, offered: frozenset[str]
) -> frozenset[str]:
    """Log in, and return what the server offers now. A secret that was refused is tried again when it is another one.

    Raises:
        SourceUnavailable: the server does not let us in.
        ConfigurationError: nothing the server offers fits the secret, or the secret cannot be sent.
    """
    attempt = _Login(name, options, tokens, dialogue, offered)
    try:
        return attempt()
    except _SecretRefused as exc:
        if not tokens.refused():
            raise exc.error from None
    try:
        return attempt()
    except _SecretRefused as exc:
        raise exc.error from None


class _SecretRefused(Exception):
    """The server said no, and not only for now."""

    def __init__(self, error: SourceUnavailable) -> None:
        super().__init__(str(error))
        self.error = error


class _Login:
    def __init__(
        self, name: str, options: MailboxOptions, tokens: TokenSource, dialogue: Dialogue, offered: frozenset[str]
    ) -> None:
        self._name = name
        self._options = options
        self._tokens = tokens
        self._dialogue = dialogue
        self._offered = offered

    def __call__(self) -> frozenset[str]:
        mechanism = self._mechanism()
        secret = checked_secret(self._name, self._tokens.secret())
        try:
            answers = self._plain_command(secret) if mechanism is None else self._authenticate(mechanism, secret)
            return _capabilities(answers) or _capabilities(self._dialogue.run("CAPABILITY")[1]) or self._offered
        except Refused as exc:
            error = login_refused(self._name, self._options, exc, secret)
            if exc.temporary or exc.busy:
                raise error from None
            raise _SecretRefused(error) from None
        except Dropped as exc:
            raise login_broken(self._name, self._options, exc, secret) from None
        except sasl.SaslError as exc:
            self._dialogue.drop()
            raise login_broken(self._name, self._options, exc, secret) from None

    def _mechanism(self) -> str | None:
        """Return how to log in; None: with the LOGIN command, of servers that know nothing better."""
        mechanisms = {capability[5:] for capability in self._offered if capability.startswith("AUTH=")}
        fits = not mechanisms.isdisjoint(self._tokens.mechanisms)
        password = _LOGIN in self._tokens.mechanisms
        if not fits and password:
            if "LOGINDISABLED" not in self._offered:
                return None
            if not mechanisms:
                raise SourceUnavailable(
                    f"{self._name}: {self._options.address}: the server takes no password here (LOGINDISABLED); "
                    "check security, and whether the account may use IMAP with a password"
                )
        try:
            return sasl.choose(mechanisms, self._tokens)
        except ConfigurationError as exc:
            raise ConfigurationError(f"mailboxes.{self._name}.auth: {self._options.address}: {exc}") from None

    def _plain_command(self, secret: str) -> list[Sequence[bytes]]:
        username = self._options.username
        if not (username + secret).isascii():
            # RFC 3501 section 6.2.3: LOGIN knows no character set.
            raise ConfigurationError(
                f"mailboxes.{self._name}: {self._options.address} takes only ASCII in username and password"
            )
        command, answers = self._dialogue.run(f"LOGIN {_astring(username)} {quoted(secret)}")
        return [*answers, [command.text]]

    def _authenticate(self, mechanism: str, secret: str) -> list[Sequence[bytes]]:
        exchange = sasl.start(mechanism, self._options.username, secret, self._options.host, self._options.tcp_port)
        command, respond = _opening(mechanism, exchange, at_once="SASL-IR" in self._offered)
        try:
            answers = self._dialogue.converse(command, respond)
        except Refused as exc:
            # The bearer mechanisms say why in a challenge, before the NO.
            raise Refused(f"{exc}; {exchange.refusal}") if exchange.refusal else exc from None
        except sasl.SaslRefused as exc:
            self._dialogue.cancel()
            raise Refused(str(exc)) from None
        exchange.finish()
        return answers


def _opening(mechanism: str, exchange: sasl.Exchange, *, at_once: bool) -> tuple[str, Callable[[bytes], bytes]]:
    """Return the AUTHENTICATE command, with the initial response where it may stand there (RFC 4959), and what answers
    the challenges."""
    initial = exchange.initial
    if initial is None or not at_once:
        due = [] if initial is None else [initial]
        return f"AUTHENTICATE {mechanism}", lambda challenge: due.pop() if due else exchange.respond(challenge)
    encoded = base64.b64encode(initial).decode() or "="
    return f"AUTHENTICATE {mechanism} {encoded}", exchange.respond


def _capabilities(answers: Iterable[Sequence[bytes]]) -> frozenset[str]:
    """Return the capabilities that answers tell (RFC 9051 section 7.2.2); the last ones count, none is an empty set."""
    found = [match for pieces in answers for match in [_CAPABILITY.search(pieces[0])] if match]
    return frozenset(found[-1][1].decode("ascii", "replace").upper().split()) if found else frozenset()


def quoted(text: str) -> str:
    """Return a quoted string (RFC 9051 section 4.3)."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _astring(text: str) -> str:
    return text if _ATOM.fullmatch(text) else quoted(text)
