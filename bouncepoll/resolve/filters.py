"""Filters as TOML: what ``filter export`` prints and ``filter import`` reads."""

import difflib
import json
import re
import tomllib
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import Any

from bouncepoll.errors import UsageError
from bouncepoll.model.filter import DEFAULT_FORWARD_KINDS, BounceFilter, ForwardMode
from bouncepoll.model.trust import TokenUse
from bouncepoll.model.verdict import Kind

_KEYS = ("name", "filter_address", "forward_to", "forward_kinds", "forward_mode", "tokens", "description", "enabled")
_MAX_FILTERS = 100_000
_MAX_FAULTS = 50
_INVISIBLE = re.compile("[\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff]")


def export_toml(filters: Iterable[BounceFilter]) -> str:
    """Return the filters as TOML, one ``[[filter]]`` table each; ``import_toml`` reads it back."""
    return "\n".join(_table(bounce_filter) for bounce_filter in filters)


def import_toml(text: str) -> list[BounceFilter]:
    """Return the filters of a TOML text, with id 0 as they are not stored yet.

    An empty ``filter_address`` asks for a generated one. Addresses are not looked at here: who stores them does.

    Raises:
        UsageError: one line a fault, naming the filter, the key, what was found and what is allowed.
    """
    try:
        document = tomllib.loads(text)
    except (ValueError, RecursionError) as exc:
        # tomllib lets Python's own errors through: a number of more than 4,300 digits, arrays a thousand deep.
        raise UsageError(f"not TOML: {exc}; write it as 'bouncepoll filter export' does") from exc
    faults = [_unknown("the file", key, ("filter",)) for key in document if key != "filter"]
    tables = document.get("filter", [])
    if not isinstance(tables, list) or not all(isinstance(table, dict) for table in tables):
        raise UsageError("filter: write each filter as a table [[filter]]")
    if len(tables) > _MAX_FILTERS:
        raise UsageError(f"{len(tables)} filters are more than {_MAX_FILTERS}; split the file")
    found = [_filter(table, number, faults) for number, table in enumerate(tables, 1)]
    names: dict[str, int] = {}
    for number, bounce_filter in enumerate(found, 1):
        key = " ".join(bounce_filter.name.split()).casefold()
        first = names.setdefault(key, number)
        if key and first != number:
            faults.append(f"filter {number}: name: {bounce_filter.name!r} is the name of filter {first} too")
    if faults:
        more = [f"… and {len(faults) - _MAX_FAULTS} more faults"] if len(faults) > _MAX_FAULTS else []
        raise UsageError("\n".join([*faults[:_MAX_FAULTS], *more]))
    return found


def _table(bounce_filter: BounceFilter) -> str:
    lines = [
        "[[filter]]",
        f"name = {_text(bounce_filter.name)}",
        f"filter_address = {_text(bounce_filter.filter_address)}",
        f"forward_to = [{', '.join(map(_text, bounce_filter.forward_to))}]",
        f"forward_kinds = [{', '.join(_text(str(kind)) for kind in sorted(bounce_filter.forward_kinds))}]",
    ]
    if bounce_filter.forward_mode is not None:
        lines.append(f"forward_mode = {_text(str(bounce_filter.forward_mode))}")
    if bounce_filter.tokens is not None:
        lines.append(f"tokens = {_text(str(bounce_filter.tokens))}")
    lines += [
        f"description = {_text(bounce_filter.description)}",
        f"enabled = {'true' if bounce_filter.enabled else 'false'}",
    ]
    return "\n".join(lines) + "\n"


def _text(value: str) -> str:
    # A JSON string is a TOML basic string, but for DEL, which TOML wants escaped too, and lone surrogates it refuses.
    clean = value.encode("utf-8", "replace").decode()
    # What a terminal or an editor would act on is escaped as well.
    return _INVISIBLE.sub(lambda found: f"\\u{ord(found[0]):04x}", json.dumps(clean, ensure_ascii=False))


def _filter(table: Mapping[str, Any], number: int, faults: list[str]) -> BounceFilter:
    where = f"filter {number}"
    faults += [_unknown(where, key, _KEYS) for key in table if key not in _KEYS]

    def taken(key: str, kind: type[Any], default: Any) -> Any:
        value = table.get(key, default)
        if type(value) is not kind or (kind is list and not all(isinstance(item, str) for item in value)):
            wanted = {str: "a text in quotes", list: "a list of texts in quotes", bool: "true or false"}[kind]
            faults.append(f"{where}: {key}: found {_shown(value)}; write {wanted}")
            return default
        return value

    if "name" not in table:
        faults.append(f"{where}: name: is missing; give each filter a name of at least 3 characters")
    kinds = [_member(where, "forward_kinds", item, Kind, faults) for item in taken("forward_kinds", list, [])]
    mode, tokens = taken("forward_mode", str, ""), taken("tokens", str, "")
    return BounceFilter(
        id=0,
        name=taken("name", str, ""),
        filter_address=taken("filter_address", str, "").lower(),
        forward_to=tuple(taken("forward_to", list, [])),
        forward_kinds=frozenset(filter(None, kinds)) if "forward_kinds" in table else DEFAULT_FORWARD_KINDS,
        forward_mode=_member(where, "forward_mode", mode, ForwardMode, faults) if mode else None,
        description=taken("description", str, ""),
        enabled=taken("enabled", bool, True),
        tokens=_member(where, "tokens", tokens, TokenUse, faults) if tokens else None,
    )


def _member(where: str, key: str, value: str, names: type[StrEnum], faults: list[str]) -> Any:
    allowed = [str(member) for member in names]
    if value in allowed:
        return names(value)
    faults.append(f"{where}: {key}: found {value!r:.80}{_nearest(value, allowed)}; allowed are {', '.join(allowed)}")
    return None


def _unknown(where: str, key: str, allowed: tuple[str, ...]) -> str:
    return f"{where}: unknown key {key!r:.80}{_nearest(key, allowed)}; allowed are {', '.join(allowed)}"


def _shown(value: object) -> str:
    try:
        return f"{value!r:.80}"
    except ValueError:
        return "a number of too many digits"  # Python refuses to write out such a number.


def _nearest(found: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(found, list(allowed), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""
