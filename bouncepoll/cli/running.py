"""The commands that work: serve, poll, demo."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from bouncepoll.bootstrap import Application, PollOutcome
from bouncepoll.bootstrap._cluster import membership_of, poll_once
from bouncepoll.bootstrap._listener import ListenerDesk
from bouncepoll.bootstrap._metrics_server import metrics_of
from bouncepoll.bootstrap._notify import Notifier
from bouncepoll.bootstrap._process import hardened, keep_private
from bouncepoll.bootstrap._watching import watcher_of
from bouncepoll.cli import _logs
from bouncepoll.cli._output import JsonOption, console, print_json, print_table, say
from bouncepoll.cli._state import NO_MAILBOX, State, exit_status, state_of
from bouncepoll.errors import ConfigurationError, UsageError
from bouncepoll.scheduler import Service


def register(app: typer.Typer) -> None:
    """Add the commands to the main program."""
    app.command()(serve)
    app.command()(poll)
    app.command()(demo)


def serve(context: typer.Context) -> None:
    """Poll all mailboxes, listen for mails, and drain the outbox until SIGTERM; logs go to standard error."""
    state = state_of(context)
    _configure_logs(state)
    with hardened(state.settings.exposed), state.application() as application, _held(application, wait=True):
        listening = state.settings.listener.is_on
        if not application.mailboxes and not listening:
            raise ConfigurationError(NO_MAILBOX)
        application.check_delivery()
        _run(application, sorted(application.mailboxes), listen=listening, measure=True)


def poll(
    context: typer.Context,
    mailbox: Annotated[list[str] | None, typer.Argument(help="Names of mailboxes; all enabled ones when none.")] = None,
    once: Annotated[
        bool,
        typer.Option("--once", help="Poll once and end, for cron; without it, poll these mailboxes until SIGTERM."),
    ] = False,
    drain: Annotated[bool, typer.Option(help="Forward what is due in the outbox afterwards.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Poll mailboxes, store what is there, and forward what is due; exit 1 when a mailbox failed."""
    state = state_of(context)
    _configure_logs(state)
    with hardened(state.settings.exposed), state.application() as application, _held(application, wait=not once):
        names = list(dict.fromkeys(mailbox or sorted(application.mailboxes)))
        if not names:
            raise ConfigurationError(NO_MAILBOX)
        for name in names:
            application.mailbox(name)
        if not once:
            application.check_delivery()
            _run(application, names)
            return
        outcomes = [_poll_one(application, name) for name in names]
        _print(outcomes, as_json)
        sent = application.drain() if drain else None
        if sent is not None and not as_json:
            console().print(f"forwarded {sent.sent}, deferred {sent.deferred}, dead {sent.dead}")
    failures = [outcome.error for outcome in outcomes if outcome.error is not None]
    if failures:
        raise typer.Exit(exit_status(failures))


def demo(
    folder: Annotated[Path, typer.Option(help="Where the demo's database and configuration are left.")] = Path("demo"),
    as_json: JsonOption = False,
) -> None:
    """Show the main job on this machine: a private IMAP server, sample mails, SQLite, a receiver for the forwards."""
    try:
        from bouncepoll import demo as demonstration  # noqa: PLC0415 - it needs extras that no other command does.
    except ImportError as exc:
        raise UsageError(f"the demo needs {exc.name}; install it with: pip install 'bouncepoll[demo]'") from exc
    rows = demonstration.run(folder)
    if as_json:
        for row in rows:
            print_json(row)
        return
    print_table(
        "What came back",
        ("mail", "filter", "kind and reason", "recipient", "forwarded to"),
        ((row.mail, row.filter, row.outcome, row.recipient, row.forwarded_to) for row in rows),
    )
    say(f"The database and the mails are in {folder}. Try next:")
    for command in demonstration.next_steps(folder):
        say(f"  {command}")


@contextmanager
def _held(application: Application, *, wait: bool) -> Iterator[None]:
    """Open the database to poll into it; ``wait`` for one that is not up yet, as after the start of a machine."""
    if wait:
        application.pausing.wait()
    with application.exclusive():
        keep_private(application.store.file)
        yield


def _run(application: Application, mailboxes: list[str], *, listen: bool = False, measure: bool = False) -> None:
    listener = partial(ListenerDesk, application) if listen else None
    notifier = Notifier.of_environment()
    with metrics_of(application) if measure else nullcontext() as metrics:
        finished = Service(
            application,
            mailboxes,
            listener,
            partial(watcher_of, application),
            notifier,
            observer=metrics,
            cluster=membership_of(application, mailboxes),
        ).run()
    if not finished:
        # A thread waits for a server that does not answer; what it had is not committed, so nothing is lost.
        with suppress(OSError, ValueError):
            sys.stderr.flush()
        os._exit(0)


def _poll_one(application: Application, name: str) -> PollOutcome:
    if not sys.stderr.isatty():
        return poll_once(application, name)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    with Progress(*columns, console=console(), transient=True) as progress:
        task = progress.add_task(name, total=None)
        return poll_once(application, name, lambda done, total: progress.update(task, completed=done, total=total))


def _print(outcomes: list[PollOutcome], as_json: bool) -> None:
    records = [
        {
            "mailbox": outcome.mailbox,
            "report": outcome.report,
            "error": None if outcome.error is None else str(outcome.error),
        }
        for outcome in outcomes
    ]
    if as_json:
        for record in records:
            print_json(record)
        return
    print_table(
        "Polled",
        ("mailbox", "recorded", "duplicates", "quarantined", "unrouted", "to forward", "error"),
        (
            (
                outcome.mailbox,
                report.recorded,
                report.duplicates,
                report.quarantined,
                report.unrouted,
                report.forwards,
                None,
            )
            if (report := outcome.report) is not None
            else (outcome.mailbox, None, None, None, None, None, str(outcome.error))
            for outcome in outcomes
        ),
    )


def _configure_logs(state: State) -> None:
    _logs.configure(state.settings.log.level, state.settings.log.format)
