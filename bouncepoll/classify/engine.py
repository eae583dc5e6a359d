"""Asks the detectors in order, gives each finding its reason by the rules, and sums up."""

from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import structlog

from bouncepoll.classify import absence, diagnostic, linear, text
from bouncepoll.classify.prefilter import necessary_of_lines
from bouncepoll.classify.rulebook import Facts, RuleBook
from bouncepoll.errors import ConfigurationError
from bouncepoll.model.message import Message
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import Action, RecipientReport
from bouncepoll.model.status import EnhancedStatus, Permanence
from bouncepoll.model.verdict import Absence, Claim, Detection, Evidence, Finding, Kind, Reason, Verdict
from bouncepoll.ports import Detector

log = structlog.get_logger()

#: The most recipients one mail is believed to report.
MAX_FINDINGS = 1000

#: When one recipient, or one mail, is several things, the first of these counts.
PRECEDENCE = (
    Kind.BOUNCE,
    Kind.DELAY,
    Kind.COMPLAINT,
    Kind.UNSUBSCRIBE,
    Kind.DELIVERED,
    Kind.NOT_SPAM,
    Kind.CHALLENGE,
    Kind.VACATION,
    Kind.AUTO_REPLY,
    Kind.RECEIPT,
    Kind.REPORT,
    Kind.BULK,
    Kind.LOOP,
    Kind.REPLY,
    Kind.UNKNOWN,
)
#: Characters of the text in which the signatures of detectors are looked for.
SIGNATURE_LIMIT = 16_384
_MAX_MEMORY_OCTETS = 64 * 1024 * 1024

_RANK = {kind: rank for rank, kind in enumerate(PRECEDENCE)}
_UNDELIVERED = frozenset({Kind.BOUNCE, Kind.DELAY})
_UNSUCCESSFUL = frozenset({Permanence.PERMANENT, Permanence.TRANSIENT})
_AUTOMATIC = frozenset({Kind.VACATION, Kind.AUTO_REPLY})


class Tiered(NamedTuple):
    """A detector and its place in the order: lower tiers are asked first, names decide within one.

    10 reports with a structure of their own · 20 formats known by their header fields · 30 text notices of one MTA ·
    40 text notices of any · 50 automatic replies · 60 everything else that no person wrote.

    A detector may have an attribute ``signature``, a pattern (RE2, case ignored, ``^`` and ``$`` at each line), and an
    attribute ``fields``, names of header fields in lower case: then it is asked only about a mail in whose first
    ``SIGNATURE_LIMIT`` characters the pattern is found, or that has one of the fields. One scan serves all signatures.
    """

    tier: int
    detector: Detector


class Classifier:
    """Says what a mail is. Keeps nothing between mails, so one instance serves any number of threads."""

    def __init__(
        self, detectors: Iterable[Tiered], rules: RuleBook, changed: Callable[[], RuleBook | None] | None = None
    ) -> None:
        """``changed`` is asked before each mail for rules to use from then on; None: no others."""
        ordered = sorted(detectors, key=lambda tiered: (tiered.tier, tiered.detector.name))
        self._detectors = tuple(tiered.detector for tiered in ordered)
        self._signatures = _Signatures(self._detectors)
        self._gates = tuple(
            (at, detector, getattr(detector, "fields", None), hasattr(detector, "signature"))
            for at, detector in enumerate(self._detectors)
        )
        self.rules = rules
        self._changed = changed

    @property
    def detectors(self) -> tuple[str, ...]:
        """The names of the detectors in the order they are asked."""
        return tuple(detector.name for detector in self._detectors)

    def classify(self, message: Message) -> Verdict:
        """Return what the mail is; never raises. There is at most one finding a recipient."""
        if self._changed is not None:
            self.rules = self._changed() or self.rules
        reading = text.read(message)
        signed: set[int] | None = None
        for at, detector, fields, has_signature in self._gates:
            if (has_signature or fields is not None) and (fields is None or not reading.has(fields)):
                if signed is None and has_signature:
                    signed = self._signatures.found(reading.text[:SIGNATURE_LIMIT])
                if not has_signature or at not in (signed or ()):
                    continue
            detection = self._ask(detector, reading)
            if detection is None:
                continue
            verdict = self._verdict(detector.name, detection, reading)
            if verdict is not None:
                return verdict
        return _unclaimed(reading)

    def _ask(self, detector: Detector, reading: Reading) -> Detection | None:
        try:
            return detector.detect(reading)
        except MemoryError:
            raise
        except Exception:  # A detector may come from anyone; the others still have a say.
            log.exception("detector_failed", detector=detector.name, place=str(reading.message.raw.ref))
            return None

    def _verdict(self, name: str, detection: Detection, reading: Reading) -> Verdict | None:
        """Return the verdict, or None when the detection hangs on a rule that does not match."""
        # Where each recipient has a kind of its own (Action), the words of the text decide nothing.
        asked = detection.may_be and not (detection.claims and all(claim.kind for claim in detection.claims))
        match = self.rules.kind(reading, detection.may_be, detection.led_by) if asked else None
        kind = match.rule.kind if match else detection.kind
        if kind is None:
            return None
        stated = absence.read(reading) if kind in _AUTOMATIC and detection.claims else None
        shown = detection.shown_by
        if match:
            evidence = Evidence(name, match.rule.id, match.matched_text, match.where)
        else:
            evidence = Evidence(name, None, shown.text[:200] if shown else None, shown.where if shown else None)
        findings = _merge(
            self._finding(evidence, claim, claim.kind or kind, stated) for claim in detection.claims[:MAX_FINDINGS]
        )
        return Verdict(min((f.kind for f in findings), key=_RANK.__getitem__, default=kind), findings, evidence)

    def _finding(self, shown: Evidence, claim: Claim, kind: Kind, stated: Absence | None) -> Finding:
        """Return what is said of one recipient; ``shown`` is what made the mail one of its kind."""
        report = claim.report
        if kind not in _UNDELIVERED:
            evidence = shown._replace(where=_joined(shown.where, claim.where)) if claim.where else shown
            return Finding(report.recipient, kind, None, _permanence(kind, report), evidence, report, stated)
        reply_code = report.reply.code if report.reply else None
        match = self.rules.reason(claim.passages, Facts(report.status, reply_code, report.remote_mta or ""))
        reason = match.rule.reason if match and match.rule.reason else Reason.UNDEFINED
        first = claim.passages[0] if claim.passages else None
        evidence = Evidence(
            detector=shown.detector,
            rule_id=match.rule.id if match else None,
            matched_text=match.matched_text if match else None,
            where=_joined(match.where if match else first.where if first else None, claim.where),
        )
        return Finding(report.recipient, kind, reason, _permanence(kind, report), evidence, report, stated)


class _Signatures:
    """The signatures of all detectors, looked for in one scan."""

    def __init__(self, detectors: Sequence[Detector]) -> None:
        """Raises ConfigurationError: a signature is no RE2 pattern."""
        options = linear.options(max_mem=_MAX_MEMORY_OCTETS)
        self._set = linear.PatternSet(options)
        self._parts: list[tuple[int, linear.Pattern | None]] = []
        for at, detector in enumerate(detectors):
            signature = getattr(detector, "signature", None)
            if signature is None:
                continue
            try:
                whole = linear.compile(f"(?im){signature}", options)
                whole.check()
            except linear.PatternError as exc:
                raise ConfigurationError(f"detector {detector.name!r}: its signature is no RE2 pattern: {exc}") from exc
            for part, is_asked in necessary_of_lines(signature):
                self._set.add(f"(?im){part}")
                self._parts.append((at, whole if is_asked else None))

    def found(self, text: str) -> set[int]:
        """Return the places (in ``detectors``) of the detectors whose signature is in ``text``."""
        found: set[int] = set()
        for part in self._set.found(text):
            detector, whole = self._parts[part]
            if whole is None or (detector not in found and whole.is_in(text)):
                found.add(detector)
        return found


def _joined(place: str | None, another: str | None) -> str | None:
    return f"{place} + {another}" if place and another else place or another or None


#: Kinds that say it themselves, whatever codes stand beside.
_PERMANENCE_OF = {Kind.DELAY: Permanence.TRANSIENT, Kind.DELIVERED: Permanence.SUCCESS}


def _permanence(kind: Kind, report: RecipientReport) -> Permanence:
    """Return what the report says: a delay is transient, a delivery a success, else the codes decide."""
    if kind is not Kind.BOUNCE:
        return _PERMANENCE_OF.get(kind, Permanence.UNKNOWN)
    # A status that says no more than its class yields to the reply of the server that refused.
    is_generic = diagnostic.is_generic(report.status)
    if is_generic and report.action is Action.FAILED and report.reply is None:
        # QUIRK: Google Workspace and Exim write 4.0.0 in final reports; the Action says that nobody tries any more.
        return Permanence.PERMANENT if report.status and report.status.class_digit == 5 else Permanence.UNKNOWN
    if report.action is Action.FAILED and _names_an_unknown_address(report.status):
        # "4.1.1 User unknown" for as long as a queue lives: the server tries no more, and says why. Whether that is
        # lasting nobody said.
        return Permanence.UNKNOWN
    stated = (report.reply, report.status) if is_generic else (report.status, report.reply)
    permanences = [code.permanence for code in stated if code is not None]
    return next((found for found in permanences if found in _UNSUCCESSFUL), Permanence.UNKNOWN)


def _names_an_unknown_address(status: EnhancedStatus | None) -> bool:
    """Whether a transient status is one of those that speak of the address itself (RFC 3463 section 3.2: X.1.1)."""
    return status is not None and (status.class_digit, status.subject, status.detail) == (4, 1, 1)


def _merge(findings: Iterable[Finding]) -> tuple[Finding, ...]:
    """Keep one finding a recipient, in the order they came: failure beats delay beats delivered."""
    kept: dict[str | None, Finding] = {}
    for finding in findings:
        key = finding.recipient.casefold() if finding.recipient else None
        if key not in kept or _RANK[finding.kind] < _RANK[kept[key].kind]:
            kept[key] = finding
    if len(kept) > 1:
        kept.pop(None, None)
    return tuple(kept.values())


def _unclaimed(reading: Reading) -> Verdict:
    """A person wrote it, unless there is nothing to understand."""
    message = reading.message
    if message.headers and (reading.text.strip() or reading.sender or _has_content(message)):
        return Verdict(Kind.REPLY, (), Evidence("engine", None, reading.sender or None, "From"))
    return Verdict(Kind.UNKNOWN, (), Evidence("engine"))


def _has_content(message: Message) -> bool:
    return any(part.size_octets and not part.content_type.startswith("multipart/") for part in message.parts)
