"""``bouncepoll events``: what was found of whom."""

import csv
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from enum import StrEnum
from typing import Annotated, Any

import typer

from bouncepoll.bootstrap import Application
from bouncepoll.cli._output import JsonOption, harmless, plain, print_json, print_table
from bouncepoll.cli._state import state_of
from bouncepoll.model.records import EventRecord
from bouncepoll.model.verdict import Kind

app = typer.Typer(help="Findings: one a recipient and mail.", no_args_is_help=True)


class ExportFormat(StrEnum):
    """How events are exported."""

    JSONL = "jsonl"
    CSV = "csv"


_FORMULA = frozenset("=+-@\uff1d\uff0b\uff0d\uff20")
_SKIPPED = frozenset("\t\r\n")

RecipientOption = Annotated[str | None, typer.Option("--recipient", help="Only this address.", show_default=False)]
KindOption = Annotated[Kind | None, typer.Option("--kind", help="Only this kind.", show_default=False)]
FilterOption = Annotated[str | None, typer.Option("--filter", help="Only this filter.", show_default=False)]
SinceOption = Annotated[
    datetime | None, typer.Option("--since", help="Recorded at or after (UTC).", show_default=False)
]
UntrustedOption = Annotated[
    bool,
    typer.Option(
        "--untrusted", help="Those too that are refused (no valid token, replayed, …): they count for nothing."
    ),
]
UntilOption = Annotated[datetime | None, typer.Option("--until", help="Recorded before (UTC).", show_default=False)]


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, oldest first.")] = 100,
    after: Annotated[int, typer.Option(min=0, max=2**63 - 1, help="Only events after this id.")] = 0,
    recipient: RecipientOption = None,
    kind: KindOption = None,
    bounce_filter: FilterOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    untrusted: UntrustedOption = False,
    as_json: JsonOption = False,
) -> None:
    """List events, oldest first."""
    with state_of(context).application() as application:
        found = application.store.events.list(
            limit=limit,
            after_id=after,
            untrusted=untrusted,
            **_criteria(application, recipient, kind, bounce_filter, since, until),
        )
    if as_json:
        for event in found:
            print_json(event)
        return
    print_table(
        "Events",
        ("id", "recorded", "recipient", "kind", "reason", "severity", "status", "trust", "diagnostic"),
        (
            (e.id, e.recorded_at, e.recipient, e.kind, e.reason, e.severity, e.status, shown_trust(e), e.diagnostic)
            for e in found
        ),
    )


@app.command()
def export(
    context: typer.Context,
    export_format: Annotated[ExportFormat, typer.Option("--format", help="One JSON object a line, or CSV.")] = (
        ExportFormat.JSONL
    ),
    recipient: RecipientOption = None,
    kind: KindOption = None,
    bounce_filter: FilterOption = None,
    since: SinceOption = None,
    until: UntilOption = None,
    untrusted: UntrustedOption = False,
) -> None:
    """Print all events, oldest first, in a form for other programs."""
    with state_of(context).application() as application:
        criteria = _criteria(application, recipient, kind, bounce_filter, since, until) | {"untrusted": untrusted}
        events = _all(application, criteria)
        if export_format is ExportFormat.JSONL:
            for event in events:
                print_json(event)
            return
        writer = None
        for event in events:
            row = {name: _cell(value) for name, value in plain(event).items()}
            if writer is None:
                writer = csv.DictWriter(sys.stdout, row.keys())
                writer.writeheader()
            writer.writerow(row)


def shown_trust(event: EventRecord) -> str:
    """Return how far an event is believed, and why not further."""
    return str(event.trust) if event.trust_reason is None else f"{event.trust}: {event.trust_reason}"


def _all(application: Application, criteria: dict[str, Any]) -> Iterator[Any]:
    after = 0
    while chunk := application.store.events.list(limit=1000, after_id=after, **criteria):
        yield from chunk
        after = chunk[-1].id


def _cell(value: object) -> object:
    """A spreadsheet takes a text that starts like a formula for one; a quote keeps it a text.

    It looks behind white space, and some take the wide forms of the signs for the signs.
    """
    if not isinstance(value, str):
        return value
    text = harmless(value)
    return f"'{text}" if text[:1] in _SKIPPED or text.lstrip()[:1] in _FORMULA else text


def _criteria(
    application: Application,
    recipient: str | None,
    kind: Kind | None,
    bounce_filter: str | None,
    since: datetime | None,
    until: datetime | None,
) -> dict[str, Any]:
    return {
        "recipient": recipient,
        "kind": kind,
        "filter_id": application.filter_id(bounce_filter),
        "since": None if since is None else since.replace(tzinfo=UTC),
        "until": None if until is None else until.replace(tzinfo=UTC),
    }
