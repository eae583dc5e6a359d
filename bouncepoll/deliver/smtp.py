"""Hands mails to an SMTP server (RFC 5321): a submission service, a smarthost, the MX of the feedback address."""

import smtplib
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import ClassVar

from bouncepoll.deliver import _probe
from bouncepoll.deliver._options import ConnectionOptions, Security
from bouncepoll.deliver._session import Session, opened, tls_context
from bouncepoll.errors import DeliveryDeferred
from bouncepoll.model.delivery import DeliveryResult, Outgoing
from bouncepoll.model.message import Envelope
from bouncepoll.model.probe import Probe
from bouncepoll.ports import TokenSource


class Options(ConnectionOptions):
    """An SMTP server."""

    default_ports: ClassVar[Mapping[Security, int]] = {"starttls": 587, "tls": 465, "none": 25}


class SmtpBackend:
    """A ``Backend`` over SMTP."""

    def __init__(self, options: Options, tokens: TokenSource | None = None) -> None:
        """``tokens`` gives the secret of a login with ``auth``; without it the password of the options counts."""
        self._options = options
        self._tokens = tokens
        self._session = Session(options, self.connect)

    def send(self, outgoing: Outgoing) -> Sequence[DeliveryResult]:
        """Hand over one mail; the reply to the data counts for every accepted recipient."""
        return self._session.send(outgoing, one_reply_a_recipient=False)

    def close(self) -> None:
        """End the session."""
        self._session.close()

    def connect(self) -> smtplib.SMTP:
        """Return a connection that is greeted, protected and logged in."""
        options = self._options
        if options.host is None:
            raise DeliveryDeferred("delivery.smtp.host is not set; set it to the server that takes the forwards")
        if options.security == "tls":
            connection: smtplib.SMTP = smtplib.SMTP_SSL(
                timeout=options.timeout, context=tls_context(options), local_hostname=options.local_hostname
            )
        else:
            connection = smtplib.SMTP(timeout=options.timeout, local_hostname=options.local_hostname)
        # smtplib verifies the certificate's name against this attribute, which it sets in the constructor only.
        connection._host = options.host  # type: ignore[attr-defined]  # noqa: SLF001
        return opened(
            connection,
            partial(connection.connect, options.host, options.tcp_port),
            options,
            starttls=options.security == "starttls",
            tokens=self._tokens,
        )


def create(options: Options, tokens: TokenSource | None = None) -> SmtpBackend:
    """Build the backend; it connects when it first sends. ``tokens`` is what ``auth`` stands for."""
    return SmtpBackend(options, tokens)


def probe(options: Options, envelope: Envelope, tokens: TokenSource | None = None) -> Iterator[Probe]:
    """Yield what ``bouncepoll doctor`` looks at; see ``model.probe``."""
    return _probe.session("smtp", options, SmtpBackend(options, tokens).connect, envelope)
