"""``bouncepoll token``: makes signed tokens for what is sent, and tells what one says."""

import sys
from secrets import token_hex
from typing import Annotated, Any

import typer

from bouncepoll.bootstrap import Application
from bouncepoll.bootstrap.tokens import token_keys
from bouncepoll.cli._output import JsonOption, print_fields, print_json
from bouncepoll.cli._state import state_of
from bouncepoll.errors import UsageError
from bouncepoll.resolve.tokens import TokenKeys, token_address, tokens_in

app = typer.Typer(
    help="Signed tokens in the addresses and Message-IDs of what is sent (docs/trust.md).", no_args_is_help=True
)

_MAX_CHARS = 4096


@app.command()
def make(
    context: typer.Context,
    bounce_filter: Annotated[
        str, typer.Option("--filter", help="The filter the mail comes back to: name, id or filter address.")
    ],
    recipient: Annotated[str, typer.Option("--recipient", help="The address the mail is sent to.")],
    recipient_id: Annotated[
        str | None, typer.Option("--recipient-id", help="Your own id of the recipient.", show_default=False)
    ] = None,
    mailing: Annotated[
        str | None, typer.Option("--mailing", help="Your own id of the mailing.", show_default=False)
    ] = None,
    address: Annotated[
        str | None,
        typer.Option("--address", help="The address to put the token in; the filter's by default.", show_default=False),
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the token of one mail, and the sender address and Message-ID that carry it."""
    with state_of(context).application() as application:
        found = application.filter(bounce_filter)
        keys = token_keys(application.settings) or TokenKeys(())
        token = keys.make(found.id, recipient, application.clock().date(), mailing, recipient_id)
    base = address or found.filter_address
    carried = None if base.startswith("@") else token_address(base, token)
    made: dict[str, Any] = {
        "token": token,
        "address": carried,
        "message_id": f"<{token}.{token_hex(8)}@{base.rpartition('@')[2]}>",
    }
    if as_json:
        print_json(made)
        return
    print_fields("Token", {"token": token, "address": carried, "message-id": made["message_id"]})


@app.command()
def read(
    context: typer.Context,
    text: Annotated[
        str, typer.Argument(help="A token, or an address or Message-ID with one; - reads it from standard input.")
    ],
    recipient: Annotated[
        str | None, typer.Option("--recipient", help="Is it about this address?", show_default=False)
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Tell what a token says, and whether it is valid; exit status 1 when it is not."""
    given = sys.stdin.read(_MAX_CHARS) if text == "-" else text
    found = tokens_in(given[:_MAX_CHARS], 2)
    if len(found) != 1:
        raise UsageError(
            f"{'several tokens are' if found else 'no token is'} in what was given; give one, it begins with bp1"
        )
    with state_of(context).application() as application:
        told = _told(application, found[0], recipient)
    if as_json:
        print_json(told)
    else:
        print_fields("Token", told)
    if not told["valid"] or told["about_recipient"] is False:
        raise typer.Exit(1)


def _told(application: Application, token: str, recipient: str | None) -> dict[str, Any]:
    keys = token_keys(application.settings) or TokenKeys(())
    reading = keys.read(token, application.clock())
    claims = reading.claims
    known = {entry.id: entry.name for entry in application.stored_filters()}
    return {
        "token": token.lower(),
        "valid": reading.valid,
        "fault": reading.fault,
        "filter_id": None if claims is None else claims.filter_id,
        "filter": None if claims is None else known.get(claims.filter_id),
        "issued_on": None if claims is None else claims.issued_on.isoformat(),
        "mailing_id": None if claims is None else claims.mailing_id,
        "recipient_id": None if claims is None else claims.recipient_id,
        "about_recipient": None if recipient is None or claims is None else keys.names(reading, recipient),
        "key": reading.key_number,
    }
