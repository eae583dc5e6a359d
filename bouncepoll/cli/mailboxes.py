"""``bouncepoll mailbox``: the polled mailboxes, how they fare, and whether they can be reached."""

from typing import Annotated

import typer

from bouncepoll.cli._output import JsonOption, print_json, print_table
from bouncepoll.cli._state import NO_MAILBOX, exit_status, state_of
from bouncepoll.errors import BouncepollError, ConfigurationError

app = typer.Typer(help="The polled mailboxes.", no_args_is_help=True)


@app.command("list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the configured mailboxes, their last poll and their next one."""
    with state_of(context).application() as application:
        states = {state.source: state for state in application.store.mailboxes.all()}
        rows = [
            {
                "name": name,
                "protocol": options.protocol,
                "host": getattr(options, "host", None),
                "folders": getattr(options, "folders", ()),
                "on_done": str(options.on_done),
                "enabled": options.enabled,
                "last_success_at": states[name].last_success_at if name in states else None,
                "next_poll_at": states[name].next_poll_at if name in states else None,
                "failures": states[name].failures if name in states else 0,
                "last_error": states[name].last_error if name in states else None,
            }
            for name, options in sorted(application.settings.mailboxes.items())
        ]
    if as_json:
        for row in rows:
            print_json(row)
        return
    columns = (
        "name",
        "protocol",
        "host",
        "folders",
        "on_done",
        "enabled",
        "last_success_at",
        "next_poll_at",
        "last_error",
    )
    print_table("Mailboxes", columns, ([row[column] for column in columns] for row in rows))


@app.command()
def check(
    context: typer.Context,
    mailbox: Annotated[list[str] | None, typer.Argument(help="Names of mailboxes; all when none.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Log in, count the new mails of each folder, change nothing; exit 1 when a mailbox fails, 2 when set up wrong."""
    failures: list[BouncepollError] = []
    rows: list[tuple[str, str, int | None, str | None]] = []
    with state_of(context).application() as application:
        names = list(dict.fromkeys(mailbox or sorted(application.settings.mailboxes)))
        if not names:
            raise ConfigurationError(NO_MAILBOX)
        for name in names:
            application.mailbox(name)
        for name in names:
            try:
                rows += [(name, folder, count, None) for folder, count in application.count_new(name)]
            except BouncepollError as exc:
                failures.append(exc)
                rows.append((name, "-", None, str(exc)))
    if as_json:
        for name, folder, count, error in rows:
            print_json({"mailbox": name, "folder": folder, "new": count, "error": error})
    else:
        print_table("Mailboxes", ("mailbox", "folder", "new mails", "error"), rows)
    if failures:
        raise typer.Exit(exit_status(failures))
