"""Printing: tables for people, JSON for programs. Control characters from mails never reach the terminal."""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from bouncepoll.errors import UsageError

JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, one object a line.")]
YesOption = Annotated[bool, typer.Option("--yes", help="Do not ask.")]


_PIPE_WIDTH = 160
_UTF8 = frozenset({"utf-8", "utf8"})
# JSON escapes the C0 controls by itself; terminals also act on these.
_MORE_CONTROLS = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]")


def console() -> Console:
    """Return a console on standard output; wide where no terminal says how wide it is."""
    # Emoji codes stay what they are: an address or a diagnostic may hold ":x:".
    found = Console(highlight=False, soft_wrap=True, emoji=False)
    return found if found.is_terminal else Console(highlight=False, soft_wrap=True, emoji=False, width=_PIPE_WIDTH)


def say(text: str) -> None:
    """Print one line of text, whatever it holds."""
    console().print(printable(" ".join(text.splitlines())))


def harmless(text: str) -> str:
    """Return text without what a terminal would act on: control, bidirectional and other invisible characters."""
    clean = text.encode("utf-8", "replace").decode()
    if clean.isprintable():
        return clean
    return "".join(
        character
        if character.isprintable() or character in "\t\n"
        else " "
        if character.isspace()
        else "\N{REPLACEMENT CHARACTER}"
        for character in clean
    )


def printable(value: object) -> str:
    """Return text for a table cell: no control characters, no markup, times to the second, ``-`` for None."""
    if value is None or value == "":
        return "-"
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%d %H:%M:%S")
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple | set | frozenset):
        return ", ".join(printable(item) for item in sorted(value, key=str)) or "-"
    return escape(harmless(str(value)))


def print_table(title: str, columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; nothing but a line saying so when it is empty."""
    table = Table(title=printable(title), title_justify="left", header_style="bold")
    for column in columns:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*(printable(value) for value in row))
    console().print(table if table.row_count else f"{printable(title)}: none")


def print_fields(title: str, fields: Mapping[str, object]) -> None:
    """Print one record, a field a line."""
    table = Table(title=printable(title), title_justify="left", show_header=False)
    table.add_column(style="bold")
    table.add_column(overflow="fold")
    for name, value in fields.items():
        table.add_row(name, printable(value))
    console().print(table)


def print_json(record: object) -> None:
    """Print one object on one line; what a terminal would act on is escaped."""
    utf8 = (getattr(sys.stdout, "encoding", None) or "").lower() in _UTF8
    text = json.dumps(plain(record), ensure_ascii=not utf8)
    typer.echo(_MORE_CONTROLS.sub(lambda match: f"\\u{ord(match[0]):04x}", text))


def write_raw(octets: bytes) -> None:
    """Write a mail's octets to standard output.

    Raises:
        UsageError: that is a terminal, which would act on what the mail holds.
    """
    if sys.stdout.isatty():
        raise UsageError("--raw writes the mail's octets as they are; redirect them into a file or a pipe")
    sys.stdout.buffer.write(octets)
    sys.stdout.buffer.flush()


def plain(value: Any) -> Any:  # noqa: PLR0911 - one return a type.
    """Return a value JSON can hold: dataclasses as objects, times as ISO 8601, sets as sorted lists."""
    if is_dataclass(value) and not isinstance(value, type):
        # Not asdict, which takes a Counter apart.
        return {field.name: plain(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, set | frozenset):
        return sorted(plain(item) for item in value)
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Enum):
        return value.value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, bytes):
        return value.decode("utf-8", "replace")
    return value.encode("utf-8", "replace").decode() if isinstance(value, str) else value
