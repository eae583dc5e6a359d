"""AUTH (RFC 4954): the login of an SMTP or LMTP session, with any mechanism of ``bouncepoll.auth.sasl``."""

import base64
import binascii
import smtplib

from bouncepoll.auth import sasl
from bouncepoll.auth.sasl import PASSWORD_MECHANISMS, Exchange, SaslError, SaslRefused
from bouncepoll.deliver._options import ConnectionOptions
from bouncepoll.deliver._words import said
from bouncepoll.errors import BouncepollError, DeliveryDeferred
from bouncepoll.ports import TokenSource

# RFC 4954 section 4: the command with its initial response is a line of RFC 5321, at most 512 octets with its end.
_MAX_COMMAND_OCTETS = 510
_MAX_STEPS = 8
# So much of a secret in a row is an echo; less stands in any sentence.
_ECHO_CHARACTERS = 6


class _LoginRefused(Exception):
    """The server refused a login: its reply, and what it said before in the exchange."""

    def __init__(self, code: int, answer: str) -> None:
        super().__init__(answer)
        self.code = code


def log_in(connection: smtplib.SMTP, options: ConnectionOptions, tokens: TokenSource) -> None:
    """Log in; an answer that holds the secret is not shown. A token that is refused is renewed once.

    Raises:
        DeliveryDeferred: the login is refused, or the secret cannot be had.
        OSError, smtplib.SMTPException: the connection breaks.
    """
    try:
        try:
            _log_in(connection, options, tokens)
        except _LoginRefused as first:
            if first.code // 100 != 5 or not tokens.refused():
                raise
            _log_in(connection, options, tokens)
    except BouncepollError as exc:
        # What of the configuration is wrong is told with each forward that waits for it.
        raise exc if isinstance(exc, DeliveryDeferred) else DeliveryDeferred(f"{options.address}: {exc}") from exc
    except _LoginRefused as exc:
        raise DeliveryDeferred(
            f"{options.address}: the server refused the login of {options.username} ({exc.code} {exc}); "
            + (
                "it may work later"
                if exc.code // 100 == 4
                else "check username and password, and whether the account may send by SMTP"
            )
        ) from None
    except SaslError as exc:
        raise DeliveryDeferred(f"{options.address}: the server broke the login: {exc}") from None


def _log_in(connection: smtplib.SMTP, options: ConnectionOptions, tokens: TokenSource) -> None:
    """Log in with the best mechanism; with a password, then with the next one the server offers as well.

    Servers offer mechanisms their password database does not serve (SCRAM in front of PAM).
    """
    connection.ehlo_or_helo_if_needed()
    if not connection.has_extn("auth"):
        raise smtplib.SMTPNotSupportedError("SMTP AUTH extension not supported by server.")
    offered = connection.esmtp_features["auth"].split()
    secret = tokens.secret()
    first = sasl.choose(offered, tokens)
    known = {name.upper() for name in offered}
    others = [name for name in tokens.mechanisms if name in known and name != first and name in PASSWORD_MECHANISMS]
    for mechanism in (first, *others):
        try:
            _authenticate(connection, options, mechanism, secret)
        except _LoginRefused as exc:
            if exc.code // 100 == 4 or mechanism == (first, *others)[-1]:
                raise
        else:
            return


def _authenticate(connection: smtplib.SMTP, options: ConnectionOptions, mechanism: str, secret: str) -> None:
    exchange = sasl.start(mechanism, options.username or "", secret, options.host or "localhost", options.tcp_port)
    sent = [secret]
    initial, command = exchange.initial, f"AUTH {mechanism}"
    if (
        initial is not None
        and len(with_initial := f"{command} {_encoded(initial, sent) or '='}") <= _MAX_COMMAND_OCTETS
    ):
        initial, command = None, with_initial
    code, answer = connection.docmd(command)
    for _step in range(_MAX_STEPS):
        if code != 334:
            break
        if initial is not None:
            # The server's empty challenge stands where the initial response was too long for its command.
            response, initial = initial, None
        else:
            response = _response(connection, exchange, answer)
        code, answer = connection.docmd(_encoded(response, sent))
    if code == 235:
        exchange.finish()
        return
    shown = _shown(answer, sent)
    raise _LoginRefused(code, f"{shown}: {exchange.refusal}" if exchange.refusal else shown)


def _response(connection: smtplib.SMTP, exchange: Exchange, challenge: bytes) -> bytes:
    """Return the response to a challenge; on a server that breaks the mechanism, cancel (RFC 4954 section 4)."""
    try:
        return exchange.respond(base64.b64decode(challenge, validate=True))
    except (SaslError, binascii.Error) as exc:
        connection.docmd("*")
        raise SaslError(str(exc) if isinstance(exc, SaslError) else "a challenge that is not base64") from None
    except SaslRefused as exc:
        connection.docmd("*")
        raise _LoginRefused(535, str(exc)) from None


def _encoded(response: bytes, sent: list[str]) -> str:
    text = base64.b64encode(response).decode()
    sent.append(text)
    return text


def _shown(answer: bytes, sent: list[str]) -> str:
    shown = said(answer)
    for text in sent:
        parts = (text[at : at + _ECHO_CHARACTERS] for at in range(max(1, len(text) - _ECHO_CHARACTERS + 1)))
        if text and any(part in shown for part in parts):
            return "its answer is not shown, for it holds the secret"
    return shown
