"""From nothing to a POP3 session: connect, STLS, and log in with SASL (RFC 5034) or USER and PASS."""

import base64
import poplib
import ssl
from collections.abc import Mapping
from contextlib import suppress
from typing import NamedTuple, NoReturn

from bouncepoll.auth import sasl
from bouncepoll.errors import ConfigurationError, SourceUnavailable
from bouncepoll.ports import TokenSource
from bouncepoll.sources import _budget
from bouncepoll.sources._budget import Lease
from bouncepoll.sources._options import MailboxOptions
from bouncepoll.sources._transport import (
    Refused,
    checked_secret,
    login_broken,
    login_refused,
    no_connection,
    said,
    tls_context,
)
from bouncepoll.sources.pop3._client import ANSWER_OCTETS, FAILURES, BoundedPOP3, negative

# RFC 5034 section 4: a command with its initial response has 255 octets at most, the line end among them.
_COMMAND_CHARACTERS = 253
_MAX_CHALLENGES = 10
# So much of what was sent in a row is an echo.
_ECHO_CHARACTERS = 12
# RFC 3206 section 4: [SYS/PERM] needs an administrator; asking more often than this helps nobody.
_LASTING_FAULT_REST_S = 3600.0
_MAX_LOGIN_DELAY_S = 86400.0


class LoggedIn(NamedTuple):
    """A session in the TRANSACTION state (RFC 1939 section 5)."""

    client: BoundedPOP3
    capabilities: Mapping[str, list[str]]
    lease: Lease


class _CredentialsRefused(Exception):
    """The server does not accept the secret; ``error`` says so for people."""

    def __init__(self, error: SourceUnavailable) -> None:
        super().__init__()
        self.error = error


def log_in(name: str, options: MailboxOptions, tokens: TokenSource) -> LoggedIn:
    """Return a session; a secret that is refused is asked for anew once, where there is another one.

    Raises:
        SourceUnavailable: no connection, a certificate that is not accepted, a refused login.
        ConfigurationError: ``ca_file`` or the secret cannot be used, or the server has no mechanism for it.
        TransientError: the secret cannot be had now.
    """
    try:
        return _attempt(name, options, tokens)
    except _CredentialsRefused as exc:
        if not tokens.refused():
            raise exc.error from None
    try:
        return _attempt(name, options, tokens)
    except _CredentialsRefused as exc:
        raise exc.error from None


def login_delay_s(capabilities: Mapping[str, list[str]]) -> float:
    """Return the least time between two logins (RFC 2449 section 6.5), in seconds; 0 when the server names none."""
    argument = next(iter(capabilities.get("LOGIN-DELAY", [])), "")
    if not (argument.isascii() and argument.isdigit() and len(argument) < 10):
        return 0.0
    return min(float(argument), _MAX_LOGIN_DELAY_S)


def _attempt(name: str, options: MailboxOptions, tokens: TokenSource) -> LoggedIn:
    secret = checked_secret(name, tokens.secret())
    held = _budget.lease(name, options)
    try:
        session = _Session(name, options, secret)
    except BaseException as exc:
        _given_back(held, exc)
        raise
    try:
        return LoggedIn(session.client, session.log_in(tokens), held)
    except BaseException as exc:
        with suppress(*FAILURES):
            session.client.close()
        _given_back(held, exc)
        raise


def _given_back(held: Lease, exc: BaseException) -> None:
    error = exc.error if isinstance(exc, _CredentialsRefused) else exc
    if isinstance(error, SourceUnavailable):
        held.rest(error.retry_after_s)
    held.release()


class _Session:
    """A connection in the AUTHORIZATION state (RFC 1939 section 4)."""

    def __init__(self, name: str, options: MailboxOptions, secret: str) -> None:
        """Connect; with TLS where it is wanted."""
        self._name = name
        self._options = options
        self._secret = secret
        self._username = options.quirks.pop3_username_prefix + options.username
        self._sent: list[str] = []
        self._offered: Mapping[str, list[str]] = {}
        context = None if options.security == "insecure-loopback" else tls_context(options.ca_file)
        try:
            self.client = BoundedPOP3(options, context if options.security == "tls" else None)
        except FAILURES as exc:
            raise no_connection(name, options, exc) from exc
        if options.security == "starttls":
            self._starttls(context)

    def _starttls(self, context: ssl.SSLContext | None) -> None:
        try:
            self.client.allow(ANSWER_OCTETS)
            self.client.stls(context)
        except FAILURES as exc:
            with suppress(*FAILURES):
                self.client.close()
            raise no_connection(self._name, self._options, exc) from exc

    def log_in(self, tokens: TokenSource) -> Mapping[str, list[str]]:
        """Log in and return the capabilities; raises what ``log_in`` does, or ``_CredentialsRefused``."""
        try:
            self._offered = self._capa()
            if "UTF8" in self._offered:
                self._utf8()
            self._authenticate(tokens)
            return self._widened(self._capa() or self._offered)
        except sasl.SaslError as exc:
            broken = poplib.error_proto(f"the server broke the login: {exc}")
            raise login_broken(self._name, self._options, broken, self._secret) from None
        except FAILURES as exc:
            if negative(exc):
                self._refused(self._without_echo(exc), None)
            raise login_broken(self._name, self._options, self._without_echo(exc), self._secret) from None

    def _widened(self, capabilities: Mapping[str, list[str]]) -> Mapping[str, list[str]]:
        # Now, between answers: mails follow, and come faster in larger pieces.
        self.client.widen()
        return capabilities

    def _capa(self) -> dict[str, list[str]]:
        """Return the capabilities (RFC 2449); none where the server does not know the command."""
        self.client.allow(ANSWER_OCTETS)
        try:
            found = self.client.capa()
        except poplib.error_proto:
            return {}
        ignored = {name.upper() for name in self._options.quirks.ignored_capabilities}
        return {name.upper(): arguments for name, arguments in found.items() if name.upper() not in ignored}

    def _utf8(self) -> None:
        """Take mails with UTF-8 in their headers as they are (RFC 6856); a server that says no downgrades them."""
        with suppress(Refused):
            self._command("UTF8")

    def _authenticate(self, tokens: TokenSource) -> None:
        offered = self._mechanisms()
        takes_password = "PLAIN" in tokens.mechanisms
        if takes_password and not offered.intersection(tokens.mechanisms) and self._has_user():
            self._user_pass()
            return
        try:
            mechanism = sasl.choose(offered, tokens)
            exchange = sasl.start(mechanism, self._username, self._secret, self._options.host, self._options.tcp_port)
        except ConfigurationError as exc:
            raise ConfigurationError(f"mailboxes.{self._name}.auth: {self._options.address}: {exc}") from None
        self._exchange(mechanism, exchange)

    def _mechanisms(self) -> set[str]:
        offered = {mechanism.upper() for mechanism in self._offered.get("SASL", [])}
        wanted = {mechanism.upper() for mechanism in self._options.mechanisms}
        return offered & wanted if wanted else offered

    def _has_user(self) -> bool:
        """Whether USER may be tried: it is announced, or no other way is (RFC 2449 section 6.3)."""
        return not self._options.mechanisms and ("USER" in self._offered or "SASL" not in self._offered)

    def _user_pass(self) -> None:
        for command in (f"USER {self._username}", f"PASS {self._secret}"):
            try:
                self._command(command)
            except Refused as exc:
                self._refused(exc, None)

    def _exchange(self, mechanism: str, exchange: sasl.Exchange) -> None:
        """Carry out a SASL exchange (RFC 5034 section 4)."""
        pending = exchange.initial
        command = f"AUTH {mechanism}"
        if pending is not None and self._on_one_line(f"{command} {_encoded(pending) or '='}"):
            command, pending = f"{command} {_encoded(pending) or '='}", None
        try:
            answer = self._command(command)
            for _challenge in range(_MAX_CHALLENGES):
                if not answer.startswith(b"+ ") and answer != b"+":
                    exchange.finish()
                    return
                # What comes before the initial response is an empty challenge, or some words of the server's.
                response = exchange.respond(_decoded(answer)) if pending is None else pending
                pending = None
                answer = self._command(_encoded(response))
        except sasl.SaslRefused as exc:
            self._refused(Refused(str(exc)), exchange.refusal)
        except Refused as exc:
            self._refused(exc, exchange.refusal)
        raise sasl.SaslError(f"{_MAX_CHALLENGES} challenges")

    def _on_one_line(self, command: str) -> bool:
        """Whether the initial response goes onto the line of AUTH."""
        match self._options.quirks.pop3_auth:
            case "one-line":
                return True
            case "two-step":
                return False
            case _:
                return len(command) <= _COMMAND_CHARACTERS

    def _command(self, command: str) -> bytes:
        """Send a line and return the positive answer to it.

        Raises:
            Refused: the answer is negative. It does not hold what was sent.
        """
        self._sent.append(command)
        self.client.allow(ANSWER_OCTETS)
        self.client.send([command])
        try:
            return self.client.reply()
        except poplib.error_proto as exc:
            if not negative(exc):
                raise
            raise Refused(said(self._without_echo(exc))) from None

    def _refused(self, answer: BaseException, reason: str | None) -> NoReturn:
        """Raise what a negative answer to the login means (RFC 3206 section 4)."""
        refused = Refused(said(answer))
        shown = Refused(f"{refused}; {reason}") if reason else refused
        error = login_refused(self._name, self._options, shown, self._secret)
        text = str(refused).upper()
        if "[SYS/PERM]" in text:
            raise SourceUnavailable(
                f"{error}; the server calls this a lasting fault of its own ([SYS/PERM]), so its administrator has to "
                "mend it",
                retry_after_s=_LASTING_FAULT_REST_S,
            )
        if "[LOGIN-DELAY]" in text:
            delay_s = login_delay_s(self._offered) or error.retry_after_s
            raise SourceUnavailable(str(error), retry_after_s=delay_s)
        if refused.temporary or refused.busy:
            raise error
        raise _CredentialsRefused(error)

    def _without_echo(self, exc: BaseException) -> BaseException:
        """Return an error, or one in its place when it repeats what was sent: that may be a secret."""
        answer = str(exc.args[0]) if exc.args else ""
        echoed = any(
            secret[start : start + _ECHO_CHARACTERS] in answer
            for secret in map(_secret_part, self._sent)
            for start in range(len(secret) - _ECHO_CHARACTERS + 1)
        )
        return poplib.error_proto(b"-ERR its answer is not shown, for it holds the password") if echoed else exc


def _secret_part(command: str) -> str:
    """Return what of a command of the login nobody else may see; a line without a keyword is a SASL response."""
    keyword, _space, rest = command.partition(" ")
    match keyword:
        case "USER" | "UTF8":
            return ""
        case "AUTH":
            return rest.partition(" ")[2]
        case "PASS":
            return rest
        case _:
            return command


def _encoded(octets: bytes) -> str:
    return base64.b64encode(octets).decode("ascii")


def _decoded(answer: bytes) -> bytes:
    try:
        return base64.b64decode(answer[2:].strip(), validate=True)
    except ValueError:
        raise sasl.SaslError("a challenge that is not base64") from None
