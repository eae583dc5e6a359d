"""``bouncepoll mailbox``: the polled mailboxes, how they fare, and whether they can be reached."""

from typing import Annotated, Any

import typer

from bouncepoll.auth.logins import ends_soon
from bouncepoll.cli._output import JsonOption, print_json, print_table, say
from bouncepoll.cli._state import NO_MAILBOX, exit_status, state_of
from bouncepoll.cli.presets import presets
from bouncepoll.errors import BouncepollError, ConfigurationError

app = typer.Typer(help="The polled mailboxes.", no_args_is_help=True)
app.command()(presets)


@app.command("list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the configured mailboxes, how they log in, their last poll and their next one."""
    with state_of(context).application() as application:
        now = application.clock()
        ends = {name: application.credentials.expiries(f"mailboxes.{name}") for name in application.settings.mailboxes}
        states = {state.source: state for state in application.store.mailboxes.all()}
        rows: list[dict[str, Any]] = [
            {
                "name": name,
                "protocol": options.protocol,
                "provider": getattr(options, "provider", None),
                "host": getattr(options, "host", None),
                "port": getattr(options, "tcp_port", None),
                "security": getattr(options, "security", None),
                "username": getattr(options, "username", None),
                "max_connections": getattr(options, "max_connections", None),
                "path": getattr(options, "path", None),
                "folders": getattr(options, "folders", ()),
                "on_done": str(options.on_done),
                "enabled": options.enabled,
                "auth": application.credentials.kind(f"mailboxes.{name}"),
                "expires_at": ends[name][0].expires_at if ends[name] else None,
                "expires": ends[name][0].what if ends[name] else None,
                "expires_soon": any(ends_soon(expiry, now) for expiry in ends[name]),
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
    columns = ("mailbox", "where", "login", "last success", "next poll", "trouble")
    print_table("Mailboxes", columns, (_shown(row) for row in rows))


@app.command()
def login(
    context: typer.Context,
    mailbox: Annotated[
        str, typer.Argument(metavar="NAME", help="Name of the mailbox; delivery.smtp for the account that forwards.")
    ],
) -> None:
    """Log in once by device code or in a browser, store the login encrypted, and try it at the mailbox."""
    with state_of(context).application() as application:
        section = mailbox if mailbox.startswith("delivery.") else f"mailboxes.{mailbox}"
        if section != mailbox:
            application.mailbox(mailbox)
        # Imported here: what a browser login needs is needed by no other command.
        from bouncepoll.auth.login import Console  # noqa: PLC0415

        application.credentials.log_in(section, Console(say))
        say("The login is stored.")
        if section == mailbox:
            say("The next forward uses it.")
            return
        source = application.source(mailbox)
        try:
            source.open()
        finally:
            source.close()
        say(f"{mailbox}: the mailbox accepts it.")


def _shown(row: dict[str, Any]) -> tuple[object, ...]:
    """Return what a terminal has room for; the JSON has all of it."""
    name = row["name"] if row["enabled"] else f"{row['name']} (disabled)"
    login = row["auth"]
    if row["expires_at"] is not None:
        soon = " soon" if row["expires_soon"] else ""
        login = f"{login}; {row['expires']} ends{soon}, {row['expires_at']:%Y-%m-%d}"
    where = f"{row['provider'] or row['protocol']} {row['host'] or row['path'] or ''} {', '.join(row['folders'])}"
    return name, where, login, row["last_success_at"], row["next_poll_at"], row["last_error"]


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
