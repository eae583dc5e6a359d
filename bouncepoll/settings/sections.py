"""Sections of the settings that stand by themselves."""

import re
import socket
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from bouncepoll.options import Options, Seconds

_INSTANCE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_DATABASE = re.compile(r"(sqlite(\+pysqlite)?|postgresql(\+psycopg)?)://")


def _instance_id(value: str) -> str:
    if not _INSTANCE.fullmatch(value):
        raise ValueError("an instance id has 1 to 64 characters: letters, digits, '.', '_' and '-'")
    return value


def _database_url(value: str) -> str:
    if not _DATABASE.match(value):
        raise ValueError("write sqlite:///PATH or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE")
    return value


def _never(value: Any) -> Any:
    return None if isinstance(value, str) and value.strip().lower() == "never" else value


#: An age in seconds after which something is deleted; None, written ``"never"``: it is kept.
Age = Annotated[Annotated[Seconds, Field(gt=0, le=36500 * 86400)] | None, BeforeValidator(_never)]


class InstanceSettings(Options):
    """This installation."""

    id: Annotated[str, AfterValidator(_instance_id)] = Field(
        default_factory=lambda: re.sub(r"[^A-Za-z0-9._-]", "-", socket.gethostname())[:64] or "bouncepoll",
        description="What the loop header of our forwards carries; two installations must not share it. By default "
        "this machine's host name, so set it where that changes (containers).",
    )


class DatabaseSettings(Options):
    """The database."""

    url: Annotated[str, AfterValidator(_database_url)] = Field(
        "sqlite:///var/bouncepoll.db",
        description="`sqlite:///PATH` (relative to the working directory; four slashes for an absolute path) or "
        "`postgresql+psycopg://USER:PASSWORD@HOST/DATABASE`.",
    )


class LogSettings(Options):
    """Logging, to standard error."""

    level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="The least serious events that are logged; addresses appear at `debug` only."
    )
    format: Literal["auto", "json", "console"] = Field(
        "auto", description="`json` (one object a line), `console` (for people), or `auto`: `console` on a terminal."
    )


class RulesSettings(Options):
    """Classification rules."""

    extra_file: Path | None = Field(
        None, description="A TOML file with rules of your own; they are asked before the built-in ones."
    )


class RetentionSettings(Options):
    """How long things are kept. What keeps a mail from being counted or forwarded twice is never deleted."""

    raw: Age = Field(
        90 * 86400.0,
        description="Age after which the octets of stored mails are deleted, or `never`; those in quarantine and those "
        "that wait to be forwarded stay.",
    )
    events: Age = Field(
        None,
        description="Age after which events, finished forwards, and senders and subjects of stored mails are deleted, "
        "or `never`.",
    )
