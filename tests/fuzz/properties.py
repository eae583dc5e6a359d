"""What holds for every mail, whatever its octets are: read, classified, stored and forwarded.

Each function raises ``AssertionError``, or whatever broke. None of them catches anything: an error that the classifier
would log and survive is raised here.
"""

import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from functools import cache
from typing import Any, NoReturn

import structlog

from bouncepoll.analysis import Analyser
from bouncepoll.classify import Classifier, as_json, create_classifier
from bouncepoll.deliver import ForwardOptions
from bouncepoll.deliver.forward import prepare
from bouncepoll.mime import parse
from bouncepoll.mime.limits import (
    MAX_DEFECT_CHARS,
    MAX_DEFECTS,
    MAX_DEPTH,
    MAX_FIELDS,
    MAX_FILENAME_CHARS,
    MAX_OCTETS,
    MAX_PARTS,
    MAX_TEXT_CHARS,
)
from bouncepoll.model.delivery import OutboxItem, OutboxRecipient
from bouncepoll.model.filter import BounceFilter, ForwardMode
from bouncepoll.model.message import Message, MessageRef, RawMessage
from bouncepoll.model.storing import Entry
from bouncepoll.model.verdict import Evidence, Finding, Kind, Verdict
from bouncepoll.policy.severity import severity
from bouncepoll.resolve import FilterIndex

NOW = datetime(2026, 11, 2, 10, tzinfo=UTC)
FILTER = BounceFilter(1, "News", "news@example.org", ("team@example.net",), frozenset(Kind))
CATCH_ALL = BounceFilter(2, "Rest", "@example.com", ("rest@example.net",))
INDEX = FilterIndex((FILTER, CATCH_ALL))
INSTANCE = "fuzzed"

_LINE_ENDS = frozenset("\r\n\0")
# Of RFC 5321 section 4.5.3.1: 64, "@", 255; a local name alone is shorter.
_MAX_RECIPIENT_CHARS = 320
_MAX_FINDINGS = 1000
# The columns cut what is longer; what is far longer shows that somebody forgot a bound.
_MAX_EVIDENCE_CHARS = 4_000
_MAX_DIAGNOSTIC_CHARS = 64_000
_FIELD_LINE = re.compile(rb"[!-9;-~]+:[^\r\n\0]*")
_FOLDED_LINE = re.compile(rb"[ \t]+[^\s\0][^\r\n\0]*")
_ONCE = (b"from", b"to", b"message-id", b"x-bouncepoll-loop", b"subject", b"date")


def raw(octets: bytes, uid: str = "1") -> RawMessage:
    """Return a mail as a source would hand it over."""
    return RawMessage(MessageRef("fuzz", "INBOX", 1, uid), octets, len(octets), NOW)


@cache
def classifier() -> Classifier:
    """Return the classifier with our own rules, built once."""
    return create_classifier()


@cache
def analyser() -> Analyser:
    """Return what reads a mail in the pipeline."""
    return Analyser(classifier().classify, INSTANCE)


@contextmanager
def nothing_survived() -> Iterator[None]:
    """Raise within this context what would only be logged as an error: a detector that fails, say."""

    def refuse(logger: Any, method: str, event: Any) -> NoReturn:
        raise structlog.DropEvent

    def insist(logger: Any, method: str, event: Any) -> Any:
        if method in {"error", "exception", "critical"}:
            raise sys.exc_info()[1] or AssertionError(event)
        return event

    before = structlog.get_config()
    structlog.configure(processors=[insist, refuse])
    try:
        yield
    finally:
        structlog.configure(**before)


def check(octets: bytes) -> Entry:
    """Check everything that holds for one mail, but for storing it, and return what was read."""
    message = check_reading(octets)
    with nothing_survived():
        entry = analyser().entry(raw(octets), INDEX, None)
        check_verdict(entry.message, entry.verdict)
        assert entry.verdict == analyser().entry(raw(octets), INDEX, None).verdict
    assert content(entry.message) == content(message)
    check_forwards(octets, message.fingerprint)
    return entry


def check_reading(octets: bytes) -> Message:
    """Check that a mail is read within all limits, and each time alike; return it."""
    message = parse(raw(octets))
    assert content(message) == content(parse(raw(octets)))
    assert 1 <= len(message.parts) <= MAX_PARTS or not message.parts
    assert len(message.defects) <= MAX_DEFECTS
    assert all(len(defect) <= MAX_DEFECT_CHARS and defect.isprintable() for defect in message.defects)
    assert re.fullmatch("[0-9a-f]{64}", message.fingerprint)
    for headers in (message.headers, message.returned_headers, *(part.headers for part in message.parts)):
        assert len(headers) <= MAX_FIELDS
        assert not any(_LINE_ENDS & set(header.value + header.name) for header in headers)
        assert not any(_surrogates(header.value + header.name) for header in headers)
    for part in message.parts:
        assert part.path.count(".") <= 2 * MAX_DEPTH + 2
        assert len(part.text or "") <= MAX_TEXT_CHARS
        assert not {"\r", "\0"} & set(part.text or "")
        assert not _surrogates(part.text or "")
        assert len(part.filename or "") <= MAX_FILENAME_CHARS
        assert part.size_octets <= MAX_OCTETS
    assert len(message.message_id or "") <= 998
    assert len(message.original_message_id or "") <= 998
    return message


def check_line_ends(octets: bytes) -> None:
    """Check that a mail with LF line ends says the same with CRLF line ends."""
    # Beyond the limit the cut falls at another place; a bare CR is a line end of its own.
    assert b"\r" not in octets
    other = octets.replace(b"\n", b"\r\n")
    if len(other) > MAX_OCTETS:
        return
    one, two = parse(raw(octets)), parse(raw(other))
    assert (one.headers, one.parts, one.returned_headers, one.defects) == (
        *(two.headers, two.parts, two.returned_headers, two.defects),
    )
    if one.headers:
        # What says nothing at all is known by its octets.
        assert classifier().classify(one) == classifier().classify(two)


def check_verdict(message: Message, verdict: Verdict) -> None:
    """Check that a verdict can be argued with, counted, shown and stored."""
    _check_evidence(verdict.evidence)
    assert len(verdict.findings) <= _MAX_FINDINGS
    recipients = [finding.recipient.casefold() if finding.recipient else None for finding in verdict.findings]
    assert len(set(recipients)) == len(recipients)
    assert None not in recipients or len(recipients) == 1
    if verdict.kind in {Kind.REPLY, Kind.UNKNOWN, Kind.LOOP}:
        assert not verdict.findings
    for finding in verdict.findings:
        _check_finding(finding)
    shown = as_json(message, verdict, [severity(finding) for finding in verdict.findings])
    assert shown["kind"] == verdict.kind


def _check_finding(finding: Finding) -> None:
    _check_evidence(finding.evidence)
    assert (finding.reason is not None) == (finding.kind in {Kind.BOUNCE, Kind.DELAY})
    if finding.recipient is not None:
        _check_recipient(finding.recipient)
    report = finding.report
    if report is None:
        return
    assert len(report.diagnostic_code or "") <= _MAX_DIAGNOSTIC_CHARS
    for text in (report.diagnostic_code, report.remote_mta, report.diagnostic_type):
        assert not _surrogates(text or "")
        assert "\0" not in (text or "")
    assert report.reply is None or 200 <= report.reply.code <= 599
    assert report.status is None or len(str(report.status)) <= 16


def _check_recipient(recipient: str) -> None:
    assert 1 <= len(recipient) <= _MAX_RECIPIENT_CHARS, recipient
    assert recipient.isprintable(), recipient
    assert not set("<>\r\n\0") & set(recipient) or recipient.startswith('"'), recipient
    local, at, domain = recipient.rpartition("@")
    if at:
        assert local, recipient
        assert domain == domain.lower(), recipient
        assert not re.search(r"\s", domain), recipient


def _check_evidence(evidence: Evidence) -> None:
    assert evidence.detector
    assert evidence.rule_id is None or evidence.rule_id
    for text in (evidence.matched_text, evidence.where):
        assert len(text or "") <= _MAX_EVIDENCE_CHARS
        assert not _surrogates(text or "")


def check_forwards(octets: bytes, fingerprint: str) -> None:
    """Check that no forward of a mail, in any mode, has a field the mail smuggled in, or a line that is none."""
    options = ForwardOptions(from_address="news@example.org")
    for mode in ForwardMode:
        bounce_filter = BounceFilter(1, "News", "news@example.org", ("team@example.net",), forward_mode=mode)
        item = OutboxItem((OutboxRecipient(1, "team@example.net", 0),), bounce_filter, fingerprint, octets, NOW)
        outgoing = prepare(item, options, INSTANCE)
        assert outgoing == prepare(item, options, INSTANCE)
        assert outgoing.forward_paths == ("team@example.net",)
        made = outgoing.octets
        assert made.count(b"\r") == made.count(b"\n") == made.count(b"\r\n")
        _check_head(made, mode)


def _check_head(made: bytes, mode: ForwardMode) -> None:
    head = made.partition(b"\r\n\r\n")[0]
    lines = head.split(b"\r\n")
    if mode is ForwardMode.REDIRECT:
        # The mail's own octets begin below our five fields, and nothing of them changes.
        count = 0
        for number, line in enumerate(lines):
            count += not line.startswith((b" ", b"\t"))
            if count > 5:
                lines = lines[:number]
                break
    for line in lines:
        assert len(line) <= 998, line
        assert is_header_line(line), line
    names = [line.partition(b":")[0].lower() for line in lines if not line.startswith((b" ", b"\t"))]
    if mode is ForwardMode.REDIRECT:
        assert names == [
            *(b"x-bouncepoll-loop", b"resent-date", b"resent-from", b"resent-to", b"resent-message-id"),
        ]
        return
    for name in (b"from", b"to", b"message-id"):
        assert names.count(name) == 1, name
    assert b"bcc" not in names
    assert names[0] == b"x-bouncepoll-loop"
    fields = dict(zip(names, (line for line in lines if not line.startswith((b" ", b"\t"))), strict=True))
    assert fields[b"to"] == b"To: team@example.net"
    assert b"<news@example.org>" in _unfolded(head, b"from")
    if mode is ForwardMode.ATTACH:
        assert all(names.count(name) == 1 for name in _ONCE)


def is_header_line(line: bytes) -> bool:
    """Whether a line may stand in a header: a field's first, or one that goes on with it."""
    return bool(_FIELD_LINE.fullmatch(line) or _FOLDED_LINE.fullmatch(line))


def _unfolded(head: bytes, name: bytes) -> bytes:
    found = re.search(rb"(?im)^" + name + rb":.*(?:\n[ \t].*)*", head)
    return found[0] if found else b""


def content(message: Message) -> object:
    """Return everything that was read of a mail, for comparing."""
    return message.headers, message.parts, message.returned_headers, message.defects, message.fingerprint


def _surrogates(text: str) -> bool:
    return not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text)
