"""The command line: its commands, its exit statuses (0 ok, 1 failed, 2 wrong configuration or usage)."""

import io
import sys
import traceback
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from bouncepoll import __version__
from bouncepoll.cli import (
    _logs,
    admin,
    cluster,
    dns,
    doctor,
    events,
    filters,
    keys,
    mailboxes,
    mails,
    messages,
    outbox,
    quarantine,
    reprocessing,
    running,
    tokens,
)
from bouncepoll.cli._output import harmless, printable
from bouncepoll.cli._state import State
from bouncepoll.errors import BouncepollError, ConfigurationError, UsageError

app = typer.Typer(
    name="bouncepoll",
    help="Polls the mailboxes behind newsletter senders, says what came back and why, and forwards the human rest.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for module in (running, mails, reprocessing, doctor):
    module.register(app)
for name, group in (
    ("filter", filters.app),
    ("mailbox", mailboxes.app),
    ("keys", keys.app),
    ("message", messages.app),
    ("events", events.app),
    ("outbox", outbox.app),
    ("quarantine", quarantine.app),
    ("rules", admin.rules),
    ("db", admin.db),
    ("config", admin.config),
    ("dns", dns.app),
    ("token", tokens.app),
    ("cluster", cluster.app),
):
    app.add_typer(group, name=name)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"bouncepoll {__version__}")
        raise typer.Exit


@app.callback()
def main(
    context: typer.Context,
    config: Annotated[
        Path | None,
        typer.Option("--config", "-c", help="The configuration file.", show_default=False),
    ] = None,
    overrides: Annotated[
        list[str] | None,
        typer.Option(
            "--set",
            metavar="KEY=VALUE",
            help="Set one key of the configuration, such as mailboxes.news.poll=5m; may be repeated.",
            show_default=False,
        ),
    ] = None,
    _version_wanted: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Configuration: --config, else $BOUNCEPOLL_CONFIG, ./config.toml, the user's and /etc/bouncepoll/config.toml."""
    _logs.configure("warning")
    context.obj = State(config, tuple(overrides or ()))


def run() -> None:
    """Run the command line and exit; an error raised on purpose is one line a fault, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal that cannot show a character must not end the command.
            stream.reconfigure(errors="backslashreplace")
    try:
        app()
    except (ConfigurationError, UsageError) as exc:
        _fail(exc, 2)
    except BouncepollError as exc:
        _fail(exc, 1)
    except BrokenPipeError:
        # The reader (head, less) went away: there is no one left to tell.
        sys.stderr.close()
        sys.exit(1)
    except Exception as exc:  # noqa: BLE001 - a mistake of ours; what it says may come from a mail.
        for line in traceback.format_exception(exc):
            sys.stderr.write(harmless(line))
        sys.exit(1)


def _fail(exc: BouncepollError, status: int) -> None:
    screen = Console(stderr=True, highlight=False, soft_wrap=True, emoji=False)
    # Faults are parted by LF alone: what else may end a line came with a name from outside.
    for line in (str(exc) or type(exc).__name__).split("\n"):
        screen.print(f"[bold red]error:[/] {printable(line)}")
    sys.exit(status)
