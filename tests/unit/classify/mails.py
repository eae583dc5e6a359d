"""Short mails for the tests of classify."""

from functools import cache

from bouncepoll.classify import Classifier, create_classifier
from bouncepoll.classify import text as texts
from bouncepoll.mime.parser import parse
from bouncepoll.model.message import Envelope, Message, MessageRef, RawMessage
from bouncepoll.model.reading import Reading
from bouncepoll.model.verdict import Finding, Verdict

HEAD = (
    "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\n"
    "To: shop@example.com\n"
    "Subject: {subject}\n"
    "Return-Path: <>\n"
    "Message-ID: <1@mx.example.net>\n"
)


def message(source: str | bytes, envelope: Envelope | None = None) -> Message:
    octets = source if isinstance(source, bytes) else source.encode()
    return parse(RawMessage(MessageRef("test", "", None, "1"), octets, len(octets), envelope=envelope))


def reading(source: str | bytes) -> Reading:
    return texts.read(message(source))


@cache
def classifier() -> Classifier:
    return create_classifier()


def verdict(source: str | bytes) -> Verdict:
    return classifier().classify(message(source))


def notice(body: str, subject: str = "Undelivered Mail Returned to Sender", more: str = "") -> str:
    return f"{HEAD.format(subject=subject)}{more}Content-Type: text/plain; charset=utf-8\n\n{body}"


def dsn(fields: str, body: str = "See below.\n", returned: str = "To: bob@example.org\nSubject: News\n") -> str:
    return (
        HEAD.format(subject="Delivery report")
        + 'MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary="b"\n\n'
        + f"--b\nContent-Type: text/plain; charset=utf-8\n\n{body}\n"
        + f"--b\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n{fields}\n"
        + f"--b\nContent-Type: text/rfc822-headers\n\n{returned}\n--b--\n"
    )


def summary(source: str | bytes) -> list[tuple[str | None, str, str | None]]:
    """Return recipient, kind and reason of each finding."""
    return [(f.recipient, str(f.kind), str(f.reason) if f.reason else None) for f in verdict(source).findings]


def only(source: str | bytes) -> Finding:
    (finding,) = verdict(source).findings
    return finding
