"""The end-points of known issuers, by name; data of ``endpoints.toml``."""

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib import resources
from types import MappingProxyType
from typing import Literal, TypeAlias

from pydantic import Field

from bouncepoll.errors import ConfigurationError
from bouncepoll.options import Options

#: What is logged in to; it decides on the scopes.
Service: TypeAlias = Literal["imap", "pop3", "smtp"]


class Endpoints(Options):
    """The end-points of an issuer; an address is None where it has none, and may hold ``{tenant}``."""

    token_url: str | None = None
    device_authorization_url: str | None = None
    authorization_url: str | None = None
    authority: str | None = None
    redirect_host: Literal["127.0.0.1", "localhost"] = "127.0.0.1"
    client_auth: Literal["basic", "post"] = "basic"
    mechanisms: tuple[str, ...] = ("OAUTHBEARER", "XOAUTH2")
    scopes: dict[Service, tuple[str, ...]] = Field(default_factory=dict)
    app_scopes: tuple[str, ...] = ()
    extra: dict[str, str] = Field(default_factory=dict)


@cache
def known() -> Mapping[str, Endpoints]:
    """Return the known issuers."""
    text = resources.files("bouncepoll.auth").joinpath("endpoints.toml").read_text(encoding="utf-8")
    return MappingProxyType({name: Endpoints(**table) for name, table in tomllib.loads(text).items()})


def endpoints_of(name: str | None) -> Endpoints:
    """Return the end-points of an issuer; empty ones for None.

    Raises:
        ConfigurationError: there is no such issuer.
    """
    if name is None:
        return Endpoints()
    try:
        return known()[name]
    except KeyError:
        raise ConfigurationError(f"oauth: {name[:40]!r} is not known; known: {', '.join(known())}") from None
