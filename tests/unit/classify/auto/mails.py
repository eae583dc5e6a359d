"""Builds short mails and classifies them."""

from functools import cache
from typing import Any

from bouncepoll.classify import Classifier, as_json, create_classifier
from bouncepoll.mime import parse
from bouncepoll.model.message import Envelope, Message, MessageRef, RawMessage
from bouncepoll.model.verdict import Verdict
from bouncepoll.policy.severity import severity

SENDER = "ada@example.net"
_DEFAULTS = {"From": f"Ada Example <{SENDER}>", "To": "news@example.org", "Content-Type": "text/plain; charset=utf-8"}


@cache
def classifier() -> Classifier:
    return create_classifier()


def message(text: str = "", subject: str | None = None, **fields: str | None) -> Message:
    """Build a mail; ``Auto_Submitted="no"`` gives the field Auto-Submitted, None leaves a default field out."""
    return received(None, text, subject, **fields)


def received(envelope: Envelope | None, text: str, subject: str | None = None, **fields: str | None) -> Message:
    """Build a mail that came by SMTP with ``envelope``."""
    named = {name.replace("_", "-"): value for name, value in fields.items()}
    headers = {**_DEFAULTS, **({"Subject": subject} if subject is not None else {}), **named}
    head = "".join(f"{name}: {value}\n" for name, value in headers.items() if value is not None)
    octets = f"{head}\n{text}\n".encode()
    return parse(RawMessage(MessageRef("box", "INBOX", 1, "1"), octets, len(octets), envelope=envelope))


def multipart(content_type: str, *parts: str, subject: str = "A report", **fields: str | None) -> Message:
    """Build a multipart mail; each of ``parts`` is a part with its header."""
    body = "".join(f"--cut\n{part}\n" for part in parts) + "--cut--\n"
    return message(body, subject, Content_Type=f"{content_type}; boundary=cut", **fields)


def verdict(mail: Message) -> Verdict:
    return classifier().classify(mail)


def kind(mail: Message) -> str:
    return str(verdict(mail).kind)


def shown(mail: Message) -> dict[str, Any]:
    """Return the mail's verdict as ``classify --json`` prints it."""
    found = verdict(mail)
    return as_json(mail, found, [severity(finding) for finding in found.findings])
