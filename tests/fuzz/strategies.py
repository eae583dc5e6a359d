"""Mails as nobody should write them, made part by part."""

import base64
import binascii
import json

from hypothesis import strategies as st

MAX_OCTETS = 48 * 1024


_BOUNDARIES = st.sampled_from(["b", "bb", "b b", "b--", "--", "=_1", "=_1_2", "é", "x" * 71, "", "b\\", '"', "a/b=?c"])
_CHARSETS = st.sampled_from(
    [
        "utf-8",
        "us-ascii",
        "iso-8859-1",
        "utf-7",
        "utf-16",
        "iso-2022-jp",
        "hz",
        "gb18030",
        "shift_jis",
        "cp037",
        "big5",
        "unknown-8bit",
        "idna",
        "punycode",
        "zlib",
        "undefined",
        "unicode_escape",
        "x" * 200,
        "utf-8\x00",
        "é",
        "'",
        "=?",
    ]
)
_ENCODINGS = st.sampled_from(
    [
        "7bit",
        "8bit",
        "binary",
        "base64",
        "quoted-printable",
        "x-uuencode",
        "BASE64 ",
        "base64, 7bit",
        "gzip",
        '"base64"',
        "",
    ]
)
_WORDS = st.one_of(
    st.sampled_from(
        [
            "550 5.1.1 user unknown",
            "mailbox full",
            "5.2.2",
            "4.4.7",
            "<a@example.com>:",
            "a@example.com",
            "rfc822;",
            "failed",
            "Final-Recipient: rfc822; a@example.com",
            "said:",
            "=?utf-8?q?=0A?=",
            "=?x?b?////?=",
            "=?utf-8*de?B?w?=",
            "\x00",
            "\x1b$B",
            "out of office until 31 February 2026",
            "退信",
            "\u202e",
            "�",
            "\u2028",
            "\x85",
            "\r",
            "a" * 1100,
            "(" * 60,
            "<" * 60,
            '"' * 61,
            "@",
            "\\",
            ";",
            ":",
            ",",
            "@[127.0.0.1]",
            "a+2B@example.com",
            "\\x{202E}@example.com",
        ]
    ),
    st.text(max_size=12),
)
_TEXTS = st.lists(
    st.one_of(_WORDS, st.sampled_from(["\n", "\n\n", "\r\n", " ", "\t", "> ", "--b", "--b--"])), max_size=25
).map(" ".join)


def _octets(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")


@st.composite
def values(draw: st.DrawFn) -> bytes:
    """A field's value: words, folded anyhow, encoded and cut anyhow."""
    text = _octets(draw(_TEXTS).replace("\n", draw(st.sampled_from([" ", "\n ", "\n\t\n ", "\r\n\t", "\n"]))))
    charset = _octets(draw(_CHARSETS))
    how = draw(st.sampled_from(["plain", "plain", "q", "b", "nested", "cut", "2231"]))
    if how == "q":
        return b"=?" + charset + b"?Q?" + binascii.b2a_qp(text[:80], header=True).replace(b"=\n", b"") + b"?="
    if how == "b":
        return b" ".join([b"=?" + charset + b"?b?" + base64.b64encode(text[:45]) + b"?="] * draw(st.integers(1, 4)))
    if how == "nested":
        return b"=?utf-8?q?=3D?utf-8?q?=0D=0ABcc:_a@example.com?=?=" + text[:40]
    if how == "cut":
        return (b"=?" + charset + b"?b?" + base64.b64encode(text))[: draw(st.integers(1, 40))]
    return text


@st.composite
def _fields(draw: st.DrawFn) -> bytes:
    """A field of any name, often one that is looked at."""
    name = draw(
        st.sampled_from(
            [
                "From",
                "To",
                "Subject",
                "Date",
                "Message-ID",
                "References",
                "In-Reply-To",
                "Received",
                "Return-Path",
                "Sender",
                "Reply-To",
                "Auto-Submitted",
                "X-Failed-Recipients",
                "List-Id",
                "Precedence",
                "X-Bouncepoll-Loop",
                "Cc",
                "Delivered-To",
                "X-Loop",
                "Authentication-Results",
                "MIME-Version",
                "X-Autoreply",
                "Disposition-Notification-To",
                "",
                " ",
                "Bad Name",
                "N\x00",
                "From ",
                "é",
                "x" * 300,
            ]
        )
    )
    colon = draw(st.sampled_from([": ", ":", " : ", "", ":\n "]))
    return _octets(name + colon) + draw(values()) + draw(st.sampled_from([b"\n", b"\r\n", b"\n", b"\r"]))


@st.composite
def _parameters(draw: st.DrawFn) -> bytes:
    name = draw(st.sampled_from(["filename", "name", "charset", "boundary", "report-type"]))
    how = draw(st.sampled_from(["plain", "quoted", "extended", "continued"]))
    value = _octets(draw(_WORDS))
    if how == "continued":
        count = draw(st.sampled_from([2, 3, 70, 1500]))
        return b"".join(b"; %s*%d*=a%%0A" % (name.encode(), number) for number in range(count))
    if how == "extended":
        return b"; " + name.encode() + b"*=" + _octets(draw(_CHARSETS)) + b"''%0D%0A" + value
    return b"; " + name.encode() + b"=" + (b'"' + value + b'"' if how == "quoted" else value)


@st.composite
def _leaf_bodies(draw: st.DrawFn) -> tuple[bytes, bytes]:
    """A Content-Transfer-Encoding and a body in it: right, wrong or cut."""
    text = _octets(draw(_TEXTS))
    encoding = draw(_ENCODINGS)
    how = draw(st.sampled_from(["right", "raw", "cut"]))
    if how == "raw":
        return encoding.encode(), text
    body = text
    if "base64" in encoding.lower():
        body = base64.encodebytes(text)
    elif encoding == "quoted-printable":
        body = binascii.b2a_qp(text)
    elif encoding == "x-uuencode":
        lines = [binascii.b2a_uu(text[at : at + 45]) for at in range(0, len(text), 45)]
        body = b"begin 644 a\n" + b"".join(lines) + b"`\nend\n"
    return encoding.encode(), body[: draw(st.integers(0, len(body)))] if how == "cut" else body


@st.composite
def _leaves(draw: st.DrawFn) -> bytes:
    kind = draw(
        st.sampled_from(["text/plain", "text/html", "text/rfc822-headers", "application/octet-stream", "/", "", "text"])
    )
    encoding, body = draw(_leaf_bodies())
    charset = _octets(draw(_CHARSETS))
    more = draw(st.one_of(st.just(b""), _parameters()))
    gap = draw(st.sampled_from([b"\n", b"\n", b"", b" \n", b"\r\n"]))
    head = b"Content-Type: " + kind.encode() + b"; charset=" + charset + more + b"\n"
    return head + b"Content-Transfer-Encoding: " + encoding + b"\n" + gap + body


_REPORT_FIELDS = st.sampled_from(
    [
        "Reporting-MTA: dns; mx.example.net",
        "Final-Recipient: rfc822; a@example.com",
        "Final-Recipient: rfc822;",
        "Action: failed",
        "Original-Recipient: rfc822;b+2B@example.com",
        "Original-Recipient: utf-8; \\x{1F600}@example.com",
        "Action: expanded",
        "Status: 5.1.1",
        "Status: 9.9.9",
        "Status: 5.999.99999",
        "Action:\x00",
        "Diagnostic-Code: smtp; 999 é",
        "Status:",
        "Diagnostic-Code: X-Unix; 67",
        "Remote-MTA: dns; " + "a." * 200,
        "Will-Retry-Until: never",
        "",
        "",
        "no field",
        " folded",
        "Feedback-Type: abuse",
        "Feedback-Type: not-spam",
        "Original-Rcpt-To: <a@example.com>",
        "Original-Mail-From: <>",
        "Disposition: manual-action/MDN-sent-manually; displayed",
        "Disposition: automatic-action/; deleted/error",
        "Version: 1",
        "Original-Message-ID: <n1@example.org>",
        "Arrival-Date: 0",
        "Source-IP: 300.1.2.3",
        "Final-Recipient: x400; /c=de/s=x/",
    ]
)


@st.composite
def _report_leaves(draw: st.DrawFn) -> bytes:
    kind = draw(
        st.sampled_from(
            [
                "message/delivery-status",
                "message/feedback-report",
                "message/disposition-notification",
                "message/global-delivery-status",
            ]
        )
    )
    encoding = draw(st.sampled_from(["7bit", "base64"]))
    body = "\n".join(draw(st.lists(_REPORT_FIELDS, max_size=20))) * draw(st.sampled_from([1, 1, 1, 60]))
    octets = body.encode("latin-1")
    coded = base64.encodebytes(octets) if encoding == "base64" else octets
    return f"Content-Type: {kind}\nContent-Transfer-Encoding: {encoding}\n\n".encode() + coded


def _jsonvalues() -> st.SearchStrategy[object]:
    names = st.sampled_from(
        [
            "notificationType",
            "bounce",
            "bounceType",
            "bouncedRecipients",
            "emailAddress",
            "mail",
            "destination",
            "complaint",
            "Type",
            "Message",
            "event",
            "eventType",
            "RecordType",
            "Email",
            "diagnosticCode",
            "status",
            "recipient",
        ]
    )
    plain = st.one_of(
        st.none(), st.booleans(), st.integers(), st.floats(), _WORDS, st.sampled_from(["Bounce", "Permanent"])
    )
    return st.recursive(
        plain,
        lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(names, inner, max_size=6)),
        max_leaves=12,
    )


@st.composite
def _json_leaves(draw: st.DrawFn) -> bytes:
    text = json.dumps(draw(_jsonvalues()), ensure_ascii=draw(st.booleans())).encode("utf-8", "surrogatepass")
    cut = draw(st.sampled_from([0, 0, 1, 7]))
    deep = draw(st.sampled_from([b"", b"", b"[" * 3000, b'{"bounce":' * 900]))
    return b"Content-Type: application/json\n\n" + deep + text[: len(text) - cut]


@st.composite
def _multiparts(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> bytes:
    subtype = draw(
        st.sampled_from(["mixed", "report; report-type=delivery-status", "alternative", "digest", "report", "x"])
    )
    boundary = draw(_BOUNDARIES)
    used = draw(st.one_of(st.just(boundary), st.just(boundary), _BOUNDARIES))
    parts = draw(st.lists(inner, max_size=4))
    delimiter = b"--" + used.encode() + draw(st.sampled_from([b"\n", b"\n", b" \n", b"\r\n", b"x\n", b"--\n"]))
    closing = draw(
        st.sampled_from([b"--" + used.encode() + b"--\n", b"", b"--" + used.encode() + b"-", b"--" + used.encode()])
    )
    times = draw(st.sampled_from([1, 1, 1, 1, 70]))
    quote = draw(st.sampled_from(['"', '"', ""]))
    head = f"Content-Type: multipart/{subtype}; boundary={quote}{boundary}{quote}\n\n".encode()
    return head + b"".join((delimiter + part + b"\n") * times for part in parts)[:MAX_OCTETS] + closing


@st.composite
def _returned(draw: st.DrawFn, inner: st.SearchStrategy[bytes]) -> bytes:
    kind = draw(st.sampled_from([b"message/rfc822", b"message/global", b"message/partial", b"text/rfc822-headers"]))
    levels = draw(st.sampled_from([1, 1, 1, 30]))
    gap = draw(st.sampled_from([b"\n", b"\n", b"", b"\nFrom a\n", b"\n\n\n"]))
    return (b"Content-Type: " + kind + b"\n" + gap) * levels + draw(_fields()) + draw(inner)


_ENTITIES = st.recursive(
    st.one_of(_leaves(), _report_leaves(), _json_leaves()),
    lambda inner: st.one_of(_multiparts(inner), _returned(inner)),
    max_leaves=8,
)


@st.composite
def structured_mails(draw: st.DrawFn) -> bytes:
    """A mail made from its fields down to the innermost part, any of it wrong."""
    fields = draw(st.lists(_fields(), max_size=8))
    many = draw(st.sampled_from([1, 1, 1, 1, 400]))
    return (b"".join(fields) * many + draw(_ENTITIES))[:MAX_OCTETS]
