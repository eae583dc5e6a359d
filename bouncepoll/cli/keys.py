"""``bouncepoll keys``: what stored logins are encrypted with."""

from pathlib import Path
from typing import Annotated

import typer

from bouncepoll.cli._output import say
from bouncepoll.cli._state import state_of

app = typer.Typer(
    help="The keys that stored logins are encrypted with, and those tokens are signed with.", no_args_is_help=True
)


@app.command("generate")
def generate_(
    file: Annotated[
        Path, typer.Argument(help="The key file, as in credentials.key_file or tokens.key_file; made with mode 0600.")
    ],
    add: Annotated[
        bool, typer.Option("--add", help="Add a new key before those of a file there is; then run 'keys rotate'.")
    ] = False,
) -> None:
    """Make a key file; a file there is stays as it is, unless a key is added to it."""
    from bouncepoll.auth.keys import generate  # noqa: PLC0415 - 0.1 s that no other command needs.

    count = generate(file, add=add)
    if add:
        say(f"{file}: {count} keys; the first one encrypts from now on. Next: bouncepoll keys rotate")
    else:
        say(f"{file}: 1 key. Set credentials.key_file to it, and keep a copy apart from the database.")


@app.command()
def rotate(context: typer.Context) -> None:
    """Encrypt every stored login with the first key; after that, the other keys may be removed from the file."""
    with state_of(context).application() as application:
        count = application.credentials.logins.rotate()
    say(f"Stored logins, now encrypted with the first key: {count}")
