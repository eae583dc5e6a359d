"""Mails with one thing in them many times over: what a mail of N of something costs, next to one of 2 N and 4 N."""

import base64
from collections.abc import Callable

_REPORT = (
    "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nTo: news@example.org\nSubject: Undelivered Mail\n"
    "Content-Type: multipart/report; report-type=delivery-status; boundary=b\n\n"
)
_NOTICE = (
    "From: Mail Delivery System <MAILER-DAEMON@mx.example.net>\nTo: news@example.org\n"
    "Subject: Undelivered Mail Returned to Sender\n\n"
    "This is the mail system at host mx.example.net.\n\nI'm sorry to have to inform you that your message could not\n"
    "be delivered to one or more recipients.\n\n"
)
_AWAY = (
    "From: Ann <ann@example.com>\nTo: news@example.org\nSubject: Out of office\nAuto-Submitted: auto-replied\n"
    "In-Reply-To: <n1@example.org>\n\n"
)
_PERSON = "From: Ann <ann@example.com>\nTo: news@example.org\nSubject: Re: News\n\n"


def _status(count: int, group: str) -> str:
    groups = "".join(f"\n{group.format(n=n)}" for n in range(count))
    return (
        f"{_REPORT}--b\n\nYour mail was not delivered.\n--b\nContent-Type: message/delivery-status\n\n"
        f"Reporting-MTA: dns; mx.example.net\n{groups}\n--b--\n"
    )


def _nested(count: int) -> str:
    return "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(count)) + "\ntext"


def _many(template: str, octets: int, before: str = "", after: str = "") -> str:
    """Return ``template`` so many times that all is about ``octets`` long; ``{n}`` in it is counted."""
    count = max(1, (octets - len(before) - len(after)) // len(template.format(n=10_000)))
    return before + "".join([template.format(n=n) for n in range(count)]) + after


#: A mail of about that many octets, by what there is much of in it.
PUMPED: dict[str, Callable[[int], str]] = {
    "fields": lambda n: _many("X-Field-{n}: value {n}\n", n, "From: a@example.com\n", "\ntext"),
    "fields of one name": lambda n: _many("To: a{n}@example.com\n", n, "From: a@example.com\n", "\ntext"),
    "trace fields": lambda n: _many(
        "Received: from a{n}.example.com by mx.example.org for <news{n}@example.org>; Mon, 2 Nov 2026 10:00:00 +0000\n",
        *(n, "", "From: a@example.com\n\ntext"),
    ),
    "trace fields without an end": lambda n: _many("for <a{n} ", n, "Received: ", "\nFrom: a@example.com\n\ntext"),
    "addresses in a field": lambda n: _many("a{n}@example.com, ", n, "To: ", "\nFrom: a@example.com\n\ntext"),
    "comments in a field": lambda n: _many("(", n, "From: ", "\n\ntext"),
    "quotes in a field": lambda n: _many('"\\', n, "From: ", "\n\ntext"),
    "routes in a field": lambda n: _many("<@a{n},", n, "To: ", "\nFrom: a@example.com\n\ntext"),
    "groups in a field": lambda n: _many("g{n}:", n, "To: ", "\nFrom: a@example.com\n\ntext"),
    "encoded words": lambda n: _many("=?utf-8?q?word_{n}?= ", n, "From: a@example.com\nSubject: ", "\n\ntext"),
    "encoded words in From": lambda n: _many("=?utf-8?b?YWI=?= ", n, "From: ", " <a@example.com>\n\ntext"),
    "cut encoded words": lambda n: _many("=?utf-8?q?=?", n, "From: a@example.com\nSubject: ", "\n\ntext"),
    "folds": lambda n: _many(" {n}\n", n, "From: a@example.com\nSubject: x\n", "\ntext"),
    "references": lambda n: _many(" <n{n}@example.org>\n", n, "From: a@example.com\nReferences:\n", "\ntext"),
    "continued parameters": lambda n: _many(
        "; filename*{n}*=a%20", n, "From: a@example.com\nContent-Disposition: attachment", "\n\ntext"
    ),
    "parameters": lambda n: _many("; a{n}=b", n, "From: a@example.com\nContent-Type: text/plain", "\n\ntext"),
    "parts": lambda n: _many("--b\n\npart {n}\n", n, _REPORT, "--b--\n"),
    "parts in HTML": lambda n: _many("--b\nContent-Type: text/html\n\n<p>part {n}\n", n, _REPORT, "--b--\n"),
    "returned mails": lambda n: _many(
        "--b\nContent-Type: message/rfc822\n\nSubject: {n}\n\ntext\n", n, _REPORT, "--b--\n"
    ),
    "status parts": lambda n: _many(
        "--b\nContent-Type: message/delivery-status\n\n\nFinal-Recipient: rfc822; a{n}@example.com\nAction: failed\n",
        *(n, _REPORT, "--b--\n"),
    ),
    "nested": lambda n: _nested(n // 55),
    "nested mails": lambda n: "Content-Type: message/rfc822\n\n" * (n // 30) + "Subject: core\n\ntext",
    "boundaries that begin alike": lambda n: "".join(
        f"Content-Type: multipart/mixed; boundary={'b' * k}\n\n--{'b' * k}\n"
        for k in range(1, int((2 * n) ** 0.5) // 2)
    ),
    "delimiters of nobody": lambda n: _nested(15) + "\n--x" * (n // 4),
    "recipients": lambda n: _status(
        n // 75, "Final-Recipient: rfc822; a{n}@example.com\nAction: failed\nStatus: 5.1.1\n"
    ),
    "recipients and replies": lambda n: _status(
        n // 170,
        "Final-Recipient: rfc822; a{n}@example.com\nAction: failed\nStatus: 5.0.0\nRemote-MTA: dns; mx.example.com\n"
        "Diagnostic-Code: smtp; 550 the mailbox number {n} said something odd\n",
    ),
    "groups of nothing": lambda n: _status(n // 8, "X: {n}\n"),
    "one group": lambda n: _many("X-Field-{n}: a\n", n, _status(1, "Final-Recipient: rfc822; a@example.com\n")[:-6]),
    "one diagnostic": lambda n: _status(
        1,
        "Final-Recipient: rfc822; a@example.com\nAction: failed\nDiagnostic-Code: smtp; "
        + "550-word 5.1.1 " * (n // 15),
    ),
    "folded diagnostic": lambda n: _status(
        1, "Final-Recipient: rfc822; a@example.com\nDiagnostic-Code: smtp; 550" + "\n  550-5.7.1 word" * (n // 17)
    ),
    "complaints": lambda n: _many(
        "Original-Rcpt-To: a{n}@example.com\n",
        n,
        "From: a@example.com\nContent-Type: multipart/report; report-type=feedback-report; boundary=b\n\n--b\n\nspam\n"
        "--b\nContent-Type: message/feedback-report\n\nFeedback-Type: abuse\nVersion: 1\n",
        "\n--b\nContent-Type: message/rfc822\n\nTo: a@example.com\n\ntext\n--b--\n",
    ),
    "notified recipients": lambda n: _many(
        '{{"emailAddress":"a{n}@example.com"}},',
        n,
        'From: a@example.com\n\n{"notificationType":"Bounce","bounce":{"bounceType":"Permanent","bouncedRecipients":[',
        '{"emailAddress":"z@example.com"}]},"mail":{"messageId":"1"}}',
    ),
    "open brackets": lambda n: 'From: a@example.com\nContent-Type: application/json\n\n{"Type":' + "[" * n,
    "open braces": lambda n: "From: a@example.com\n\n" + '{"bounce":' * (n // 10),
    "addresses in a notice": lambda n: _many("<a{n}@example.com>: user unknown\n\n", n, _NOTICE),
    "addresses without a reason": lambda n: _many("<a{n}@example.com>\n", n, _NOTICE),
    "one address again": lambda n: _many("<a@example.com>: host mx{n} said: 550 no\n", n, _NOTICE),
    "lines of a notice": lambda n: _many("line {n} of the text\n", n, _NOTICE),
    "blocks of a notice": lambda n: _many("\n   {n} a@example.com\n\n", n, _NOTICE),
    "lines of an absence": lambda n: _many("I am away until {n} March 2026 or so\n", n, _AWAY),
    "dates of an absence": lambda n: _many("2 March 2026, ", n, _AWAY + "I am back on "),
    "addresses of an absence": lambda n: _many("please write to a{n}@example.com ", n, _AWAY),
    "lines": lambda n: _many("line {n}\n", n, _PERSON),
    "quoted lines": lambda n: _many("> line {n}\n", n, _PERSON),
    "blank lines": lambda n: _PERSON + " \n" * (n // 2),
    "one line": lambda n: _many("word{n} ", n, _PERSON),
    "one word": lambda n: _PERSON + "a" * n,
    "at signs": lambda n: _PERSON + "@" * n,
    "addresses in a row": lambda n: _PERSON + "a@b." * (n // 4),
    "dots": lambda n: _NOTICE + "<a@" + "a." * (n // 2),
    "spaces": lambda n: _NOTICE + " " * n,
    "tabs and spaces": lambda n: _NOTICE + "\t " * (n // 2) + "x",
    "digits": lambda n: _NOTICE + "5.1.1" * (n // 5),
    "replies": lambda n: _many("550-5.1.1 no {n}\n", n, _NOTICE),
    "transcript": lambda n: _many(">>> RCPT To:<a{n}@example.com>\n<<< 550 5.1.1 no\n", n, _NOTICE),
    "tags": lambda n: _many("<p>{n}</p>", n, "From: a@example.com\nContent-Type: text/html\n\n"),
    "open tags": lambda n: "From: a@example.com\nContent-Type: text/html\n\n" + "<a" * (n // 2),
    "open comments": lambda n: "From: a@example.com\nContent-Type: text/html\n\n" + "<!--" * (n // 4),
    "open styles": lambda n: "From: a@example.com\nContent-Type: text/html\n\n" + "<style>" * (n // 7),
    "entities": lambda n: "From: a@example.com\nContent-Type: text/html\n\n" + "&lt;&#64;&amp" * (n // 13),
    "ampersands": lambda n: "From: a@example.com\nContent-Type: text/html\n\n" + "&" * n,
    "base64": lambda n: (
        "From: a@example.com\nContent-Transfer-Encoding: base64\n\n"
        + base64.b64encode(b"a b@example.com\n" * (n // 22)).decode()
    ),
    "broken base64": lambda n: "From: a@example.com\nContent-Transfer-Encoding: base64\n\n" + "ab=c\n" * (n // 5),
    "quoted-printable": lambda n: (
        "From: a@example.com\nContent-Transfer-Encoding: quoted-printable\n\n" + "=C3=BC=\n=" * (n // 9)
    ),
    "uuencode": lambda n: (
        "From: a@example.com\nContent-Transfer-Encoding: uuencode\n\nbegin 644 a\n" + "#86%A\n" * (n // 6)
    ),
    "octets": lambda n: _PERSON + "\xe9\xe8" * (n // 2),
    "wide letters": lambda n: (_PERSON + "退信 用户不存在 " * (n // 24)).encode().decode("latin-1"),
    "shifts": lambda n: (
        "From: a@example.com\nContent-Type: text/plain; charset=iso-2022-jp\n\n" + "\x1b$B!!\x1b(B" * (n // 8)
    ),
    "utf-7": lambda n: "From: a@example.com\nContent-Type: text/plain; charset=utf-7\n\n" + "+AGE-" * (n // 5),
    "carriage returns": lambda n: _PERSON + "\r\r\n\r" * (n // 4),
    "zeroes": lambda n: _PERSON + "\0a" * (n // 2),
    "from lines": lambda n: "From \n" * (n // 6) + _PERSON,
}
