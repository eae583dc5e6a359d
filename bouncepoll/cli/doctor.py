"""``bouncepoll doctor``: is everything as it has to be, and if not, what mends it."""

import os
from pathlib import Path
from typing import Annotated

import typer

from bouncepoll.cli._checks import print_checks
from bouncepoll.cli._output import JsonOption
from bouncepoll.cli._state import state_of
from bouncepoll.diagnose import doctor as diagnosis
from bouncepoll.settings.layers import find_file


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(doctor)


def doctor(
    context: typer.Context,
    mailbox: Annotated[
        list[str] | None, typer.Argument(help="Names of mailboxes to look at; everything when none.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=1, max=600, help="Longest wait for one answer of a server, in seconds.")
    ] = 15.0,
    as_json: JsonOption = False,
) -> None:
    """Look at mailboxes, delivery, database and files, and say what mends what is wrong; exit 1 when something fails.

    Nothing is changed and no mail is sent.
    """
    state = state_of(context)
    with state.application() as application:
        config, _places = find_file(state.config, os.environ, Path.cwd())
        checks = diagnosis.run(application, tuple(mailbox or ()), config, timeout_s=timeout)
        well = print_checks(checks, as_json=as_json)
    if not well:
        raise typer.Exit(1)
