"""``bouncepoll rules``, ``db`` and ``config``: what an administrator looks after."""

from pathlib import Path
from typing import Annotated

import typer

from bouncepoll.bootstrap import analyser_with
from bouncepoll.classify import Rule, check_rules, load_rules, unused_rules
from bouncepoll.cli._output import JsonOption, console, harmless, print_fields, print_json, print_table, say
from bouncepoll.cli._paths import mails
from bouncepoll.cli._state import state_of
from bouncepoll.errors import ConfigurationError
from bouncepoll.settings import example_toml
from bouncepoll.store import schema
from bouncepoll.store.backup import back_up

rules = typer.Typer(help="The rules that give bounces their reason.", no_args_is_help=True)
db = typer.Typer(help="The database: its schema, a copy of it.", no_args_is_help=True)
config = typer.Typer(help="The configuration.", no_args_is_help=True)

ExtraOption = Annotated[
    Path | None,
    typer.Option("--file", help="Own rules, asked before ours; by default rules.extra_file.", show_default=False),
]


@rules.command("check")
def rules_check(
    context: typer.Context,
    extra: ExtraOption = None,
    corpus: Annotated[
        list[Path] | None,
        typer.Option(
            "--corpus", help="Mails to read: also tell the rules that decided none of them.", show_default=False
        ),
    ] = None,
) -> None:
    """Prove that each rule is reached by its own examples and none is there twice; exit 1 when one is not."""
    own = extra or state_of(context).settings.rules.extra_file
    loaded = load_rules(own)
    faults = check_rules(loaded)
    for fault in faults:
        typer.echo(harmless(fault), err=True)
    examples = sum(len(rule.examples) for rule in loaded)
    console().print(f"{len(loaded)} rules, {examples} examples, {len(faults)} faults")
    if corpus:
        _print_unused(loaded, own, corpus)
    if faults:
        raise typer.Exit(1)


def _print_unused(loaded: list[Rule], own: Path | None, corpus: list[Path]) -> None:
    analyse = analyser_with(own, instance_id="")
    verdicts = [analyse(found.raw).verdict for found in mails(corpus) if found.raw is not None]
    unused = unused_rules(loaded, verdicts)
    print_table(
        f"Rules that decided none of {len(verdicts)} mails",
        ("id", "file", "source"),
        ((rule.id, rule.file, rule.source) for rule in unused),
    )


@rules.command("list")
def rules_list(context: typer.Context, extra: ExtraOption = None, as_json: JsonOption = False) -> None:
    """List the rules in the order in which they are asked."""
    loaded = load_rules(extra or state_of(context).settings.rules.extra_file)
    if as_json:
        for rule in loaded:
            print_json(
                {
                    "id": rule.id,
                    "reason": rule.reason,
                    "kind": rule.kind,
                    "language": rule.language,
                    "source": rule.source,
                    "file": str(rule.file),
                }
            )
        return
    print_table(
        "Rules",
        ("id", "reason or kind", "language", "source"),
        ((rule.id, rule.reason or rule.kind, rule.language, rule.source) for rule in loaded),
    )


@db.command("upgrade")
def db_upgrade(
    context: typer.Context,
    backup: Annotated[
        bool, typer.Option("--backup/--no-backup", help="Copy a SQLite file first, to FILE.bak-VERSION beside it.")
    ] = True,
) -> None:
    """Bring the database's schema up to date; needed on PostgreSQL, done by itself on SQLite."""
    url = state_of(context).settings.database.url
    copied = schema.upgrade(url, backup=backup)
    if copied is not None:
        say(f"{copied}: the database as it was, for a way back to the program before; delete it when all is well")
    status = schema.status(url)
    newer = f"; it is newer than this program, which needs {status.head}" if status.is_newer else ""
    say(f"the schema is up to date: {status.current}{newer}")


@db.command("status")
def db_status(context: typer.Context, as_json: JsonOption = False) -> None:
    """Show the schema's version; exit 1 when this program cannot use it."""
    status = schema.status(state_of(context).settings.database.url)
    fields = {"current": status.current, "needed": status.head, "up_to_date": status.up_to_date}
    if as_json:
        print_json(fields)
    else:
        print_fields("Database", fields)
    if not status.up_to_date:
        raise typer.Exit(1)


@db.command("backup")
def db_backup(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="Where the copy is written, mode 0600.")],
    replace: Annotated[bool, typer.Option("--replace", help="Replace a file of that name.")] = False,
) -> None:
    """Copy a SQLite database that may be in use; put the copy in its place to go back. PostgreSQL has pg_dump."""
    size = back_up(state_of(context).settings.database.url, file, replace=replace)
    say(f"{file}: {size} octets, checked")


@config.command("check")
def config_check(context: typer.Context, as_json: JsonOption = False) -> None:
    """Read the configuration and show what it comes to, secrets masked; exit 2 when it is wrong, one line a fault."""
    settings = state_of(context).settings
    faults = check_rules(load_rules(settings.rules.extra_file)) if settings.rules.extra_file else []
    faults += [*settings.missing_files(), *settings.exposed]
    if faults:
        raise ConfigurationError(*faults)
    if as_json:
        print_json(settings.public())
        return
    print_fields("Configuration", _flat(settings.public()))


@config.command("example")
def config_example() -> None:
    """Print a configuration with every key, its default, its unit and what it is for."""
    typer.echo(example_toml(), nl=False)


def _flat(tree: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(tree, dict) or not tree:
        return {prefix: tree if tree != {} else None}
    flat: dict[str, object] = {}
    for key, value in tree.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat
