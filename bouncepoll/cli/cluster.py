"""``bouncepoll cluster``: several machines that share the mailboxes of one database."""

import typer

from bouncepoll.bootstrap._cluster_status import ClusterStatus, cluster_status
from bouncepoll.cli._output import JsonOption, print_json, print_table, say
from bouncepoll.cli._state import state_of
from bouncepoll.model.delivery import OutboxState

app = typer.Typer(help="Several machines that share the mailboxes of one PostgreSQL database.", no_args_is_help=True)


@app.command()
def status(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show which nodes live, which has which mailbox, and how late mailboxes and forwards are."""
    with state_of(context).application() as application:
        found = cluster_status(application)
    if as_json:
        print_json(found)
    else:
        show(found)


def show(found: ClusterStatus) -> None:
    """Print it for people."""
    if not found.shared:
        say("SQLite: one process polls, and there are no nodes; several machines need PostgreSQL (database.url)")
    else:
        _print_nodes(found)
    _print_mailboxes(found)
    late = sum(mailbox.late_s > 0 for mailbox in found.mailboxes)
    say(f"late: {late} mailboxes, the latest by {found.lag_s:.0f} s" if late else "late: no mailbox")
    waiting, dead = (found.outbox.get(state, 0) for state in (OutboxState.QUEUED, OutboxState.DEAD))
    say(f"outbox: {waiting} wait, {dead} dead letters")


def _print_nodes(found: ClusterStatus) -> None:
    print_table(
        "Nodes",
        ("node", "version", "state", "mailboxes", "started", "last heard of", "id"),
        (
            (
                node.name,
                node.version,
                "alive" if node.alive else "silent: killed, frozen or cut off",
                len(node.mailboxes),
                node.started_at,
                node.seen_at,
                node.id,
            )
            for node in found.nodes
        ),
    )


def _print_mailboxes(found: ClusterStatus) -> None:
    print_table(
        "Mailboxes",
        ("mailbox", "node", "lease until", "epoch", "next poll", "late by (s)", "failures"),
        (
            (m.mailbox, m.node, m.lease_until, m.epoch, m.next_poll_at, round(m.late_s) or None, m.failures or None)
            for m in found.mailboxes
        ),
    )
