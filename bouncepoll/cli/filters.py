"""``bouncepoll filter``: the bounce filters and their addresses."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from bouncepoll.bootstrap import Application
from bouncepoll.cli._output import JsonOption, console, harmless, print_fields, print_json, print_table, printable, say
from bouncepoll.cli._state import state_of
from bouncepoll.errors import ConfigurationError, UsageError
from bouncepoll.model.filter import DEFAULT_FORWARD_KINDS, BounceFilter, ForwardMode
from bouncepoll.model.trust import TokenUse
from bouncepoll.model.verdict import Kind
from bouncepoll.resolve.filters import export_toml, import_toml

app = typer.Typer(help="Bounce filters: where mails come back to, and who gets the human ones.", no_args_is_help=True)

_MAX_IMPORT_OCTETS = 16 * 1024 * 1024

NameArgument = Annotated[str, typer.Argument(help="The filter's name, id or filter address.", show_default=False)]
ForwardOption = Annotated[
    list[str] | None, typer.Option("--forward", "-f", help="A feedback address; may be repeated.", show_default=False)
]
KindOption = Annotated[
    list[Kind] | None,
    typer.Option(
        "--kind", help="A kind of mail to forward; may be repeated. Default: reply, unknown.", show_default=False
    ),
]
AddressOption = Annotated[
    str | None,
    typer.Option("--filter-address", help="Own filter address, or @domain; else one is generated.", show_default=False),
]
ModeOption = Annotated[
    ForwardMode | None, typer.Option("--mode", help="How to forward, when not as configured.", show_default=False)
]
TokensOption = Annotated[
    TokenUse | None,
    typer.Option(
        "--tokens", help="Whether findings need a signed token to count, when not as configured.", show_default=False
    ),
]
DescriptionOption = Annotated[str | None, typer.Option("--description", help="What it is for.", show_default=False)]
MailboxOption = Annotated[
    str | None,
    typer.Option("--mailbox", help="The polled mailbox a generated plus-address belongs to.", show_default=False),
]


@app.command()
def add(
    context: typer.Context,
    name: Annotated[str, typer.Argument(help="A name, at least 3 characters.")],
    forward: ForwardOption = None,
    filter_address: AddressOption = None,
    kind: KindOption = None,
    mode: ModeOption = None,
    description: DescriptionOption = None,
    tokens: TokensOption = None,
    mailbox: MailboxOption = None,
    as_json: JsonOption = False,
) -> None:
    """Make a bounce filter and print its filter address; it works for the very next mail."""
    wanted = BounceFilter(
        id=0,
        name=name,
        filter_address=(filter_address or "").lower(),
        forward_to=tuple(forward or ()),
        forward_kinds=frozenset(kind) if kind else DEFAULT_FORWARD_KINDS,
        forward_mode=mode,
        description=description or "",
        tokens=tokens,
    )
    with state_of(context).application() as application:
        added = application.add_filter(wanted, mailbox)
        if added.forward_to:
            _warn_if_not_deliverable(application)
    if as_json:
        print_json(added)
        return
    address = printable(added.filter_address)
    console().print(f"Filter {added.id}, {printable(added.name)}: its filter address is [bold]{address}[/]")


@app.command("list")
def list_(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the filters."""
    with state_of(context).application() as application:
        found = application.store.filters.all()
    if as_json:
        for entry in found:
            print_json(entry)
        return
    print_table(
        "Filters",
        ("id", "name", "filter address", "forwards to", "kinds", "enabled"),
        ((f.id, f.name, f.filter_address, f.forward_to, f.forward_kinds, f.enabled) for f in found),
    )


@app.command()
def show(context: typer.Context, name: NameArgument, as_json: JsonOption = False) -> None:
    """Show one filter."""
    with state_of(context).application() as application:
        found = application.filter(name)
    if as_json:
        print_json(found)
        return
    print_fields(
        f"Filter {found.id}",
        {
            "name": found.name,
            "filter address": found.filter_address,
            "forwards to": found.forward_to,
            "kinds": found.forward_kinds,
            "mode": found.forward_mode or "as configured",
            "tokens": found.tokens or "as configured",
            "description": found.description,
            "enabled": found.enabled,
            "created": found.created_at,
        },
    )


@app.command()
def edit(
    context: typer.Context,
    name: NameArgument,
    new_name: Annotated[str | None, typer.Option("--name", help="A new name.", show_default=False)] = None,
    forward: ForwardOption = None,
    filter_address: AddressOption = None,
    kind: KindOption = None,
    mode: ModeOption = None,
    description: DescriptionOption = None,
    tokens: TokensOption = None,
    no_forward: Annotated[bool, typer.Option("--no-forward", help="Forward nothing any more.")] = False,
) -> None:
    """Change what is named; the rest stays. --forward and --kind replace the whole list."""
    given = (new_name, forward, filter_address, kind, mode, description, tokens)
    if not no_forward and all(value is None or value == [] for value in given):
        raise UsageError("nothing to change was named; 'bouncepoll filter edit --help' shows what can be")
    if forward and no_forward:
        raise UsageError("--forward and --no-forward contradict each other; give one of them")
    with state_of(context).application() as application:
        found = application.filter(name)
        changed = replace(
            found,
            name=found.name if new_name is None else new_name,
            filter_address=(filter_address or found.filter_address).lower(),
            forward_to=() if no_forward else tuple(forward or found.forward_to),
            forward_kinds=frozenset(kind) if kind else found.forward_kinds,
            forward_mode=mode or found.forward_mode,
            description=found.description if description is None else description,
            tokens=tokens or found.tokens,
        )
        changed = application.replace_filter(changed)
        if changed.forward_to:
            _warn_if_not_deliverable(application)
    say(f"Filter {changed.id}, {changed.name}: changed")


@app.command()
def disable(
    context: typer.Context,
    name: NameArgument,
    enable: Annotated[bool, typer.Option("--undo", help="Enable it again.")] = False,
) -> None:
    """Switch a filter off; its mails then go to the mailbox's default filter, or are kept as unrouted."""
    with state_of(context).application() as application:
        found = application.filter(name)
        application.replace_filter(replace(found, enabled=enable))
    say(f"Filter {found.id}, {found.name}: {'enabled' if enable else 'disabled'}")


@app.command("export")
def export(context: typer.Context) -> None:
    """Print all filters as TOML."""
    with state_of(context).application() as application:
        typer.echo(export_toml(application.store.filters.all()), nl=False)


@app.command("import")
def import_(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file 'filter export' wrote, or - for standard input.")],
    replace_existing: Annotated[bool, typer.Option("--replace", help="Replace filters of the same name.")] = False,
) -> None:
    """Add the filters of a TOML file: all of them, or none when one is wrong."""
    wanted = import_toml(_read(file))
    with state_of(context).application() as application:
        added, replaced = application.import_filters(wanted, replace_existing=replace_existing)
    console().print(f"{added} added, {replaced} replaced")


def _read(file: Path) -> str:
    try:
        octets = sys.stdin.buffer.read(_MAX_IMPORT_OCTETS + 1) if str(file) == "-" else _read_bounded(file)
        text = octets.decode()
    except (OSError, UnicodeDecodeError) as exc:
        raise UsageError(f"{file}: cannot be read: {exc}") from exc
    if len(octets) > _MAX_IMPORT_OCTETS:
        raise UsageError(f"{file}: larger than {_MAX_IMPORT_OCTETS} octets; split it")
    return text


def _read_bounded(file: Path) -> bytes:
    with file.open("rb") as opened:
        return opened.read(_MAX_IMPORT_OCTETS + 1)


def _warn_if_not_deliverable(application: Application) -> None:
    """Say on standard error what forwarding still needs; the filter itself is good."""
    try:
        application.check_delivery()
    except ConfigurationError as exc:
        for fault in exc.faults:
            typer.echo(f"note: forwards will wait: {harmless(fault)}", err=True)
