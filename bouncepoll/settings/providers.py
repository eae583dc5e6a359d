"""Mail providers of one's own: ``[providers.NAME]`` tables, handed to the mailboxes that name them."""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from bouncepoll.sources import Preset, Provider, built_in_providers


def handed_over(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings' values with each mailbox's ``provider`` replaced where it is one of ``providers``.

    The faults of a faulty provider are told where it stands.
    """
    own = values.get("providers")
    mailboxes = values.get("mailboxes")
    if not isinstance(own, Mapping) or not isinstance(mailboxes, Mapping):
        return dict(values)
    return {**values, "mailboxes": {name: _with_provider(table, own) for name, table in mailboxes.items()}}


def known(own: Mapping[str, Preset]) -> dict[str, Preset]:
    """Return all providers by name; one's own come first, and replace built-in ones of the same name."""
    return {**own, **{name: preset for name, preset in built_in_providers().items() if name not in own}}


def _with_provider(table: Any, own: Mapping[str, Any]) -> Any:
    name = table.get("provider") if isinstance(table, Mapping) else None
    if not isinstance(name, str) or name not in own:
        return table
    try:
        preset = Preset.model_validate(own[name])
    except ValidationError:
        # Nobody connects there: the faults of the provider end the loading, and are the only ones to be told.
        preset = Preset.model_validate({key: {"host": "faulty.invalid"} for key in ("imap", "pop3")})
    return {**table, "provider": Provider(name, preset)}
