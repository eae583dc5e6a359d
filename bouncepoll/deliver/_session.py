"""One SMTP or LMTP session: connecting, TLS, login, and a transaction with one reply for each recipient."""

import smtplib
import socket
import ssl
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import NoReturn

from bouncepoll.auth import PasswordTokens
from bouncepoll.deliver._head import require_addresses
from bouncepoll.deliver._login import log_in
from bouncepoll.deliver._options import ConnectionOptions
from bouncepoll.deliver._words import said
from bouncepoll.errors import DeliveryDeferred, DeliveryFailed
from bouncepoll.model.delivery import DeliveryResult, Outgoing
from bouncepoll.model.status import EnhancedStatus, SmtpReply
from bouncepoll.ports import TokenSource
from bouncepoll.probing.dates import clock_advice
from bouncepoll.probing.old_tls import TOO_OLD, speaks_old_tls

_FAILURES = (OSError, smtplib.SMTPException, ValueError, UnicodeError)
_NOT_CONNECTED = SmtpReply(451, "the connection broke before the next hop answered", EnhancedStatus(4, 4, 2))


class Session:
    """Sends mails over one connection, which is kept between them and set up again when it was lost."""

    def __init__(self, options: ConnectionOptions, connect: Callable[[], smtplib.SMTP]) -> None:
        """``connect`` returns a connection that was greeted, protected and logged in."""
        self._options = options
        self._connect = connect
        self._connection: smtplib.SMTP | None = None

    def send(self, outgoing: Outgoing, *, one_reply_a_recipient: bool) -> Sequence[DeliveryResult]:
        """Hand over one mail and return one result for each forward-path, in that order.

        ``one_reply_a_recipient``: after the data, LMTP answers once for each accepted recipient (RFC 2033 section 4.2).

        Raises:
            DeliveryDeferred: nothing was accepted, and it may work later.
            DeliveryFailed: nothing was accepted, and it never will be.
        """
        require_addresses(outgoing)
        connection = self._ready()
        try:
            return self._transaction(connection, outgoing, one_reply_a_recipient)
        except _FAILURES as exc:
            self.drop()
            raise DeliveryDeferred(f"{self._options.address}: {why(self._options, exc)}") from exc

    def close(self) -> None:
        """Say QUIT and close; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*_FAILURES):
                connection.quit()
            with suppress(*_FAILURES):
                connection.close()

    def drop(self) -> None:
        """Close without a word; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(*_FAILURES):
                connection.close()

    def _ready(self) -> smtplib.SMTP:
        """Return a connection that answers: the one there is, else a new one."""
        if self._connection is not None:
            with suppress(*_FAILURES):
                if self._connection.rset()[0] == 250:
                    return self._connection
            self.drop()
        try:
            self._connection = self._connect()
        except smtplib.SMTPResponseException as exc:
            self._refused(SmtpReply(exc.smtp_code, said(exc.smtp_error)))
        except _FAILURES as exc:
            raise DeliveryDeferred(f"{self._options.address}: {why(self._options, exc)}") from exc
        return self._connection

    def _transaction(
        self, connection: smtplib.SMTP, outgoing: Outgoing, one_reply_a_recipient: bool
    ) -> Sequence[DeliveryResult]:
        parameters = self._parameters(connection, outgoing)
        reply = self._answer(connection.mail(outgoing.reverse_path, parameters))
        if reply.code // 100 != 2:
            self._undo(connection, reply)
            return [DeliveryResult(path, reply) for path in outgoing.forward_paths]
        results = {path: self._answer(connection.rcpt(path)) for path in outgoing.forward_paths}
        accepted = [path for path, result in results.items() if result.code // 100 == 2]
        if accepted:
            results |= self._data(connection, outgoing.octets, accepted, one_reply_a_recipient)
        else:
            self._undo(connection, None)
        return [DeliveryResult(path, results[path]) for path in outgoing.forward_paths]

    def _answer(self, answer: tuple[int, bytes]) -> SmtpReply:
        """Return the reply to MAIL or RCPT; 421 ends the session (RFC 5321 section 3.8) before anything was taken."""
        reply = _reply(answer)
        if reply.code == 421:
            self.drop()
            raise DeliveryDeferred(f"{self._options.address}: the server ended the session: {reply}")
        return reply

    def _data(
        self, connection: smtplib.SMTP, octets: bytes, accepted: Sequence[str], one_reply_a_recipient: bool
    ) -> dict[str, SmtpReply]:
        """Send the mail and return the replies of the accepted recipients."""
        begun = _reply(connection.docmd("DATA"))
        if begun.code != 354:
            self._undo(connection, begun)
            return dict.fromkeys(accepted, _as_refusal(begun))
        connection.send(_quoted(octets))
        replies: dict[str, SmtpReply] = {}
        for path in accepted if one_reply_a_recipient else accepted[:1]:
            try:
                replies[path] = _reply(connection.getreply())
            except _FAILURES:
                # The one window in which nobody can know: it may have been taken. It is tried again, with the same
                # Message-ID; the recipients that were answered keep their answers.
                self.drop()
                replies |= dict.fromkeys((one for one in accepted if one not in replies), _NOT_CONNECTED)
                return replies
        if not one_reply_a_recipient:
            replies = dict.fromkeys(accepted, replies[accepted[0]])
        return replies

    def _parameters(self, connection: smtplib.SMTP, outgoing: Outgoing) -> list[str]:
        """Return the parameters of MAIL (RFC 1870, 6152, 6531).

        Raises:
            DeliveryFailed: the mail needs an extension the server does not have, or is larger than it takes.
        """
        parameters: list[str] = []
        limit = connection.esmtp_features.get("size", "")
        if connection.has_extn("size"):
            if limit.isdigit() and 0 < int(limit) < len(outgoing.octets):
                raise DeliveryFailed(
                    f"{self._options.address}: the mail has {len(outgoing.octets)} octets, the server takes {limit}"
                )
            parameters.append(f"SIZE={len(outgoing.octets)}")
        head = outgoing.octets[: outgoing.octets.find(b"\r\n\r\n") + 1]
        addressed = all(path.isascii() for path in (outgoing.reverse_path, *outgoing.forward_paths))
        if not addressed and not connection.has_extn("smtputf8"):
            raise DeliveryFailed(
                f"{self._options.address}: an address is not ASCII, and the server lacks SMTPUTF8 (RFC 6531); "
                "use another feedback address or another next hop"
            )
        if connection.has_extn("smtputf8") and not (addressed and head.isascii()):
            parameters.append("SMTPUTF8")
        if not outgoing.octets.isascii():
            if not connection.has_extn("8bitmime"):
                raise DeliveryFailed(
                    f"{self._options.address}: the mail holds 8-bit octets, and the server lacks 8BITMIME (RFC 6152)"
                )
            parameters.append("BODY=8BITMIME")
        connection.command_encoding = "utf-8" if not addressed else "ascii"
        return parameters

    def _undo(self, connection: smtplib.SMTP, reply: SmtpReply | None) -> None:
        if reply is not None and reply.code == 421:
            self.drop()
            return
        try:
            connection.rset()
        except _FAILURES:
            self.drop()

    def _refused(self, reply: SmtpReply) -> NoReturn:
        hint = "; check username and password" if reply.code in {530, 534, 535, 538} else ""
        # A login or a greeting that is refused is the configuration's or the server's trouble, never this mail's.
        raise DeliveryDeferred(f"{self._options.address}: the server refused the session: {reply}{hint}")


def tls_context(options: ConnectionOptions) -> ssl.SSLContext:
    """Return a context that verifies certificates and host names and wants TLS 1.2 or later.

    Raises:
        DeliveryDeferred: ``ca_file`` cannot be read or holds no certificate.
    """
    try:
        context = ssl.create_default_context(cafile=options.ca_file)
    except OSError as exc:
        raise DeliveryDeferred(
            f"ca_file {options.ca_file}: no certificate can be read from it: {exc.strerror}"
        ) from exc
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    return context


def opened(
    connection: smtplib.SMTP,
    greet: Callable[[], tuple[int, bytes]],
    options: ConnectionOptions,
    *,
    starttls: bool,
    tokens: TokenSource | None = None,
) -> smtplib.SMTP:
    """Return the connection greeted (RFC 5321 section 3.1), protected and logged in; closed when that fails.

    ``tokens`` gives the secret of the login; by default the password of the options.

    Raises:
        DeliveryDeferred: the login is refused, its secret cannot be had, or a file is missing.
        OSError, smtplib.SMTPException: whatever else fails, for ``why`` to put in words.
    """
    try:
        code, text = greet()
        if code != 220:
            raise smtplib.SMTPConnectError(code, text)  # noqa: TRY301 - closed here, told by the caller.
        connection.ehlo_or_helo_if_needed()
        if starttls:
            connection.starttls(context=tls_context(options))
            connection.ehlo_or_helo_if_needed()
        if options.username is not None:
            log_in(connection, options, tokens or PasswordTokens(options))
    except BaseException:
        connection.close()
        raise
    return connection


def why(options: ConnectionOptions, exc: BaseException) -> str:  # noqa: PLR0911 - a table, one line a failure.
    """Return in words what failed, and what to check."""
    match exc:
        case ssl.SSLCertVerificationError():
            advice = clock_advice(exc) or "check host and ca_file"
            return f"its certificate is not trusted ({exc.verify_message}); {advice}"
        case ssl.SSLError() if speaks_old_tls(exc):
            return TOO_OLD
        case ssl.SSLError():
            return f"TLS failed ({exc.reason or type(exc).__name__}); check port and security ({options.security!r})"
        case socket.gaierror():
            return f"the host name cannot be resolved ({exc.strerror}); check host"
        case TimeoutError():
            return f"no answer within {options.timeout:g} s; check host, port and security ({options.security!r})"
        case ConnectionRefusedError():
            return "the connection was refused; check host and port, and whether the server runs"
        case smtplib.SMTPServerDisconnected() if isinstance(exc.__context__, TimeoutError):
            # smtplib takes silence for a closed connection.
            return f"no answer within {options.timeout:g} s; raise timeout if the server is just slow"
        case smtplib.SMTPServerDisconnected():
            return "the server closed the connection"
        case smtplib.SMTPNotSupportedError():
            return f"the server lacks what is needed ({said(exc)})"
        case OSError() if not isinstance(exc, smtplib.SMTPException):
            return f"the connection failed ({exc.strerror or type(exc).__name__})"
        case _:
            return f"the server broke the protocol ({said(exc)})"


def _reply(answer: tuple[int, bytes]) -> SmtpReply:
    code, text = answer
    if not 200 <= code <= 599:
        raise smtplib.SMTPException(f"this is no reply: {said(text)[:80]}")
    shown = said(text)
    return SmtpReply(code, shown, EnhancedStatus.parse(shown[:12]))


def _as_refusal(reply: SmtpReply) -> SmtpReply:
    """A positive answer to DATA that is not 354 is no acceptance."""
    return reply if reply.code // 100 in {4, 5} else SmtpReply(451, f"unexpected answer to DATA: {reply}")


def _quoted(octets: bytes) -> bytes:
    """Return the mail as DATA sends it: dots doubled at line starts (RFC 5321 section 4.5.2), and the end mark."""
    stuffed = octets.replace(b"\r\n.", b"\r\n..")
    if stuffed.startswith(b"."):
        stuffed = b"." + stuffed
    return stuffed + (b".\r\n" if stuffed.endswith(b"\r\n") else b"\r\n.\r\n")
