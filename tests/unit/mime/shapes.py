"""Makes mails of many shapes out of a seed, for comparing readers: well-formed ones, and the usual ways to be broken."""

import random
from collections.abc import Callable

_WORDS = [
    "delivery",
    "failed",
    "permanently",
    "user",
    "unknown",
    "mailbox",
    "full",
    "<alice@example.org>",
    "550",
    "5.1.1",
    "said:",
    "host",
    "mx.example.net",
]
_FIELDS = (
    "Received: from a.example.org by mx.example.net\n\twith ESMTP id 12345; Mon, 2 Mar 2026 10:00:00 +0000",
    "From: Mail Delivery System <MAILER-DAEMON@example.org>",
    "To: news@example.com",
    "Subject: Undelivered =?utf-8?q?Mail_zur=C3=BCck?=\n =?utf-8?b?IG5vdw==?=",
    "X-Spaces:    before and after   ",
    "X-Empty:",
    "Date: Mon, 2 Mar 2026 10:00:00 +0000",
    "Message-ID: <1@example.org>",
    "X-Octets: caf\xe9",
)
_LEAVES = (
    "Content-Type: text/plain; charset=utf-8\n",
    "Content-Type: text/plain; charset=iso-8859-1\nContent-Transfer-Encoding: quoted-printable\n",
    "Content-Type: text/html\nContent-Disposition: attachment; filename*=utf-8''a%20b.html\n",
    "Content-Type: message/delivery-status\n",
    "Content-Type: text/rfc822-headers\n",
    'Content-Type: application/octet-stream; name="a b.bin"\nContent-Transfer-Encoding: base64\n',
    "Content-Description: Notification\n",
    "",
)


class Maker:
    """Makes one mail; ``sloppiness`` is the chance of each departure from well-formed MIME (0: none)."""

    def __init__(self, seed: int, sloppiness: float) -> None:
        self._random = random.Random(seed)
        self._sloppiness = sloppiness
        self._boundaries = 0

    def mail(self, levels: int = 4) -> str:
        """Return a mail with LF line ends, one character an octet."""
        fields = self._random.sample(_FIELDS, self._random.randint(1, len(_FIELDS)))
        if self._is_sloppy():
            fields.insert(
                self._random.randint(0, len(fields)), self._random.choice(("no field", "--x", ">From a", " y"))
            )
        return "".join(field + "\n" for field in fields) + self._entity(levels)

    def _entity(self, levels: int) -> str:
        shapes: tuple[Callable[[int], str], ...] = (self._leaf, self._multipart, self._multipart, self._returned)
        return (self._random.choice(shapes) if levels else self._leaf)(levels)

    def _leaf(self, _levels: int) -> str:
        blank = "" if self._is_sloppy() else "\n"
        return self._random.choice(_LEAVES) + blank + self._text()

    def _returned(self, levels: int) -> str:
        mail = self.mail(levels - 1)
        if self._is_sloppy():
            mail = self._random.choice(("\n" + mail, mail.partition("\n\n")[0] + "\n", ""))
        return "Content-Type: message/rfc822\n" + ("" if self._is_sloppy() else "\n") + mail

    def _multipart(self, levels: int) -> str:
        subtype = self._random.choice(("mixed", "report; report-type=delivery-status", "alternative", "digest"))
        self._boundaries += 1
        boundary = f"=_{self._random.randint(10, 99)}.{self._boundaries}"
        if self._is_sloppy():
            boundary = self._random.choice(("=_1", "=_1--", "=_", "a b"))
        preamble = self._random.choice(("", "This is a MIME-encapsulated message.\n\n", "--\n", "\n"))
        parts = [self._entity(levels - 1) for _ in range(self._random.randint(0 if self._is_sloppy() else 1, 3))]
        delimiters = [f"--{boundary}{self._tail()}\n" for _ in parts]
        body = "".join(
            delimiter + part + self._random.choice(("\n", "\n", "\n\n"))
            for delimiter, part in zip(delimiters, parts, strict=True)
        )
        closing = "" if self._is_sloppy() else f"--{boundary}--{self._tail()}\n"
        epilogue = self._random.choice(("", "", "\n", "An epilogue.\n", "-- \n"))
        return f'Content-Type: multipart/{subtype};\n\tboundary="{boundary}"\n\n' + preamble + body + closing + epilogue

    def _tail(self) -> str:
        return self._random.choice((" ", "\t", "x", "\n--=_1")) if self._is_sloppy() else ""

    def _text(self) -> str:
        lines = [
            " ".join(self._random.choices(_WORDS, k=self._random.randint(1, 9)))
            for _ in range(self._random.randint(0, 6))
        ]
        lines.append(
            self._random.choice(
                ("", "-- ", "--", "--=_1x", "Action: failed", "From here", "caf\xe9", "-----Original Message-----")
            )
        )
        return "\n".join(lines)

    def _is_sloppy(self) -> bool:
        return self._random.random() < self._sloppiness
