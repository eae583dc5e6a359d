"""Short ways to make a mail and to look at what was read."""

from bouncepoll import mime
from bouncepoll.model.message import Message, MessageRef, Part, RawMessage

REF = MessageRef("news", "INBOX", 1, "1")


def raw(text: str | bytes, size_octets: int | None = None) -> RawMessage:
    octets = text if isinstance(text, bytes) else text.encode("latin-1")
    return RawMessage(REF, octets, len(octets) if size_octets is None else size_octets)


def parse(text: str | bytes) -> Message:
    return mime.parse(raw(text))


def part(message: Message, path: str) -> Part:
    return next(part for part in message.parts if part.path == path)


def outline(message: Message) -> list[tuple[str, str, str | None]]:
    return [(part.path, part.content_type, part.text) for part in message.parts]


def content(message: Message) -> object:
    """Return everything that was read, for comparing."""
    return message.headers, message.parts, message.returned_headers, message.defects, message.fingerprint


def leaf(body: str | bytes, content_type: str = "text/plain; charset=utf-8", encoding: str | None = None) -> Message:
    octets = body if isinstance(body, bytes) else body.encode()
    field = f"Content-Transfer-Encoding: {encoding}\n" if encoding else ""
    return parse(f"From: a@example.org\nContent-Type: {content_type}\n{field}\n".encode() + octets)


def multipart(*parts: str, subtype: str = "mixed", boundary: str = "b", closing: str = "--b--\n") -> str:
    body = "".join(f"--{boundary}\n{part}\n" for part in parts)
    return f"From: a@example.org\nContent-Type: multipart/{subtype}; boundary={boundary}\n\n{body}{closing}"


REPORT = multipart(
    "Content-Type: text/plain\n\nYour mail was not delivered.\n",
    "Content-Type: message/delivery-status\n\nReporting-MTA: dns; mx.example.net\n\n"
    "Final-Recipient: rfc822; alice@example.net\nAction: failed\nStatus: 5.1.1\n",
    "Content-Type: message/rfc822\n\nMessage-ID: <n1@example.com>\nSubject: News\n"
    "Content-Type: multipart/alternative; boundary=c\n\n"
    "--c\n\nplain news\n--c\nContent-Type: text/html\n\n<p>news</p>\n--c--\n",
    subtype="report; report-type=delivery-status",
).replace(
    "From: a@example.org\n", "From: MAILER-DAEMON@example.net\nSubject: Undelivered\nMessage-ID: <r1@example.net>\n"
)
