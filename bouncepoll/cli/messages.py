"""``bouncepoll message``: what is stored, and what nobody routed."""

from typing import Annotated

import typer

from bouncepoll.cli._output import JsonOption, print_fields, print_json, print_table, write_raw
from bouncepoll.cli._state import state_of
from bouncepoll.cli.events import shown_trust
from bouncepoll.errors import UsageError
from bouncepoll.model.verdict import Kind

app = typer.Typer(help="Stored mails.", no_args_is_help=True)


@app.command("list")
def list_(
    context: typer.Context,
    limit: Annotated[int, typer.Option(min=1, max=10_000, help="How many, newest first.")] = 50,
    before: Annotated[
        int | None, typer.Option(min=1, max=2**63 - 1, help="Only mails stored before this id.", show_default=False)
    ] = None,
    kind: Annotated[Kind | None, typer.Option(help="Only this kind.", show_default=False)] = None,
    bounce_filter: Annotated[str | None, typer.Option("--filter", help="Only this filter.", show_default=False)] = None,
    mailbox: Annotated[str | None, typer.Option(help="Only this mailbox.", show_default=False)] = None,
    unrouted: Annotated[bool, typer.Option("--unrouted", help="Only mails that belong to no filter.")] = False,
    as_json: JsonOption = False,
) -> None:
    """List stored mails, newest first."""
    with state_of(context).application() as application:
        found = application.store.messages.list(
            limit=limit,
            before_id=before,
            kind=kind,
            filter_id=application.filter_id(bounce_filter),
            source=mailbox,
            unrouted=unrouted,
        )
    if as_json:
        for message in found:
            print_json(message)
        return
    print_table(
        "Mails",
        ("id", "recorded", "kind", "from", "subject"),
        ((m.id, m.recorded_at, m.kind, m.from_address, m.subject) for m in found),
    )


@app.command()
def show(
    context: typer.Context,
    message: Annotated[int, typer.Argument(min=1, max=2**63 - 1, help="The mail's id.")],
    raw: Annotated[bool, typer.Option("--raw", help="Print the mail's octets as they were fetched.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Show one stored mail: its places, its filters, its findings."""
    with state_of(context).application() as application:
        found = application.store.messages.get(message)
        if found is None:
            raise UsageError(f"there is no stored mail {message}; 'bouncepoll message list' shows them")
        octets = application.store.messages.octets(message) if raw else None
    if raw:
        if octets is None:
            raise UsageError(f"the octets of mail {message} are gone: they are older than the retention time")
        write_raw(octets)
        return
    if as_json:
        print_json(found)
        return
    print_fields(
        f"Mail {found.id}",
        {
            "kind": found.kind,
            "message-id": found.message_id,
            "from": found.from_address,
            "subject": found.subject,
            "received": found.received_at,
            "recorded": found.recorded_at,
            "size (octets)": found.size_octets,
            "fingerprint": found.fingerprint,
        },
    )
    print_table(
        "Places", ("place", "duplicate", "settled"), ((str(p.ref), p.duplicate, p.settled) for p in found.places)
    )
    print_table(
        "Filters",
        ("filter", "matched by", "token", "mailing", "recipient id"),
        ((r.filter_id, r.matched_by, r.verified, r.mailing_id, r.recipient_id) for r in found.routes),
    )
    print_table(
        "Findings",
        ("recipient", "kind", "reason", "severity", "status", "trust", "diagnostic", "rule"),
        (
            (e.recipient, e.kind, e.reason, e.severity, e.status, shown_trust(e), e.diagnostic, e.rule_id)
            for e in found.events
        ),
    )
