"""``bouncepoll quarantine``: mails that could not be processed. They stay in the mailbox untouched."""

from typing import Annotated

import typer

from bouncepoll.cli._output import JsonOption, YesOption, print_fields, print_json, print_table, say, write_raw
from bouncepoll.cli._state import state_of
from bouncepoll.errors import UsageError

app = typer.Typer(help="Mails that could not be processed, and why.", no_args_is_help=True)


@app.command("list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the mails in quarantine."""
    with state_of(context).application() as application:
        found = application.store.quarantine.list()
    if as_json:
        for entry in found:
            print_json(entry)
        return
    print_table(
        "Quarantine",
        ("id", "place", "since", "attempts", "error"),
        ((entry.id, str(entry.ref), entry.created_at, entry.attempts, entry.error) for entry in found),
    )


@app.command()
def show(
    context: typer.Context,
    entry: Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="The id from 'quarantine list'.")],
    raw: Annotated[bool, typer.Option("--raw", help="Print the octets that were kept.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one mail in quarantine."""
    with state_of(context).application() as application:
        found = application.store.quarantine.get(entry)
        if found is None:
            raise UsageError(f"there is no quarantine entry {entry}; 'bouncepoll quarantine list' shows them")
        octets = application.store.quarantine.octets(entry)
    if raw:
        if octets is None:
            raise UsageError("the mailbox never handed out this mail: there are no octets; try 'quarantine retry'")
        write_raw(octets)
    elif as_json:
        print_json(found)
    else:
        print_fields(
            f"Quarantine {found.id}",
            {
                "place": str(found.ref),
                "since": found.created_at,
                "attempts": found.attempts,
                "octets kept": None if octets is None else len(octets),
                "error": found.error,
            },
        )


@app.command()
def retry(
    context: typer.Context,
    ids: Annotated[
        list[int] | None, typer.Argument(min=1, max=2**63 - 1, help="Ids from 'quarantine list'; all when none.")
    ] = None,
) -> None:
    """Let the mails be fetched and processed again by the next poll of their mailbox."""
    with state_of(context).application() as application:
        count = application.store.quarantine.retry(ids or None)
    if ids and not count:
        raise UsageError("none of these is in quarantine; 'bouncepoll quarantine list' shows what is")
    say(f"{count} mails are read again at the next poll; 'bouncepoll poll --once' polls now")


@app.command()
def discard(
    context: typer.Context,
    ids: Annotated[list[int], typer.Argument(min=1, max=2**63 - 1, help="Ids from 'quarantine list'.")],
    yes: YesOption = False,
) -> None:
    """Give mails up: what was kept of them goes, and they are never read again. They stay in the mailbox."""
    if not yes:
        typer.confirm(f"Discard {len(ids)} mails?", abort=True)
    with state_of(context).application() as application:
        count = application.store.quarantine.discard(ids)
    if not count:
        raise UsageError("none of these is in quarantine; 'bouncepoll quarantine list' shows what is")
    say(f"{count} discarded")
