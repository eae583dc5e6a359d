"""Printing checks: a list for people, what it is about on top; one object a line for programs."""

from collections.abc import Iterable

from bouncepoll.cli._output import console, print_json, printable
from bouncepoll.model.probe import Outcome, Probe

_STYLES = {Outcome.OK: "green", Outcome.WARN: "yellow", Outcome.FAIL: "bold red", Outcome.SKIP: "dim"}
_INDENT = " " * 7


def print_checks(checks: Iterable[tuple[str, Probe]], *, as_json: bool) -> bool:
    """Print checks as they come, and return whether none failed."""
    counts = dict.fromkeys(Outcome, 0)
    about = None
    screen = console()
    for subject, probe in checks:
        counts[probe.outcome] += 1
        if as_json:
            print_json(_record(subject, probe))
            continue
        if subject != about:
            screen.print(f"{'' if about is None else chr(10)}[bold]{printable(subject)}[/]")
            about = subject
        style = _STYLES[probe.outcome]
        screen.print(f"  [{style}]{probe.outcome.upper():<4}[/] {printable(probe.check)}: {printable(probe.found)}")
        if probe.wanted:
            screen.print(f"{_INDENT}wanted: {printable(probe.wanted)}")
        for line in probe.mend:
            screen.print(f"{_INDENT}→ {printable(line)}")
        for line in probe.records:
            screen.print(f"{_INDENT}  {printable(line)}")
    if not as_json:
        words = ", ".join(f"{count} {outcome}" for outcome, count in counts.items() if count)
        screen.print(f"\n{words or 'nothing to check'}")
    return not counts[Outcome.FAIL]


def _record(subject: str, probe: Probe) -> dict[str, object]:
    return {
        "subject": subject,
        "check": probe.check,
        "outcome": probe.outcome,
        "found": probe.found,
        "wanted": probe.wanted or None,
        "mend": probe.mend,
        "records": probe.records,
    }
