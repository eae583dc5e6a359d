"""Mixed mails by number, and what has to be recorded and forwarded of each: the stuff of the end-to-end tests."""

from dataclasses import dataclass

_STAMP = "Mon, 02 Nov 2026 10:{minute:02}:{second:02} +0000"


@dataclass(frozen=True, slots=True)
class MadeMail:
    """A mail, its Message-ID, the one event it leads to (recipient and kind, None: none), and whether it is forwarded."""

    octets: bytes
    message_id: str
    event: tuple[str, str] | None
    forwarded: bool


def made(number: int, filter_address: str) -> MadeMail:
    """Return mail ``number``, addressed to ``filter_address``; every sixth is of the same kind."""
    maker = (_bounce, _reply, _vacation, _complaint, _delay, _reply)[number % 6]
    return maker(number, f"<m{number}@mail.example.com>", filter_address)


def _head(number: int, message_id: str, sender: str, to: str, subject: str, *more: str) -> str:
    date = _STAMP.format(minute=number // 60 % 60, second=number % 60)
    fields = (
        f"From: {sender}",
        f"To: {to}",
        f"Subject: {subject}",
        f"Date: {date}",
        f"Message-ID: {message_id}",
        *more,
    )
    return "".join(f"{field}\r\n" for field in ("MIME-Version: 1.0", *fields)) + "\r\n"


def _parts(boundary: str, *parts: tuple[str, str]) -> str:
    body = "".join(f"--{boundary}\r\nContent-Type: {kind}\r\n\r\n{text}\r\n" for kind, text in parts)
    return f"{body}--{boundary}--\r\n"


def _bounce(number: int, message_id: str, to: str) -> MadeMail:
    return _report(number, message_id, to, "failed", "5.1.1", "550 5.1.1 no such user here", "bounce")


def _delay(number: int, message_id: str, to: str) -> MadeMail:
    return _report(number, message_id, to, "delayed", "4.4.1", "connect timed out, will keep trying", "delay")


def _report(number: int, message_id: str, to: str, action: str, status: str, said: str, kind: str) -> MadeMail:
    recipient = f"reader{number}@example.net"
    report_type = 'Content-Type: multipart/report; report-type=delivery-status; boundary="b1"'
    octets = _head(number, message_id, "MAILER-DAEMON@mx.example.net", to, "Delivery report", report_type) + _parts(
        "b1",
        ("text/plain", f"Your mail to {recipient}: {action}.\r\n"),
        (
            "message/delivery-status",
            "Reporting-MTA: dns; mx.example.net\r\n\r\n"
            f"Final-Recipient: rfc822; {recipient}\r\nAction: {action}\r\nStatus: {status}\r\n"
            f"Diagnostic-Code: smtp; {said}\r\n",
        ),
        (
            "text/rfc822-headers",
            f"From: {to}\r\nTo: {recipient}\r\nSubject: News\r\nMessage-ID: <n{number}@example.org>\r\n",
        ),
    )
    return MadeMail(octets.encode(), message_id, (recipient, kind), forwarded=False)


def _reply(number: int, message_id: str, to: str) -> MadeMail:
    text = f"Hello,\r\n\r\nplease send me catalogue number {number}. Thank you!\r\n\r\nAnn\r\n"
    octets = _head(number, message_id, f"Ann Reader <ann{number}@example.com>", to, "Re: News") + text
    return MadeMail(octets.encode(), message_id, None, forwarded=True)


def _vacation(number: int, message_id: str, to: str) -> MadeMail:
    sender = f"away{number}@example.com"
    octets = _head(number, message_id, sender, to, "Out of office: News", "Auto-Submitted: auto-replied")
    octets += "I am out of the office until 30 November 2026.\r\n"
    return MadeMail(octets.encode(), message_id, (sender, "vacation"), forwarded=False)


def _complaint(number: int, message_id: str, to: str) -> MadeMail:
    recipient = f"angry{number}@example.com"
    report_type = 'Content-Type: multipart/report; report-type=feedback-report; boundary="b2"'
    octets = _head(number, message_id, "fbl@example.com", to, "Abuse report", report_type) + _parts(
        "b2",
        ("text/plain", "This is an abuse report.\r\n"),
        (
            "message/feedback-report",
            f"Feedback-Type: abuse\r\nUser-Agent: Example/1\r\nVersion: 1\r\nOriginal-Rcpt-To: <{recipient}>\r\n",
        ),
        (
            "message/rfc822",
            f"From: {to}\r\nTo: {recipient}\r\nSubject: News\r\nMessage-ID: <c{number}@example.org>\r\n\r\nNews\r\n",
        ),
    )
    return MadeMail(octets.encode(), message_id, (recipient, "complaint"), forwarded=False)
