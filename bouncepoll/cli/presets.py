"""``bouncepoll mailbox presets``: the mail providers a mailbox can name, and what each fills."""

import typer

from bouncepoll.cli._output import JsonOption, print_json, print_table, say
from bouncepoll.cli._state import state_of
from bouncepoll.sources import Preset

_COLUMNS = ("name", "what it is", "IMAP", "POP3", "SMTP", "auth.kind")


def presets(context: typer.Context, as_json: JsonOption = False) -> None:
    """List the providers a mailbox can name (provider = "…"), those of the configuration first."""
    known = state_of(context).settings.presets
    if as_json:
        for name, preset in known.items():
            print_json({"name": name, **preset.model_dump(mode="json")})
        return
    print_table("Providers", _COLUMNS, (_row(name, preset) for name, preset in known.items()))
    for name, preset in known.items():
        if preset.note:
            say(f"{name}: {preset.note}")


def _row(name: str, preset: Preset) -> tuple[object, ...]:
    servers = (preset.server(protocol) for protocol in ("imap", "pop3", "smtp"))
    addresses = [None if server is None else _address(server.host, server.port) for server in servers]
    return (name, preset.title, *addresses, " ".join(preset.auth) or "any")


def _address(host: str, port: int | None) -> str:
    return host if port is None else f"{host}:{port}"
