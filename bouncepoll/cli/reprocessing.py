"""``bouncepoll reprocess``: stored mails classified again after rules changed."""

import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from types import FrameType
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from bouncepoll.cli._output import JsonOption, console, print_json, print_table
from bouncepoll.cli._state import state_of
from bouncepoll.errors import UsageError
from bouncepoll.model.storing import Selection
from bouncepoll.model.verdict import Kind
from bouncepoll.reprocess import ReprocessReport


def register(app: typer.Typer) -> None:
    """Add the command to the main program."""
    app.command()(reprocess)


def reprocess(
    context: typer.Context,
    since: Annotated[
        datetime | None, typer.Option("--since", help="Recorded at or after (UTC).", show_default=False)
    ] = None,
    until: Annotated[
        datetime | None, typer.Option("--until", help="Recorded before (UTC).", show_default=False)
    ] = None,
    kind: Annotated[
        Kind | None, typer.Option("--kind", help="Only mails that are of this kind now.", show_default=False)
    ] = None,
    bounce_filter: Annotated[str | None, typer.Option("--filter", help="Only this filter.", show_default=False)] = None,
    mailbox: Annotated[str | None, typer.Option(help="Only this mailbox.", show_default=False)] = None,
    apply: Annotated[
        bool, typer.Option("--apply/--dry-run", help="Replace the findings, or only show what would change.")
    ] = False,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run of --apply that was stopped, with its own selection.")
    ] = False,
    workers: Annotated[
        int | None,
        typer.Option(
            "--workers", min=1, max=256, help="Processes; one for each core when not given.", show_default=False
        ),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Classify stored mails again after rules changed; forwards nothing, counts nothing twice, keeps old findings."""
    selected = any(value is not None for value in (since, until, kind, bounce_filter, mailbox))
    if resume and (selected or not apply):
        raise UsageError("--resume goes with --apply, and with no selection: the stopped run has its own")
    with state_of(context).application() as application, _stop_asked() as should_stop:
        selection = Selection(
            since=None if since is None else since.replace(tzinfo=UTC),
            until=None if until is None else until.replace(tzinfo=UTC),
            kind=kind,
            filter_id=application.filter_id(bounce_filter),
            source=mailbox,
        )
        total = application.store.archive.count(selection)
        with _progress(total) as on_progress:
            report = application.reprocess(
                selection,
                apply=apply,
                resume=resume,
                workers=workers or os.cpu_count() or 1,
                should_stop=should_stop,
                on_progress=on_progress,
            )
    _print(report, apply=apply, as_json=as_json)
    if report.stopped:
        raise typer.Exit(1)


@contextmanager
def _stop_asked() -> Iterator[Callable[[], bool]]:
    """Stop between chunks on SIGINT and SIGTERM, so that what is applied so far is known and can be resumed."""
    asked = threading.Event()

    def handle(_number: int, _frame: FrameType | None) -> None:
        asked.set()

    old = {number: signal.signal(number, handle) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield asked.is_set
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


@contextmanager
def _progress(total: int) -> Iterator[Callable[[int], None]]:
    if not sys.stderr.isatty():
        yield lambda _looked_at: None
        return
    columns = (TextColumn("mails"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task("mails", total=total)
        yield lambda looked_at: progress.update(task, completed=looked_at)


def _print(report: ReprocessReport, *, apply: bool, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "looked_at": report.looked_at,
                "changed": report.changed,
                "gone": report.gone,
                "failed": report.failed,
                "applied": apply,
                "stopped": report.stopped,
                "transitions": [
                    {"before": t.before, "after": t.after, "mails": count, "examples": report.examples[t]}
                    for t, count in report.transitions.most_common()
                ],
            }
        )
        return
    print_table(
        "Changes" if apply else "What would change",
        ("before", "after", "mails", "for example"),
        ((t.before, t.after, count, report.examples[t]) for t, count in report.transitions.most_common()),
    )
    console().print(
        f"{report.looked_at} mails looked at, {report.changed} {'changed' if apply else 'would change'}, "
        f"{report.gone} without octets (retention), {report.failed} unreadable"
    )
    if report.stopped and apply:
        console().print("stopped; go on with: bouncepoll reprocess --apply --resume")
    elif report.changed and not apply:
        console().print("nothing was stored; put it into force with --apply")
