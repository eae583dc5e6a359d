"""Delivery status notifications: RFC 3464, RFC 6522 and RFC 6533, and what is left of them in the wild."""

from collections.abc import Iterator

from bouncepoll.classify import diagnostic, linear, notice
from bouncepoll.classify.address import bare_name, normalise
from bouncepoll.classify.fields import Group, first, groups, typed
from bouncepoll.model.message import Part
from bouncepoll.model.reading import Reading
from bouncepoll.model.report import Action, RecipientReport
from bouncepoll.model.status import EnhancedStatus
from bouncepoll.model.verdict import Claim, Detection, Kind, Passage

TIER = 10

_STATUS_TYPES = frozenset({"message/delivery-status", "message/global-delivery-status"})
_IN_TEXT = linear.compile(r"(?im)^[ \t]*(?:Final|Original)-Recipient[ \t]*:")
_SPELT = ("l-Recipient", "l-recipient", "L-RECIPIENT", "L-Recipient")
_KINDS = {
    Action.FAILED: Kind.BOUNCE,
    Action.DELAYED: Kind.DELAY,
    Action.DELIVERED: Kind.DELIVERED,
    Action.RELAYED: Kind.DELIVERED,
    Action.EXPANDED: Kind.DELIVERED,
}
# QUIRK: RFC 3464 section 2.3.3 has five words; OpenSMTPD writes "error", others "failure" or "undeliverable".
_ACTIONS = (
    ("fail", Action.FAILED),
    ("error", Action.FAILED),
    ("undeliver", Action.FAILED),
    ("expired", Action.FAILED),
    ("reject", Action.FAILED),
    ("bounce", Action.FAILED),
    ("delay", Action.DELAYED),
    ("defer", Action.DELAYED),
    ("deliver", Action.DELIVERED),
    ("success", Action.DELIVERED),
    ("relay", Action.RELAYED),
    ("expand", Action.EXPANDED),
)
_BY_CLASS = {2: Action.DELIVERED, 5: Action.FAILED}
_RECIPIENT_FIELDS = ("original-recipient", "final-recipient", "x-actual-recipient")
_OWN_FIELDS = frozenset({"final-recipient", "original-recipient", "action", "status", "diagnostic-code", "remote-mta"})


class DsnDetector:
    """Reads the fields of a delivery report, wherever it stands in the mail."""

    name = "dsn"

    def detect(self, reading: Reading) -> Detection | None:
        """Return one claim for each recipient group of the report."""
        for part in _report_parts(reading):
            recipients = list(_recipient_groups(groups(part.text or "")))
            if recipients:
                only = len(recipients) == 1
                claims = tuple(_claim(group, reading, only=only) for group in recipients)
                shown = Passage(part.content_type, f"part {part.path}")
                return Detection(Kind.BOUNCE, claims, frozenset({Kind.BOUNCE, Kind.DELAY}), shown)
        return None


def create() -> DsnDetector:
    """Build the detector."""
    return DsnDetector()


def _report_parts(reading: Reading) -> Iterator[Part]:
    """Yield the parts that may hold a report: those of the right type first, then texts with its fields in them."""
    parts = [part for part in reading.message.parts if not part.returned and part.text]
    yield from (part for part in parts if part.content_type in _STATUS_TYPES)
    for part in parts:
        if part.content_type in _STATUS_TYPES:
            continue
        text = (part.text or "")[:65_536]
        if any(spelt in text for spelt in _SPELT) and _IN_TEXT.search(text):
            yield part


def _recipient_groups(found: list[Group]) -> Iterator[Group]:
    """Yield one group a recipient; blank lines in odd places neither split nor join recipients."""
    current: Group | None = None
    for group in found:
        for part in _split(group):
            if first(part, *_RECIPIENT_FIELDS) is None:
                if current is not None:
                    _complete(current, part)
                elif "action" in part or "status" in part:
                    current = part
            elif current is not None and first(current, *_RECIPIENT_FIELDS) is None:
                _complete(current, part)
            else:
                if current is not None:
                    yield current
                current = part
    if current is not None:
        yield current


def _split(group: Group) -> Iterator[Group]:
    """Yield a group once for each Final-Recipient in it: some reports leave out the blank lines between recipients."""
    count = len(group.get("final-recipient", ()))
    if count < 2:
        yield group
        return
    for at in range(count):
        yield {name: values[at : at + 1] if len(values) == count else values for name, values in group.items()}


def _complete(group: Group, more: Group) -> None:
    for name in more.keys() & _OWN_FIELDS:
        group.setdefault(name, more[name])


def _claim(group: Group, reading: Reading, *, only: bool) -> Claim:
    report, where = _report(group, reading, only=only)
    action = report.action
    passages = []
    if report.diagnostic_code:
        passages.append(Passage(report.diagnostic_code, "Diagnostic-Code"))
    status_text = first(group, "status") or ""
    if "(" in status_text:
        passages.append(Passage(status_text, "Status"))
    passages += (Passage(text, reading.where) for text in _human_texts(report, reading, only=only))
    return Claim(report, _KINDS[action] if action else None, tuple(passages), where)


def _human_texts(report: RecipientReport, reading: Reading, *, only: bool) -> Iterator[str]:
    """Yield what the text for people says of this recipient, then all of it when there is only one."""
    if not report.diagnostic_code or not only:
        for address in (report.final_recipient, report.original_recipient):
            if address and (found := notice.about(reading.text, address)):
                yield found
                break
    if only and reading.text:
        yield reading.text


def _report(group: Group, reading: Reading, *, only: bool) -> tuple[RecipientReport, str | None]:
    diagnostic_type, code = typed(" ".join(group.get("diagnostic-code", ())) or None)
    remote = _host(first(group, "remote-mta"))
    seen = diagnostic.read(code or "", wants_host=remote is None)
    stated = EnhancedStatus.parse(first(group, "status") or "")
    if not (seen.reply or seen.status) and only and diagnostic.is_generic(stated):
        seen = diagnostic.read(reading.text)
    status = diagnostic.better_status(stated, seen.status)
    final = bare_name(first(group, "final-recipient"))
    original = normalise(first(group, "original-recipient"))
    where = None
    if not original and (not final or "@" not in final):
        final, where = _missing_recipient(final, group, reading)
    report = RecipientReport(
        final_recipient=final,
        original_recipient=original,
        action=_action(first(group, "action"), stated or status),
        status=status,
        reply=seen.reply,
        diagnostic_type=diagnostic_type,
        diagnostic_code=code,
        remote_mta=remote or seen.host,
    )
    return report, where


def _missing_recipient(final: str | None, group: Group, reading: Reading) -> tuple[str | None, str | None]:
    """Find the address a report leaves out: in a lesser field, else in the returned mail."""
    actual = normalise(first(group, "x-actual-recipient"))
    if actual:
        return actual, "X-Actual-Recipient"
    named = notice.failed_recipients(reading)
    if len(named) == 1:
        return named[0], "X-Failed-Recipients"
    returned = notice.returned_recipients(reading)
    if len(returned) == 1:
        return returned[0], "returned To"
    return final, None


def _action(value: str | None, status: EnhancedStatus | None) -> Action | None:
    """Return the action reported, else what the class of the status says; None when a 4.x.x leaves it open."""
    word = (value or "").strip().lower()
    for prefix, action in _ACTIONS:
        if word.startswith(prefix):
            return action
    return _BY_CLASS.get(status.class_digit) if status else None


def _host(value: str | None) -> str | None:
    _, name = typed(value)
    if not name:
        return None
    return name.split()[0].strip("[]().,;").lower()[:255] or None if name.split() else None
