"""Makes a mail of the outbox ready to be handed over: rewritten, redirected, or as an attachment.

Every forward carries the loop field with the instance's id, and a Message-ID that is the same each time this mail is
sent for this filter, so that a receiver can drop a second copy.
"""

import hashlib
from collections.abc import Iterable
from email.utils import format_datetime

from bouncepoll.deliver._head import (
    Mail,
    address_field,
    field,
    folded,
    is_mailbox,
    mailboxes,
    one_line,
    split,
    starts_with_field,
    with_crlf,
    without_envelope_line,
)
from bouncepoll.deliver._options import ForwardOptions
from bouncepoll.errors import DeliveryDeferred, DeliveryFailed
from bouncepoll.model.delivery import OutboxItem, Outgoing
from bouncepoll.model.filter import ForwardMode
from bouncepoll.model.loop import LOOP_FIELD, forward_id

_MAX_REFERENCES = 20
# What belongs to the way the mail came (trace, signatures the rewriting breaks) or asks for answers to the writer's
# mail program; the fields that are written anew; and what would tell a list or a server something untrue.
_DROPPED = frozenset(
    {
        *("from", "sender", "reply-to", "to", "cc", "bcc", "apparently-to", "message-id", "references"),
        *("return-path", "received", "delivered-to", "x-original-to", "x-forwarded-to", "x-forwarded-for"),
        *("envelope-to", "x-envelope-to", "x-envelope-from", "x-real-to", "received-spf", "authentication-results"),
        *("dkim-signature", "domainkey-signature", "x-google-dkim-signature", "arc-seal", "arc-message-signature"),
        *("arc-authentication-results", "return-receipt-to", "disposition-notification-to", "x-confirm-reading-to"),
        *("errors-to", "x-failed-recipients", "x-auto-response-suppress", "content-length", "lines", "status"),
    }
)


def prepare(item: OutboxItem, options: ForwardOptions, instance_id: str) -> Outgoing:
    """Return the forward of a mail for the recipients of ``item``.

    Raises:
        DeliveryDeferred: the configuration names no address to send from.
        DeliveryFailed: no recipient of the item is an address.
    """
    mode = item.bounce_filter.forward_mode or options.mode
    from_address = options.from_address
    if not from_address and mode is ForwardMode.REDIRECT and is_mailbox(item.bounce_filter.filter_address):
        # Only Resent-From needs it in this mode, and there the address the mail came to is true.
        from_address = item.bounce_filter.filter_address
    if not from_address:
        raise DeliveryDeferred("forward.from_address is not set; set it to an address the delivery may send from")
    forward_paths = tuple(recipient.forward_path for recipient in item.recipients)
    if not all(map(is_mailbox, forward_paths)):
        raise DeliveryFailed("a feedback address of the filter is no address; mend it with 'bouncepoll filter edit'")
    octets = without_envelope_line(with_crlf(item.octets))
    making = _Making(item, octets, from_address, forward_paths, instance_id)
    made = {
        ForwardMode.REWRITE: making.rewritten,
        ForwardMode.REDIRECT: making.redirected,
        ForwardMode.ATTACH: making.attached,
    }[mode]()
    return Outgoing(options.reverse_path, forward_paths, made)


class _Making:
    """One forward in the making."""

    def __init__(
        self, item: OutboxItem, octets: bytes, from_address: str, forward_paths: tuple[str, ...], instance_id: str
    ) -> None:
        self._item = item
        self._octets = octets
        self._from_address = from_address
        self._to = [("", path) for path in forward_paths]
        self._instance_id = instance_id
        mark = f"{instance_id}\n{item.bounce_filter.id}\n{item.fingerprint}"
        digest = hashlib.sha256(mark.encode("utf-8", "replace")).hexdigest()
        self._boundary = f"=_{digest[:40]}"
        self._message_id = forward_id(digest, from_address.rpartition("@")[2])

    def rewritten(self) -> bytes:
        """From is ours with the writer's name, Reply-To the writer; the body's octets stay."""
        mail = split(self._octets)
        kept = (folded(one) for one in mail.fields if not _is_dropped(one.name))
        return b"".join((*self._new_fields(mail), *kept, *_missing(mail, self._item), b"\r\n", mail.body))

    def redirected(self) -> bytes:
        """Resent fields (RFC 5322 section 3.6.6) above the mail, nothing of which changes."""
        above = (
            self._loop_field(),
            field("Resent-Date", format_datetime(self._item.created_at)),
            address_field("Resent-From", [("", self._from_address)]),
            address_field("Resent-To", self._to),
            field("Resent-Message-ID", self._message_id),
        )
        # Where the first line is no field, ours are the whole header.
        gap = b"" if starts_with_field(self._octets) else b"\r\n"
        return b"".join((*above, gap, self._octets))

    def attached(self) -> bytes:
        """A mail of ours that holds the whole mail as message/rfc822; its octets stay."""
        mail = split(self._octets)
        writer = _writer(mail)
        shown = f"{writer[0]} <{writer[1]}>".strip() if writer else "somebody who gave no address"
        text = f"A mail for {one_line(self._item.bounce_filter.name)} from {one_line(shown)} is attached.\r\n"
        eight_bit = b"7bit" if self._octets.isascii() else b"8bit"
        boundary = self._boundary.encode()
        while boundary in self._octets:
            boundary = b"=_" + hashlib.sha256(boundary).hexdigest()[:40].encode()
        head = (
            *self._new_fields(mail),
            field("Subject", f"Fwd: {_text(mail, 'Subject') or '(no subject)'}"),
            field("Date", format_datetime(self._item.created_at)),
            field("MIME-Version", "1.0"),
            b'Content-Type: multipart/mixed;\r\n boundary="' + boundary + b'"\r\n',
            b"Content-Transfer-Encoding: " + eight_bit + b"\r\n\r\n",
        )
        parts = (
            b"--" + boundary + b"\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Transfer-Encoding: ",
            b"7bit" if text.isascii() else b"8bit",
            b"\r\n\r\n" + text.encode() + b"\r\n--" + boundary + b"\r\nContent-Type: message/rfc822\r\n",
            b"Content-Transfer-Encoding: " + eight_bit + b"\r\nContent-Disposition: attachment; filename=mail.eml\r\n",
            b"\r\n" if starts_with_field(self._octets) else b"\r\n\r\n",
            self._octets,
            b"\r\n--" + boundary + b"--\r\n",
        )
        return b"".join((*head, *parts))

    def _loop_field(self) -> bytes:
        return field(LOOP_FIELD, self._instance_id)

    def _new_fields(self, mail: Mail) -> Iterable[bytes]:
        """Yield the fields of a mail of ours, which keep the thread together and name the writer."""
        writer = _writer(mail)
        original_id = _text(mail, "Message-ID")
        yield self._loop_field()
        display = (writer[0] or writer[1]) if writer else "unknown sender"
        yield address_field("From", [(display, self._from_address)])
        answer_to = mailboxes(mail.fields, "Reply-To") or ([writer] if writer else [])
        if answer_to:
            yield address_field("Reply-To", answer_to)
        yield address_field("To", self._to)
        yield field("Message-ID", self._message_id)
        references = [*_text(mail, "References").split(), original_id][-_MAX_REFERENCES:]
        known = [one for one in references if one.startswith("<") and one.endswith(">") and len(one) <= 250]
        if known:
            yield field("References", " ".join(known))
        yield field("X-Bouncepoll-Filter", self._item.bounce_filter.name)
        if original_id:
            yield field("X-Bouncepoll-Original-Message-ID", original_id)
        if writer:
            yield field("X-Bouncepoll-Original-From", f"{writer[0]} <{writer[1]}>".strip())
        # Exchange answers whatever the reverse-path is, unless it is asked not to ([MS-OXCMAIL] section 2.2.3.2.14).
        yield field("X-Auto-Response-Suppress", "OOF, AutoReply")


def _is_dropped(name: str) -> bool:
    lowered = name.lower()
    return lowered in _DROPPED or (lowered.startswith(("resent-", "x-bouncepoll-")) and lowered != LOOP_FIELD.lower())


def _writer(mail: Mail) -> tuple[str, str] | None:
    """Return display name and address of who wrote the mail; None when it names nobody."""
    for name in ("From", "Sender"):
        found = mailboxes(mail.fields, name, limit=1)
        if found:
            return found[0]
    return None


def _text(mail: Mail, name: str) -> str:
    return next((kept.value for kept in mail.fields if kept.name.lower() == name.lower()), "")


def _missing(mail: Mail, item: OutboxItem) -> Iterable[bytes]:
    """Yield the fields a mail has to have and this one lacks."""
    names: set[str] = {kept.name.lower() for kept in mail.fields}
    if "subject" not in names:
        yield field("Subject", "(no subject)")
    if "date" not in names:
        yield field("Date", format_datetime(item.created_at))
