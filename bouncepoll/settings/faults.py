"""Says what is wrong: one line a fault, with its origin, key, what was found and what is allowed; never a secret."""

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from bouncepoll.auth import missing, place_of
from bouncepoll.settings.layers import COMMAND_LINE, KeyPath, Layers, dotted, suggestion
from bouncepoll.settings.masking import masked_url
from bouncepoll.settings.models import MailboxSettings, Settings
from bouncepoll.settings.outline import Spot, narrowed

_SHOWN_CHARACTERS = 60
_MAX_FAULTS = 50
_TYPES = {dict: "a table", list: "a list", str: "a text", bool: "true or false", int: "a number", float: "a number"}


def faults_of(exc: ValidationError, layers: Layers, root: Spot) -> list[str]:
    """Return one line a fault."""
    return [_fault(error, layers, root) for error in exc.errors(include_url=False)[:_MAX_FAULTS]]


def contradictions(settings: Settings, layers: Layers) -> list[str]:
    """Return one line for each contradiction between parts that are right by themselves."""
    found = [*_shared_folders(settings.mailboxes), *_logins(settings)]
    return [f"{_origin(layers, path)}: {dotted(path)}: {problem}" for path, problem in found[:_MAX_FAULTS]]


def _fault(error: ErrorDetails, layers: Layers, root: Spot) -> str:
    path, spot = _place(error["loc"], layers, root)
    kind = error["type"]
    if kind == "extra_forbidden":
        parent = path[:-1]
        keys = _keys_at(parent, layers, root)
        where = f"[{dotted(parent)}]" if parent else "the configuration"
        problem = f"there is no such key in {where}; {suggestion(path[-1], keys)}"
    elif kind == "missing":
        problem = f"is missing. {_described(spot)}"
    elif kind in {"union_tag_invalid", "literal_error", "enum"}:
        # A union's tag stands in a key of its own.
        path = (*path, _tag_key(error)) if kind == "union_tag_invalid" else path
        found = str(layers.at(path))
        choices = _choices(error, spot)
        problem = f"found {found[:_SHOWN_CHARACTERS]!r}; {suggestion(found, choices)}"
    elif not spot.is_leaf and kind != "value_error":
        problem = f"found {_type_of(error['input'])}; this is a section: write [{dotted(path)}] and its keys below"
    else:
        problem = f"{_found(error, path, spot)}{_message(error)}"
    return f"{_origin(layers, path)}: {dotted(path)}: {problem}"


def _place(loc: Sequence[int | str], layers: Layers, root: Spot) -> tuple[KeyPath, Spot]:
    """Return the key an error is about, and its place in the models; what pydantic adds to ``loc`` is left out."""
    path: list[str] = []
    spot, union = root, root
    for part in loc:
        name = str(part)
        # After a union comes the tag, which may be called like a key; and it is not part of the key.
        tagged = union.tagged(name) if len(union.models) > 1 else None
        union = root
        if tagged is not None:
            spot = tagged
            continue
        after = spot.step(name)
        if after is None:
            if not spot.is_leaf and name != "[key]":
                path.append(name)
            continue
        is_tag = not spot.by_name and name not in spot.keys
        if not is_tag:
            path.append(name)
        spot, union = narrowed(after, layers.at(tuple(path))), after
    return tuple(path), spot


def _keys_at(path: KeyPath, layers: Layers, root: Spot) -> Sequence[str]:
    spot: Spot | None = root
    for depth, name in enumerate(path, 1):
        spot = spot.step(name) if spot is not None else None
        spot = None if spot is None else narrowed(spot, layers.at(path[:depth]))
    return () if spot is None else sorted(spot.keys)


def _found(error: ErrorDetails, path: KeyPath, spot: Spot) -> str:
    value = error["input"]
    if not spot.is_leaf:
        return ""
    if spot.is_secret:
        return "found a secret, not shown; "
    if isinstance(value, dict | list | tuple):
        return f"found {_type_of(value)}; "
    text = masked_url(str(value)) if path == ("database", "url") else str(value)
    return f"found {text[:_SHOWN_CHARACTERS]!r}; "


def _message(error: ErrorDetails) -> str:
    if error["type"] == "string_pattern_mismatch":
        return f"must match {error.get('ctx', {}).get('pattern', '')}"
    text = error["msg"].removeprefix("Value error, ").replace("Input should", "must").replace("String should", "must")
    return re.sub(r"\s+", " ", text)[:400]


def _described(spot: Spot) -> str:
    description = spot.field.description if spot.field is not None else None
    return " ".join((description or "Write it.").split())


def _tag_key(error: ErrorDetails) -> str:
    return str(error.get("ctx", {}).get("discriminator", "protocol")).strip("'").rstrip("()").removeprefix("_")


def _choices(error: ErrorDetails, spot: Spot) -> Sequence[str]:
    tags = str(error.get("ctx", {}).get("expected_tags", ""))
    return [tag.strip(" '") for tag in tags.split(",")] if tags else spot.choices


def _type_of(value: Any) -> str:
    return _TYPES.get(type(value), "something else")


def _origin(layers: Layers, path: KeyPath) -> str:
    found = layers.origin(path) or "configuration"
    return found if found != COMMAND_LINE else f"command line ({COMMAND_LINE})"


def _logins(settings: Settings) -> Iterator[tuple[KeyPath, str]]:
    """Yield what the logins of enabled mailboxes and of the chosen backend miss."""
    sections: dict[KeyPath, Any] = {
        ("mailboxes", name): mailbox for name, mailbox in settings.mailboxes.items() if mailbox.enabled
    }
    backend = settings.delivery.backend
    sections["delivery", backend] = getattr(settings.delivery, backend, None)
    for path, options in sections.items():
        auth = getattr(options, "auth", None)
        if auth is not None:
            for key, problem in missing(place_of(".".join(path), options), auth, settings.credentials):
                yield (*path, *key.split(".")), problem


def _shared_folders(mailboxes: Mapping[str, MailboxSettings]) -> Iterator[tuple[KeyPath, str]]:
    """Yield what would make two mailboxes read, or fill, the same folder."""
    readers: dict[tuple[str, ...], str] = {}
    for name, mailbox in mailboxes.items():
        if not mailbox.enabled:
            continue
        for folder in getattr(mailbox, "folders", ("INBOX",)):
            other = readers.setdefault((*_account(mailbox), _comparable(folder)), name)
            if other != name:
                yield (
                    ("mailboxes", name),
                    f"mailboxes.{other} reads the folder {folder!r} of the same account; remove it from one of them",
                )
    for name, mailbox in mailboxes.items():
        target = mailbox.on_done.folder
        reader = readers.get((*_account(mailbox), _comparable(target))) if target and mailbox.enabled else None
        if reader is not None and reader != name:
            yield (
                ("mailboxes", name, "on_done"),
                f"moves mails to {target!r}, which mailboxes.{reader} reads; name another folder",
            )


def _account(mailbox: MailboxSettings) -> tuple[str, ...]:
    path = getattr(mailbox, "path", None)
    if path is not None:
        return (str(path),)
    return tuple(str(getattr(mailbox, name, "")).lower() for name in ("host", "username"))


def _comparable(folder: str) -> str:
    """Return a folder's name as servers compare it: INBOX in any case (RFC 9051 section 5.1), others as written."""
    return "INBOX" if folder.upper() == "INBOX" else folder
