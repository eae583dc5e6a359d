"""``bouncepoll outbox``: what waits to be forwarded, and what nobody took."""

from typing import Annotated

import typer

from bouncepoll.cli._output import JsonOption, YesOption, print_json, print_table, say
from bouncepoll.cli._state import state_of
from bouncepoll.errors import UsageError
from bouncepoll.model.delivery import OutboxState

app = typer.Typer(help="Forwards: queued, sent and dead letters.", no_args_is_help=True)

_NONE = "none of these is queued or a dead letter; 'bouncepoll outbox list' shows them"

IdsArgument = Annotated[
    list[int] | None, typer.Argument(min=1, max=2**63 - 1, help="Ids from 'outbox list'.", show_default=False)
]


@app.command("list")
def list_(
    context: typer.Context,
    state: Annotated[OutboxState | None, typer.Option(help="Only this state.", show_default=False)] = None,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 100,
    as_json: JsonOption = False,
) -> None:
    """List forwards with the last reply of the next hop."""
    with state_of(context).application() as application:
        found = application.store.outbox.list(state, limit)
    if as_json:
        for row in found:
            print_json(row)
        return
    print_table(
        "Outbox",
        ("id", "mail", "filter", "forward to", "state", "attempts", "next attempt", "last reply"),
        (
            (r.id, r.message_id, r.filter_id, r.forward_path, r.state, r.attempts, r.next_attempt_at, r.last_reply)
            for r in found
        ),
    )


@app.command()
def retry(
    context: typer.Context,
    ids: IdsArgument = None,
    all_dead: Annotated[bool, typer.Option("--all-dead", help="Every dead letter.")] = False,
) -> None:
    """Queue dead letters again, or queued ones for now; their age starts anew."""
    if bool(ids) == all_dead:
        raise UsageError("name ids, or say --all-dead")
    with state_of(context).application() as application:
        count = application.store.outbox.retry(None if all_dead else ids)
    if ids and not count:
        raise UsageError(_NONE)
    say(f"{count} queued")


@app.command()
def drop(context: typer.Context, ids: IdsArgument = None, yes: YesOption = False) -> None:
    """Give up forwards for good; the mails themselves stay stored."""
    if not ids:
        raise UsageError("name the ids to drop; 'bouncepoll outbox list' shows them")
    if not yes:
        typer.confirm(f"Drop {len(ids)} forwards?", abort=True)
    with state_of(context).application() as application:
        count = application.store.outbox.drop(ids)
    if not count:
        raise UsageError(_NONE)
    say(f"{count} dropped")
