"""The configuration reference and the example file, written from the models."""

import json
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import Enum
from pathlib import Path
from typing import Any, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

from bouncepoll.options import Octets, Seconds
from bouncepoll.settings.models import MailboxSettings, settings_class
from bouncepoll.settings.outline import fields_of, spot_of
from bouncepoll.settings.sections import Age
from bouncepoll.sources import ReadingOptions

_WIDTH = 100
_NAME = "NAME"
_DURATION_UNITS = (("d", 86400.0), ("h", 3600.0), ("m", 60.0), ("s", 1.0), ("ms", 0.001))
_SIZE_UNITS = (("GiB", 1024**3), ("MiB", 1024**2), ("KiB", 1024))
_NUMBERS = {int: "whole number", float: "number", date: "date"}

#: Names of the example mailboxes, by protocol.
_MAILBOX_NAMES = {"imap": "news", "pop3": "offers", "maildir": "spool", "mbox": "archive"}
#: Values for keys without a default that a first configuration needs.
_NEEDED = {
    "mailboxes.news.host": "imap.example.org",
    "mailboxes.news.username": "news@example.org",
    "mailboxes.news.auth.password_file": "/etc/bouncepoll/news.password",
    "mailboxes.offers.host": "pop.example.org",
    "mailboxes.offers.username": "offers@example.org",
    "mailboxes.offers.auth.password_file": "/etc/bouncepoll/offers.password",
    "mailboxes.spool.path": "/var/spool/bounces",
    "mailboxes.archive.path": "/var/mail/bounces",
    "providers.mine.imap.host": "imap.example.net",
    "providers.mine.pop3.host": "pop.example.net",
    "providers.mine.smtp.host": "smtp.example.net",
    "delivery.smtp.host": "smtp.example.org",
    "delivery.lmtp.host": "localhost",
    "delivery.maildir.path": "/var/lib/bouncepoll/forwards",
    "forward.from_address": "news@example.org",
}
#: Values for keys that are off by default, to show how they are written.
_SAMPLES: dict[str, str | int] = {
    "address": "news@example.org",
    "provider": "generic",
    "oauth": "google",
    "proxy": "socks5://proxy.example.org:1080",
    "idle": "25m",
    "max_connections": 5,
    "batch": 100,
    "default_filter": "Spring newsletter",
    "ca_file": "/etc/bouncepoll/ca.pem",
    "extra_file": "/etc/bouncepoll/rules.toml",
    "mailloop_domain": "bounces.example.org",
    "secrets_dir": "/run/secrets",
    "listener.hostname": "mx.example.org",
    "listener.cert_file": "/etc/bouncepoll/mx.pem",
    "listener.key_file": "/etc/bouncepoll/mx.key",
    "username": "news@example.org",
    "local_hostname": "mail.example.org",
    "socket": "/run/dovecot/lmtp",
    "password": "in a secret file rather than here",
    "password_file": "/etc/bouncepoll/news.password",
    "id": "news-1",
    "key_file": "/etc/bouncepoll/keys",
    "keys": "in a secret file rather than here",
}


#: Keys of a mailbox that its provider fills.
_FILLED = frozenset({"batch", "idle", "max_connections", "mechanisms", "security"})
#: The kind of login that need not be named.
_FIRST_KIND = "password"
_SAMPLE_PORTS = {"mailboxes": 993, "delivery": 587, "providers": 993}


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file: where it stands, what it is about, and its keys; ``kind``: which of several it is."""

    path: tuple[str, ...]
    about: str
    keys: tuple[tuple[str, FieldInfo], ...]
    kind: str | None = None


def example_toml() -> str:
    """Return a configuration with every key, its default, its unit and what it is for; it can be loaded as it is."""
    lines = [
        "# Every key of bouncepoll's configuration. A key behind '#' is off by default; the others have their default,",
        "# but for hosts, names and password files, and for what a mailbox's provider fills: these are behind '#' with",
        "# their default. Durations: 500ms, 30s, 2m, 12h, 5d. Sizes: 512, 256KiB, 50MiB.",
        "# See docs/configuration.md for where this file is looked for, and what overrides it.",
    ]
    for section in _sections():
        lines.append("")
        if section.path:
            lines += [*_comment(section.about), f"[{'.'.join(section.path)}]"]
        for name, field in section.keys:
            lines += _example_key(section.path, name, field)
    return "\n".join(lines) + "\n"


def reference_markdown() -> str:
    """Return the configuration reference as Markdown."""
    parts = [_INTRODUCTION]
    kinds: dict[str, str] = {}
    for section in _sections(placeholder=True):
        path = ".".join(section.path)
        if section.kind is not None:
            # The kinds of login are the same everywhere, and there are many.
            first = kinds.setdefault(section.kind, path)
            if first != path and section.kind == _FIRST_KIND:
                parts.append(f"## `[{path}]`\n\nAs `[{first}]`.")
            if first != path or any(f'`[{path}]` with `kind = "{section.kind}"`' in part for part in parts):
                continue
        heading = f'## `[{path}]` with `kind = "{section.kind}"`' if section.kind else f"## `[{path}]`"
        parts.append(f"{heading}\n\n{section.about}" if path else "## Top level")
        rows = ["| key | value | default | |", "|---|---|---|---|"]
        rows += [_row(name, field) for name, field in section.keys]
        parts.append("\n".join(rows))
    return "\n\n".join(parts) + "\n"


def _sections(*, placeholder: bool = False) -> Iterator[Section]:
    yield from _walk(settings_class(), (), "", placeholder=placeholder)


def _walk(model: type[BaseModel], path: tuple[str, ...], about: str, *, placeholder: bool) -> Iterator[Section]:
    fields = _ordered(model)
    spots = {name: spot_of(field) for name, field in fields.items()}
    keys = tuple((name, field) for name, field in fields.items() if spots[name].is_leaf)
    if keys:
        yield Section(path, about, keys, _kind_of(model))
    for name, spot in spots.items():
        for member in spot.models if placeholder else spot.by_default:
            below = (*path, name)
            if spot.by_name:
                below = (*below, _NAME if placeholder else _example_name(member))
            yield from _walk(member, below, _about(member), placeholder=placeholder)


def _kind_of(model: type[BaseModel]) -> str | None:
    """Return which kind of login a model is; None when it is none."""
    kind = model.model_fields.get("kind")
    return None if kind is None else str(kind.default)


def _example_name(member: type[BaseModel]) -> str:
    protocol = member.model_fields.get("protocol")
    return "mine" if protocol is None else _MAILBOX_NAMES.get(str(protocol.default), str(protocol.default))


def _ordered(model: type[BaseModel]) -> dict[str, FieldInfo]:
    """Return the fields of a model; a mailbox's protocol and place first, and what all mailboxes share last."""
    fields = fields_of(model)
    if not issubclass(model, MailboxSettings):
        return fields
    reading, shared = fields_of(ReadingOptions), fields_of(MailboxSettings)

    def rank(name: str) -> int:
        if name in ("protocol", "path"):
            return 0
        if name in reading:
            return 2
        return 3 if name in shared else 1

    return dict(sorted(fields.items(), key=lambda item: rank(item[0])))


def _about(model: type[BaseModel]) -> str:
    return " ".join((model.__doc__ or "").split())


def _example_key(section: tuple[str, ...], name: str, field: FieldInfo) -> Iterator[str]:
    path = ".".join((*section, name))
    default = _default(field)
    yield from _comment(f"{_text(field.description)} ({_kind(field)}; {_default_text(field)})")
    if path in _NEEDED:
        yield f"{name} = {json.dumps(_NEEDED[path])}"
    elif default is PydanticUndefined or (default is None and not _is(field, Age)):
        sample = str(_SAMPLE_PORTS[section[0]]) if name == "port" and section else _sample(path, field)
        yield f"{name} = {sample}" if field.is_required() else f"# {name} = {sample}"
    else:
        off = "# " if _is_filled(section, name) else ""
        yield f"{off}{name} = {_toml(default, field)}"


def _is_filled(section: tuple[str, ...], name: str) -> bool:
    """Whether a mailbox's provider fills a key, which therefore must not stand in the way with its default."""
    return section[:1] == ("mailboxes",) and (section[-1] == "quirks" or name in _FILLED)


def _sample(path: str, field: FieldInfo) -> str:
    spot = spot_of(field)
    # Some names mean something else in one section.
    name = path if path in _SAMPLES else path.rpartition(".")[2]
    if name in _SAMPLES:
        return json.dumps(_SAMPLES[name])
    if spot.is_list:
        return '["/usr/local/bin/print-password", "news"]'
    if spot.choices:
        return json.dumps(spot.choices[0])
    return '"…"'


def _row(name: str, field: FieldInfo) -> str:
    cells = (f"`{name}`", _kind(field, code=True), _default_cell(field), _text(field.description))
    escaped = [cell.replace("|", "\\|") for cell in cells]
    return f"| {' | '.join(escaped)} |"


def _text(description: str | None) -> str:
    return " ".join((description or "").split())


def _comment(text: str) -> list[str]:
    return [f"# {line}" for line in textwrap.wrap(text.replace("`", ""), _WIDTH, break_on_hyphens=False)]


def _default(field: FieldInfo) -> Any:
    """Return the default; None where there is none, or where it is not the same on every machine."""
    return None if field.default_factory is not None else field.default


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    default = _default(field)
    if default is None and not _is(field, Age):
        return "default: see there" if field.default_factory is not None else "default: none"
    return f"default: {_toml(default, field)}"


def _default_cell(field: FieldInfo) -> str:
    text = _default_text(field).removeprefix("default: ")
    return {"required": "required", "none": "–", "see there": "see right"}.get(text, f"`{text}`")


def _kind(field: FieldInfo, *, code: bool = False) -> str:
    """Return what a key takes, in words, with its bounds."""
    spot = spot_of(field)
    if spot.choices:
        return " or ".join(f"`{choice}`" if code else f'"{choice}"' for choice in spot.choices)
    if spot.is_secret:
        return "secret"
    if spot.is_list:
        return "list of texts"
    plain = _base(field.annotation)
    if _is(field, Age):
        kind = 'duration or "never"'
    elif _is(field, Seconds):
        kind = "duration"
    elif _is(field, Octets):
        kind = "size"
    elif plain is bool:
        return "true or false"
    else:
        kind = _NUMBERS.get(plain, "path" if plain is Path else "text")
    return f"{kind}{_bounds(field)}"


def _bounds(field: FieldInfo) -> str:
    limits: dict[str, float] = {}
    for part in field.metadata:
        for name in ("ge", "gt", "le", "lt"):
            if hasattr(part, name):
                # The type's own lower bound of 0 stands beside the key's.
                limits[name] = max(limits.get(name, 0), getattr(part, name))
    words = {"ge": "from", "gt": "over", "le": "to", "lt": "under"}
    # Every duration and size is bounded by 0 from below.
    shown = [f"{words[name]} {_scalar(value, field)}" for name, value in limits.items() if value != 0]
    return f" {' '.join(shown)}" if shown else ""


def _is(field: FieldInfo, alias: Any) -> bool:
    """Whether a field's type is one of the annotated types of ours."""
    wanted = next(part.func for part in get_args(alias)[1:] if hasattr(part, "func"))
    return any(getattr(part, "func", None) is wanted for part in (*field.metadata, *_metadata(field.annotation)))


def _metadata(annotation: Any) -> Iterator[Any]:
    for part in get_args(annotation):
        yield part
        yield from _metadata(part)


def _base(annotation: Any) -> Any:
    members = [part for part in get_args(annotation) if part is not type(None)]
    return _base(members[0]) if get_origin(annotation) is not None and members else annotation


def _toml(value: Any, field: FieldInfo) -> str:
    if value is None:
        return '"never"'
    if isinstance(value, tuple | list | frozenset | set):
        return f"[{', '.join(_toml(item, field) for item in value)}]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int | float):
        text = _scalar(value, field)
        return text if text.replace(".", "", 1).isdigit() else json.dumps(text)
    return json.dumps(str(value.value if isinstance(value, Enum) else value), ensure_ascii=False)


def _scalar(value: float, field: FieldInfo) -> str:
    if _is(field, Seconds):
        return next(
            (f"{value / size:g}{unit}" for unit, size in _DURATION_UNITS if value >= size and value % size == 0),
            f"{value:g}s",
        )
    if _is(field, Octets):
        return next(
            (f"{value // size:g}{unit}" for unit, size in _SIZE_UNITS if value >= size and value % size == 0),
            f"{value:g}",
        )
    return f"{value:g}"


_INTRODUCTION = """\
# Configuration

This page is written from the code (`make docs`). `bouncepoll config example` prints a file with every key;
`bouncepoll config check` reads yours and shows what it comes to, secrets masked. A wrong key, type or contradiction
ends a command with exit status 2 and one line a fault.

## Where it comes from

Later layers override earlier ones, key by key:

1. **The file** (TOML): the one `--config` names, else `$BOUNCEPOLL_CONFIG`, else the first there is of
   `./config.toml`, `$XDG_CONFIG_HOME/bouncepoll/config.toml` (`~/.config` by default) and
   `/etc/bouncepoll/config.toml`. Commands that need no mailbox (`classify`, `explain`, `rules`, `config example`,
   `demo`) work without any file.
2. **Secret files**: the files of `secrets_dir` and of `$CREDENTIALS_DIRECTORY` (systemd), each named like the key
   it sets, with `__` between the parts: `mailboxes__news__auth__password`. Files without `__` in their name set
   nothing; keys such as `password_file` may name them.
3. **Environment**: `BOUNCEPOLL_` and the key with `__` between the parts: `BOUNCEPOLL_MAILBOXES__NEWS__POLL=5m`. A
   `-` in a mailbox's name is written `_`.
4. **Command line**: `--set KEY=VALUE` before the command, repeatable: `--set mailboxes.news.poll=5m`. Secrets are
   refused there, for others on the machine see them.

Lists are written as in TOML everywhere: `["INBOX", "Junk"]`. Relative paths start at the working directory.

## Values

- **duration**: a number and a unit: `500ms`, `30s`, `2m`, `12h`, `5d`; a number alone is seconds.
- **size**: a whole number and a unit: `512` (octets), `256KiB`, `50MiB`.
- **secret**: never shown in messages, logs or `config check`.

## Providers

`provider = "gmail"` in a mailbox fills what is known of that provider: host, port, security, `batch`,
`max_connections`, `idle`, `oauth`, `mechanisms` and `quirks`. Each key that is written in the mailbox counts instead.
`bouncepoll mailbox presets` lists the providers, the kinds of `auth` each takes, and what one has to know of it;
`bouncepoll config check` shows what a mailbox comes to. A table `[providers.NAME]` adds one of your own, or replaces a
built-in one of that name.

## What is needed when

- To poll: at least one mailbox. Its account and folder must not be read by another enabled mailbox, and `on_done`
  must not move mails into a folder that is read.
- To forward: the section of the chosen backend, and what `[forward]` needs for it. Polling works without them:
  forwards then wait in the outbox, and `poll` and `serve` say what is missing as soon as there is something to
  forward.
- To make filter addresses by themselves: `filters.mailloop_domain`, or a mailbox whose address is known.
- `default_filter` is looked up in the database at each poll."""
