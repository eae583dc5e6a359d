"""What is known of mail providers: data that fills the keys a mailbox leaves out.

The built-in ones stand in ``providers.toml``; a configuration adds its own as ``[providers.NAME]``.
"""

import difflib
import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from types import MappingProxyType
from typing import Annotated, Any, Literal, NamedTuple, TypeAlias

from pydantic import Field, TypeAdapter

from bouncepoll.options import Options, Seconds

#: How the connection is protected.
Security: TypeAlias = Literal["tls", "starttls", "insecure-loopback"]

_HOST = r"^[^\s\x00-\x1f\x7f]+$"
_WORD = r"^[A-Za-z0-9_.=-]+$"
#: Keys of a preset that are keys of a mailbox too; ``None`` and empty ones fill nothing.
_SHARED = ("oauth", "mechanisms", "batch", "max_connections", "idle")

Word = Annotated[str, Field(min_length=1, max_length=64, pattern=_WORD)]


class Server(Options):
    """A server of a provider."""

    host: str = Field(min_length=1, max_length=253, pattern=_HOST, description="Host name of the server.")
    port: int | None = Field(None, ge=1, le=65535, description="TCP port; by default the usual one.")
    security: Security = Field("tls", description="How the connection is protected, as in a mailbox.")


class Quirks(Options):
    """Where a server is not what its RFCs say; filled by the provider, and of use for no other server."""

    ignored_capabilities: tuple[Word, ...] = Field(
        (), max_length=20, description="Capabilities the server announces and gets wrong; they are not used."
    )
    imap_moves: Literal["auto", "copy"] = Field(
        "auto",
        description="`auto` moves mails with MOVE where the server has it; `copy` copies and deletes them (IMAP).",
    )
    imap_window: int = Field(
        50_000, ge=100, le=50_000, description="How many mails of a folder one IMAP command may be about."
    )
    pop3_username_prefix: str = Field(
        "",
        max_length=64,
        pattern=r"^[^\x00-\x1f\x7f]*$",
        description="What is put before the username to log in by POP3; `recent:` makes Gmail show the last 30 days.",
    )
    pop3_auth: Literal["standard", "one-line", "two-step"] = Field(
        "standard",
        description="Where the initial response of AUTH goes (POP3): `standard` (onto its line if that is short, "
        "RFC 5034), `one-line` (always), or `two-step` (after the server's `+`).",
    )


class Preset(Options):
    """A mail provider of your own; a mailbox names it as its `provider`, and each key fills those it leaves out."""

    title: str = Field("", max_length=200, description="What it is, for people.")
    note: str = Field("", max_length=1000, description="What one has to know to use it, for people.")
    auth: tuple[Word, ...] = Field((), max_length=20, description="The kinds of `auth` the provider takes; empty: any.")
    oauth: Word | None = Field(
        None, description="Whose OAuth 2 end-points it has: `google`, `microsoft` or `fastmail`."
    )
    mechanisms: tuple[Word, ...] = Field(
        (),
        max_length=20,
        description="SASL mechanisms to log in with, best first; empty: what the kind of auth is for.",
    )
    local_part_of: tuple[Word, ...] = Field(
        (), max_length=50, description="Domains whose users log in with what stands before the `@`."
    )
    batch: int | None = Field(None, ge=1, le=500, description="Fills `batch` of the mailbox.")
    max_connections: int | None = Field(None, ge=1, le=100, description="Fills `max_connections` of the mailbox.")
    idle: Seconds | None = Field(None, le=29 * 60, description="Fills `idle` of the mailbox.")
    imap: Server | None = Field(None, description="The IMAP server.")
    pop3: Server | None = Field(None, description="The POP3 server.")
    smtp: Server | None = Field(None, description="The submission server, for people.")
    quirks: Quirks = Field(default_factory=Quirks, description="Where its servers are not what the RFCs say.")

    def server(self, protocol: str) -> Server | None:
        """Return the server of a protocol; None when the provider has none, or it is not known."""
        found = getattr(self, protocol, None)
        return found if isinstance(found, Server) else None

    @property
    def protocols(self) -> tuple[str, ...]:
        """The protocols its mailboxes can be read by, as far as they are known."""
        return tuple(name for name in ("imap", "pop3") if self.server(name))


class Provider(NamedTuple):
    """A provider by its name; stands in a mailbox's table for one that is not built in."""

    name: str
    preset: Preset


@cache
def built_in() -> Mapping[str, Preset]:
    """Return the providers that come with bouncepoll, in the order of their file."""
    tables = tomllib.loads(files("bouncepoll.sources").joinpath("providers.toml").read_text(encoding="utf-8"))
    return MappingProxyType(TypeAdapter(dict[str, Preset]).validate_python(tables))


def filled(values: Mapping[str, Any], protocol: str, keys: frozenset[str]) -> dict[str, Any]:
    """Return a mailbox's table with what its provider fills; ``keys`` are those the table may have.

    Raises:
        ValueError: there is no such provider, it does not offer the protocol, or does not take the kind of ``auth``.
    """
    table = dict(values)
    provider = table.get("provider")
    if isinstance(provider, str):
        provider = _found(provider)
    if not isinstance(provider, Provider):
        return table
    table["provider"] = provider.name
    _fill_server(table, provider, protocol)
    _check_auth(table.get("auth"), provider)
    preset = provider.preset
    _fill_username(table, preset.local_part_of, keys)
    for key in _SHARED:
        value = getattr(preset, key)
        if value is not None and value != ():
            table.setdefault(key, value)
    own_quirks = table.get("quirks", {})
    if isinstance(own_quirks, Mapping):
        table["quirks"] = {**preset.quirks.model_dump(exclude_unset=True), **own_quirks}
    return table


def _found(name: str) -> Provider:
    if name in built_in():
        return Provider(name, built_in()[name])
    close = difflib.get_close_matches(name[:80].lower(), built_in(), n=1)
    meant = f"did you mean {close[0]!r}? " if close else ""
    raise ValueError(
        f"provider: there is no provider {name[:80]!r}; {meant}known: {', '.join(built_in())}; "
        "one of your own is a table [providers.NAME]"
    )


def _fill_server(table: dict[str, Any], provider: Provider, protocol: str) -> None:
    server = provider.preset.server(protocol)
    if server is None:
        if provider.preset.protocols and "host" not in table:
            offered = " or ".join(repr(name) for name in provider.preset.protocols)
            raise ValueError(f"provider {provider.name!r} has no {protocol.upper()}; write protocol = {offered}")
        return
    if table.get("security", server.security) == server.security:
        # Another security than the provider's has another port.
        table.setdefault("security", server.security)
        if server.port is not None:
            table.setdefault("port", server.port)
    table.setdefault("host", server.host)


def _check_auth(auth: object, provider: Provider) -> None:
    kind = auth.get("kind", "password") if isinstance(auth, Mapping) else getattr(auth, "kind", None)
    taken = provider.preset.auth
    if taken and isinstance(kind, str) and kind not in taken:
        what = "no passwords" if kind == "password" else f"no auth.kind {kind[:80]!r}"
        raise ValueError(
            f"provider {provider.name!r} takes {what}; write auth.kind = {' or '.join(map(repr, taken))} "
            "and its keys (docs/configuration.md has those of each)"
        )


def _fill_username(table: dict[str, Any], domains: tuple[str, ...], keys: frozenset[str]) -> None:
    username = table.get("username")
    if not isinstance(username, str):
        return
    local_part, at, domain = username.rpartition("@")
    if at and local_part and domain.lower() in domains:
        table["username"] = local_part
        if "address" in keys:
            table.setdefault("address", username)
