"""The commands of SMTP (RFC 5321) and LMTP (RFC 2033): who is a recipient, and what becomes of a mail."""
# ruff: noqa: N802 - a command's method has the name aiosmtpd gives it.

from uuid import uuid4

import structlog
from aiosmtpd.smtp import Envelope as Transaction
from aiosmtpd.smtp import TLSSetupException

from bouncepoll.errors import ConfigurationError, TransientError
from bouncepoll.model.message import Envelope, MessageRef, RawMessage
from bouncepoll.model.reception import Reception, Recipient
from bouncepoll.sources.listener import _commands as commands
from bouncepoll.sources.listener._conduct import BUSY, Conduct
from bouncepoll.sources.listener._content import Content
from bouncepoll.sources.listener._trace import Client, traced

log = structlog.get_logger()

#: The name of the listener in the places of its mails, and the names of their folders there.
SOURCE = "listener"
FOLDERS = ("smtp", "lmtp")

# Recipients a client may name before a mail comes, in multiples of those a mail may have.
_MAX_ASKED = 10
_NEEDS_UTF8 = "553 5.6.7 An address beyond ASCII needs SMTPUTF8"
_RECIPIENT_REPLIES = {
    Recipient.KNOWN: "250 2.1.5 Recipient fine",
    Recipient.UNKNOWN: "550 5.1.1 There is no such address here",
    Recipient.FOREIGN: "550 5.7.1 Nothing is relayed from here",
    Recipient.MALFORMED: "553 5.1.3 This is no mail address",
}


class Session(Conduct):
    """A session."""

    _messages = 0
    _asked = 0

    async def smtp_HELO(self, hostname: str | None) -> None:
        """Greet a client that knows no extensions."""
        await self._greet(hostname, extended=False, lmtp=False)

    async def smtp_EHLO(self, hostname: str | None) -> None:
        """Greet a client and tell the extensions."""
        await self._greet(hostname, extended=True, lmtp=False)

    async def smtp_LHLO(self, hostname: str | None) -> None:
        """Greet an LMTP client (RFC 2033 section 4.1)."""
        await self._greet(hostname, extended=True, lmtp=True)

    async def _greet(self, name: str | None, *, extended: bool, lmtp: bool) -> None:
        await self.count_junk()
        if lmtp != (self.kind == "lmtp"):
            await self.push(f"500 5.5.1 {'This is SMTP: say EHLO' if lmtp else 'This is LMTP: say LHLO'}")
            return
        if not name or self.session is None:
            await self.push("501 5.5.4 Say who you are")
            return
        self.envelope = Transaction()
        self.session.host_name = name
        self.session.extended_smtp = extended
        words = ["PIPELINING", f"SIZE {self.desk.options.max_octets}", "8BITMIME", "SMTPUTF8", "ENHANCEDSTATUSCODES"]
        if self.tls_context is not None and not self.secure:
            words.append("STARTTLS")
        lines = [self.hostname, *(words if extended else ())]
        self.plain = True
        await self.push("\r\n".join([*(f"250-{line}" for line in lines[:-1]), f"250 {lines[-1]}"]))

    async def smtp_STARTTLS(self, arg: str | None) -> None:
        """Begin TLS (RFC 3207). What was sent in the clear behind the command would be taken for said inside."""
        await self.count_junk()
        if self.tls_context is None or self.secure:
            await self.push("503 5.5.1 There is no TLS to be started")
            return
        if self.read_ahead:
            log.warning("listener_starttls_injection", client=self.client)
            await self.finish("421 4.7.0 Nothing may follow STARTTLS before TLS is there")
        await super().smtp_STARTTLS(arg)
        # QUIRK: asyncio tells nobody when the connection is lost in the middle of a handshake.
        if self.session is None or self.session.ssl is None:
            raise TLSSetupException from ConnectionResetError("lost during the handshake")

    async def smtp_MAIL(self, arg: str | None) -> None:
        """Begin a mail."""
        if await self._not_greeted() or self.session is None or self.envelope is None:
            return
        found = commands.argument("FROM", arg)
        if self.envelope.mail_from is not None:
            await self.push("503 5.5.1 A mail was begun already")
        elif found is None or (found.parameters and not self.session.extended_smtp):
            await self.push("501 5.5.4 Say MAIL FROM:<address>")
        elif self._messages >= self.desk.options.max_messages:
            await self.finish("421 4.7.0 Enough mails for one session, open another")
        elif (fault := commands.mail_fault(found.parameters, self.desk.options.max_octets)) is not None:
            await self.push(fault)
        elif not found.path.isascii() and "SMTPUTF8" not in found.parameters:
            await self.push(_NEEDS_UTF8)
        else:
            self.envelope.mail_from = found.path
            self.envelope.smtp_utf8 = "SMTPUTF8" in found.parameters
            await self.push("250 2.1.0 Sender fine")

    async def smtp_RCPT(self, arg: str | None) -> None:
        """Add a recipient, if it is one of ours."""
        if await self._not_greeted() or self.envelope is None:
            return
        transaction = self.envelope
        found = commands.argument("TO", arg)
        self._asked += 1
        if self._asked > _MAX_ASKED * self.desk.options.max_recipients:
            await self.finish("421 4.7.0 Too many recipients and no mail, goodbye")
        if transaction.mail_from is None:
            await self.push("503 5.5.1 Say MAIL first")
        elif found is None or not found.path:
            await self.push("501 5.5.4 Say RCPT TO:<address>")
        elif found.parameters:
            await self.push("555 5.5.4 A parameter is not known here")
        elif not found.path.isascii() and not transaction.smtp_utf8:
            await self.push(_NEEDS_UTF8)
        elif len(transaction.rcpt_tos) >= self.desk.options.max_recipients:
            await self.push("452 4.5.3 Too many recipients, send the mail again for the others")
        else:
            reply = await self._recipient(found.path)
            if reply.startswith("250"):
                transaction.rcpt_tos.append(found.path)
            await self.push(reply)

    async def _recipient(self, path: str) -> str:
        if self.desk.recipients.known(path):
            return _RECIPIENT_REPLIES[Recipient.KNOWN]
        try:
            answer = await self.in_pool(self.desk.lookup_pool, self.desk.recipients.answer, path)
        except (TransientError, ConfigurationError) as exc:
            log.error("listener_recipient_not_found_out", error=str(exc))  # noqa: TRY400 - the message says it all.
            return BUSY
        if answer is not Recipient.KNOWN:
            log.info("listener_recipient_refused", client=self.client, why=answer.name.lower())
            log.debug("listener_address_refused", client=self.client, address=path)
        return _RECIPIENT_REPLIES[answer]

    async def smtp_DATA(self, arg: str | None) -> None:
        """Take a mail. LMTP gets one reply for each recipient (RFC 2033 section 4.2), SMTP one."""
        if await self._not_greeted() or self.envelope is None:
            return
        transaction = self.envelope
        if arg:
            await self.push("501 5.5.4 Say DATA alone")
            return
        if transaction.mail_from is None or not transaction.rcpt_tos:
            await self.push("503 5.5.1 There is no recipient")
            return
        self._asked = 0
        self.begin_mail()
        await self.push("354 End the mail with <CR><LF>.<CR><LF>")
        content = Content(self.desk.memory, self.desk.options.max_octets)
        try:
            await content.read(self._reader, self.read_ahead)
            reply = content.fault or await self._take(transaction, [content.take()])
        finally:
            content.release()
        self.envelope = Transaction()
        self.in_hand = False
        replies = [reply] * (len(transaction.rcpt_tos) if self.kind == "lmtp" else 1)
        await self.push("\r\n".join(replies))

    async def _take(self, transaction: Transaction, mail: list[bytes]) -> str:
        """Have a mail stored, and return the reply; ``mail`` is emptied, so that there is one copy of large ones."""
        hello = (self.session.host_name if self.session is not None else None) or ""
        envelope = Envelope(transaction.mail_from or "", tuple(dict.fromkeys(transaction.rcpt_tos)))
        client = Client(self.client, hello, self._protocol_name(transaction))
        reference = MessageRef(SOURCE, FOLDERS[self.kind == "lmtp"], None, uuid4().hex)
        try:
            outcome = await self.in_pool(self.desk.mail_pool, self._receive, reference, mail, envelope, client)
        except (TransientError, ConfigurationError) as exc:
            log.error("listener_mail_not_stored", place=str(reference), error=str(exc))  # noqa: TRY400 - as above.
            return BUSY
        if outcome is Reception.LOOPED:
            log.warning("listener_mail_looped", client=self.client)
            return "554 5.4.6 This mail was here before: it goes round in a circle"
        self._messages += 1
        return f"250 2.0.0 Kept as {reference.uid}"

    def _receive(self, reference: MessageRef, mail: list[bytes], envelope: Envelope, client: Client) -> Reception:
        now = self.desk.clock()
        kept = traced(mail.pop(), envelope, client, self.hostname, reference.uid, now)
        return self.desk.receive(RawMessage(reference, kept, len(kept), now, envelope))

    def _protocol_name(self, transaction: Transaction) -> str:
        """Return how the client speaks, as a trace field names it (RFC 3848, RFC 6531 section 4.3)."""
        if self.session is None or not self.session.extended_smtp:
            return "SMTP"
        utf8 = transaction.smtp_utf8
        name = "LMTP" if self.kind == "lmtp" else "SMTP" if utf8 else "ESMTP"
        return f"{'UTF8' if utf8 else ''}{name}{'S' if self.secure else ''}"

    async def _not_greeted(self) -> bool:
        needed: bool = await self.check_helo_needed("LHLO" if self.kind == "lmtp" else "EHLO")
        return needed

    async def smtp_NOOP(self, arg: str | None) -> None:  # noqa: ARG002 - all commands are called alike.
        """Do nothing."""
        await self.count_junk()
        await self.push("250 2.0.0 Fine")

    async def smtp_RSET(self, arg: str | None) -> None:
        """Forget the mail that was begun."""
        await self.count_junk()
        await super().smtp_RSET(arg)

    async def smtp_VRFY(self, arg: str | None) -> None:  # noqa: ARG002
        """Tell nothing (RFC 5321 section 7.3)."""
        await self.count_junk()
        await self.push("252 2.5.0 Send a mail to find out")

    async def smtp_HELP(self, arg: str | None) -> None:  # noqa: ARG002
        """Point at the standard."""
        await self.count_junk()
        await self.push("214 2.0.0 See RFC 5321")

    async def smtp_QUIT(self, arg: str | None) -> None:  # noqa: ARG002
        """End the session."""
        await self.finish("221 2.0.0 Goodbye")

    async def smtp_EXPN(self, arg: str | None) -> None:  # noqa: ARG002
        """Tell nothing."""
        await self.push("502 5.5.1 EXPN is not done here")

    async def smtp_AUTH(self, arg: str | None) -> None:  # noqa: ARG002
        """Refuse: nobody has an account here."""
        await self.push("502 5.5.1 AUTH is not done here")
